"""Images of several classes, from the manifest to the report."""

from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
from PIL import Image

import tlkit
from tlkit import labels
from tlkit.errors import DataError, RecipeError
from tlkit.evaluation.comparison import compare_runs
from tlkit.experiments.folds import fold_splits
from tlkit.pipeline import find_images, resolve, summary

COLOURS = {"blue": (40, 60, 200), "green": (40, 170, 60), "red": (200, 60, 40)}
SETTINGS = {"img_size": 64, "multi_label": True, "batch_size": 8}


def make_manifest(folder: Path, images: int = 48, seed: int = 0) -> Path:
    """Grey noise with a bar of each colour that the labels name, some with none."""
    random = np.random.default_rng(seed)
    folder.mkdir(parents=True)
    rows = []
    for i in range(images):
        names = [name for k, name in enumerate(sorted(COLOURS)) if (i >> k) & 1]
        picture = random.normal(120, 20, (80, 90, 3))
        for place, name in enumerate(sorted(COLOURS)):
            if name in names:
                picture[:, 30 * place : 30 * place + 30] = COLOURS[name]
        Image.fromarray(picture.clip(0, 255).astype(np.uint8)).save(folder / f"{i:02}.png")
        rows.append((f"{i:02}.png", "; ".join(reversed(names))))
    file = folder / "labels.csv"
    pd.DataFrame(rows, columns=["path", "label"]).to_csv(file, index=False)
    return file


@pytest.fixture(scope="module")
def manifest(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_manifest(tmp_path_factory.mktemp("bars") / "bars")


@pytest.fixture(scope="module")
def several(manifest: Path, tmp_path_factory: pytest.TempPathFactory) -> tlkit.Run:
    output = tmp_path_factory.mktemp("runs")
    return tlkit.finetune(
        manifest, output=output, name="bars", freeze_epochs=25, head_lr=0.02, **SETTINGS
    )


def test_every_class_has_a_probability_of_its_own(several: tlkit.Run) -> None:
    table = several.predictions
    p = table[["p_blue", "p_green", "p_red"]].to_numpy()
    assert p.sum(axis=1).max() > 1.5
    assert table["predicted"].tolist() == labels.answers(p, sorted(COLOURS))
    assert set(table["label"]) == {
        *("", "blue", "green", "red", "blue;green", "blue;red", "green;red", "blue;green;red")
    }, "sorted, without spaces; an empty cell is an image without labels"
    assert several.metrics["accuracy"] > 0.6
    assert several.metrics["mean_average_precision"] > 0.9
    assert several.metrics["agreement"]["val"]["largest_difference"] < 1e-4
    assert set(several.split.groupby("split").size().index) == {"train", "val"}


def test_the_head_is_solved_unless_epochs_are_asked_for(manifest: Path, tmp_path: Path) -> None:
    solved = tlkit.finetune(manifest, output=tmp_path, **SETTINGS)
    assert "solved by L-BFGS" in (solved.folder / "log.txt").read_text()
    assert solved.metrics["mean_average_precision"] > 0.9


def test_the_report_has_what_several_labels_need(several: tlkit.Run) -> None:
    page = several.report.read_text()
    metrics = several.metrics
    for number in ("mean_average_precision", "micro_f1", "hamming_loss"):
        assert f'<data value="{metrics[number]}">' in page
    for part in ("summary", "per_class", "thresholds", "pictures", "gallery", "calibration"):
        assert f'<section id="{part}"' in page
    for part in ("audit", "data_curve"):
        assert f'<section id="{part}"' in page
    for part in ("confusion", "baselines"):
        assert f'<section id="{part}"' not in page
    assert "All labels right by the number of training pictures" in page
    assert metrics["audit"]["decisions"] == 3 * metrics["audit"]["images"] == 3 * 48
    assert "(none)" in page
    text = summary(several)
    assert text.startswith("all labels right ")
    assert "Hamming loss" in text


def test_it_answers_and_scores_other_images(several: tlkit.Run, tmp_path: Path) -> None:
    new = make_manifest(tmp_path / "new", images=16, seed=1)
    scored = tlkit.evaluate(several, new)
    table = tlkit.predict(several, [f"{tmp_path}/new/*.png"])
    known = scored.predictions.set_index("path")
    for row in table.to_dict("records"):
        assert row["predicted"] == known.loc[Path(row["path"]).name, "predicted"]
        assert row["confidence"] == pytest.approx(
            known.loc[Path(row["path"]).name, "confidence"], abs=1e-4
        )
    assert scored.metrics["micro_f1"] > 0.8
    file = tmp_path / "out.jsonl"
    tlkit.inference.predict_to(several, [f"{tmp_path}/new/*.png"], file, reject_below=0.99)
    said = {json.loads(line)["predicted"] for line in file.read_text().splitlines()}
    assert None in said, "not sure of all classes together"


def test_runs_of_several_labels_are_compared_and_averaged(
    several: tlkit.Run, tmp_path: Path
) -> None:
    other = tlkit.Run(tmp_path / "other")
    other.folder.mkdir()
    for name in ("recipe.toml", "split.csv", "skipped.csv", "predictions.csv", "metrics.json"):
        (other.folder / name).write_bytes((several.folder / name).read_bytes())
    found = compare_runs([several.folder, other.folder])
    assert found.rows[0]["scores"]["mean_average_precision"] > 0.9
    both = tlkit.ensemble([several, other], output=tmp_path, name="both")
    assert both.metrics["micro_f1"] == pytest.approx(several.metrics["micro_f1"])
    assert both.metrics["multi_label"]


def test_what_needs_one_label_is_refused(manifest: Path, pictures: Path, tmp_path: Path) -> None:
    for key, value in (("class_weights", "auto"), ("fixes", "fixes.csv")):
        with pytest.raises(RecipeError, match=f"{key} = .*multi_label"):
            resolve(manifest, None, {"multi_label": True, key: value})
    with pytest.raises(DataError, match="no CSV manifest"):
        tlkit.finetune(pictures, output=tmp_path, **SETTINGS)
    with pytest.raises(DataError, match="is empty"):
        tlkit.finetune(manifest, output=tmp_path, img_size=64)


def test_folds_deal_every_label_to_every_side(manifest: Path) -> None:
    recipe = resolve(manifest, None, {"multi_label": True})
    folder, groups = find_images(recipe)
    for split in fold_splits(folder, recipe, 3, groups):
        assert set(split["label"]) == set(folder.samples["label"])
        each = split.assign(name=split["label"].map(labels.split_labels)).explode("name")
        counts = pd.crosstab(each["name"], each["split"])
        assert (counts.to_numpy() > 0).all()


def test_an_export_is_judged_by_every_class() -> None:
    from tlkit.export.proof import decide, targets

    p = np.array([[0.9, 0.6], [0.4, 0.1]])
    assert decide(p, multi_label=True).tolist() == [[True, True], [False, False]]
    assert decide(p, multi_label=False).tolist() == [[True, False], [True, False]]
    cells = pd.Series(["cat;dog", ""])
    several = SimpleNamespace(classes=("cat", "dog"), multi_label=True)
    assert targets(cells, several).tolist() == [[True, True], [False, False]]
    one = SimpleNamespace(classes=("cat", "dog"), multi_label=False)
    assert targets(pd.Series(["dog", "cat"]), one).tolist() == [[False, True], [True, False]]
