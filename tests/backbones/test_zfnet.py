"""ZFNet against figure 3 of the paper."""

from __future__ import annotations

import pytest

from tlkit.backbones import build_backbone
from tlkit.complexity import layer_table, shapes_only


@pytest.mark.parametrize("widths", [(512, 1024, 512), (384, 384, 256)])
def test_the_maps_are_those_of_figure_3(widths):
    with shapes_only():
        model = build_backbone("zfnet", include_top=False, widths=widths)
        table = layer_table(model).set_index("layer")
    convolutions = [table.loc[f"stage{i}_conv", "output_shape"] for i in range(1, 6)]
    assert convolutions == [(110, 110, 96), (26, 26, 256), *((13, 13, w) for w in widths)]
    pools = [table.loc[f"stage{i}_pool", "output_shape"] for i in (1, 2, 5)]
    assert pools == [(55, 55, 96), (13, 13, 256), (6, 6, widths[-1])]
    assert table.loc["stage1_conv", "parameters"] == 7 * 7 * 3 * 96 + 96
