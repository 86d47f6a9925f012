import logging
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

import tlkit
from tests.conftest import TINY
from tlkit import trainer
from tlkit.errors import TrainingError
from tlkit.recipe import load_recipe


def test_phases_in_order() -> None:
    train = load_recipe(epochs=3, unfreeze="2", lr=1e-4).resolve(224).train
    assert [(p.name, p.epochs, p.unfreeze) for p in trainer.plan(train, pretrained=True)] == [
        ("head", 20, None),
        ("fine-tune", 3, "2"),
    ]
    train = load_recipe(weights="none", epochs=2).resolve(224).train
    assert [p.name for p in trainer.plan(train, pretrained=False)] == ["scratch"]


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


@pytest.mark.parametrize(("solver", "outcome"), [("auto", "trains"), ("lbfgs", "refuses")])
def test_no_solver_without_kept_features(
    pictures: Path, tmp_path: Path, solver: str, outcome: str
) -> None:
    settings = {"img_size": 64, "batch_size": 8, "solver": solver, "cache_size": 1e-6}
    if outcome == "refuses":
        with pytest.raises(TrainingError, match="--cache-size"):
            tlkit.finetune(pictures, output=tmp_path, **settings)
    else:
        settings |= {"patience": 1}
        history = tlkit.finetune(pictures, output=tmp_path, **settings).history
        assert history["lr"].to_numpy() == pytest.approx(1e-3)


def test_early_stopping_keeps_the_best_epoch(pictures: Path, tmp_path: Path) -> None:
    settings = {**TINY, "head_lr": 3.0, "freeze_epochs": 12, "optimizer": "sgd"}
    run = tlkit.finetune(pictures, output=tmp_path, patience=1, **settings)
    history = run.history
    assert len(history) < 12, "a rate this high does not get better for twelve epochs"
    val = run.predictions.query("split == 'val'")
    assert val["loss"].mean() == pytest.approx(history["val_loss"].min(), abs=1e-3)


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
                     batch_size=8, head_lr=0.01)
assert run.metrics["device"] == "2 cpus", run.metrics["device"]
assert run.metrics["accuracy"] > 0.9, run.metrics["accuracy"]
assert run.history["phase"].tolist() == ["head"] * 3 + ["fine-tune"]
"""


@pytest.mark.slow
def test_several_devices_share_the_run(pictures: Path, tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-c", TWO_DEVICES, str(pictures), str(tmp_path)],
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr[-3000:]
