"""DenseNet: depths and maps of the paper's table 1, and both spellings of the checkpoints."""

from __future__ import annotations

import pytest

from tlkit.backbones import build_backbone
from tlkit.backbones.densenet import keys
from tlkit.complexity import shapes_only, trainable_parameters

# channels at the end of each dense block, 56, 28, 14 and 7 pixels wide
CHANNELS = {
    121: (256, 512, 1024, 1024),
    161: (384, 768, 2112, 2208),
    169: (256, 512, 1280, 1664),
    201: (256, 512, 1792, 1920),
}
COUNTS = {121: (6, 12, 24, 16), 161: (6, 12, 36, 24), 169: (6, 12, 32, 32), 201: (6, 12, 48, 32)}


def layers_with_weights(model):
    return sum(type(layer).__name__ in ("Conv2D", "Dense") for layer in model.layers)


@pytest.mark.parametrize("depth", CHANNELS)
def test_depth_and_maps_are_the_papers_table(depth):
    with shapes_only():
        model = build_backbone(f"densenet{depth}")
        assert layers_with_weights(model) == depth
        ends = [f"stage{i}_layer{count}_concat" for i, count in enumerate(COUNTS[depth], start=1)]
        found = [model.get_layer(name).output.shape[1:] for name in ends]
        sides = (56, 28, 14, 7)
        assert found == [(s, s, c) for s, c in zip(sides, CHANNELS[depth], strict=True)]


def test_a_layer_joins_what_it_saw():
    with shapes_only():
        model = build_backbone("densenet121", include_top=False)
        before, new = model.get_layer("stage1_layer2_concat").input
        assert before is model.get_layer("stage1_layer1_concat").output
        assert new.shape[-1] == 32
        assert model.get_layer("stage1_layer2_conv1").filters == 4 * 32


def test_the_network_for_cifar_is_the_papers():
    with shapes_only():
        model = build_backbone("densenet_bc100_12")
        assert layers_with_weights(model) == 100
        assert model.get_layer("stem_conv").output.shape[1:] == (32, 32, 24)
        assert model.get_layer("stage3_relu").output.shape[1:] == (8, 8, 342)
        assert trainable_parameters(model) == 769_162  # table 2: 0.8 M


def test_dropout_is_an_argument():
    with shapes_only():
        model = build_backbone("densenet_bc100_12", include_top=False, dropout=0.2)
        rates = [layer.rate for layer in model.layers if type(layer).__name__ == "Dropout"]
        assert rates == [0.2] * 48


def test_keys_know_the_published_files_and_the_models_spelling():
    names = ["stem_bn", "stage2_layer11_bn2", "stage2_transition_conv", "stage4_bn", "top_logits"]
    assert keys(names) == {
        "stem_bn": ("features.norm0",),
        "stage2_layer11_bn2": (
            "features.denseblock2.denselayer11.norm2",
            "features.denseblock2.denselayer11.norm.2",
        ),
        "stage2_transition_conv": ("features.transition2.conv",),
        "stage4_bn": ("features.norm5",),
        "top_logits": ("classifier",),
    }
