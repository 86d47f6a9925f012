"""SqueezeNet: the two versions' maps, the ceil-mode pools and the top without a dense layer."""

from __future__ import annotations

import numpy as np
import pytest

from tlkit.backbones import build_backbone
from tlkit.backbones.squeezenet import keys
from tlkit.complexity import shapes_only


@pytest.mark.parametrize(
    ("name", "sides", "ends"),
    [
        # 54 -> 27 only with the incomplete window at the border
        ("squeezenet1_0", (109, 54, 27, 13), {"stage1_fire4": 54, "stage2_fire8": 27}),
        ("squeezenet1_1", (111, 55, 27, 13), {"stage1_fire3": 55, "stage2_fire5": 27}),
    ],
)
def test_maps_follow_the_pools(name, sides, ends):
    with shapes_only():
        model = build_backbone(name)
        pools = ("stem_conv", "stem_pool", "stage1_pool", "stage2_pool")
        assert tuple(model.get_layer(layer).output.shape[1] for layer in pools) == sides
        for module, side in ends.items():
            assert model.get_layer(f"{module}_concat").output.shape[1] == side
        assert model.get_layer("stage3_fire9_concat").output.shape[1:] == (13, 13, 512)
        assert model.get_layer("top_logits").output.shape[1:] == (13, 13, 1000)


def test_a_fire_module_squeezes_and_expands():
    with shapes_only():
        model = build_backbone("squeezenet1_1", include_top=False)
        parts = ("squeeze", "expand1x1", "expand3x3")
        convolutions = [model.get_layer(f"stage3_fire6_{part}") for part in parts]
        assert [(c.filters, c.kernel_size[0]) for c in convolutions] == [
            (48, 1),
            (192, 1),
            (192, 3),
        ]


def test_the_mean_comes_after_the_relu():
    model = build_backbone("squeezenet1_1", classes=7, input_size=64)
    model.get_layer("top_logits").bias.assign(np.linspace(-100, 100, 7, dtype="float32"))
    logits = np.asarray(model(np.ones((1, 64, 64, 3), "float32")))[0]
    assert (logits[:3] == 0).all()
    assert (logits[4:] > 0).all()


def test_keys_count_modules_and_pools_as_torchvision():
    # 1_0 has fire4 before the second pool, 1_1 behind it
    names = ["stem_conv", "stage1_fire4_squeeze", "stage2_fire4_squeeze", "stage3_fire9_expand3x3"]
    assert keys([*names, "top_logits"]) == {
        "stem_conv": ("features.0",),
        "stage1_fire4_squeeze": ("features.5.squeeze",),
        "stage2_fire4_squeeze": ("features.6.squeeze",),
        "stage3_fire9_expand3x3": ("features.12.expand3x3",),
        "top_logits": ("classifier.1",),
    }
