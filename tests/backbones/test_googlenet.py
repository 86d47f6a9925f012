"""GoogLeNet: the paper's table 1, the auxiliary classifiers, the wider form for CIFAR."""

from __future__ import annotations

import json
from pathlib import Path

import keras
import numpy as np
import pytest

from tlkit.backbones import build_backbone, get_backbone
from tlkit.backbones._registry import load, stage_of
from tlkit.backbones._state_dict import assign_state_dict
from tlkit.complexity import shapes_only, trainable_parameters
from tlkit.errors import BackboneError

GOLDEN = Path(__file__).parents[1] / "golden" / "googlenet.json"


def shape(model, layer):
    return model.get_layer(layer).output.shape[1:]


def filters(model, module):
    """Filters of each convolution of a module, branch by branch."""
    layers = [la for la in model.layers if la.name.startswith(f"{module}_") and la.weights]
    return [la.filters for la in sorted(layers, key=lambda la: la.name) if "conv" in la.name]


@pytest.mark.parametrize("name", ["googlenet", "googlenet_bn", "se_googlenet"])
def test_maps_are_the_papers_table(name):
    with shapes_only():
        model = build_backbone(name, include_top=False)
        assert shape(model, "stem_pool2") == (28, 28, 192)
        assert shape(model, "stage3_a_concat") == (28, 28, 256)
        assert shape(model, "stage3_b_concat") == (28, 28, 480)
        for letter, channels in zip("abcde", (512, 512, 512, 528, 832), strict=True):
            assert shape(model, f"stage4_{letter}_concat") == (14, 14, channels)
        assert shape(model, "stage5_a_concat") == (7, 7, 832)
        assert model.output.shape[1:] == (7, 7, 1024)


def test_googlenet_bn_has_the_documents_widths_and_real_5x5_filters():
    with shapes_only():
        model = build_backbone("googlenet_bn")
        assert filters(model, "stage3_a") == [64, 96, 128, 16, 32, 32]
        assert filters(model, "stage5_b") == [384, 192, 384, 48, 128, 128]
        assert model.get_layer("stage3_a_branch3_conv2").kernel_size == (5, 5)
        assert model.get_layer("stage4_pool").pool_size == (3, 3)
        norms = sum(layer.name.rpartition("_")[2].startswith("bn") for layer in model.layers)
        assert norms == 57  # one after each convolution


def test_googlenet_keeps_torchvisions_3x3_and_2x2():
    with shapes_only():
        model = build_backbone("googlenet")
        assert model.get_layer("stage3_a_branch3_conv2").kernel_size == (3, 3)
        assert model.get_layer("stage4_pool").pool_size == (2, 2)


def test_auxiliary_classifiers_are_there_for_training_only():
    with shapes_only():
        plain = build_backbone("googlenet")
        model = build_backbone("googlenet", classes=5, aux=True)
        assert [output.shape for output in model.outputs] == [(None, 5)] * 3
        heads = [layer.name for layer in model.layers if layer.name.startswith("aux")]
        assert stage_of(get_backbone("googlenet"), heads) == {}
        assert not any(layer.name.startswith("aux") for layer in plain.layers)
        assert trainable_parameters(plain) == 6_624_904
        assert trainable_parameters(build_backbone("googlenet", aux=True)) == 13_004_888


def test_auxiliary_losses_train_what_lies_before_them():
    row = get_backbone("googlenet")
    model = build_backbone("googlenet", classes=2, input_size=32, aux=True)
    loss = keras.losses.CategoricalCrossentropy(from_logits=True)
    weights = [0.0, 0.0, row.aux_weight]  # the second alone: nothing behind it may move
    model.compile("sgd", loss=[loss] * 3, loss_weights=weights, run_eagerly=True)
    stages = stage_of(row, [layer.name for layer in model.layers if layer.trainable_weights])
    before = {name: model.get_layer(name).trainable_weights[0].numpy() for name in stages}
    images = np.random.default_rng(0).normal(size=(2, 32, 32, 3)).astype("float32")
    model.train_on_batch(images, [np.eye(2, dtype="float32")] * 3)
    moved = {
        stage
        for name, stage in stages.items()
        if not np.array_equal(before[name], model.get_layer(name).trainable_weights[0].numpy())
    }
    assert moved == {"stem", "stage3", "stage4"}


def test_auxiliary_classifiers_see_the_squeezed_and_excited_map():
    with shapes_only():
        model = build_backbone("se_googlenet", aux=True)
        assert model.get_layer("aux1_pool").input is model.get_layer("stage4_a_se_scale").output
        assert model.get_layer("aux2_pool").input is model.get_layer("stage4_d_se_scale").output


def test_the_reduction_is_an_argument():
    with shapes_only():
        model = build_backbone("se_googlenet", include_top=False, se_reduction=8)
        assert model.get_layer("stage3_a_se_fc1").filters == 256 // 8
        plain = build_backbone("se_googlenet", include_top=False, se_reduction=None)
        assert not any("_se_" in layer.name for layer in plain.layers)


def test_auxiliary_classifiers_where_there_are_none_are_a_clear_error():
    with pytest.raises(BackboneError, match="googlenet_bn has no auxiliary classifiers"):
        build_backbone("googlenet_bn", aux=True)


def test_a_checkpoint_with_auxiliary_classifiers_loads_into_a_network_without():
    shapes = json.loads(GOLDEN.read_text(encoding="utf-8"))["state_dict"]
    state = {key: np.full(shape, 0.25, "float32") for key, shape in shapes.items()}
    model = build_backbone("googlenet")
    assign_state_dict(model, get_backbone("googlenet"), state, "googlenet.pth")
    assert all((weight.numpy() == 0.25).all() for weight in model.weights)


def test_keys_are_torchvisions():
    keys = load(get_backbone("googlenet").keys)
    expected = {
        "stem_conv3": "conv3.conv",
        "stage3_a_branch1_conv": "inception3a.branch1.conv",
        "stage3_a_branch2_bn1": "inception3a.branch2.0.bn",
        "stage4_e_branch3_conv2": "inception4e.branch3.1.conv",
        "stage5_b_branch4_bn": "inception5b.branch4.1.bn",
        "aux2_conv": "aux2.conv.conv",
        "aux2_logits": "aux2.fc2",
        "top_logits": "fc",
    }
    assert keys(list(expected)) == {name: (module,) for name, module in expected.items()}


def test_mini_googlenet_is_the_documents():
    with shapes_only():
        model = build_backbone("mini_googlenet")
        assert model.count_params() == 5_963_658  # batch norm's statistics included
        assert shape(model, "stem_relu") == (32, 32, 96)
        assert shape(model, "stage1_down_concat") == (15, 15, 80 + 160)
        assert shape(model, "stage2_down_concat") == (7, 7, 96 + 240)
        assert shape(model, "stage3_block2_concat") == (7, 7, 528)
        assert sum(layer.name.endswith("branch1_conv") for layer in model.layers) == 9
