"""keras.applications as backbones: the same numbers, in one flat graph with names by stage."""

from __future__ import annotations

import keras
import numpy as np
import pytest

from tlkit.backbones import apply_backbone, build_backbone, get_backbone
from tlkit.backbones._preprocess import preprocess
from tlkit.complexity import shapes_only


def copy_in_order(source, target):
    ours = [layer for layer in target.layers if layer.weights]
    theirs = [layer for layer in source.layers if layer.weights]
    for to, origin in zip(ours, theirs, strict=True):
        to.set_weights(origin.get_weights())


@pytest.mark.parametrize(
    ("name", "model"),
    [("mobilenet_v2.keras", "MobileNetV2"), ("convnext_tiny.keras", "ConvNeXtTiny")],
)
def test_the_logits_are_keras_own(name, model):
    published = getattr(keras.applications, model)(
        weights=None, classes=10, classifier_activation=None, input_shape=(64, 64, 3)
    )
    ours = build_backbone(name, classes=10, input_size=64)
    copy_in_order(published, ours)
    images = np.random.default_rng(0).normal(size=(2, 64, 64, 3)).astype("float32")
    np.testing.assert_allclose(
        keras.ops.convert_to_numpy(ours(images)),
        keras.ops.convert_to_numpy(published(images)),
        atol=1e-5,
    )


def test_efficientnet_sees_what_its_published_weights_expect():
    """Keras normalises with the file's statistics, then divides by the deviation's root again."""
    row = get_backbone("efficientnet_b0.keras")
    image = keras.Input((32, 32, 3), name="image")
    ours = keras.Model(image, apply_backbone(row, preprocess(image, row)))
    pixels = np.random.default_rng(0).uniform(0, 255, (1, 32, 32, 3)).astype("float32")

    stem = keras.Model(ours.input, ours.get_layer("stem_conv_pad").input)

    deviation = np.array([0.229, 0.224, 0.225])
    mean = np.array([0.485, 0.456, 0.406])
    normalised = (pixels / 255 - mean) / np.sqrt(
        deviation
    )  # the file's "variance" is the deviation
    expected = normalised / np.sqrt(deviation)
    np.testing.assert_allclose(keras.ops.convert_to_numpy(stem(pixels)), expected, atol=1e-5)


def test_names_do_not_depend_on_what_was_built_before():
    with shapes_only():
        first = build_backbone("inception_v3.keras", include_top=False)
        names = [operation.name for operation in first.operations]
        second = build_backbone("inception_v3.keras", include_top=False)
        assert [operation.name for operation in second.operations] == names
    assert "stem_conv2d_1" in names
    assert len(names) == len(set(names))


def test_layers_before_the_network_keep_their_names():
    row = get_backbone("resnet50.keras")
    with shapes_only():
        image = keras.Input((64, 64, 3), name="image")
        x = apply_backbone(row, preprocess(image, row))
        names = [layer.name for layer in keras.Model(image, x).layers]
    assert names[:3] == ["image", "preprocess_rescale", "stem_conv1_pad"]
    assert not any(isinstance(layer, keras.Model) for layer in keras.Model(image, x).layers)


def test_resnet50_has_the_lessons_number_of_frozen_parameters():
    with shapes_only():
        model = build_backbone("resnet50.keras", include_top=False)
        assert model.count_params() == 23_587_712
