"""The first convolutional network of the lessons: three convolutions for the 32x32 of CIFAR-10.

32-pool-64-pool-64, then 64-n: the network of TensorFlow's tutorial "Convolutional Neural Network",
which says about 71 % on CIFAR-10's test images after ten epochs.
"""

from __future__ import annotations

from typing import Any

from keras import layers

from tlkit.backbones._blocks import conv, logits


def cnn(x: Any) -> Any:
    """From pixels (32) to (batch, 4, 4, 64), without padding."""
    x = conv(x, 32, 3, padding=0, name="stage1_conv", use_bias=True, activation="relu")
    x = layers.MaxPooling2D(2, name="stage1_pool")(x)
    x = conv(x, 64, 3, padding=0, name="stage2_conv", use_bias=True, activation="relu")
    x = layers.MaxPooling2D(2, name="stage2_pool")(x)
    return conv(x, 64, 3, padding=0, name="stage3_conv", use_bias=True, activation="relu")


def fc64(x: Any, classes: int | None) -> Any:
    """64-n on all 1,024 numbers of the last map."""
    x = layers.Flatten(name="top_flatten")(x)
    x = layers.Dense(64, activation="relu", name="top_fc1")(x)
    return logits(x, classes)
