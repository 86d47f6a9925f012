"""Cross-validation: every image is judged once, by a network that saw neither it nor a copy."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from scipy import stats

import tlkit
from tests.conftest import make_pictures
from tlkit import pipeline
from tlkit.errors import DataError, RecipeError
from tlkit.experiments.folds import cross_validate, fold_splits, summarise
from tlkit.report.experiments import folds_table

FOLDS = 2


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two classes of twelve, and four copies of the first picture of one."""
    root = make_pictures(tmp_path_factory.mktemp("folds") / "colours")
    for i in range(4):
        shutil.copy(root / "blue" / "00.jpg", root / "blue" / f"copy{i}.jpg")
    return root


@pytest.fixture(scope="module")
def crossed(folder: Path, tmp_path_factory: pytest.TempPathFactory) -> tlkit.Run:
    return cross_validate(
        folder, FOLDS, output=tmp_path_factory.mktemp("runs"), name="crossed", img_size=64
    )


def deal(folder: Path, folds: int = FOLDS, seed: int = 0) -> list[pd.DataFrame]:
    recipe = pipeline.resolve(folder, None, {"seed": seed})
    return fold_splits(*_found(recipe, folds))


def _found(recipe: tlkit.Recipe, folds: int):
    images, groups = pipeline.find_images(recipe)
    return images, recipe, folds, groups


def test_every_image_is_judged_once_and_copies_stay_together(folder: Path) -> None:
    splits = deal(folder)
    judged = pd.concat([split[split["split"] == "test"] for split in splits])
    assert sorted(judged["path"]) == sorted(splits[0]["path"])
    for split in splits:
        sides = split.groupby("sha256")["split"].nunique()
        assert (sides == 1).all()
        for part in ("train", "val", "test"):
            assert set(split.loc[split["split"] == part, "label"]) == {"blue", "red"}
    assert not deal(folder, seed=1)[0]["split"].equals(splits[0]["split"])
    pd.testing.assert_frame_equal(deal(folder)[1], splits[1])


def test_a_test_set_of_its_own_is_left_alone(tmp_path: Path) -> None:
    for part in ("train", "val", "test"):
        make_pictures(tmp_path / part, per_class=6, size=(80, 60 + len(part)))
    splits = deal(tmp_path)
    paths = {path.split("/")[0] for split in splits for path in split["path"]}
    assert paths == {"train", "val"}


def test_the_predictions_are_those_of_the_folds(crossed: tlkit.Run) -> None:
    table = crossed.predictions.set_index("path")
    assert (table["split"] == "test").all()
    assert len(table) == 28
    for number in range(1, FOLDS + 1):
        fold = tlkit.Run(crossed.folder / "folds" / str(number))
        own = fold.predictions.set_index("path")
        own = own[own["split"] == "test"]
        pd.testing.assert_frame_equal(table.loc[own.index], own)
        trained = set(fold.split.loc[fold.split["split"] == "train", "path"])
        assert not trained & set(own.index)
        assert len(fold.history)
    assert list(crossed.predictions["path"]) == sorted(table.index)


def test_one_report_holds_the_folds_and_their_mean(crossed: tlkit.Run) -> None:
    facts = crossed.metrics["folds"]
    assert (
        sum(row["images"] for row in facts["rows"]) == crossed.metrics["splits"]["test"]["images"]
    )
    accuracies = [row["accuracy"] for row in facts["rows"]]
    assert facts["accuracy"]["mean"] == pytest.approx(np.mean(accuracies))
    page = crossed.report.read_text()
    section = page[page.index('<section id="folds"') :].split("</section>")[0]
    for row in facts["rows"]:
        assert f'<data value="{row["accuracy"]}">' in section
    assert f'<data value="{facts["accuracy"]["mean"]}">' in section
    lines = folds_table(facts).splitlines()
    assert len(lines) == FOLDS + 2
    assert lines[-1].startswith("mean")
    assert not (crossed.folder / "model.keras").exists()
    assert not list(crossed.folder.glob("folds/*/checkpoint"))
    assert crossed.recipe_file.read_text().startswith("# tlkit finetune recipe.toml --folds 2\n")


def test_the_interval_of_the_mean_knows_that_trainings_share_images() -> None:
    rows = pd.DataFrame({key: [0.8, 0.9, 0.85, 0.95] for key in ("accuracy", "macro_f1",
                         "balanced_accuracy", "loss")})  # fmt: skip
    found = summarise(rows)["accuracy"]
    deviation = np.std([0.8, 0.9, 0.85, 0.95], ddof=1)
    half = stats.t.ppf(0.975, 3) * deviation * np.sqrt(1 / 4 + 1 / 3)
    assert found["mean"] == pytest.approx(0.875)
    assert found["interval"] == pytest.approx([0.875 - half, 1.0])
    assert summarise(rows)["loss"]["interval"][1] == pytest.approx(0.875 + half), "may exceed 1"


def test_too_many_folds_are_refused_before_anything_is_written(
    folder: Path, tmp_path: Path
) -> None:
    with pytest.raises(DataError, match=r"'blue' has 12 different images.*13 folds"):
        cross_validate(folder, 13, output=tmp_path / "runs")
    with pytest.raises(RecipeError, match="2 or more"):
        cross_validate(folder, 1, output=tmp_path / "runs")
    assert not (tmp_path / "runs").exists()


def test_a_fold_that_fails_leaves_nothing(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from tlkit import trainer

    def fails(*arguments: object) -> None:
        raise DataError("gone")

    monkeypatch.setattr(trainer, "fit", fails)
    settings = {"output": tmp_path / "runs", "name": "a", "img_size": 64}
    with pytest.raises(DataError, match="gone"):
        cross_validate(folder, 2, **settings)
    assert not (tmp_path / "runs" / "a").exists()

    earlier = tmp_path / "runs" / "a" / "folds" / "3" / "predictions.csv"
    earlier.parent.mkdir(parents=True)
    earlier.write_text("of a cross-validation before")
    with pytest.raises(DataError, match="gone"):
        cross_validate(folder, 2, exist_ok=True, **settings)
    left = {file.name for file in (tmp_path / "runs").rglob("*") if file.is_file()}
    assert left == {"log.txt", earlier.name}, "what was there before, and why it ended"
