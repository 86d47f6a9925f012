"""AlexNet against the paper's shapes and counts."""

from __future__ import annotations

import keras
import numpy as np
import pytest

from tlkit.backbones import build_backbone
from tlkit.backbones._blocks import local_response_norm
from tlkit.backbones.alexnet import towers
from tlkit.complexity import layer_table, shapes_only


def table_of(name, **size):
    with shapes_only():
        model = build_backbone(name, **size)
    return layer_table(model).set_index("layer")


def test_alexnet_2012_is_figure_2():
    table = table_of("alexnet_2012")
    shapes = {
        "stage1_conv": (55, 55, 96),
        "stage1_pool": (27, 27, 96),
        "stage2_conv": (27, 27, 256),
        "stage2_pool": (13, 13, 256),
        "stage3_conv": (13, 13, 384),
        "stage4_conv": (13, 13, 384),
        "stage5_conv": (13, 13, 256),
        "stage5_pool": (6, 6, 256),
        "top_flatten": (9216,),
    }
    assert table.loc[list(shapes), "output_shape"].to_dict() == shapes
    assert table.loc["stage1_conv", "parameters"] == 34_944
    second = table[table.index.str.startswith("stage2_conv")]
    assert second["parameters"].sum() == 5 * 5 * 48 * 256 + 256
    assert table["parameters"].sum() == 60_965_224


def test_a_tower_sees_one_half():
    image = keras.Input((3, 3, 4))
    model = keras.Model(image, towers(image, 6, 3, name="stage2_conv"))
    x = np.ones((1, 3, 3, 4), "float32")
    for layer in model.layers:
        layer.set_weights([np.ones_like(w) for w in layer.get_weights()])
    changed = x.copy()
    changed[..., 2:] = 2
    moved = model.predict(changed, verbose=0) != model.predict(x, verbose=0)
    assert moved[0, 1, 1].tolist() == [False] * 3 + [True] * 3


def test_local_response_norm_is_the_papers_sum():
    x = np.random.default_rng(0).normal(size=(2, 3, 3, 7)).astype("float32") * 50
    expected = np.empty_like(x)
    for i in range(7):
        around = x[..., max(0, i - 2) : min(6, i + 2) + 1]
        expected[..., i] = x[..., i] / (2 + 1e-4 * (around**2).sum(-1)) ** 0.75
    image = keras.Input((3, 3, 7))
    model = keras.Model(image, local_response_norm(image))
    np.testing.assert_allclose(model.predict(x, verbose=0), expected, rtol=1e-5)


@pytest.mark.parametrize("side", [224, 227])
def test_the_torchvision_one_takes_both_sizes(side):
    table = table_of("alexnet", input_size=side)
    assert table.loc["stage5_pool", "output_shape"] == (6, 6, 256)
    assert "top_pool" not in table.index


def test_dropout_stands_where_torchvision_puts_it():
    order = [name for name in table_of("alexnet").index if name.startswith("top_fc")]
    assert order == ["top_fc1_dropout", "top_fc1", "top_fc2_dropout", "top_fc2"]
    order = [name for name in table_of("alexnet_2012").index if name.startswith("top_fc")]
    assert order == ["top_fc1", "top_fc1_dropout", "top_fc2", "top_fc2_dropout"]


def test_alexnet_cifar_counts_its_statistics_too():
    table = table_of("alexnet_cifar")
    assert table["parameters"].sum() == 2_915_338
    assert table.loc["stage1_conv", "output_shape"] == (14, 14, 128)
    assert table.loc["top_flatten", "output_shape"] == (256,)
