"""Inception v3, v4 and Inception-ResNet-v2 (Szegedy et al., arXiv:1512.00567 and 1602.07261).

Three networks in one form: a stem to 35x35, then stages of 35x35, 17x17 and 8x8, called 5, 6 and 7
after the `Mixed_5b` ... `Mixed_7c` of the published code. A module is a table of branches; a branch
is a row of steps from its input to the concatenation. `inception_v3` (2015) is torchvision's, the
other two (2016) are timm's, ported from the authors' TensorFlow; they differ in whether an average
pool counts its padding.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any

from keras import layers

from tlkit.backbones._blocks import activate, avg_pool, conv, conv_bn, max_pool

AVERAGE = "average"  # 3x3 pool
ACROSS, DOWN = (1, 7), (7, 1)  # a 7x7 in two steps
ACROSS3, DOWN3 = (1, 3), (3, 1)  # a 3x3 in two steps

Convolution = tuple[int, Any]  # filters, kernel
Step = Convolution | str | tuple[Convolution, Convolution]  # or a pool, or two side by side
Module = Mapping[str, Sequence[Step]]

_conv_bn = partial(conv_bn, eps=1e-3)


# ---- Inception v3: the paper's table 1; branches are called as in torchvision ----


def _v3_a(pooled: int) -> Module:
    return {
        "branch1x1": [(64, 1)],
        "branch5x5": [(48, 1), (64, 5)],
        "branch3x3dbl": [(64, 1), (96, 3), (96, 3)],
        "branch_pool": [AVERAGE, (pooled, 1)],
    }


def _v3_b(c: int) -> Module:
    return {
        "branch1x1": [(192, 1)],
        "branch7x7": [(c, 1), (c, ACROSS), (192, DOWN)],
        "branch7x7dbl": [(c, 1), (c, DOWN), (c, ACROSS), (c, DOWN), (192, ACROSS)],
        "branch_pool": [AVERAGE, (192, 1)],
    }


_V3_C: Module = {
    "branch1x1": [(320, 1)],
    "branch3x3": [(384, 1), ((384, ACROSS3), (384, DOWN3))],
    "branch3x3dbl": [(448, 1), (384, 3), ((384, ACROSS3), (384, DOWN3))],
    "branch_pool": [AVERAGE, (192, 1)],
}
V3: Mapping[str, Module] = {
    "stage5_b": _v3_a(32),
    "stage5_c": _v3_a(64),
    "stage5_d": _v3_a(64),
    "stage6_a": {"branch3x3": [(384, 3)], "branch3x3dbl": [(64, 1), (96, 3), (96, 3)]},
    "stage6_b": _v3_b(128),
    "stage6_c": _v3_b(160),
    "stage6_d": _v3_b(160),
    "stage6_e": _v3_b(192),
    "stage7_a": {
        "branch3x3": [(192, 1), (320, 3)],
        "branch7x7x3": [(192, 1), (192, ACROSS), (192, DOWN), (192, 3)],
    },
    "stage7_b": _V3_C,
    "stage7_c": _V3_C,
}

# ---- Inception v4: figures 3 to 9 of the second paper; branches are called as in timm ----

V4_STEM: Module = {
    "branch0": [(64, 1), (96, 3)],
    "branch1": [(64, 1), (64, ACROSS), (64, DOWN), (96, 3)],
}
_V4_A: Module = {
    "branch0": [(96, 1)],
    "branch1": [(64, 1), (96, 3)],
    "branch2": [(64, 1), (96, 3), (96, 3)],
    "branch3": [AVERAGE, (96, 1)],
}
_V4_B: Module = {
    "branch0": [(384, 1)],
    "branch1": [(192, 1), (224, ACROSS), (256, DOWN)],
    "branch2": [(192, 1), (192, DOWN), (224, ACROSS), (224, DOWN), (256, ACROSS)],
    "branch3": [AVERAGE, (128, 1)],
}
_V4_C: Module = {
    "branch0": [(256, 1)],
    "branch1": [(384, 1), ((256, ACROSS3), (256, DOWN3))],
    "branch2": [(384, 1), (448, DOWN3), (512, ACROSS3), ((256, ACROSS3), (256, DOWN3))],
    "branch3": [AVERAGE, (256, 1)],
}
V4: Mapping[str, Module] = {
    **{f"stage5_{letter}": _V4_A for letter in "bcde"},
    "stage6_a": {"branch0": [(384, 3)], "branch1": [(192, 1), (224, 3), (256, 3)]},
    **{f"stage6_{letter}": _V4_B for letter in "bcdefgh"},
    "stage7_a": {
        "branch0": [(192, 1), (192, 3)],
        "branch1": [(256, 1), (256, ACROSS), (320, DOWN), (320, 3)],
    },
    **{f"stage7_{letter}": _V4_C for letter in "bcd"},
}

# ---- Inception-ResNet-v2: figures 10 to 17 ----

RESNET_V2: Mapping[str, Module] = {
    "stage5_b": {
        "branch0": [(96, 1)],
        "branch1": [(48, 1), (64, 5)],
        "branch2": [(64, 1), (96, 3), (96, 3)],
        "branch3": [AVERAGE, (64, 1)],
    },
    "stage6_a": {"branch0": [(384, 3)], "branch1": [(256, 1), (256, 3), (384, 3)]},
    "stage7_a": {
        "branch0": [(256, 1), (384, 3)],
        "branch1": [(256, 1), (288, 3)],
        "branch2": [(256, 1), (288, 3), (320, 3)],
    },
}
RESNET_V2_BLOCKS: Mapping[str, tuple[int, float, Module]] = {  # repeats, scale of the branch
    "stage5": (
        10,
        0.17,
        {
            "branch0": [(32, 1)],
            "branch1": [(32, 1), (32, 3)],
            "branch2": [(32, 1), (48, 3), (64, 3)],
        },
    ),
    "stage6": (
        20,
        0.10,
        {"branch0": [(192, 1)], "branch1": [(128, 1), (160, ACROSS), (192, DOWN)]},
    ),
    "stage7": (
        10,
        0.20,
        {"branch0": [(192, 1)], "branch1": [(192, 1), (224, ACROSS3), (256, DOWN3)]},
    ),
}


def inception_v3(x: Any) -> Any:
    """From pixels to the last map, 8x8x2048 of 299x299 pixels."""
    x = _stem(x)
    for name, branches in V3.items():
        x = _module(x, branches, name, reduce=name in ("stage6_a", "stage7_a"), count_padding=True)
    return x


def auxiliary(tap: Callable[[str], Any], classes: int) -> list[Any]:
    """The logits of the auxiliary classifier on the last 17x17 map (section 4 of the first paper).

    Args:
        tap: the output of a layer, by name.
        classes: outputs.
    """
    x = avg_pool(tap("stage6_e_concat"), 5, 3, name="aux_pool1")
    x = _conv_bn(x, 128, 1, name="aux_conv1")
    x = _conv_bn(x, 768, 5, padding=0, name="aux_conv2")
    x = layers.GlobalAveragePooling2D(name="aux_pool2")(x)
    return [layers.Dense(classes, name="aux_logits")(x)]


def inception_v4(x: Any) -> Any:
    """From pixels to the last map, 8x8x1536 of 299x299 pixels."""
    x = _conv_bn(x, 32, 3, 2, 0, name="stem_conv1")
    x = _conv_bn(x, 32, 3, 1, 0, name="stem_conv2")
    x = _conv_bn(x, 64, 3, name="stem_conv3")
    pooled = max_pool(x, 3, 2, name="stem_pool1")
    x = _conv_bn(x, 96, 3, 2, 0, name="stem_conv4")
    x = layers.Concatenate(name="stem_concat1")([pooled, x])
    x = _concatenate(_branches(x, V4_STEM, "stem_mix", stride=1), "stem_mix")
    pooled = max_pool(x, 3, 2, name="stem_pool2")
    x = _conv_bn(x, 192, 3, 2, 0, name="stem_conv5")
    x = layers.Concatenate(name="stem_concat2")([x, pooled])
    for name, branches in V4.items():
        x = _module(x, branches, name, reduce=name in ("stage6_a", "stage7_a"))
    return x


def inception_resnet_v2(x: Any) -> Any:
    """From pixels to the last map, 8x8x1536 of 299x299 pixels."""
    x = _stem(x)
    for name, branches in RESNET_V2.items():
        x = _module(x, branches, name, reduce=name != "stage5_b")
        stage = name.partition("_")[0]
        repeats, scale, residual = RESNET_V2_BLOCKS[stage]
        for i in range(1, repeats + 1):
            last = stage == "stage7" and i == repeats  # linear, and not scaled down
            x = _residual(x, residual, f"{stage}_block{i}", 1.0 if last else scale, relu=not last)
    return _conv_bn(x, 1536, 1, name="final_conv")


def _stem(x: Any) -> Any:
    """To 35x35x192."""
    x = _conv_bn(x, 32, 3, 2, 0, name="stem_conv1")
    x = _conv_bn(x, 32, 3, 1, 0, name="stem_conv2")
    x = _conv_bn(x, 64, 3, name="stem_conv3")
    x = max_pool(x, 3, 2, name="stem_pool1")
    x = _conv_bn(x, 80, 1, name="stem_conv4")
    x = _conv_bn(x, 192, 3, 1, 0, name="stem_conv5")
    return max_pool(x, 3, 2, name="stem_pool2")


def _module(
    x: Any, branches: Module, name: str, reduce: bool = False, count_padding: bool = False
) -> Any:
    """An inception module; with `reduce`, all branches and a max pool beside them halve the map."""
    if not reduce:
        return _concatenate(_branches(x, branches, name, count_padding=count_padding), name)
    pooled = max_pool(x, 3, 2, name=f"{name}_pool")
    return _concatenate([*_branches(x, branches, name, stride=2), pooled], name)


def _branches(
    x: Any, branches: Module, name: str, stride: int | None = None, count_padding: bool = False
) -> list[Any]:
    """The maps of all branches, in order.

    Args:
        x: the module's input.
        branches: of the module.
        name: prefix of the layers.
        stride: of each branch's last convolution, which is then not padded; None pads it like the
            others.
        count_padding: whether zeros around the map count in the mean of an average pool.
    """
    maps = []
    for branch, steps in branches.items():
        maps += _branch(x, steps, f"{name}_{branch}", stride, count_padding)
    return maps


def _branch(
    x: Any, steps: Sequence[Any], name: str, stride: int | None, count_padding: bool
) -> list[Any]:
    """The map of one branch; two when it ends in a pair of convolutions side by side."""
    if steps[0] == AVERAGE:
        x = avg_pool(x, 3, 1, 1, name=f"{name}_pool", count_padding=count_padding)
        steps = steps[1:]
    for i, step in enumerate(steps, start=1):
        where = f"{name}_conv{i}" if len(steps) > 1 else f"{name}_conv"
        if isinstance(step[0], tuple):
            return [
                _conv_bn(x, *step[0], name=f"{where}a"),
                _conv_bn(x, *step[1], name=f"{where}b"),
            ]
        last = (stride, 0) if stride and i == len(steps) else ()
        x = _conv_bn(x, *step, *last, name=where)
    return [x]


def _residual(x: Any, branches: Module, name: str, scale: float, relu: bool) -> Any:
    """Add a scaled inception module to its input (section 3.3: unscaled, large ones die)."""
    y = _concatenate(_branches(x, branches, name), name)
    y = conv(y, x.shape[-1], 1, name=f"{name}_conv", use_bias=True)
    if scale != 1:
        y = layers.Rescaling(scale, name=f"{name}_scale")(y)
    y = layers.Add(name=f"{name}_add")([x, y])
    return activate(y, "relu" if relu else None, name=f"{name}_relu")


def _concatenate(maps: list[Any], name: str) -> Any:
    return layers.Concatenate(name=f"{name}_concat")(maps)


# ---- names in published state dicts ----

_BRANCH = r"(stem|stage\d)_(\w+?)_(branch\w+?)_(conv|bn)(\d?)([ab]?)"


def keys_v3(names: Sequence[str]) -> dict[str, tuple[str, ...]]:
    """torchvision's and timm's: `stage6_b_branch7x7_bn2` is `Mixed_6b.branch7x7_2.bn`."""
    stem = ("Conv2d_1a_3x3", "Conv2d_2a_3x3", "Conv2d_2b_3x3", "Conv2d_3b_1x1", "Conv2d_4a_3x3")
    modules = {"top_logits": ("fc",), "aux_logits": ("AuxLogits.fc",)}
    for name in names:
        if place := re.fullmatch(_BRANCH, name):
            stage, letter, branch, kind, number, half = place.groups()
            number = f"_{number}{half}" if number else ""
            modules[name] = (f"Mixed_{stage[-1]}{letter}.{branch}{number}.{kind}",)
        elif place := re.fullmatch(r"(stem|aux)_(conv|bn)(\d)", name):
            part, kind, number = place.groups()
            index = int(number) - 1
            modules[name] = (
                f"{stem[index]}.{kind}" if part == "stem" else f"AuxLogits.conv{index}.{kind}",
            )
    return {name: modules[name] for name in names}


def keys_v4(names: Sequence[str]) -> dict[str, tuple[str, ...]]:
    """timm's, which counts stem and modules in one row: `features.6` is the first module."""
    stem = ("features.0", "features.1", "features.2", "features.3.conv", "features.5.conv")
    index = {"stem_mix": 4} | {module: 6 + i for i, module in enumerate(V4)}
    modules = {"top_logits": ("last_linear",)}
    for name in names:
        if place := re.fullmatch(_BRANCH, name):
            stage, letter, branch, kind, number, half = place.groups()
            split = stage == "stage7" and letter != "a" and number  # named, not in a Sequential
            inner = f"_{int(number) - 1}{half}" if split else _inner(branch, number)
            modules[name] = (f"features.{index[f'{stage}_{letter}']}.{branch}{inner}.{kind}",)
        elif place := re.fullmatch(r"stem_(conv|bn)(\d)", name):
            modules[name] = (f"{stem[int(place[2]) - 1]}.{place[1]}",)
    return {name: modules[name] for name in names}


def keys_resnet_v2(names: Sequence[str]) -> dict[str, tuple[str, ...]]:
    """timm's: `stage6_block3_branch1_bn2` is `repeat_1.2.branch1.1.bn`; the last is `block8`."""
    stem = ("conv2d_1a", "conv2d_2a", "conv2d_2b", "conv2d_3b", "conv2d_4a")
    repeats = {"stage5": "repeat", "stage6": "repeat_1", "stage7": "repeat_2"}
    modules = {
        "final_conv": ("conv2d_7b.conv",),
        "final_bn": ("conv2d_7b.bn",),
        "top_logits": ("classif", "last_linear"),
    }

    def block(stage: str, place: str) -> str:
        if not place.startswith("block"):
            return f"mixed_{stage[-1]}{place}"
        number = int(place.removeprefix("block"))
        if (stage, number) == ("stage7", RESNET_V2_BLOCKS["stage7"][0]):
            return "block8"
        return f"{repeats[stage]}.{number - 1}"

    for name in names:
        if place := re.fullmatch(_BRANCH, name):
            stage, where, branch, kind, number, _ = place.groups()
            modules[name] = (f"{block(stage, where)}.{branch}{_inner(branch, number)}.{kind}",)
        elif place := re.fullmatch(r"(stage\d)_(block\d+)_conv", name):
            modules[name] = (f"{block(place[1], place[2])}.conv2d",)
        elif place := re.fullmatch(r"stem_(conv|bn)(\d)", name):
            modules[name] = (f"{stem[int(place[2]) - 1]}.{place[1]}",)
    return {name: modules[name] for name in names}


def _inner(branch: str, number: str) -> str:
    """Place in timm's Sequential; a lone convolution has none, unless a pool stands before it."""
    return f".{int(number) - 1}" if number else ".1" if branch == "branch3" else ""
