"""In-graph preprocessing against the families' own functions."""

from __future__ import annotations

import keras
import numpy as np
import pytest
from PIL import Image

from tlkit.backbones import get_backbone
from tlkit.backbones._preprocess import preprocess


def preprocessed(name, pixels):
    row = get_backbone(name)
    image = keras.Input(pixels.shape[1:], name="image")
    model = keras.Model(image, preprocess(image, row))
    assert all(layer.name.startswith(("image", "preprocess_")) for layer in model.layers)
    return keras.ops.convert_to_numpy(model(pixels)), model


@pytest.fixture
def pixels():
    return np.random.default_rng(0).integers(0, 256, (2, 8, 9, 3)).astype("float32")


@pytest.mark.parametrize(
    ("name", "family"),
    [
        ("vgg16.keras", "vgg16"),
        ("resnet50.keras", "resnet50"),
        ("densenet121.keras", "densenet"),
        ("mobilenet_v2.keras", "mobilenet_v2"),
        ("inception_v3.keras", "inception_v3"),
        ("xception.keras", "xception"),
        ("resnet50_v2.keras", "resnet_v2"),
        ("nasnet_mobile.keras", "nasnet"),
        ("mobilenet_v3_small.keras", "mobilenet_v3"),
        ("efficientnetv2_b0.keras", "efficientnet_v2"),
        ("convnext_tiny.keras", "convnext"),
    ],
)
def test_it_is_what_keras_applications_does(name, family, pixels):
    expected = getattr(keras.applications, family).preprocess_input(pixels.copy())
    arrived, _ = preprocessed(name, pixels)
    np.testing.assert_allclose(arrived, expected, atol=2e-5)


def test_torchvision_networks_see_imagenets_mean_and_deviation(pixels):
    expected = (pixels / 255 - [0.485, 0.456, 0.406]) / [0.229, 0.224, 0.225]
    arrived, _ = preprocessed("resnet50", pixels)
    np.testing.assert_allclose(arrived, expected, atol=1e-5)


def test_efficientnet_lite_sees_127_and_128(pixels):
    arrived, _ = preprocessed("efficientnet_lite0", pixels)
    np.testing.assert_allclose(arrived, (pixels - 127) / 128, atol=1e-6)


def test_grey_is_pillows_grey(pixels):
    arrived, _ = preprocessed("lenet", pixels)
    greys = [np.asarray(Image.fromarray(p.astype("uint8")).convert("L")) for p in pixels]
    facts = get_backbone("lenet").preprocess
    expected = (np.stack(greys)[..., None] / facts.scale - facts.mean[0]) / facts.std[0]
    assert arrived.shape == (2, 8, 9, 1)
    np.testing.assert_allclose(arrived, expected, atol=1 / facts.scale / facts.std[0])


def test_the_image_that_came_in_is_left_alone(pixels):
    before = pixels.copy()
    preprocessed("resnet50.keras", pixels)
    np.testing.assert_array_equal(pixels, before)


def test_it_saves_without_custom_objects(pixels, tmp_path):
    expected, model = preprocessed("resnet50.keras", pixels)
    model.save(tmp_path / "p.keras")
    loaded = keras.saving.load_model(tmp_path / "p.keras")
    np.testing.assert_array_equal(keras.ops.convert_to_numpy(loaded(pixels)), expected)
