"""The lesson's ResNet-20 for CIFAR-10, as its notebook builds it rather than as the paper does.

Unlike in `resnet_cifar20`, the first stage halves the map already (32, 16, 8, 4), the first block
of each stage projects its shortcut, every convolution has a bias and an L2 penalty of 1e-4, and the
first convolution has no batch norm. 275,098 parameters for 10 classes, 273,530 of them trainable.
"""

from __future__ import annotations

from typing import Any

from keras import layers, regularizers

from tlkit.backbones._blocks import activate, batch_norm, drop_path

WIDTHS = (16, 32, 64)
BLOCKS = 3  # a stage


def resnet20(x: Any, l2: float = 1e-4, drop_path_rate: float = 0.0) -> Any:
    """From pixels to the last map, (batch, height / 8, width / 8, 64).

    Args:
        x: normalised pixels.
        l2: penalty on the convolutions' kernels.
        drop_path_rate: chance that the last block is dropped in training; it falls linearly towards
            the input.
    """
    x = _conv(x, WIDTHS[0], 3, 1, l2, name="stem_conv")
    x = activate(x, "relu", name="stem_relu")
    done, total = 0, len(WIDTHS) * BLOCKS
    for stage, width in enumerate(WIDTHS, start=1):
        for i in range(1, BLOCKS + 1):
            done += 1
            name = f"stage{stage}_block{i}"
            x = block(x, width, i == 1, l2, name, drop=drop_path_rate * done / total)
    return x


def block(x: Any, width: int, first: bool, l2: float, name: str, drop: float = 0.0) -> Any:
    """Two 3x3 convolutions; the first block of a stage halves the map."""
    stride = 2 if first else 1
    y = _conv(x, width, 3, stride, l2, name=f"{name}_conv1")
    y = activate(batch_norm(y, name=f"{name}_bn1"), "relu", name=f"{name}_relu1")
    y = _conv(y, width, 3, 1, l2, name=f"{name}_conv2")
    y = batch_norm(y, name=f"{name}_bn2")
    if first:
        x = _conv(x, width, 1, stride, l2, name=f"{name}_shortcut_conv")
        x = batch_norm(x, name=f"{name}_shortcut_bn")
    y = layers.Add(name=f"{name}_add")([drop_path(y, drop, name=f"{name}_drop"), x])
    return activate(y, "relu", name=f"{name}_relu")


def _conv(x: Any, filters: int, kernel: int, stride: int, l2: float, *, name: str) -> Any:
    return layers.Conv2D(
        filters,
        kernel,
        stride,
        "same",
        kernel_initializer="he_normal",
        kernel_regularizer=regularizers.L2(l2),
        name=name,
    )(x)
