"""Training in 16 bits leaves float32 networks behind; what a GPU does by itself is asked for on a
CPU here."""

from __future__ import annotations

from pathlib import Path

import keras
import numpy as np
import pytest

import tlkit
from tlkit.classifier import build_classifier
from tlkit.errors import RecipeError
from tlkit.precision import computing_in

HARD = {
    "backbone": "lenet", "weights": "none", "epochs": 3, "batch_size": 4, "optimizer": "adamw",
    "ema": 0.9, "accumulate": 2, "clip_norm": 1.0, "schedule": "plateau", "warmup": None,
}  # fmt: skip


def test_layers_compute_in_16_bits_inside_and_in_32_after() -> None:
    made = build_classifier("resnet18", ["a", "b"], weights="none", img_size=32)
    pictures = np.random.default_rng(0).uniform(0, 255, (2, 32, 32, 3)).astype(np.float32)
    layer = made.model.get_layer("stage1_block1_conv1")
    before = made.answer(pictures)
    with computing_in(made.model, "bfloat16"):
        assert layer.compute_dtype == "bfloat16"
        assert layer.kernel.dtype == "float32"
        assert made.model.get_layer("preprocess_rescale").compute_dtype == "float32"
        assert made.model(pictures).dtype == "float32"
        assert 0 < np.abs(made.answer(pictures) - before).max() < 0.05
    assert layer.compute_dtype == "float32"
    np.testing.assert_array_equal(made.answer(pictures), before)


def test_an_error_inside_leaves_float32_behind() -> None:
    made = build_classifier("lenet", ["a", "b"], weights="none")
    with pytest.raises(ZeroDivisionError), computing_in(made.model, "float16"):
        _ = 1 / 0
    assert {layer.compute_dtype for layer in made.model.layers} == {"float32"}


@pytest.mark.parametrize("precision", ["bfloat16", pytest.param("float16", marks=pytest.mark.slow)])
def test_a_network_trained_in_16_bits_is_saved_in_32(
    precision: str, pictures: Path, tmp_path: Path
) -> None:
    run = tlkit.finetune(pictures, output=tmp_path, precision=precision, **HARD)
    model = keras.saving.load_model(run.model_file, compile=False)
    assert {layer.compute_dtype for layer in model.layers} == {"float32"}
    assert run.history["loss"].iloc[-1] < run.history["loss"].iloc[0]
    assert run.metrics["agreement"]["val"]["largest_difference"] < 1e-5
    assert f"in {precision}" in (run.folder / "log.txt").read_text()


@pytest.mark.slow
def test_fine_tuning_in_16_bits_goes_on_from_kept_float32_features(
    pictures: Path, tmp_path: Path
) -> None:
    run = tlkit.finetune(
        pictures, output=tmp_path, img_size=64, epochs=2, batch_size=8, precision="bfloat16",
        layer_decay=0.5, unfreeze="2", insight=False,
    )  # fmt: skip
    assert list(run.history["phase"].unique()) == ["head", "fine-tune"]
    assert run.metrics["agreement"]["val"]["largest_difference"] < 1e-4


def test_a_precision_without_effect_is_refused() -> None:
    with pytest.raises(RecipeError, match="head that is solved"):
        tlkit.finetune("nowhere", precision="bfloat16")
