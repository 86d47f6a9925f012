"""LeNet-5 against figure 2 and table I of the paper, and the teaching versions."""

from __future__ import annotations

import keras
import numpy as np
import pytest

from tlkit.backbones import build_backbone
from tlkit.backbones.lenet import codes, f6_rbf, partly_connected, squash
from tlkit.complexity import layer_table, shapes_only

# Table I: which maps of S2 (rows 0 to 5) the 16 maps of C3 (columns) see.
TABLE_I = """
X...XXX..XXXX.XX
XX...XXX..XXXX.X
XXX...XXX..X.XXX
.XXX..XXXX..X.XX
..XXX..XXXX.XX.X
...XXX..XXXX.XXX
"""


def table_of(name, **size):
    with shapes_only():
        model = build_backbone(name, **size)
    return layer_table(model).set_index("layer")


def test_lenet5_is_figure_2():
    table = table_of("lenet5")
    layers = ("c1_conv", "s2_mean", "c3_conv", "s4_mean", "c5_conv", "top_f6", "top_logits")
    shapes = [table.loc[layer, "output_shape"] for layer in layers]
    assert shapes == [
        *((28, 28, 6), (14, 14, 6), (10, 10, 16), (5, 5, 16)),
        *((1, 1, 120), (84,), (10,)),
    ]
    trainable = table.groupby(table.index.str.partition("_").get_level_values(0))["trainable"].sum()
    stages = ["c1", "s2", "c3", "s4", "c5", "top"]
    assert trainable[stages].tolist() == [156, 12, 1516, 32, 48_120, 10_164]
    assert table["parameters"].sum() == 60_000


def test_c3_sees_what_table_1_says():
    image = keras.Input((5, 5, 6))
    c3 = keras.Model(image, partly_connected(image, name="c3_conv"))
    x = np.random.default_rng(0).normal(size=(1, 5, 5, 6)).astype("float32")
    before = c3.predict(x, verbose=0)[0, 0, 0]
    for channel, line in enumerate(TABLE_I.split()):
        changed = x.copy()
        changed[..., channel] += 1
        moved = c3.predict(changed, verbose=0)[0, 0, 0] != before
        assert "".join("X" if m else "." for m in moved) == line


def test_squash_keeps_plus_and_minus_one():
    values = np.array([-10, -1, 0, 1, 10], "float32")
    squashed = keras.ops.convert_to_numpy(squash(keras.ops.convert_to_tensor(values)))
    np.testing.assert_allclose(squashed, [-1.7159, -1, 0, 1, 1.7159], atol=1e-4)


def test_logits_are_minus_the_distance_to_the_code():
    maps = keras.Input((1, 1, 120))
    model = keras.Model(maps, f6_rbf(maps, 10))
    weights, bias = model.get_layer("top_f6").get_weights()
    x = np.random.default_rng(0).normal(size=(3, 1, 1, 120)).astype("float32")
    f6 = 1.7159 * np.tanh(2 / 3 * (x[:, 0, 0] @ weights + bias))
    distance = ((f6[:, None] - codes(10)) ** 2).sum(-1)
    np.testing.assert_allclose(model.predict(x, verbose=0), -distance, rtol=1e-4)
    assert len(model.weights) == 2  # the codes are fixed, not weights


@pytest.mark.parametrize("classes", [2, 10, 30])
def test_codes_are_signs_and_tell_classes_apart(classes):
    code = codes(classes)
    assert code.shape == (classes, 84)
    assert set(np.unique(code)) == {-1, 1}
    apart = (code[:, None] != code).sum(-1)
    assert apart[~np.eye(classes, dtype=bool)].min() >= 4
    np.testing.assert_array_equal(code[:2], codes(10)[:2])


def test_lenet5_loads_with_nothing_but_keras(tmp_path):
    model = build_backbone("lenet5")
    model.save(tmp_path / "lenet5.keras")
    images = np.random.default_rng(0).normal(size=(2, 32, 32, 1)).astype("float32")
    loaded = keras.saving.load_model(tmp_path / "lenet5.keras")
    np.testing.assert_allclose(
        loaded.predict(images, verbose=0), model.predict(images, verbose=0), rtol=1e-5
    )


def test_lenet5_modern_sees_every_map():
    table = table_of("lenet5_modern")
    assert table.loc["c3_conv", "parameters"] == 2416
    assert table.loc["s2_pool", "parameters"] == 0


def test_lenet_is_the_wider_one():
    table = table_of("lenet")
    assert table.loc["top_flatten", "output_shape"] == (2450,)
    assert table["parameters"].sum() == 1_256_080
