"""The shared blocks against torch's definitions, computed with numpy."""

from __future__ import annotations

import keras
import numpy as np
import pytest

from tlkit.backbones import _blocks

RANDOM = np.random.default_rng(0)


def run(block, images):
    image = keras.Input(images.shape[1:], name="image")
    model = keras.Model(image, block(image))
    return keras.ops.convert_to_numpy(model(images)), model


def windows(images, size, stride, before, after, value):
    """(batch, rows, columns, size, size, channels) of the padded images."""
    padded = np.pad(
        images, ((0, 0), (before, after), (before, after), (0, 0)), constant_values=value
    )
    slid = np.lib.stride_tricks.sliding_window_view(padded, (size, size), axis=(1, 2))
    return slid[:, ::stride, ::stride].transpose(0, 1, 2, 4, 5, 3)


@pytest.mark.parametrize("side", [7, 8])
@pytest.mark.parametrize("kernel", [3, 5])
@pytest.mark.parametrize("stride", [1, 2])
def test_convolutions_pad_both_sides_alike(side, kernel, stride):
    images = RANDOM.normal(size=(2, side, side, 3)).astype("float32")
    arrived, model = run(lambda x: _blocks.conv(x, 4, kernel, stride, name="stem_conv"), images)
    weights = keras.ops.convert_to_numpy(model.get_layer("stem_conv").kernel)
    half = kernel // 2
    expected = np.einsum(
        "bhwijc,ijco->bhwo", windows(images, kernel, stride, half, half, 0), weights
    )
    np.testing.assert_allclose(arrived, expected, atol=1e-4)


def test_same_is_tensorflows():
    images = RANDOM.normal(size=(1, 8, 8, 2)).astype("float32")
    arrived, model = run(lambda x: _blocks.conv(x, 4, 3, 2, "same", name="stem_conv"), images)
    weights = keras.ops.convert_to_numpy(model.get_layer("stem_conv").kernel)
    expected = np.einsum("bhwijc,ijco->bhwo", windows(images, 3, 2, 0, 1, 0), weights)
    np.testing.assert_allclose(arrived, expected, atol=1e-4)


@pytest.mark.parametrize("side", [7, 8])
def test_max_pool_padding_never_wins(side):
    images = -RANDOM.uniform(1, 2, size=(2, side, side, 3)).astype("float32")
    arrived, _ = run(
        lambda x: _blocks.max_pool(x, 3, 2, padding=1, name="stem_pool", after_relu=False), images
    )
    expected = windows(images, 3, 2, 1, 1, -np.inf).max(axis=(3, 4))
    np.testing.assert_array_equal(arrived, expected)


@pytest.mark.parametrize("side", [7, 8])
def test_max_pool_after_relu(side):
    images = RANDOM.uniform(0, 1, size=(2, side, side, 3)).astype("float32")
    arrived, _ = run(lambda x: _blocks.max_pool(x, 3, 2, padding=1, name="stem_pool"), images)
    np.testing.assert_array_equal(arrived, windows(images, 3, 2, 1, 1, 0).max(axis=(3, 4)))


@pytest.mark.parametrize(("side", "over", "out"), [(7, 0, 3), (8, 1, 4), (54, 1, 27), (109, 0, 54)])
def test_ceil_max_pool_counts_an_incomplete_window(side, over, out):
    images = RANDOM.uniform(0, 1, size=(1, side, side, 2)).astype("float32")
    arrived, _ = run(lambda x: _blocks.ceil_max_pool(x, 3, 2, name="stem_pool"), images)
    expected = windows(images, 3, 2, 0, over, 0).max(axis=(3, 4))
    assert arrived.shape[1] == out == -(-(side - 3) // 2) + 1
    np.testing.assert_array_equal(arrived, expected)


@pytest.mark.parametrize("counted", [True, False])
def test_average_pool_with_and_without_its_padding(counted):
    images = RANDOM.normal(size=(1, 6, 6, 2)).astype("float32")
    arrived, _ = run(
        lambda x: _blocks.avg_pool(x, 3, 1, padding=1, name="pool", count_padding=counted), images
    )
    inside = windows(np.ones_like(images), 3, 1, 1, 1, 0).sum(axis=(3, 4))
    expected = windows(images, 3, 1, 1, 1, 0).sum(axis=(3, 4)) / (9 if counted else inside)
    np.testing.assert_allclose(arrived, expected, atol=1e-6)


def test_flatten_is_channel_height_width():
    images = RANDOM.normal(size=(2, 3, 4, 5)).astype("float32")
    arrived, _ = run(lambda x: _blocks.flatten_chw(x, name="top_flatten"), images)
    np.testing.assert_array_equal(arrived, images.transpose(0, 3, 1, 2).reshape(2, -1))


@pytest.mark.parametrize(
    ("name", "bn"),
    [
        ("stem_conv", "stem_bn"),
        ("stage4_block2_conv1", "stage4_block2_bn1"),
        ("stage2_block1_shortcut_conv", "stage2_block1_shortcut_bn"),
        ("stage1_block2_expand", "stage1_block2_expand_bn"),
    ],
)
def test_names_of_what_goes_with_a_convolution(name, bn):
    assert _blocks.sibling(name, "bn") == bn


def test_conv_bn_names_and_constants():
    _, model = run(
        lambda x: _blocks.conv_bn(x, 4, 3, 2, name="stem_conv"), np.zeros((1, 8, 8, 3), "float32")
    )
    names = [layer.name for layer in model.layers[1:]]
    assert names == ["stem_conv_pad", "stem_conv", "stem_bn", "stem_relu"]
    norm = model.get_layer("stem_bn")
    assert (norm.epsilon, norm.momentum) == (1e-5, 0.9)


def test_drop_path_drops_whole_images_in_training_only():
    images = np.ones((400, 2, 2, 3), "float32")
    image = keras.Input((2, 2, 3))
    model = keras.Model(image, _blocks.drop_path(image, 0.25, name="drop"))
    trained = keras.ops.convert_to_numpy(model(images, training=True))
    kept = trained.max(axis=(1, 2, 3)) > 0
    assert 0.65 < kept.mean() < 0.85
    np.testing.assert_allclose(trained[kept], 1 / 0.75, rtol=1e-6)
    assert trained[~kept].max() == 0
    np.testing.assert_array_equal(keras.ops.convert_to_numpy(model(images, training=False)), images)


def test_squeeze_excite_weighs_channels():
    images = RANDOM.normal(size=(2, 5, 5, 8)).astype("float32")
    arrived, model = run(lambda x: _blocks.squeeze_excite(x, 2, name="stage1_se"), images)
    one, two = (model.get_layer(f"stage1_se_{fc}") for fc in ("fc1", "fc2"))
    pooled = images.mean(axis=(1, 2))
    hidden = np.maximum(pooled @ np.squeeze(one.kernel.numpy()), 0)
    gate = 1 / (1 + np.exp(-(hidden @ np.squeeze(two.kernel.numpy()))))
    np.testing.assert_allclose(arrived, images * gate[:, None, None], atol=1e-5)
