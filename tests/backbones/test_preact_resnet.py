"""Pre-activation ResNet: nothing stands between one sum and the next."""

from __future__ import annotations

from tlkit.backbones import build_backbone, get_backbone
from tlkit.backbones.preact_resnet import keys
from tlkit.complexity import shapes_only


def test_shortcut_is_an_identity():
    with shapes_only():
        model = build_backbone("preact_resnet_cifar164", depth=20, include_top=False)
        for stage in (1, 2, 3):
            before = model.get_layer(f"stage{stage}_block1_add").output
            assert model.get_layer(f"stage{stage}_block2_add").input[1] is before
            assert model.get_layer(f"stage{stage}_block2_bn1").input is before
        last = model.get_layer("stage3_block2_add").output
        assert model.get_layer("final_bn").input is last
        assert model.output is model.get_layer("final_relu").output


def test_projection_starts_from_the_activated_input():
    with shapes_only():
        model = build_backbone("resnetv2_50", include_top=False, input_size=64)
        for stage in (1, 2, 3, 4):
            projection = model.get_layer(f"stage{stage}_block1_shortcut_conv")
            assert projection.input is model.get_layer(f"stage{stage}_block1_relu1").output


def test_count_of_the_164_layers():
    # table 4 of the paper
    assert round(get_backbone("preact_resnet_cifar164").parameters / 1e6, 1) == 1.7


def test_keys_are_timms():
    assert keys(["stem_conv", "stage2_block1_shortcut_conv", "stage4_block3_bn2"]) == {
        "stem_conv": ("stem.conv",),
        "stage2_block1_shortcut_conv": ("stages.1.blocks.0.downsample.conv",),
        "stage4_block3_bn2": ("stages.3.blocks.2.norm2",),
    }
