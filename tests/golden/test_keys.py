"""The published state dicts find their layers, by structure: no numbers are drawn for that."""

from __future__ import annotations

import math

import pytest
from synthetic import NAMES, golden, row_name

from tlkit.backbones import BACKBONES, build_backbone, get_backbone, load
from tlkit.complexity import shapes_only

STATISTICS = ("num_batches_tracked",)


def layers_and_modules(row):
    """Numbers of each weighted layer, and the modules that may hold them."""
    with shapes_only():
        model = build_backbone(row.name, aux=row.aux is not None)
        sizes = {la.name: sum(math.prod(w.shape) for w in la.weights) for la in model.layers}
    sizes = {name: size for name, size in sizes.items() if size}
    return sizes, load(row.keys)(list(sizes))


def module_sizes(state):
    sizes = {}
    for key, shape in state.items():
        if not key.endswith(STATISTICS):
            module = key.rpartition(".")[0]
            sizes[module] = sizes.get(module, 0) + math.prod(shape)
    return sizes


@pytest.mark.parametrize("name", NAMES)
def test_every_module_of_the_checkpoint_is_one_layer(name):
    sizes, modules = layers_and_modules(get_backbone(row_name(name, BACKBONES)))
    published = module_sizes(golden(name)["state_dict"])
    chosen = {layer: next(m for m in names if m in published) for layer, names in modules.items()}
    assert {chosen[layer]: size for layer, size in sizes.items()} == published


@pytest.mark.parametrize("name", ["efficientnet_lite0_real", "efficientnet_lite2_real"])
def test_the_packaged_spelling_is_known_too(name):
    sizes, modules = layers_and_modules(get_backbone(row_name(name, BACKBONES)))
    published = module_sizes(golden(name)["state_dict"])
    assert {modules[layer][0]: size for layer, size in sizes.items()} == published
    timms = {key.rpartition(".")[0] for key in golden(name)["timm_names"].values()}
    assert {alternatives[1] for alternatives in modules.values()} == timms


def test_timm_keeps_vggs_fully_connected_layers_as_convolutions():
    state = dict(golden("vgg11_bn")["state_dict"])
    for index, (module, shape) in {
        0: ("pre_logits.fc1", [4096, 512, 7, 7]),
        3: ("pre_logits.fc2", [4096, 4096, 1, 1]),
        6: ("head.fc", [1000, 4096]),
    }.items():
        state[f"{module}.weight"] = shape
        state[f"{module}.bias"] = state.pop(f"classifier.{index}.bias")
        del state[f"classifier.{index}.weight"]
    sizes, modules = layers_and_modules(get_backbone("vgg11_bn"))
    published = module_sizes(state)
    chosen = {layer: next(m for m in names if m in published) for layer, names in modules.items()}
    assert {chosen[layer]: size for layer, size in sizes.items()} == published
