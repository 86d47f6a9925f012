"""MobileNetV2: inverted residuals and linear bottlenecks (Sandler et al. 2018, arXiv:1801.04381).

Table 2 of the paper. As in torch, stride-2 convolutions are padded on all sides.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

from keras import layers

from tlkit.backbones._blocks import conv_bn, depthwise_conv_bn

# expansion t, channels c, repeats n, stride s
STAGES = (
    (1, 16, 1, 1),
    (6, 24, 2, 2),
    (6, 32, 3, 2),
    (6, 64, 4, 2),
    (6, 96, 3, 1),
    (6, 160, 3, 2),
    (6, 320, 1, 1),
)


def mobilenet_v2(x: Any) -> Any:
    """From pixels to the last map, (batch, height / 32, width / 32, 1280)."""
    x = conv_bn(x, 32, 3, 2, name="stem_conv", activation="relu6")
    for stage, (expansion, channels, repeats, stride) in enumerate(STAGES, start=1):
        for i in range(1, repeats + 1):
            name = f"stage{stage}_block{i}"
            x = inverted_residual(x, channels, stride if i == 1 else 1, expansion, name=name)
    return conv_bn(x, 1280, 1, name="final_conv", activation="relu6")


def inverted_residual(x: Any, channels: int, stride: int, expansion: int, *, name: str) -> Any:
    """Widen, filter each channel, narrow without a ReLU; a shortcut if the shape stays."""
    y = x
    if expansion != 1:
        y = conv_bn(y, x.shape[-1] * expansion, 1, name=f"{name}_expand_conv", activation="relu6")
    y = depthwise_conv_bn(y, 3, stride, name=f"{name}_depthwise_conv", activation="relu6")
    y = conv_bn(y, channels, 1, name=f"{name}_project_conv", activation=None)
    if stride == 1 and x.shape[-1] == channels:
        y = layers.Add(name=f"{name}_add")([x, y])
    return y


_FIXED = {  # torchvision, then timm
    "stem_conv": ("features.0.0", "conv_stem"),
    "stem_bn": ("features.0.1", "bn1"),
    "final_conv": ("features.18.0", "conv_head"),
    "final_bn": ("features.18.1", "bn2"),
    "top_logits": ("classifier.1", "classifier"),
}
_PARTS = {
    "expand_conv": ("conv.0.0", "conv_pw"),
    "expand_bn": ("conv.0.1", "bn1"),
    "depthwise_conv": ("conv.1.0", "conv_dw"),
    "depthwise_bn": ("conv.1.1", "bn2"),
    "project_conv": ("conv.2", "conv_pwl"),
    "project_bn": ("conv.3", "bn3"),
}
_UNEXPANDED = {  # the first block counts anew
    "depthwise_conv": ("conv.0.0", "conv_dw"),
    "depthwise_bn": ("conv.0.1", "bn1"),
    "project_conv": ("conv.1", "conv_pw"),
    "project_bn": ("conv.2", "bn2"),
}


def keys(names: Sequence[str]) -> dict[str, tuple[str, ...]]:
    """Module names in a state dict; torchvision counts blocks through, timm within a stage."""
    before = {  # blocks in the stages before
        stage: sum(repeats for _, _, repeats, _ in STAGES[: stage - 1])
        for stage in range(1, len(STAGES) + 1)
    }
    modules: dict[str, tuple[str, ...]] = {}
    for name in names:
        place = re.fullmatch(r"stage(\d)_block(\d)_(\w+)", name)
        if place is None:
            modules[name] = _FIXED[name]
            continue
        stage, block, part = int(place[1]), int(place[2]), place[3]
        torchvision, timm = (_UNEXPANDED if stage == 1 else _PARTS)[part]
        modules[name] = (
            f"features.{before[stage] + block}.{torchvision}",
            f"blocks.{stage - 1}.{block - 1}.{timm}",
        )
    return modules
