"""EfficientNet-Lite: EfficientNet without squeeze-and-excitation, with ReLU6 (R. Liu 2020).

The baseline is table 1 of Tan & Le 2019 (arXiv:1905.11946). Depth and width scale with the variant;
the stem, the last convolution and the repeats of the first and the last stage stay. The weights
come from TensorFlow, so the padding is TensorFlow's `same` and batch norm adds 1e-3 to the
variance.
"""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from functools import partial
from typing import Any

from keras import layers

from tlkit.backbones._blocks import conv_bn, depthwise_conv_bn, drop_path

# expansion, channels, repeats, kernel, stride
STAGES = (
    (1, 16, 1, 3, 1),
    (6, 24, 2, 3, 2),
    (6, 40, 2, 5, 2),
    (6, 80, 3, 3, 2),
    (6, 112, 3, 5, 1),
    (6, 192, 4, 5, 2),
    (6, 320, 1, 3, 1),
)
_conv_bn = partial(conv_bn, eps=1e-3, momentum=0.99)
_depthwise_conv_bn = partial(depthwise_conv_bn, eps=1e-3, momentum=0.99)


def efficientnet_lite(
    x: Any, width: float = 1.0, depth: float = 1.0, drop_path_rate: float = 0.0
) -> Any:
    """From pixels to the last map, (batch, height / 32, width / 32, 1280).

    Args:
        x: normalised pixels.
        width: factor on the channels of the stages.
        depth: factor on their repeats.
        drop_path_rate: chance that a block is dropped in training, as the authors' code counts it:
            0 for the first of n blocks, one n-th of the rate more for each after it.
    """
    repeats = [
        count if stage in (1, len(STAGES)) else math.ceil(depth * count)
        for stage, (_, _, count, _, _) in enumerate(STAGES, start=1)
    ]
    done, total = 0, sum(repeats)
    x = _conv_bn(x, 32, 3, 2, "same", name="stem_conv", activation="relu6")
    for stage, (expansion, channels, _, kernel, stride) in enumerate(STAGES, start=1):
        for i in range(1, repeats[stage - 1] + 1):
            x = inverted_residual(
                x,
                _divisible(channels * width),
                kernel,
                stride if i == 1 else 1,
                expansion,
                name=f"stage{stage}_block{i}",
                drop=drop_path_rate * done / total,
            )
            done += 1
    return _conv_bn(x, 1280, 1, name="final_conv", activation="relu6")


def inverted_residual(
    x: Any, channels: int, kernel: int, stride: int, expansion: int, *, name: str, drop: float = 0.0
) -> Any:
    """Widen, filter each channel, narrow (Sandler et al. 2018); a shortcut if the shape stays."""
    y = x
    if expansion != 1:
        y = _conv_bn(y, x.shape[-1] * expansion, 1, name=f"{name}_expand_conv", activation="relu6")
    y = _depthwise_conv_bn(
        y, kernel, stride, "same", name=f"{name}_depthwise_conv", activation="relu6"
    )
    y = _conv_bn(y, channels, 1, name=f"{name}_project_conv", activation=None)
    if stride == 1 and x.shape[-1] == channels:
        y = layers.Add(name=f"{name}_add")([drop_path(y, drop, name=f"{name}_drop"), x])
    return y


def _divisible(channels: float, by: int = 8) -> int:
    """The nearest multiple of 8, but never less than nine tenths of what was asked for."""
    nearest = max(by, int(channels + by / 2) // by * by)
    return nearest if nearest >= 0.9 * channels else nearest + by


_FIXED = {  # the weights' own package, then timm
    "stem_conv": ("_conv_stem", "conv_stem"),
    "stem_bn": ("_bn0", "bn1"),
    "final_conv": ("_conv_head", "conv_head"),
    "final_bn": ("_bn1", "bn2"),
    "top_logits": ("_fc", "classifier"),
}
_PACKAGE = {
    "expand_conv": "_expand_conv",
    "expand_bn": "_bn0",
    "depthwise_conv": "_depthwise_conv",
    "depthwise_bn": "_bn1",
    "project_conv": "_project_conv",
    "project_bn": "_bn2",
}
_TIMM = {
    "expand_conv": "conv_pw",
    "expand_bn": "bn1",
    "depthwise_conv": "conv_dw",
    "depthwise_bn": "bn2",
    "project_conv": "conv_pwl",
    "project_bn": "bn3",
}
_TIMM_UNEXPANDED = {  # timm's DepthwiseSeparableConv counts anew
    "depthwise_conv": "conv_dw",
    "depthwise_bn": "bn1",
    "project_conv": "conv_pw",
    "project_bn": "bn2",
}


def keys(names: Sequence[str]) -> dict[str, tuple[str, ...]]:
    """Module names in a state dict; the package counts blocks through, timm within a stage."""
    places = {
        name: (int(place[1]), int(place[2]), place[3])
        for name in names
        if (place := re.fullmatch(r"stage(\d)_block(\d+)_(\w+)", name))
    }
    order = sorted({(stage, block) for stage, block, _ in places.values()})
    modules: dict[str, tuple[str, ...]] = {
        name: _FIXED[name] for name in names if name not in places
    }
    for name, (stage, block, part) in places.items():
        expanded = f"stage{stage}_block{block}_expand_conv" in places
        modules[name] = (
            f"_blocks.{order.index((stage, block))}.{_PACKAGE[part]}",
            f"blocks.{stage - 1}.{block - 1}.{(_TIMM if expanded else _TIMM_UNEXPANDED)[part]}",
        )
    return modules
