"""Network in network (Lin, Chen & Yan 2013, arXiv:1312.4400), the CIFAR-10 model of section 4.1.

Three mlpconv blocks: a convolution, then two 1x1 convolutions, a small perceptron that slides over
the map. The last block has one map per class, and its global average is the class' score: no fully
connected layer. The widths are those of the authors' published model definition.
"""

from __future__ import annotations

from typing import Any

from keras import layers

from tlkit.backbones._blocks import ceil_max_pool, conv

DROPOUT = 0.5  # after the first two blocks


def nin(x: Any) -> Any:
    """From pixels (32) to (batch, 8, 8, 192): everything but the layer that has a map per class."""
    x = mlpconv(x, (192, 160, 96), 5, name="stage1")
    x = ceil_max_pool(x, 3, 2, name="stage1_pool")
    x = layers.Dropout(DROPOUT, name="stage1_dropout")(x)
    x = mlpconv(x, (192, 192, 192), 5, name="stage2")
    x = layers.AveragePooling2D(3, 2, "same", name="stage2_pool")(x)
    x = layers.Dropout(DROPOUT, name="stage2_dropout")(x)
    return mlpconv(x, (192, 192), 3, name="stage3")


def mlpconv(x: Any, widths: tuple[int, ...], kernel: int, *, name: str) -> Any:
    """A convolution and the 1x1 convolutions after it, each with a ReLU."""
    for i, width in enumerate(widths, start=1):
        size = kernel if i == 1 else 1
        x = conv(x, width, size, name=f"{name}_conv{i}", use_bias=True, activation="relu")
    return x


def class_maps(x: Any, classes: int | None) -> Any:
    """The last 1x1 convolution, one map per class, and its global average (section 3.2)."""
    if classes is None:
        return layers.GlobalAveragePooling2D(name="top_pool")(x)
    x = conv(x, classes, 1, name="top_logits", use_bias=True, activation="relu")
    return layers.GlobalAveragePooling2D(name="top_pool")(x)
