"""What converters stumble over."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import keras
import numpy as np

from tlkit.classifier import build_classifier
from tlkit.export.formats import FORMATS


def test_groups_constants_and_gelu_reach_onnx(tmp_path: Path) -> None:
    image = keras.Input((16, 16, 3), name="image")
    x = keras.layers.Normalization(mean=[0.1, 0.2, 0.3], variance=[0.5, 1, 2])(image)
    x = keras.layers.Conv2D(8, 3, activation="gelu")(x)
    x = keras.layers.Conv2D(16, 3, groups=4, strides=2)(x)
    output = keras.layers.Dense(2, "softmax")(keras.layers.GlobalAveragePooling2D()(x))
    model = keras.Model(image, output)
    classifier = build_classifier("cnn_cifar", ["a", "b"], weights="none")
    classifier = replace(classifier, model=model, size=16)
    FORMATS["onnx"].write(classifier, tmp_path, None)
    batch = np.random.default_rng(0).normal(0, 1, (4, 16, 16, 3)).astype(np.float32)
    answer = FORMATS["onnx"].load(tmp_path / "model.onnx")(batch)
    truth = np.asarray(model(batch, training=False))
    np.testing.assert_allclose(answer, truth, atol=1e-6)
    assert np.ptp(truth[:, 0]) > 1e-3, "the pictures are told apart"
