"""Inception v3, v4 and Inception-ResNet-v2: the papers' maps, and where they differ."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tlkit.backbones import build_backbone, get_backbone
from tlkit.backbones._registry import load
from tlkit.complexity import shapes_only, trainable_parameters
from tlkit.errors import BackboneError

GOLDENS = Path(__file__).parents[1] / "golden"

MAPS = {  # of 299x299 pixels
    "inception_v3": {
        "stem_pool2": (35, 35, 192),
        "stage5_b_concat": (35, 35, 256),
        "stage5_d_concat": (35, 35, 288),
        "stage6_a_concat": (17, 17, 768),
        "stage6_e_concat": (17, 17, 768),
        "stage7_a_concat": (8, 8, 1280),
        "stage7_c_concat": (8, 8, 2048),
    },
    "inception_v4": {
        "stem_concat1": (73, 73, 160),
        "stem_mix_concat": (71, 71, 192),
        "stem_concat2": (35, 35, 384),
        "stage5_e_concat": (35, 35, 384),
        "stage6_a_concat": (17, 17, 1024),
        "stage6_h_concat": (17, 17, 1024),
        "stage7_a_concat": (8, 8, 1536),
        "stage7_d_concat": (8, 8, 1536),
    },
    "inception_resnet_v2": {
        "stem_pool2": (35, 35, 192),
        "stage5_b_concat": (35, 35, 320),
        "stage5_block10_relu": (35, 35, 320),
        "stage6_a_concat": (17, 17, 1088),
        "stage6_block20_relu": (17, 17, 1088),
        "stage7_a_concat": (8, 8, 2080),
        "stage7_block10_add": (8, 8, 2080),
        "final_relu": (8, 8, 1536),
    },
}


@pytest.fixture(scope="module", params=list(MAPS))
def network(request):
    with shapes_only():
        row = get_backbone(request.param)
        yield row, build_backbone(row.name, aux=row.aux is not None)


def test_maps_are_the_papers(network):
    row, model = network
    found = {name: model.get_layer(name).output.shape[1:] for name in MAPS[row.name]}
    assert found == MAPS[row.name]


def test_every_tensor_of_the_published_checkpoint_has_its_place(network):
    row, model = network
    path = GOLDENS / f"{row.name}.json"
    published = json.loads(path.read_text(encoding="utf-8"))["state_dict"]
    weighted = [layer.name for layer in model.layers if layer.weights]
    ours = {prefixes[0] for prefixes in load(row.keys)(weighted).values()}
    assert ours == {key.rpartition(".")[0] for key in published}


def test_only_v3_counts_the_padding_of_average_pools(network):
    row, model = network
    padded = [layer.name for layer in model.layers if layer.name.endswith("_pool_pad")]
    averaged = [la.name for la in model.layers if type(la).__name__ == "AveragePooling2D"]
    if row.name == "inception_v3":
        assert len(padded) == len(averaged) - 1 == 9  # the auxiliary classifier's is not padded
    else:
        assert padded == []
        assert averaged


def test_residual_branches_are_scaled_and_the_last_block_is_linear(network):
    row, model = network
    scales = {la.name: la.scale for la in model.layers if type(la).__name__ == "Rescaling"}
    if row.name != "inception_resnet_v2":
        assert scales == {}
        return
    assert scales == {
        **{f"stage5_block{i}_scale": 0.17 for i in range(1, 11)},
        **{f"stage6_block{i}_scale": 0.10 for i in range(1, 21)},
        **{f"stage7_block{i}_scale": 0.20 for i in range(1, 10)},
    }
    names = {layer.name for layer in model.layers}
    assert "stage7_block9_relu" in names
    assert "stage7_block10_relu" not in names


def test_inception_v3_has_an_auxiliary_classifier_for_training():
    with shapes_only():
        model = build_backbone("inception_v3", aux=True)
        assert trainable_parameters(model) == 27_161_264
        assert trainable_parameters(build_backbone("inception_v3")) == 23_834_568
        assert model.get_layer("aux_pool1").output.shape[1:] == (5, 5, 768)
        assert model.get_layer("aux_pool1").input is model.get_layer("stage6_e_concat").output


def test_an_image_too_small_for_the_auxiliary_classifier_is_a_clear_error():
    with shapes_only():
        build_backbone("inception_v3", input_size=128)
        with pytest.raises(BackboneError, match=r"128x128 .* auxiliary .* own size is 299"):
            build_backbone("inception_v3", input_size=128, aux=True)
