"""MobileNetV2: the paper's table 2, and the two spellings of its checkpoints."""

from __future__ import annotations

from tlkit.backbones import build_backbone
from tlkit.backbones.mobilenet import keys
from tlkit.complexity import shapes_only


def test_maps_are_the_papers_table():
    with shapes_only():
        model = build_backbone("mobilenet_v2")
        last = [model.get_layer(n).output.shape[1:] for n in ("stem_relu6", "final_relu6")]
        assert last == [(112, 112, 32), (7, 7, 1280)]
        found = [
            model.get_layer(f"stage{stage}_block{repeats}_project_bn").output.shape[1:]
            for stage, repeats in enumerate((1, 2, 3, 4, 3, 3, 1), start=1)
        ]
        sides = (112, 56, 28, 14, 14, 7, 7)
        channels = (16, 24, 32, 64, 96, 160, 320)
        assert found == [(s, s, c) for s, c in zip(sides, channels, strict=True)]


def test_shortcuts_only_where_the_shape_stays():
    with shapes_only():
        model = build_backbone("mobilenet_v2", include_top=False)
        added = [layer.name for layer in model.layers if layer.name.endswith("_add")]
        assert len(added) == 10
        assert not any("block1_" in name for name in added)


def test_strides_pad_all_sides_alike():
    with shapes_only():
        model = build_backbone("mobilenet_v2", include_top=False)
        strided = [la for la in model.layers if getattr(la, "strides", None) == (2, 2)]
        assert len(strided) == 5
        for layer in strided:
            assert layer.padding == "valid"
            assert model.get_layer(f"{layer.name}_pad").padding == ((1, 1), (1, 1))


def test_keys_know_torchvision_and_timm():
    names = [
        "stage1_block1_depthwise_conv",
        "stage1_block1_project_bn",
        "stage4_block2_expand_bn",
        "stage4_block2_depthwise_conv",
        "stage7_block1_project_conv",
        "final_bn",
    ]
    assert keys(names) == {
        "stage1_block1_depthwise_conv": ("features.1.conv.0.0", "blocks.0.0.conv_dw"),
        "stage1_block1_project_bn": ("features.1.conv.2", "blocks.0.0.bn2"),
        "stage4_block2_expand_bn": ("features.8.conv.0.1", "blocks.3.1.bn1"),
        "stage4_block2_depthwise_conv": ("features.8.conv.1.0", "blocks.3.1.conv_dw"),
        "stage7_block1_project_conv": ("features.17.conv.2", "blocks.6.0.conv_pwl"),
        "final_bn": ("features.18.1", "bn2"),
    }
