"""FractalNet: the fractal's layout, the paper's counts, and drop-path."""

from __future__ import annotations

import keras
import numpy as np
import pytest
import tensorflow as tf

from tlkit.backbones import get_backbone
from tlkit.backbones.fractalnet import block, chosen_columns, fractalnet, join, survivors
from tlkit.complexity import shapes_only, trainable_parameters

IMAGES = 4000
NARROW = {"widths": (4, 4, 4, 4, 4), "widened": ()}


def network(**arguments):
    image = keras.Input((32, 32, 3))
    return keras.Model(image, fractalnet(image, **(NARROW | arguments)))


def convolutions(model):
    return [layer for layer in model.layers if isinstance(layer, keras.layers.Conv2D)]


@pytest.mark.parametrize("columns", [1, 2, 3, 4])
def test_columns_double_in_depth(columns):
    with shapes_only():
        model = network(columns=columns)
        names = [layer.name for layer in convolutions(model)]
    for c in range(1, columns + 1):
        assert sum(f"column{c}" in name for name in names) == 5 * 2 ** (c - 1)


def test_a_join_ends_every_column_that_ends_there():
    image = keras.Input((8, 8, 3))
    model = keras.Model(image, block(image, 4, 3, None, 0.0, "b"))
    ends = {name: len(model.get_layer(name).input) for name in ("b_join2", "b_join4")}
    assert ends == {"b_join2": 2, "b_join4": 3}
    half = model.get_layer("b_join2").output
    assert model.get_layer("b_column2_conv2").input is half
    assert model.get_layer("b_column3_conv3").input is half


# Table 3 of the paper: widths 16, 32, 64, 128, 128; millions of parameters on CIFAR-100
@pytest.mark.parametrize(("columns", "millions"), [(1, 0.3), (2, 0.8), (3, 2.1), (4, 4.8)])
def test_counts_of_the_ultra_deep_networks(columns, millions):
    with shapes_only():
        image = keras.Input((32, 32, 3))
        y = fractalnet(image, columns, widths=(16, 32, 64, 128, 128), widened=())
        y = keras.layers.Dense(100)(keras.layers.Flatten()(y))
        count = trainable_parameters(keras.Model(image, y))
    assert round(count / 1e6, 1) == millions


@pytest.mark.parametrize(("name", "millions"), [("fractalnet20", 38.6), ("fractalnet40", 22.9)])
def test_rows_have_the_papers_counts(name, millions):
    assert round(get_backbone(name).parameters / 1e6, 1) == millions


def evaluate(build, *inputs, training):
    """The output for `inputs` of the graph that `build` makes of them."""
    tensors = [keras.Input(x.shape[1:]) for x in inputs]
    model = keras.Model(tensors, build(*tensors))
    return keras.ops.convert_to_numpy(model(list(inputs), training=training))


@pytest.fixture
def maps():
    keras.utils.set_random_seed(0)
    return np.ones((IMAGES, 2, 2, 3), "float32")


@pytest.mark.parametrize("rate", [0.15, 0.9])
def test_local_drop_path_keeps_at_least_one(maps, rate):
    kept = evaluate(lambda x: survivors(x, 3, rate, "j"), maps, training=True)
    assert kept.any(axis=-1).all()
    # each path falls out with `rate`, but for its third of the times when all would
    assert kept.mean(axis=(0, 1, 2)) == pytest.approx([1 - rate + rate**3 / 3] * 3, abs=0.03)
    assert evaluate(lambda x: survivors(x, 3, rate, "j"), maps, training=False).all()


def test_local_drop_path_keeps_the_expectation(maps):
    def mean_of(x, y):
        return join([x, y, y], None, 0.5, "j")

    dropped = evaluate(mean_of, maps, 0 * maps, training=True)
    assert np.unique(dropped.round(3)) == pytest.approx([0, 0.333, 0.5, 1])
    assert dropped.mean() == pytest.approx(1 / 3, abs=0.03)
    assert evaluate(mean_of, maps, 0 * maps, training=False) == pytest.approx(1 / 3)


def test_global_drop_path_chooses_one_column(maps):
    def choose(x):
        return chosen_columns(x, 3, 1.0, 7, "b")

    chosen = evaluate(choose, maps, training=True)
    assert (chosen.sum(axis=-1) == 1).all()
    assert chosen.mean(axis=(0, 1, 2)) == pytest.approx([1 / 3] * 3, abs=0.03)
    assert evaluate(choose, maps, training=False).all()


def test_global_drop_path_takes_its_share_of_the_images(maps):
    chosen = evaluate(lambda x: chosen_columns(x, 3, 0.25, 7, "b"), maps, training=True)
    counts = chosen.sum(axis=-1)
    assert set(np.unique(counts)) == {1, 3}
    assert (counts == 1).mean() == pytest.approx(0.25, abs=0.03)


def test_one_column_carries_the_whole_network():
    keras.utils.set_random_seed(1)
    model = network(columns=3, global_drop=1.0, local_drop=0.5)
    drawn = set()
    for seed in range(6):
        image = np.random.default_rng(seed).normal(size=(1, 32, 32, 3)).astype("float32")
        with tf.GradientTape() as tape:
            output = tf.reduce_sum(model(image, training=True))
        kernels = {layer.name: layer.kernel.value for layer in convolutions(model)}
        gradients = tape.gradient(output, kernels)
        moved = {name for name, gradient in gradients.items() if np.any(gradient)}
        columns = {name.split("_")[1] for name in moved}
        assert len(columns) == 1, "the blocks drew different columns"
        assert {name.split("_")[0] for name in moved} == {f"stage{i}" for i in range(1, 6)}
        drawn |= columns
    assert len(drawn) > 1, "always the same column"


def test_inference_joins_everything_and_the_network_saves(tmp_path):
    keras.utils.set_random_seed(0)
    dropping, whole = network(local_drop=0.5, global_drop=0.5), network()
    for layer in whole.layers:
        layer.set_weights(dropping.get_layer(layer.name).get_weights() if layer.weights else [])
    dropping.save(tmp_path / "fractal.keras")
    loaded = keras.saving.load_model(tmp_path / "fractal.keras")
    images = np.random.default_rng(0).normal(size=(2, 32, 32, 3)).astype("float32")
    expected = keras.ops.convert_to_numpy(whole(images, training=False))
    for model in (dropping, loaded):
        output = keras.ops.convert_to_numpy(model(images, training=False))
        np.testing.assert_allclose(output, expected, rtol=1e-5, atol=1e-6)
    assert not np.allclose(dropping(images, training=True), dropping(images, training=True))
