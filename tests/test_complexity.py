"""The lecture's accounting, with the lecture's own numbers."""

from __future__ import annotations

import keras
import pytest
from keras import layers

from tlkit.complexity import layer_table, macs, shapes_only, trainable_parameters


def table(*chain, size=(227, 227, 3)):
    with shapes_only():
        x = image = keras.Input(size, name="image")
        for layer in chain:
            x = layer(x)
        model = keras.Model(image, x)
    return layer_table(model).set_index("layer"), model


def test_alexnet_as_the_lecture_counts_it():
    rows, _ = table(
        layers.ZeroPadding2D(2, name="pad"),
        layers.Conv2D(64, 11, 4, name="conv1"),
        layers.MaxPooling2D(3, 2, name="pool1"),
    )
    conv1, pool1 = rows.loc["conv1"], rows.loc["pool1"]
    assert conv1.output_shape == (56, 56, 64)
    assert conv1.memory_kb == 784
    assert conv1.parameters == 23_296
    assert conv1.macs == 72_855_552
    assert pool1.output_shape == (27, 27, 64)
    assert pool1.memory_kb == 182.25
    assert (pool1.parameters, pool1.macs, pool1.operations) == (0, 0, 419_904)


def test_the_first_fully_connected_layer():
    rows, _ = table(
        layers.Flatten(name="flatten"), layers.Dense(4096, name="fc6"), size=(6, 6, 256)
    )
    assert rows.loc["flatten"].output_shape == (9216,)
    assert rows.loc["fc6"].macs == 37_748_736


def test_two_small_kernels_cost_less_than_a_large_one():
    c = 64
    _, two = table(
        layers.Conv2D(c, 3, padding="same", use_bias=False),
        layers.Conv2D(c, 3, padding="same", use_bias=False),
        size=(28, 28, c),
    )
    _, one = table(layers.Conv2D(c, 5, padding="same", use_bias=False), size=(28, 28, c))
    assert trainable_parameters(two) == 18 * c**2
    assert trainable_parameters(one) == 25 * c**2
    assert macs(two) == 18 * 28 * 28 * c**2


@pytest.mark.parametrize(("groups", "width"), [(1, 64), (4, 24), (32, 4)])
def test_a_resnext_block_costs_as_much_as_a_bottleneck(groups, width):
    """9 G c^2 + 8 G C c = 17 C^2, at least nearly: c is a whole number."""
    c = 64
    inner = groups * width
    _, model = table(
        layers.Conv2D(inner, 1, use_bias=False),
        layers.Conv2D(inner, 3, padding="same", groups=groups, use_bias=False),
        layers.Conv2D(4 * c, 1, use_bias=False),
        size=(14, 14, 4 * c),
    )
    assert macs(model) == 14 * 14 * (9 * groups * width**2 + 8 * groups * c * width)
    assert macs(model) == pytest.approx(17 * c**2 * 14 * 14, rel=0.04)


def test_an_inception_module_without_reduction():
    with shapes_only():
        image = keras.Input((28, 28, 256))
        branches = [
            layers.Conv2D(filters, kernel, padding="same")(image)
            for filters, kernel in ((128, 1), (192, 3), (96, 5))
        ]
        pool = layers.MaxPooling2D(3, 1, "same")(image)
        model = keras.Model(image, layers.Concatenate()([*branches, pool]))
    assert round(macs(model) / 1e6) == 854


def test_depthwise_and_separable_convolutions():
    rows, _ = table(
        layers.DepthwiseConv2D(3, padding="same", name="depthwise"),
        layers.SeparableConv2D(16, 3, padding="same", name="separable"),
        size=(10, 10, 8),
    )
    assert rows.loc["depthwise"].macs == 100 * 9 * 8
    assert rows.loc["separable"].macs == 100 * (9 * 8 + 8 * 16)


def test_norm_statistics_are_parameters_that_do_not_train():
    rows, _ = table(layers.BatchNormalization(name="bn"), size=(4, 4, 8))
    assert (rows.loc["bn"].parameters, rows.loc["bn"].trainable) == (32, 16)


def test_networks_built_afterwards_have_numbers_again():
    table(layers.Dense(3), size=(4,))
    dense = layers.Dense(3)
    dense(keras.ops.ones((1, 4)))
    assert float(keras.ops.std(dense.kernel)) > 0
