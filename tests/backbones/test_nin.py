"""Network in network: no fully connected layer, just under a million parameters."""

from __future__ import annotations

from tlkit.backbones import build_backbone
from tlkit.complexity import layer_table, shapes_only


def test_classes_are_averaged_maps():
    with shapes_only():
        table = layer_table(build_backbone("nin")).set_index("layer")
    assert 950_000 < table["parameters"].sum() < 1_000_000
    assert "Dense" not in set(table["kind"])
    maps = ["stage1_conv3", "stage2_conv3", "stage3_conv2", "top_logits", "top_pool"]
    shapes = table.loc[maps, "output_shape"].tolist()
    assert shapes == [(32, 32, 96), (16, 16, 192), (8, 8, 192), (8, 8, 10), (10,)]
