"""On a network of three layers, as the rows that have auxiliary classifiers are large."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest

import tlkit
from tlkit.auxiliary import with_auxiliary
from tlkit.backbones import _registry
from tlkit.backbones._row import Backbone
from tlkit.classifier import build_classifier
from tlkit.training_state import SaveEpochs


def body(x: Any) -> Any:
    x = keras.layers.Conv2D(4, 3, 2, activation="relu", name="stage1_conv")(x)
    return keras.layers.Conv2D(8, 3, 2, activation="relu", name="stage2_conv")(x)


def auxiliary(tap: Callable[[str], Any], classes: int) -> list[Any]:
    x = keras.layers.GlobalAveragePooling2D(name="aux1_pool")(tap("stage1_conv"))
    return [keras.layers.Dense(classes, name="aux1_logits")(x)]


ROW = Backbone(
    "tiny", f"{__name__}:body", parameters=0, macs=0, features=8, stages=("stage1", "stage2"),
    year=2014, paper="", aux=f"{__name__}:auxiliary", input_size=16,
)  # fmt: skip


@pytest.fixture(autouse=True)
def _tiny() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(_registry.BACKBONES, "tiny", ROW)
        yield


def test_their_loss_counts_in_training_alone() -> None:
    keras.utils.set_random_seed(0)
    classifier = build_classifier("tiny", ["a", "b"], weights="none")
    together = with_auxiliary(classifier)
    together.compile(
        optimizer=keras.optimizers.SGD(0.0),
        loss=keras.losses.CategoricalCrossentropy(),
        metrics=[keras.metrics.CategoricalAccuracy(name="accuracy")],
    )
    rng = np.random.default_rng(0)
    x, y = rng.uniform(0, 255, (8, 16, 16, 3)).astype(np.float32), np.eye(2)[rng.integers(0, 2, 8)]
    # Without dropout, so that training and evaluation see the same answers.
    classifier.model.get_layer("head_dropout").rate = 0.0
    history = together.fit(x, y, validation_data=(x, y), batch_size=8, verbose=0).history
    both = together.predict(x, verbose=0)
    np.testing.assert_allclose(both[:, :2], classifier.model.predict(x, verbose=0), atol=1e-6)
    main, side = (-np.log((y * part).sum(axis=1)).mean() for part in (both[:, :2], both[:, 2:]))
    assert history["val_loss"][0] == pytest.approx(main, rel=1e-4)
    assert history["loss"][0] == pytest.approx(main + 0.3 * side, rel=1e-4)
    accuracy = (both[:, :2].argmax(axis=1) == y.argmax(axis=1)).mean()
    assert history["val_accuracy"][0] == pytest.approx(accuracy)


def test_they_train_and_are_not_saved(pictures: Path, tmp_path: Path) -> None:
    settings = {"backbone": "tiny", "weights": "none", "batch_size": 8, "insight": False}
    run = tlkit.finetune(
        pictures, output=tmp_path, name="with", epochs=3, class_weights="auto", **settings
    )
    assert not [layer.name for layer in run.model.layers if layer.name.startswith("aux")]
    assert run.metrics["model"]["parameters"] == run.model.count_params()
    assert "auxiliary classifiers included" in (run.folder / "log.txt").read_text()
    plain = tlkit.finetune(
        pictures, output=tmp_path, name="without", epochs=1, auxiliary=False, **settings
    )
    assert run.history["loss"][0] > plain.history["loss"][0] + 0.1


def test_a_run_that_goes_on_has_them_as_they_were(
    pictures: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings: dict[str, Any] = {
        "data": pictures, "backbone": "tiny", "weights": "none", "batch_size": 8, "epochs": 3,
        "optimizer": "sgd", "momentum": 0.9, "ema": 0.5, "insight": False, "output": tmp_path,
    }  # fmt: skip
    whole = tlkit.finetune(name="whole", **settings)
    save = SaveEpochs.on_epoch_end

    def cut_off(self: SaveEpochs, epoch: int, logs: Any = None) -> None:
        save(self, epoch, logs)
        if epoch == 1:
            raise RuntimeError("the power is gone")

    with monkeypatch.context() as patch:
        patch.setattr(SaveEpochs, "on_epoch_end", cut_off)
        with pytest.raises(RuntimeError, match="power"):
            tlkit.finetune(name="cut", **settings)
    with np.load(tmp_path / "cut" / "checkpoint" / "training.npz") as state:
        assert any("aux1_logits" in name for name in state.files)
    run = tlkit.finetune(name="cut", resume=True, **settings)
    files = [each.folder / "predictions.csv" for each in (whole, run)]
    assert files[0].read_bytes() == files[1].read_bytes()
