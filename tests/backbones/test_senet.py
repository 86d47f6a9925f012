"""SENet: what the block costs, and that r is an argument."""

from __future__ import annotations

import pytest

from tlkit.backbones import build_backbone, get_backbone, resnet, senet
from tlkit.complexity import shapes_only, trainable_parameters

BLOCKS = ((3, 256), (4, 512), (6, 1024), (3, 2048))  # of ResNet-50: count, channels


@pytest.mark.parametrize("r", [4, 16])
def test_block_costs_what_the_paper_says(r):
    # section 3.3: (2 / r) * sum of N_s C_s^2, and the biases of our two layers
    with shapes_only():
        count = trainable_parameters(build_backbone("seresnet50", se_reduction=r))
    kernels = sum(n * 2 * c * c // r for n, c in BLOCKS)
    biases = sum(n * (c + c // r) for n, c in BLOCKS)
    assert count - get_backbone("resnet50").parameters == kernels + biases


@pytest.mark.parametrize("name", ["se_resnet18", "legacy_seresnet50", "senet154"])
def test_r_is_an_argument(name):
    with shapes_only():
        model = build_backbone(name, include_top=False, se_reduction=8)
        gate, total = (model.get_layer(f"stage1_block1_{part}") for part in ("se_fc1", "add"))
        assert gate.filters == total.output.shape[-1] // 8
        if name == "senet154":  # whose shortcuts halve the map by a 3x3
            shortcuts = [model.get_layer(f"stage{i}_block1_shortcut_conv") for i in (1, 2, 3, 4)]
            assert [layer.kernel_size for layer in shortcuts] == [(1, 1), (3, 3), (3, 3), (3, 3)]


def test_pools_round_up_where_the_weights_come_from_caffe():
    with shapes_only():
        sizes = {
            name: build_backbone(name, include_top=False, input_size=66)
            .get_layer("stem_pool")
            .output.shape[1]
            for name in ("seresnet50", "legacy_seresnet50")
        }
    assert sizes == {"seresnet50": 17, "legacy_seresnet50": 16}


def test_a_legacy_checkpoint_is_not_taken_for_another_network():
    # seresnet50 has the same shapes throughout, but its strides and pools lie elsewhere
    names = ["stem_conv", "stage1_block1_se_fc1", "stage1_block1_conv1", "top_logits"]
    assert senet.keys(names) == {
        "stem_conv": ("layer0.conv1",),
        "stage1_block1_se_fc1": ("layer1.0.se_module.fc1",),
        "stage1_block1_conv1": ("layer1.0.conv1",),
        "top_logits": ("last_linear",),
    }
    shared = [
        name for name in names if set(senet.keys(names)[name]) & set(resnet.keys(names)[name])
    ]
    assert shared == ["stage1_block1_conv1"]
