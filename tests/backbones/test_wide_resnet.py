"""Wide ResNet: widths and counts of the paper's tables."""

from __future__ import annotations

import keras
import pytest

from tlkit.backbones import build_backbone, get_backbone
from tlkit.complexity import shapes_only


@pytest.mark.parametrize(
    ("name", "millions"), [("wide_resnet28_10", 36.5), ("wide_resnet16_8", 11)]
)
def test_rows_have_the_papers_counts(name, millions):
    # table 4 of the paper
    assert round(get_backbone(name).parameters / 1e6, 1) == millions


@pytest.mark.parametrize(("depth", "k"), [(10, 1), (16, 8), (40, 2)])
def test_depth_and_width(depth, k):
    with shapes_only():
        model = build_backbone("wide_resnet16_8", include_top=False, depth=depth, k=k)
        convolutions = [
            layer
            for layer in model.layers
            if isinstance(layer, keras.layers.Conv2D) and "shortcut" not in layer.name
        ]
        widths = [model.get_layer(f"stage{i}_block1_add").output.shape[1:] for i in (1, 2, 3)]
    # the paper counts the three projections and not the dense layer
    assert len(convolutions) + 3 == depth
    assert widths == [(32, 32, 16 * k), (16, 16, 32 * k), (8, 8, 64 * k)]


def test_dropout_lies_between_the_convolutions():
    with shapes_only():
        model = build_backbone("wide_resnet16_8", include_top=False, depth=10, k=1, dropout=0.3)
        dropout = model.get_layer("stage2_block1_dropout")
        assert dropout.rate == 0.3
        assert dropout.output is model.get_layer("stage2_block1_conv2").input
