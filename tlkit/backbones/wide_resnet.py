"""Wide residual networks (Zagoruyko & Komodakis 2016, arXiv:1605.07146, table 1), for CIFAR.

Pre-activation blocks of two 3x3 convolutions, `k` times as wide as ResNet's: 16, 16 k, 32 k, 64 k.
A wide network of few layers does as well as a thin one of a thousand, and trains several times
faster. The ImageNet ones (`wide_resnet50_2`) are bottleneck ResNets: see resnet.py.
"""

from __future__ import annotations

from typing import Any

from keras import layers

from tlkit.backbones._blocks import conv, drop_path
from tlkit.backbones.preact_resnet import bn_relu, shortcut
from tlkit.backbones.resnet import residual_stages


def wide_resnet(
    x: Any, depth: int = 28, k: int = 10, dropout: float = 0.0, drop_path_rate: float = 0.0
) -> Any:
    """WRN-depth-k, from pixels to the last map, (batch, height / 4, width / 4, 64 k).

    Args:
        x: normalised pixels.
        depth: layers with weights, 6 n + 4 for n blocks a stage.
        k: widening factor.
        dropout: between the two convolutions of a block (section 2.4; the paper's 0.3).
        drop_path_rate: chance that the last block is dropped in training; it falls linearly towards
            the input.
    """
    x = conv(x, 16, 3, name="stem_conv")
    counts = ((depth - 4) // 6,) * 3
    x = residual_stages(x, preact_basic, counts, drop_path_rate, width=16 * k, dropout=dropout)
    return bn_relu(x, name="final_bn")


def preact_basic(
    x: Any, width: int, stride: int, name: str, drop: float = 0.0, dropout: float = 0.0
) -> Any:
    """Two 3x3 convolutions, each after batch norm and ReLU (the paper's figure 1d)."""
    y = bn_relu(x, name=f"{name}_bn1")
    x = shortcut(x, y, width, stride, name)
    y = conv(y, width, 3, stride, name=f"{name}_conv1")
    y = bn_relu(y, name=f"{name}_bn2")
    if dropout:
        y = layers.Dropout(dropout, name=f"{name}_dropout")(y)
    y = conv(y, width, 3, name=f"{name}_conv2")
    return layers.Add(name=f"{name}_add")([drop_path(y, drop, name=f"{name}_drop"), x])
