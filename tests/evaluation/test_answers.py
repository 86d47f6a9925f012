"""Answers as rows, CSV, JSON lines and a table: any name survives, bad files are rows."""

import csv
import io
import json

import numpy as np
import pytest

from tlkit.evaluation.answers import Answer, Detail, write_answers

CLASSES = ["cat", 'the "dog",\nbig', "고양이"]
ANSWERS = [
    Answer("a.jpg", np.array([0.7, 0.2, 0.1], np.float32)),
    Answer("odd\udcff\x1b[2J.jpg", np.array([0.1, 0.5, 0.4], np.float32)),
    Answer("broken.jpg", None, "truncated JPEG"),
]


def written(form: str, **settings: object) -> str:
    file = io.StringIO(newline="")
    counts = write_answers(ANSWERS, Detail(CLASSES, **settings), file, form)
    assert (counts.files, counts.errors) == (3, 1)
    return file.getvalue()


def test_csv_holds_every_probability() -> None:
    rows = list(csv.DictReader(io.StringIO(written("csv"), newline="")))
    assert list(rows[0]) == ["path", "predicted", "confidence", "error"] + [
        f"p_{name}" for name in CLASSES
    ]
    assert [row["predicted"] for row in rows] == ["cat", CLASSES[1], ""]
    assert np.float32(rows[0]["p_cat"]) == ANSWERS[0].probabilities[0], "float32 survives"
    assert rows[1]["path"] == ANSWERS[1].path
    assert rows[2]["error"] == "truncated JPEG"
    assert {rows[2][key] for key in rows[2] if key not in ("path", "error")} == {""}


def test_csv_holds_the_best_k() -> None:
    rows = list(csv.DictReader(io.StringIO(written("csv", top_k=2), newline="")))
    assert list(rows[0])[4:] == ["class_1", "p_1", "class_2", "p_2"]
    assert (rows[1]["class_1"], rows[1]["class_2"]) == (CLASSES[1], "고양이")
    assert len(Detail(CLASSES, top_k=99).best(ANSWERS[0])) == 3


def test_json_lines_are_one_object_each() -> None:
    lines = written("jsonl").splitlines()
    first, second, bad = map(json.loads, lines)
    assert first["predicted"] == "cat"
    assert first["probabilities"] == pytest.approx({"cat": 0.7, CLASSES[1]: 0.2, "고양이": 0.1})
    assert second["path"] == ANSWERS[1].path
    assert bad["error"] == "truncated JPEG"
    assert bad["predicted"] is bad["confidence"] is bad["probabilities"] is None
    written("jsonl").encode("utf-8")  # valid, whatever the file's name
    assert json.loads(written("jsonl", top_k=1).splitlines()[0])["top"] == [
        {"class": "cat", "probability": pytest.approx(0.7)}
    ]


def test_the_table_is_a_line_per_file_that_no_name_can_break() -> None:
    lines = written("table").splitlines()
    assert len(lines) == 4
    assert lines[1].split() == ["69.9", "%", "cat", "a.jpg"], "a float32 0.7 is less than 0.7"
    assert "\x1b" not in "".join(lines)
    assert "truncated JPEG" in lines[3]


def test_below_the_threshold_it_does_not_know() -> None:
    table = written("table", reject_below=0.6, top_k=2).splitlines()
    assert "don't know" in table[2]
    assert "고양이 40.0 %" in table[2]
    assert "don't know" not in table[1]
    rows = list(csv.DictReader(io.StringIO(written("csv", reject_below=0.6), newline="")))
    assert [row["predicted"] for row in rows] == ["cat", "", ""]
    assert float(rows[1]["confidence"]) == 0.5, "how sure it was is still told"
    assert json.loads(written("jsonl", reject_below=0.6).splitlines()[1])["predicted"] is None
    counts = write_answers(ANSWERS, Detail(CLASSES, reject_below=0.6), io.StringIO(), "csv")
    assert str(counts) == "3 files, 1 don't know, 1 could not be read"


def test_answers_are_written_as_they_come() -> None:
    file = io.StringIO(newline="")

    def answers():
        for i in range(3):
            yield Answer(f"{i}.jpg", ANSWERS[0].probabilities)
            assert f"{i}.jpg" in file.getvalue()

    write_answers(answers(), Detail(CLASSES), file, "csv")
