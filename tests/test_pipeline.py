import json
import re
import shutil
import subprocess
import sys
import zipfile
from datetime import datetime
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

import tlkit
from tests.conftest import TINY, make_pictures
from tlkit import pipeline
from tlkit.errors import RecipeError, TlkitError
from tlkit.recipe import load_recipe


def tree(folder: Path) -> dict[str, bytes]:
    return {str(p.relative_to(folder)): p.read_bytes() for p in folder.rglob("*") if p.is_file()}


def test_a_dry_run_says_what_is_odd_about_the_images(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    make_pictures(tmp_path / "data/train", per_class=3)
    (tmp_path / "data/train/Red").mkdir()
    shutil.copyfile(tmp_path / "data/train/red/01.jpg", tmp_path / "data/train/Red/a.jpg")
    (tmp_path / "data/train/red/01.jpg").rename(tmp_path / "data/train/Red/b.jpg")
    (tmp_path / "data/val/blue").mkdir(parents=True)
    (tmp_path / "data/train/blue/02.jpg").rename(tmp_path / "data/val/blue/1.jpg")
    (tmp_path / "data/train/notes.txt").touch()
    first = pipeline.dry_run(tmp_path / "data").splitlines()[0]
    assert first == (
        "# 7 images of 3 classes: 6 train, 1 val; no val image of Red, red; "
        "skipped 1 file: not in a class folder (1)"
    )
    assert "the classes 'Red', 'red' differ only in capitals or spaces" in caplog.text
    rows = [f"data/train/blue/0{i}.jpg,blue;sky\ndata/train/red/0{2 * i}.jpg,red" for i in (0, 1)]
    (tmp_path / "a.csv").write_text("\n".join(["path,label", *rows]))
    pipeline.dry_run(tmp_path / "a.csv")
    assert "'blue;sky' is taken as one class; if it is a list, add --multi-label" in caplog.text


def test_nothing_to_go_on_with_is_said(tmp_path: Path) -> None:
    for name, what in ((None, "run"), ("cats", "run cats")):
        with pytest.raises(RecipeError, match=f"No unfinished {what} in .* begin one with --data"):
            tlkit.finetune(output=tmp_path, name=name, resume=True)
    assert list(tmp_path.iterdir()) == []


def test_the_run_folder_keeps_its_contract(run: tlkit.Run) -> None:
    names = {p.name for p in run.folder.iterdir()}
    assert names == {
        *("recipe.toml", "split.csv", "skipped.csv", "history.csv", "predictions.csv"),
        *("metrics.json", "model.keras", "report.html", "log.txt", "explanations.json"),
    }
    assert list(run.split) == ["path", "label", "split", "sha256"]
    assert list(run.skipped) == ["path", "reason"]
    assert list(run.history) == [
        *("phase", "epoch", "loss", "accuracy", "val_loss", "val_accuracy", "lr", "seconds")
    ]
    assert list(run.predictions) == [
        *("path", "split", "label", "predicted", "confidence", "loss", "p_blue", "p_red")
    ]
    assert (run.predictions["path"] == run.split["path"]).all()
    assert run.predictions["split"].value_counts().to_dict() == {"train": 19, "val": 5}


def test_predictions_are_consistent(run: tlkit.Run) -> None:
    table = run.predictions
    p = table[["p_blue", "p_red"]].to_numpy()
    np.testing.assert_allclose(p.sum(axis=1), 1, rtol=1e-5)
    assert (table["predicted"] == np.array(["blue", "red"])[p.argmax(axis=1)]).all()
    np.testing.assert_allclose(table["confidence"], p.max(axis=1))
    truth = np.where(table["label"] == "blue", p[:, 0], p[:, 1])
    np.testing.assert_allclose(table["loss"], -np.log(truth), rtol=1e-5, atol=1e-7)


def test_metrics_say_what_was_done(run: tlkit.Run) -> None:
    metrics = run.metrics
    assert metrics["accuracy"] > 0.9, "blue and red are easy to tell apart"
    assert metrics["model"]["trainable"] == 1280 * 2 + 2
    assert metrics["model"]["weights"]["sha256"].startswith("579344248a93")
    assert [step["step"] for step in metrics["steps"]] == [1, 2, 3, 4]
    assert metrics["steps"][3]["trainable"] == 1280 * 2 + 2
    assert re.fullmatch(
        r"the new layers only: 3 epochs, best was \d, [\d.]+ s", metrics["steps"][3]["detail"]
    )
    assert datetime.fromisoformat(metrics["created"]).tzinfo is not None
    assert metrics["data"]["images"] == 24
    assert {"scan", "build", "train", "evaluate"} <= set(metrics["timings"])


FRESH = """
import json, sys, zipfile
import keras
import numpy as np
model = keras.saving.load_model(sys.argv[1])
np.save(sys.argv[3], model.predict(np.load(sys.argv[2]), verbose=0))
assert not [name for name in sys.modules if name.startswith("tlkit")]
"""


def test_the_model_loads_with_nothing_but_keras(run: tlkit.Run, tmp_path: Path) -> None:
    from tlkit.data.images import read_image
    from tlkit.data.transforms import resize

    about = json.loads(zipfile.ZipFile(run.model_file).read("tlkit.json"))
    assert about["classes"] == ["blue", "red"]
    root = Path(run.metrics["data"]["root"])
    pictures = [
        resize(read_image(root / path), about["img_size"], about["resize"], about["crop"])
        for path in run.predictions["path"]
    ]
    np.save(tmp_path / "x.npy", np.stack(pictures).astype(np.float32))
    arguments = [str(run.model_file), str(tmp_path / "x.npy"), str(tmp_path / "p.npy")]
    subprocess.run([sys.executable, "-c", FRESH, *arguments], check=True, cwd=tmp_path)
    np.testing.assert_allclose(
        np.load(tmp_path / "p.npy"), run.predictions[["p_blue", "p_red"]], atol=1e-4
    )


def test_one_seed_gives_the_same_bytes(run: tlkit.Run, pictures: Path, tmp_path: Path) -> None:
    before = tree(pictures)
    again = tlkit.finetune(pictures, output=tmp_path, workers=1, **TINY)
    name = "predictions.csv"
    assert (again.folder / name).read_bytes() == (run.folder / name).read_bytes()
    assert tree(pictures) == before, "the user's folder was written to"
    other = tlkit.finetune(pictures, output=tmp_path, seed=1, **TINY)
    assert (other.folder / name).read_bytes() != (run.folder / name).read_bytes()


def test_the_recipe_in_the_run_repeats_it(run: tlkit.Run, tmp_path: Path) -> None:
    again = tlkit.finetune(recipe=run.recipe_file, output=tmp_path)
    assert again.predictions.equals(run.predictions)


def test_fine_tuning_follows_the_head(pictures: Path, tmp_path: Path) -> None:
    run = tlkit.finetune(pictures, output=tmp_path, epochs=1, unfreeze="2", **TINY)
    assert run.history["phase"].tolist() == ["head"] * 3 + ["fine-tune"]
    assert run.metrics["model"]["trainable"] > 1280 * 2 + 2
    fourth, fifth = run.metrics["steps"][3:]
    assert fourth["trainable"] == 1280 * 2 + 2, "as it was while the head trained"
    assert fifth["trainable"] == run.metrics["model"]["trainable"]
    assert "the last 2 stages unfrozen: 1 epoch, best was 1" in fifth["detail"]
    assert load_recipe(run.recipe_file).train.unfreeze == "2"


def test_from_scratch_everything_trains(pictures: Path, tmp_path: Path) -> None:
    run = tlkit.finetune(
        *(pictures,), output=tmp_path, backbone="resnet18", weights="none", epochs=1, img_size=32
    )
    assert run.history["phase"].tolist() == ["scratch"]
    assert run.metrics["steps"][1]["frozen"] == 0
    assert run.metrics["model"]["weights"] == {"source": "none", "sha256": None}


def test_augmentation_shows_other_pictures_in_training_only(
    run: tlkit.Run, pictures: Path, tmp_path: Path
) -> None:
    augmented = tlkit.finetune(pictures, output=tmp_path, augment="light", **TINY)
    assert not augmented.history["loss"].equals(run.history["loss"])
    assert augmented.metrics["accuracy"] > 0.9


@pytest.mark.parametrize(
    "settings",
    [
        {"backbone": "vg11_bn"},
        {"weights": "nothing.safetensors"},
        {"unfreeze": "stage99", "epochs": 1},
        {"class_weights": "nothing.csv"},
        {"backbone": "resnet18", "head": "classifier", "weights": "none"},
    ],
)
def test_a_run_that_fails_leaves_nothing(
    pictures: Path, tmp_path: Path, settings: dict[str, object]
) -> None:
    with pytest.raises(TlkitError) as error:
        tlkit.finetune(pictures, output=tmp_path / "runs", **settings)
    assert "\n" not in str(error.value)
    assert not list((tmp_path / "runs").glob("*"))


def test_class_weights_change_the_training(run: tlkit.Run, pictures: Path, tmp_path: Path) -> None:
    weights = tmp_path / "weights.csv"
    pd.DataFrame({"class": ["blue", "red"], "weight": [1.0, 50.0]}).to_csv(weights, index=False)
    weighted = tlkit.finetune(pictures, output=tmp_path, class_weights=str(weights), **TINY)
    assert weighted.predictions["p_red"].mean() > run.predictions["p_red"].mean()
