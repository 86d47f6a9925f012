import logging
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from unittest.mock import Mock

import numpy as np
import pytest

import tlkit
from tests.conftest import TINY
from tlkit import trainer
from tlkit.errors import BackboneError, RecipeError, TrainingError
from tlkit.recipe import load_recipe


def test_phases_in_order() -> None:
    train = load_recipe(epochs=3, unfreeze="2", lr=1e-4).resolve(224).train
    assert [(p.name, p.epochs, p.unfreeze) for p in trainer.plan(train, pretrained=True)] == [
        ("head", 20, None),
        ("fine-tune", 3, "2"),
    ]
    train = load_recipe(weights="none", epochs=2).resolve(224).train
    assert [p.name for p in trainer.plan(train, pretrained=False)] == ["scratch"]
    train = load_recipe(epochs=3, gradual=True).resolve(224).train
    assert [
        (p.name, p.epochs, p.unfreeze) for p in trainer.plan(train, True, ["stem", "stage1"])
    ] == [
        ("head", 20, None),
        ("fine-tune stage1", 3, "stage1"),
        ("fine-tune stem", 3, "stem"),
    ]


def test_a_linear_head_is_solved(pictures: Path, tmp_path: Path) -> None:
    run = tlkit.finetune(pictures, output=tmp_path, img_size=64, batch_size=8, epochs=1, lr=1e-7)
    head = run.history.query("phase == 'head'")
    assert (head["lr"] == 0).all()
    assert head["epoch"].is_monotonic_increasing
    assert head["loss"].is_monotonic_decreasing
    # At this rate fine-tuning moves nothing: it began where the solver ended.
    tuned = run.history.query("phase == 'fine-tune'")
    assert tuned["val_loss"].iloc[0] == pytest.approx(head["val_loss"].iloc[-1], abs=2e-3)
    recipe = load_recipe(run.recipe_file)
    assert (recipe.train.solver, recipe.train.freeze_epochs) == ("auto", None)


@pytest.mark.parametrize(
    ("solver", "outcome"),
    [pytest.param("auto", "trains", marks=pytest.mark.slow), ("lbfgs", "refuses")],
)
def test_no_solver_without_kept_features(
    pictures: Path, tmp_path: Path, solver: str, outcome: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(trainer, "HEAD_EPOCHS", 2)
    settings = {"img_size": 64, "batch_size": 8, "solver": solver, "cache_size": 1e-6}
    if outcome == "refuses":
        with pytest.raises(TrainingError, match="--cache-size"):
            tlkit.finetune(pictures, output=tmp_path, **settings)
    else:
        history = tlkit.finetune(pictures, output=tmp_path, **settings).history
        assert history["lr"].to_numpy() == pytest.approx(1e-3)


@pytest.mark.parametrize(
    ("solver", "room", "solved"), [("auto", 0, True), ("auto", -1, False), ("lbfgs", -1, True)]
)
def test_many_classes_are_not_solved_unasked(
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    solver: str,
    room: int,
    solved: bool,
) -> None:
    caplog.set_level(logging.INFO, "tlkit")
    images, features, classes = 12, 5, 3
    monkeypatch.setattr(trainer, "MOST_TO_SOLVE", images * features * classes + room)
    rows = np.random.default_rng(0).normal(size=(images, features)).astype(np.float32)
    set_weights: list[Any] = []
    train = Mock(spec=trainer.FeatureBatches, views=[rows], samples=range(images))
    train.images = SimpleNamespace(labels=np.arange(images) % classes, seed=0)
    cut = SimpleNamespace(
        train=train, val=None, model=SimpleNamespace(input_shape=(None, features))
    )
    layer = SimpleNamespace(set_weights=set_weights.append)
    classifier = SimpleNamespace(
        multi_label=False,
        classes=["a", "b", "c"],
        model=SimpleNamespace(get_layer=lambda name: layer),
    )
    config = load_recipe(solver=solver).resolve(224).train
    arguments: Any = (classifier, config, SimpleNamespace(cut=lambda: cut), None, [])
    assert trainer._solve_head(*arguments) is solved
    assert [[part.shape for part in parts] for parts in set_weights] == (
        [[(features, classes), (classes,)]] if solved else []
    )
    assert ("3 classes on" in caplog.text) is not solved


def test_early_stopping_keeps_the_best_epoch(pictures: Path, tmp_path: Path) -> None:
    settings = {**TINY, "head_lr": 3.0, "freeze_epochs": 12, "optimizer": "sgd"}
    run = tlkit.finetune(pictures, output=tmp_path, patience=1, **settings)
    history = run.history
    assert len(history) < 12, "a rate this high does not get better for twelve epochs"
    val = run.predictions.query("split == 'val'")
    assert val["loss"].mean() == pytest.approx(history["val_loss"].min(), abs=1e-3)


SMALL = {
    "backbone": "lenet5_modern", "weights": "none", "batch_size": 8, "insight": False,
    "patience": 99,
}  # fmt: skip


def test_the_averaged_weights_are_what_is_evaluated(pictures: Path, tmp_path: Path) -> None:
    # A rate at which the weights themselves jump about; their average hardly moves.
    settings = {**SMALL, "epochs": 3, "optimizer": "sgd", "lr": 0.3, "momentum": 0.0}
    plain = tlkit.finetune(pictures, output=tmp_path, name="plain", **settings)
    run = tlkit.finetune(pictures, output=tmp_path, name="ema", ema=0.9999, **settings)
    first = plain.history["val_loss"][0]
    assert np.ptp(run.history["val_loss"]) < 0.01 < np.ptp(plain.history["val_loss"])
    assert run.history["val_loss"][0] != pytest.approx(first, abs=1e-3)
    val = run.predictions.query("split == 'val'")
    best = run.history["val_loss"].min()
    logits = np.log(val[["p_blue", "p_red"]].to_numpy()) * run.metrics["calibration"]["temperature"]
    odds = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    right = odds[range(len(val)), (val["label"] == "red").to_numpy(int)]
    assert -np.log(right).mean() == pytest.approx(best, abs=1e-4)


def test_accumulated_batches_are_one_larger_batch(pictures: Path, tmp_path: Path) -> None:
    settings = {**SMALL, "epochs": 2, "optimizer": "sgd", "momentum": 0.0, "val_split": 1 / 3}
    whole = tlkit.finetune(pictures, output=tmp_path, name="a", **settings)
    parts = settings | {"batch_size": 4, "accumulate": 2}
    assert whole.metrics["splits"]["train"]["images"] % 8 == 0
    accumulated = tlkit.finetune(pictures, output=tmp_path, name="b", **parts)
    assert accumulated.history["val_loss"].to_numpy() == pytest.approx(
        whole.history["val_loss"].to_numpy(), abs=1e-5
    )


def test_mixed_batches_and_stage_by_stage(
    pictures: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "tlkit")
    weights = tmp_path / "lenet.weights.h5"
    tlkit.build_backbone("lenet5_modern", weights=None).save_weights(weights)
    run = tlkit.finetune(
        pictures, output=tmp_path, **SMALL | {"weights": str(weights)}, epochs=1, gradual=True,
        layer_decay=0.5, mixup=0.4, l2=1e-4, freeze_epochs=1,
    )  # fmt: skip
    assert run.history["phase"].tolist() == [
        *("head", "fine-tune c5", "fine-tune c3", "fine-tune c1")
    ]
    assert "every batch mixes other images" in caplog.text
    steps = run.metrics["steps"]
    assert [step["title"] for step in steps][4:] == ["fine-tune"]
    assert "everything unfrozen: c5 1 epoch" in steps[4]["detail"]
    assert steps[4]["frozen"] == 0


def test_gradients_accumulate_on_one_device() -> None:
    """Keras' accumulation is a branch, and its optimizers merge the devices inside of it."""
    train = load_recipe(weights="none", epochs=1, accumulate=2).resolve(32).train
    two: Any = SimpleNamespace(train=SimpleNamespace(devices=2))
    with pytest.raises(RecipeError, match=r"accumulate = 2 is for one device, and there are 2"):
        trainer.check(train, None, two)  # type: ignore[arg-type]


def test_stochastic_depth_needs_residual_blocks(pictures: Path, tmp_path: Path) -> None:
    with pytest.raises(BackboneError, match="no residual blocks"):
        tlkit.finetune(pictures, output=tmp_path, drop_path=0.1, epochs=1, **SMALL)


def test_a_loss_that_is_not_a_number_names_the_rate(pictures: Path, tmp_path: Path) -> None:
    with pytest.raises(TrainingError, match="--lr"):
        tlkit.finetune(
            pictures, output=tmp_path, backbone="resnet18", weights="none", img_size=32,
            epochs=1, lr=1e30, optimizer="sgd", batch_size=4,
        )  # fmt: skip


def test_ctrl_c_ends_the_epoch_and_still_reports(
    pictures: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "tlkit")

    def interrupt() -> None:
        while not any(" 1/100000 " in record.getMessage() for record in caplog.records):
            time.sleep(0.05)
        os.kill(os.getpid(), signal.SIGINT)

    watcher = threading.Thread(target=interrupt, daemon=True)
    watcher.start()
    settings = {**TINY, "freeze_epochs": 100_000, "patience": 100_000}
    run = tlkit.finetune(pictures, output=tmp_path, epochs=50, **settings)
    watcher.join()
    assert 1 <= len(run.history) < 1000
    assert set(run.history["phase"]) == {"head"}, "what is left is skipped"
    assert run.report.is_file()
    assert run.model_file.is_file()


TWO_DEVICES = """
import sys
import tensorflow as tf
cpu = tf.config.list_physical_devices("CPU")[0]
tf.config.set_logical_device_configuration(cpu, [tf.config.LogicalDeviceConfiguration()] * 2)
import tlkit
run = tlkit.finetune(sys.argv[1], output=sys.argv[2], img_size=64, freeze_epochs=3, epochs=1,
                     batch_size=8, head_lr=0.01, precision=sys.argv[3])
assert run.metrics["device"] == "2 cpus", run.metrics["device"]
assert run.metrics["accuracy"] > 0.9, run.metrics["accuracy"]
assert run.history["phase"].tolist() == ["head"] * 3 + ["fine-tune"]
"""


@pytest.mark.slow
@pytest.mark.parametrize("precision", ["float32", "float16"])  # what several CPUs and GPUs take
def test_several_devices_share_the_run(precision: str, pictures: Path, tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-c", TWO_DEVICES, str(pictures), str(tmp_path), precision],
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr[-3000:]
