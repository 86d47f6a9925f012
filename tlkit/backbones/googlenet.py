"""GoogLeNet: going deeper with convolutions (Szegedy et al. 2014, arXiv:1409.4842).

Table 1 of the paper, with batch norm after each convolution. `googlenet` is torchvision's: its
"5x5" branch is a 3x3 (a mistake that the weights were trained with), its last pool is 2x2, and its
two auxiliary classifiers see the map averaged to 4x4. `googlenet_bn` has the paper's 5x5 and 3x3,
and no auxiliary classifiers.

`mini_googlenet` is the network for CIFAR of Zhang et al. 2016 (arXiv:1611.03530, figure 3), in the
wider form with all four branches.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

from keras import layers

from tlkit.backbones._blocks import (
    activate,
    ceil_max_pool,
    conv,
    conv_bn,
    flatten_chw,
    max_pool,
    squeeze_excite,
)

# 1x1 | 1x1 -> 3x3 | 1x1 -> 5x5 | pool -> 1x1
MODULES = {
    "stage3": {
        "a": (64, (96, 128), (16, 32), 32),
        "b": (128, (128, 192), (32, 96), 64),
    },
    "stage4": {
        "a": (192, (96, 208), (16, 48), 64),
        "b": (160, (112, 224), (24, 64), 64),
        "c": (128, (128, 256), (24, 64), 64),
        "d": (112, (144, 288), (32, 64), 64),
        "e": (256, (160, 320), (32, 128), 128),
    },
    "stage5": {
        "a": (256, (160, 320), (32, 128), 128),
        "b": (384, (192, 384), (48, 128), 128),
    },
}
AUXILIARY = {"aux1": "stage4_a", "aux2": "stage4_d"}  # the module that each hangs on

# 1x1 | 3x3 | 5x5 | pool -> 1x1; a number alone is a downsample module
MINI_MODULES = {
    "stage1": ((32, 32, 32, 32), (32, 48, 48, 32), 80),
    "stage2": (
        (112, 48, 32, 48),
        (96, 64, 32, 32),
        (80, 80, 32, 32),
        (48, 96, 32, 32),
        (112, 48, 32, 48),
        96,
    ),
    "stage3": ((176, 160, 96, 96), (176, 160, 96, 96)),
}

_conv_bn = partial(conv_bn, eps=1e-3)
_mini_conv_bn = partial(conv_bn, use_bias=True, eps=1e-3, momentum=0.99)  # Keras' defaults


def googlenet(
    x: Any, large_kernel: int = 5, last_pool: int = 3, se_reduction: int | None = None
) -> Any:
    """From pixels to the last map, (batch, height / 32, width / 32, 1024).

    Args:
        x: normalised pixels.
        large_kernel: side of the third branch's filters; 5 in the paper, 3 in torchvision.
        last_pool: window of the pool before stage 5; 3 in the paper, 2 in torchvision.
        se_reduction: r of a squeeze-and-excitation after each module (Hu et al. 2017); None for
            none.
    """
    x = _conv_bn(x, 64, 7, 2, name="stem_conv1")
    x = ceil_max_pool(x, 3, 2, name="stem_pool1")
    x = _conv_bn(x, 64, 1, name="stem_conv2")
    x = _conv_bn(x, 192, 3, name="stem_conv3")
    x = ceil_max_pool(x, 3, 2, name="stem_pool2")
    for stage, modules in MODULES.items():
        for letter, widths in modules.items():
            x = inception(x, *widths, name=f"{stage}_{letter}", large_kernel=large_kernel)
            if se_reduction:
                x = squeeze_excite(x, x.shape[-1] // se_reduction, name=f"{stage}_{letter}_se")
        if stage != "stage5":
            window = last_pool if stage == "stage4" else 3
            x = ceil_max_pool(x, window, 2, name=f"{stage}_pool")
    return x


def inception(
    x: Any,
    one: int,
    three: tuple[int, int],
    five: tuple[int, int],
    pooled: int,
    *,
    name: str,
    large_kernel: int = 5,
) -> Any:
    """Four views of one map, side by side (the paper's figure 2b).

    Args:
        x: the map.
        one: filters of the 1x1 branch.
        three: filters that reduce and then filter in the 3x3 branch.
        five: the same for the 5x5 branch.
        pooled: filters after the 3x3 max pool.
        name: prefix of the layers.
        large_kernel: side of the 5x5 branch's filters.
    """
    b1 = _conv_bn(x, one, 1, name=f"{name}_branch1_conv")
    b2 = _conv_bn(x, three[0], 1, name=f"{name}_branch2_conv1")
    b2 = _conv_bn(b2, three[1], 3, name=f"{name}_branch2_conv2")
    b3 = _conv_bn(x, five[0], 1, name=f"{name}_branch3_conv1")
    b3 = _conv_bn(b3, five[1], large_kernel, name=f"{name}_branch3_conv2")
    b4 = layers.MaxPooling2D(3, 1, "same", name=f"{name}_branch4_pool")(x)
    b4 = _conv_bn(b4, pooled, 1, name=f"{name}_branch4_conv")
    return layers.Concatenate(name=f"{name}_concat")([b1, b2, b3, b4])


def auxiliary(
    tap: Callable[[str], Any], classes: int, layer: str = "concat", dropout: float = 0.7
) -> list[Any]:
    """The logits of the two auxiliary classifiers; 0.3 of their loss counts (section 5).

    Args:
        tap: the output of a layer, by name.
        classes: outputs.
        layer: the last of an inception module.
        dropout: before the last dense layer.
    """
    outputs = []
    for name, module in AUXILIARY.items():
        x = tap(f"{module}_{layer}")
        x = layers.AdaptiveAveragePooling2D(4, name=f"{name}_pool")(x)
        x = _conv_bn(x, 128, 1, name=f"{name}_conv")
        x = flatten_chw(x, name=f"{name}_flatten")
        x = layers.Dense(1024, activation="relu", name=f"{name}_fc1")(x)
        x = layers.Dropout(dropout, name=f"{name}_dropout")(x)
        outputs.append(layers.Dense(classes, name=f"{name}_logits")(x))
    return outputs


se_auxiliary = partial(auxiliary, layer="se_scale")


def mini_googlenet(x: Any) -> Any:
    """From pixels to the last map: 7x7x528 of 32x32 pixels."""
    x = _mini_conv_bn(x, 96, 3, name="stem_conv")
    for stage, modules in MINI_MODULES.items():
        for i, widths in enumerate(modules, start=1):
            if isinstance(widths, int):
                x = downsample(x, widths, name=f"{stage}_down")
            else:
                x = unreduced_inception(x, *widths, name=f"{stage}_block{i}")
    return x


def unreduced_inception(x: Any, one: int, three: int, five: int, pooled: int, *, name: str) -> Any:
    """An inception module without the 1x1 reductions (the paper's figure 2a)."""
    b1 = _mini_conv_bn(x, one, 1, name=f"{name}_branch1_conv")
    b2 = _mini_conv_bn(x, three, 3, name=f"{name}_branch2_conv")
    b3 = _mini_conv_bn(x, five, 5, name=f"{name}_branch3_conv")
    b4 = layers.MaxPooling2D(3, 1, "same", name=f"{name}_branch4_pool")(x)
    b4 = conv(b4, pooled, 1, name=f"{name}_branch4_conv", use_bias=True)
    b4 = activate(b4, "relu", name=f"{name}_branch4_relu")
    return layers.Concatenate(name=f"{name}_concat")([b1, b2, b3, b4])


def downsample(x: Any, filters: int, *, name: str) -> Any:
    """A 3x3 convolution and a 3x3 max pool, both with stride 2, side by side."""
    y = _mini_conv_bn(x, filters, 3, 2, 0, name=f"{name}_conv")
    return layers.Concatenate(name=f"{name}_concat")([y, max_pool(x, 3, 2, name=f"{name}_pool")])


_FIXED = {
    "aux1_fc1": ("aux1.fc1",),
    "aux1_logits": ("aux1.fc2",),
    "aux2_fc1": ("aux2.fc1",),
    "aux2_logits": ("aux2.fc2",),
    "top_logits": ("fc",),
}


def keys(names: Sequence[str]) -> dict[str, tuple[str, ...]]:
    """Module names in a state dict: `stage3_a_branch2_bn1` is `inception3a.branch2.0.bn`."""
    modules: dict[str, tuple[str, ...]] = {}
    for name in names:
        if name in _FIXED:
            modules[name] = _FIXED[name]
        elif place := re.fullmatch(r"stage(\d)_(\w)_branch(\d)_(conv|bn)(\d?)", name):
            stage, letter, branch, kind, index = place.groups()
            inner = f".{int(index) - 1}" if index else ".1" if branch == "4" else ""
            modules[name] = (f"inception{stage}{letter}.branch{branch}{inner}.{kind}",)
        elif place := re.fullmatch(r"stem_(conv|bn)(\d)", name):
            modules[name] = (f"conv{place[2]}.{place[1]}",)
        elif place := re.fullmatch(r"(aux\d)_(conv|bn)", name):
            modules[name] = (f"{place[1]}.conv.{place[2]}",)
        else:
            raise KeyError(name)
    return modules
