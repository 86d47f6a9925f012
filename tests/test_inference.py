"""A finished run at work: a row per file whatever the file, and other images scored."""

from __future__ import annotations

import csv
import io
import json
from pathlib import Path

import numpy as np
import pytest

import tlkit
from tests.conftest import make_pictures
from tlkit import inference
from tlkit.errors import DataError, RecipeError


def test_evaluate_scores_other_pictures(run: tlkit.Run, tmp_path: Path) -> None:
    folder = make_pictures(tmp_path / "new", per_class=3, size=(70, 90))
    scored = tlkit.evaluate(run, folder)
    assert scored.folder == run.folder / "evaluations" / "new"
    assert scored.metrics["splits"]["test"]["images"] == 6
    assert scored.report.is_file()
    assert scored.metrics["data"]["trained_on"] == 0


def test_an_evaluation_on_what_was_learned_from_says_so(
    run: tlkit.Run, pictures: Path, caplog: pytest.LogCaptureFixture
) -> None:
    scored = tlkit.evaluate(str(run.folder), pictures)
    learned_from = int((run.split["split"] == "train").sum())
    assert scored.metrics["data"]["trained_on"] == learned_from > 0
    assert f"{learned_from} of these 24 pictures are among those" in caplog.text
    text = " ".join(scored.report.read_text().split())
    assert f"it was trained on {learned_from} of them" in text
    assert "new pictures to judge by" in text.lower()


@pytest.mark.parametrize(
    ("folder", "name"),
    [("v1.2", "v1.2"), ("my photos (2024)", "my photos -2024-"), ("+new", "-new"), ("…", "-")],
)
def test_an_evaluation_has_its_folders_name(tmp_path: Path, folder: str, name: str) -> None:
    (tmp_path / folder).mkdir()
    assert inference._name(tmp_path / folder) == name
    assert tlkit.Run.create(tmp_path / "evaluations", name).folder.name == name
    (tmp_path / "some.manifest.csv").touch()
    assert inference._name(tmp_path / "some.manifest.csv") == "some.manifest"
    assert inference._name(Path("/")) == "-"


@pytest.mark.slow
def test_what_is_explained_is_called_neither_right_nor_wrong_and_a_bad_file_by_its_name(
    run: tlkit.Run, pictures: Path, tmp_path: Path
) -> None:
    bad = tmp_path / "bad.jpg"
    bad.write_bytes(b"no picture")
    with pytest.raises(DataError, match=r"bad\.jpg: not an image; leave it out"):
        inference.explain(run, [pictures / "red" / "00.jpg", bad])
    page = inference.explain(run, [pictures / "red" / "00.jpg"], tmp_path / "e.html")
    text = page.read_text("utf-8")
    assert text.count("<figure>") == 1
    assert 'class="mark"' not in text
    assert "2 × 2 places" in text


@pytest.mark.slow
def test_views_are_averaged_when_asked(run: tlkit.Run, pictures: Path, tmp_path: Path) -> None:
    one, two = (tlkit.predict(run, [pictures], tta=views)["p_red"] for views in (1, 2))
    assert np.abs(one - two).max() > 1e-4
    scored = tlkit.evaluate(run, pictures, tta=2)
    assert scored.folder.name == "colours-tta2", "beside the plain evaluation, to be compared"
    np.testing.assert_allclose(scored.predictions["p_red"], two, atol=1e-5)
    for views in (0, 11):
        with pytest.raises(RecipeError, match="from 1 to 10"):
            tlkit.predict(run, [pictures], tta=views)


def test_evaluate_refuses_an_unknown_class(run: tlkit.Run, tmp_path: Path) -> None:
    folder = make_pictures(tmp_path / "new", per_class=2)
    (folder / "red").rename(folder / "green")
    with pytest.raises(DataError, match=r"'green'.*blue, red"):
        tlkit.evaluate(run, folder)


def test_predict_gives_a_row_per_file(run: tlkit.Run, pictures: Path, tmp_path: Path) -> None:
    bad = tmp_path / "bad.jpg"
    bad.write_bytes(b"no picture")
    table = tlkit.predict(run, [pictures / "red", bad])
    assert len(table) == 13
    assert table["error"].iloc[-1] == "not an image", "the reason, without the path again"
    assert (table["predicted"][:-1] == "red").all()
    assert table["predicted"].iloc[-1] == ""
    known = run.predictions.set_index("path").loc["red/00.jpg", ["p_blue", "p_red"]]
    np.testing.assert_allclose(
        table[["p_blue", "p_red"]].iloc[0].to_numpy(float), known.to_numpy(float), atol=1e-4
    )
    with pytest.raises(DataError, match="No such file"):
        tlkit.predict(run, [tmp_path / "nothing"])
    with pytest.raises(DataError, match="by their paths; got ndarray"):
        tlkit.predict(run, [np.zeros((60, 60, 3), np.uint8)])
    assert tlkit.predict(run.folder, f"{pictures}/red").equals(table[:-1])


def test_answers_go_to_a_file_as_they_come(run: tlkit.Run, pictures: Path, tmp_path: Path) -> None:
    counts = inference.predict_to(run, [f"{pictures}/*/0?.jpg"], tmp_path / "out.csv")
    rows = list(csv.DictReader(io.StringIO((tmp_path / "out.csv").read_text())))
    assert counts.files == len(rows) == 20
    table = tlkit.predict(run, [pictures]).set_index("path")
    for row in rows:
        assert row["predicted"] == table.loc[row["path"], "predicted"]
        assert float(row["p_red"]) == pytest.approx(table.loc[row["path"], "p_red"], abs=1e-6)
    inference.predict_to(run, [pictures], tmp_path / "out.jsonl", top_k=1)
    lines = [json.loads(line) for line in (tmp_path / "out.jsonl").read_text().splitlines()]
    assert len(lines) == 24
    assert len(lines[0]["top"]) == 1


def test_only_sure_answers_when_asked(run: tlkit.Run, pictures: Path) -> None:
    table = tlkit.predict(run, [pictures], top_k=1)
    middle = float(table["confidence"].median())
    some = tlkit.predict(run, [pictures], reject_below=middle)
    assert (some["predicted"] == "").sum() == (table["confidence"] < middle).sum() > 0
    assert some["confidence"].tolist() == table["confidence"].tolist()


def test_a_bad_format_or_output_is_said_before_the_network_loads(
    run: tlkit.Run, pictures: Path, tmp_path: Path
) -> None:
    with pytest.raises(RecipeError, match="table, csv, jsonl; got 'xml'"):
        inference.predict_to(run, [pictures], form="xml")
    with pytest.raises(DataError, match="Cannot write"):
        inference.predict_to(run, [pictures], tmp_path / "no" / "where.csv")


def test_confidences_are_calibrated(run: tlkit.Run) -> None:
    facts = run.metrics["calibration"]
    assert facts["images"] == 5
    assert facts["temperature"] != 1
    assert facts["loss_after"] <= facts["loss_before"]
    val = run.predictions[run.predictions["split"] == "val"]
    assert val["loss"].mean() == pytest.approx(facts["loss_after"], rel=1e-4)
