import csv
import io
import json
import string

import numpy as np
import pandas as pd
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from tlkit.evaluation.answers import Answer, Detail, write_answers
from tlkit.foreign_text import from_cell, printable, to_cell
from tlkit.runs import TEXTS, Run

FORMULAS = [
    "=1+1",
    "+1",
    "-1",
    "@SUM(A1)",
    "\t=1",
    "\r=1",
    "\n=1",
    "'=1",
    "''@x",
    "=cmd|' /C calc'!A0",
]
# A file's name may hold anything but a slash and a NUL; other bytes than UTF-8 are skipped before.
NAMES = st.text(
    st.characters(exclude_characters="/\0", exclude_categories=["Cs"]), min_size=1, max_size=12
) | st.sampled_from(FORMULAS)


def harmless(cell: str) -> bool:
    return cell[:1] not in {"=", "+", "-", "@", "\t", "\r", "\n"}


def test_json_lines_are_valid_in_any_encoding() -> None:
    file = io.TextIOWrapper(io.BytesIO(), encoding="latin-1", errors="backslashreplace")
    answer = Answer("Vögel/고양이\udcff.jpg", np.array([0.9, 0.1], np.float32))
    write_answers([answer], Detail(("ö", "고")), file, "jsonl")
    file.flush()
    record = json.loads(file.buffer.getvalue().decode("latin-1"))  # type: ignore[attr-defined]
    assert record["path"] == answer.path
    assert record["predicted"] == "ö"


@given(NAMES)
@example("'")
@example("''=")
def test_a_cell_is_no_formula_and_comes_back(text: str) -> None:
    assert harmless(to_cell(text))
    assert from_cell(to_cell(text)) == text


@pytest.mark.parametrize("text", ["cat", "'tis", "a=b", "", "007", "NA", "cat/-1.jpg"])
def test_ordinary_text_stays_as_it_is(text: str) -> None:
    assert to_cell(text) == text == from_cell(text)


@settings(deadline=None)
@given(st.lists(NAMES, min_size=1, max_size=5, unique=True))
def test_tables_of_any_names_come_back(
    tmp_path_factory: pytest.TempPathFactory, names: list[str]
) -> None:
    run = Run(tmp_path_factory.getbasetemp())
    table = pd.DataFrame(dict.fromkeys(TEXTS, names))
    run.write_table("split", table)
    pd.testing.assert_frame_equal(run.split, table)
    with (run.folder / "split.csv").open(encoding="utf-8", newline="") as file:
        assert all(harmless(cell) for row in csv.reader(file) for cell in row)
    p = pd.DataFrame(np.eye(len(names)), columns=[f"p_{name}" for name in names])
    run.write_table("predictions", p)
    assert list(run.predictions) == list(p)


@given(st.lists(NAMES, min_size=2, max_size=4, unique=True), st.sampled_from([None, 1]))
def test_answers_of_any_names_are_harmless(names: list[str], top_k: int | None) -> None:
    file = io.StringIO(newline="")
    probabilities = np.full(len(names), 1 / len(names), np.float32)
    answers = [Answer(name, probabilities) for name in names] + [Answer("=x", None, "=gone")]
    write_answers(answers, Detail(names, top_k), file, "csv")
    _, *rows = csv.reader(io.StringIO(file.getvalue(), newline=""))
    assert [from_cell(row[0]) for row in rows] == [*names, "=x"]
    assert all(harmless(cell) for row in rows for cell in row)


@given(st.text())
def test_a_terminal_only_shows_what_is_printable(text: str) -> None:
    shown = printable(text)
    assert len(shown) == len(text)
    assert not set(shown) & set("\x1b\r\n\x07\x9b\u202e")
    assert printable(string.printable.strip()) == string.printable.strip()
