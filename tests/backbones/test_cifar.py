"""The first network of the lessons."""

from __future__ import annotations

from tlkit.backbones import build_backbone
from tlkit.complexity import layer_table, shapes_only


def test_cnn_cifar_is_the_tutorials():
    with shapes_only():
        table = layer_table(build_backbone("cnn_cifar")).set_index("layer")
    weighted = table[table["parameters"] > 0]
    assert weighted["parameters"].tolist() == [896, 18_496, 36_928, 65_600, 650]
    assert table.loc["top_flatten", "output_shape"] == (1024,)
