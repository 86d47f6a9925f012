"""Pre-activation ResNet: identity mappings in deep residual networks (He et al. 2016,
arXiv:1603.05027).

Batch norm and ReLU come before each convolution (figure 4e), so that nothing stands between one
block's sum and the next; the last sum gets its own batch norm and ReLU. Where a shortcut is
projected, it starts from the activated input.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

from keras import layers

from tlkit.backbones._blocks import activate, batch_norm, conv, drop_path, max_pool
from tlkit.backbones.resnet import BLOCKS, EXPANSION, residual_stages


def resnetv2(x: Any, depth: int = 50, drop_path_rate: float = 0.0) -> Any:
    """For ImageNet: from pixels to the last map, (batch, height / 32, width / 32, 2048).

    Args:
        x: normalised pixels.
        depth: layers with weights, one of ResNet's with bottlenecks.
        drop_path_rate: chance that the last block is dropped in training; it falls linearly towards
            the input.
    """
    x = conv(x, 64, 7, 2, name="stem_conv")
    x = max_pool(x, 3, 2, padding=1, name="stem_pool", after_relu=False)
    x = residual_stages(x, preact_bottleneck, BLOCKS[depth][1], drop_path_rate)
    return bn_relu(x, name="final_bn")


def preact_resnet_cifar(x: Any, depth: int = 164, drop_path_rate: float = 0.0) -> Any:
    """For CIFAR: three stages of n bottlenecks (depth = 9 n + 2); (batch, h / 4, w / 4, 256)."""
    x = conv(x, 16, 3, name="stem_conv")
    counts = ((depth - 2) // 9,) * 3
    x = residual_stages(x, preact_bottleneck, counts, drop_path_rate, width=16)
    return bn_relu(x, name="final_bn")


def preact_bottleneck(x: Any, width: int, stride: int, name: str, drop: float = 0.0) -> Any:
    """1x1 down, 3x3, 1x1 up to four times `width`, each after batch norm and ReLU."""
    y = bn_relu(x, name=f"{name}_bn1")
    x = shortcut(x, y, width * EXPANSION, stride, name)
    y = conv(y, width, 1, name=f"{name}_conv1")
    y = bn_relu(y, name=f"{name}_bn2")
    y = conv(y, width, 3, stride, name=f"{name}_conv2")
    y = bn_relu(y, name=f"{name}_bn3")
    y = conv(y, width * EXPANSION, 1, name=f"{name}_conv3")
    return layers.Add(name=f"{name}_add")([drop_path(y, drop, name=f"{name}_drop"), x])


def shortcut(x: Any, activated: Any, channels: int, stride: int, name: str) -> Any:
    """The block's input as it is, or a projection of the activated one if the shape changes."""
    if stride == 1 and x.shape[-1] == channels:
        return x
    return conv(activated, channels, 1, stride, name=f"{name}_shortcut_conv")


def bn_relu(x: Any, *, name: str) -> Any:
    """Batch norm, called `name`, and ReLU."""
    return activate(batch_norm(x, name=name), "relu", name=name.replace("_bn", "_relu"))


_FIXED = {
    "stem_conv": ("stem.conv",),
    "final_bn": ("norm",),
    "top_logits": ("head.fc",),  # a 1x1 convolution there
}


def keys(names: Sequence[str]) -> dict[str, tuple[str, ...]]:
    """Module names in timm's state dict: `stage2_block1_bn1` is `stages.1.blocks.0.norm1`."""
    modules: dict[str, tuple[str, ...]] = {}
    for name in names:
        place = re.fullmatch(r"stage(\d+)_block(\d+)_(\w+)", name)
        if place is None:
            modules[name] = _FIXED[name]
            continue
        stage, block, part = place.groups()
        part = part.replace("bn", "norm").replace("shortcut_conv", "downsample.conv")
        modules[name] = (f"stages.{int(stage) - 1}.blocks.{int(block) - 1}.{part}",)
    return modules
