"""ResNet: CIFAR's and the plain variants, shortcuts, stochastic depth, SE in the branch."""

from __future__ import annotations

import keras
import numpy as np
import pytest

from tlkit.backbones import build_backbone, get_backbone
from tlkit.backbones._blocks import drop_path
from tlkit.backbones.resnet import join
from tlkit.complexity import shapes_only

SMALL = {  # each residual family with few layers: name of the row, arguments, blocks
    "resnet18": ({}, 8),
    "resnet50": ({}, 16),
    "resnet_cifar20": ({"depth": 8}, 3),
    "resnet20_notebook": ({}, 9),
    "resnetv2_50": ({}, 16),
    "preact_resnet_cifar164": ({"depth": 11}, 3),
    "wide_resnet16_8": ({"depth": 10, "k": 1}, 3),
    "legacy_seresnet50": ({}, 16),
    "senet154": ({}, 50),
}


def drops_of(model):
    return [layer for layer in model.layers if layer.name.endswith("_drop")]


@pytest.mark.parametrize(
    ("depth", "millions"), [(20, 0.27), (32, 0.46), (44, 0.66), (56, 0.85), (110, 1.7)]
)
def test_rows_have_the_papers_counts(depth, millions):
    # table 6 of the paper
    parameters = get_backbone(f"resnet_cifar{depth}").parameters
    assert round(parameters / 1e6, 1 if depth == 110 else 2) == millions


@pytest.mark.parametrize("name", SMALL)
def test_stochastic_depth_decays_linearly(name):
    arguments, blocks = SMALL[name]
    with shapes_only():
        drops = drops_of(build_backbone(name, include_top=False, drop_path_rate=0.4, **arguments))
        rates = [layer.rate for layer in drops]
        shapes = {layer.noise_shape for layer in drops}
    assert rates == pytest.approx([0.4 * (i + 1) / blocks for i in range(blocks)])
    assert shapes == {(None, 1, 1, 1)}


def test_inference_has_the_full_depth():
    keras.utils.set_random_seed(0)
    dropping = build_backbone("resnet_cifar20", depth=8, drop_path_rate=0.9)
    whole = build_backbone("resnet_cifar20", depth=8)
    whole.set_weights(dropping.get_weights())
    assert not drops_of(whole)
    images = np.random.default_rng(0).normal(size=(4, 32, 32, 3)).astype("float32")
    np.testing.assert_array_equal(dropping(images, training=False), whole(images, training=False))
    assert not np.allclose(dropping(images, training=True), dropping(images, training=True))


def test_drop_path_keeps_the_expectation():
    keras.utils.set_random_seed(0)
    x = keras.Input((2, 2, 3))
    model = keras.Model(x, drop_path(x, 0.4, name="drop"))
    ones = np.ones((4000, 2, 2, 3), "float32")
    dropped = keras.ops.convert_to_numpy(model(ones, training=True))
    assert set(np.unique(dropped.round(4))) == {np.float32(0), np.float32(1.6667)}
    assert (dropped == dropped[:, :1, :1, :1]).all(), "a part of an image was dropped"
    assert dropped.mean() == pytest.approx(1, abs=0.05)
    assert (keras.ops.convert_to_numpy(model(ones, training=False)) == 1).all()


def test_padded_shortcut_leaves_pixels_out_and_adds_zeros():
    x, y = keras.Input((4, 4, 2)), keras.Input((2, 2, 5))
    model = keras.Model([x, y], join(x, y, 2, "b", shortcut="padding"))
    assert not model.weights
    image = np.random.default_rng(0).uniform(size=(1, 4, 4, 2)).astype("float32")
    output = keras.ops.convert_to_numpy(model([image, np.zeros((1, 2, 2, 5), "float32")]))
    np.testing.assert_array_equal(output[..., :2], image[:, ::2, ::2])
    assert not output[..., 2:].any()


@pytest.mark.parametrize(
    ("plain", "residual"), [("plain34", "resnet34"), ("plain_cifar56", "resnet_cifar56")]
)
def test_plain_network_is_the_residual_one_without_shortcuts(plain, residual):
    with shapes_only():
        ours = build_backbone(plain, input_size=64)
        theirs = build_backbone(residual, input_size=64)
        convolutions = [
            [
                (layer.name, layer.kernel.shape, layer.strides)
                for layer in model.layers
                if isinstance(layer, keras.layers.Conv2D) and "shortcut" not in layer.name
            ]
            for model in (ours, theirs)
        ]
        adds = [isinstance(layer, keras.layers.Add) for layer in ours.layers]
    assert convolutions[0] == convolutions[1]
    assert not any(adds)


@pytest.mark.parametrize(("name", "blocks"), [("se_resnet18", 8), ("se_resnet50", 16)])
def test_squeeze_excite_sits_in_the_branch(name, blocks):
    with shapes_only():
        model = build_backbone(name, input_size=64)
        scales = [layer.output for layer in model.layers if layer.name.endswith("_se_scale")]
        branches = [layer.input[0] for layer in model.layers if isinstance(layer, keras.layers.Add)]
    assert len(scales) == blocks
    assert all(scale is branch for scale, branch in zip(scales, branches, strict=True))
