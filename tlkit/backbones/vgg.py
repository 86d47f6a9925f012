"""VGG: very deep convolutional networks (Simonyan & Zisserman 2014, arXiv:1409.1556).

Table 1 of the paper: five blocks of 3x3 convolutions, each block ended by a 2x2 max pool, then
4096-4096-n. The batch norm of the `_bn` variants is torchvision's addition (2015 and later); the
lessons put one at the end of each block instead (`vgg16_blockbn`), or squeeze-and-excitation after
each activation (`se_vgg16`), and `vgg_cifar` is two small blocks in VGG's manner.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

from keras import layers

from tlkit.backbones._blocks import (
    activate,
    conv,
    conv_bn,
    flatten_chw,
    local_response_norm,
    logits,
    squeeze_excite,
)
from tlkit.backbones._blocks import batch_norm as norm

WIDTHS = (64, 128, 256, 512, 512)
CONVOLUTIONS = {  # per block, by the number of layers with weights
    11: (1, 1, 2, 2, 2),  # A
    13: (2, 2, 2, 2, 2),  # B
    16: (2, 2, 3, 3, 3),  # D
    19: (2, 2, 4, 4, 4),  # E
}


def vgg(
    x: Any,
    depth: int = 16,
    batch_norm: bool = False,
    lrn: bool = False,
    pointwise: bool = False,
    block_norm: bool = False,
    se_reduction: int | None = None,
) -> Any:
    """The five blocks, from pixels to a map of (batch, height / 32, width / 32, 512).

    Args:
        x: normalised pixels.
        depth: layers with weights, one of CONVOLUTIONS.
        batch_norm: after each convolution.
        lrn: local response normalisation in the first block (A-LRN, with depth 11).
        pointwise: the third convolution of a block is 1x1 (C, with depth 16).
        block_norm: one batch norm at the end of each block.
        se_reduction: r of a squeeze-and-excitation after each activation; None for none.
    """
    for stage, (width, count) in enumerate(zip(WIDTHS, CONVOLUTIONS[depth], strict=True), start=1):
        for i in range(1, count + 1):
            name = f"stage{stage}_conv{i}"
            kernel = 1 if pointwise and i == 3 else 3
            if batch_norm:
                x = conv_bn(x, width, kernel, name=name, use_bias=True)
            else:
                x = conv(x, width, kernel, name=name, use_bias=True)
                x = activate(x, "relu", name=f"stage{stage}_relu{i}")
            if se_reduction:
                x = squeeze_excite(x, width // se_reduction, name=f"stage{stage}_se{i}")
        if lrn and stage == 1:
            x = local_response_norm(x)
        x = layers.MaxPooling2D(2, name=f"stage{stage}_pool")(x)
        if block_norm:
            x = norm(x, name=f"stage{stage}_bn")
    return x


def fully_connected(x: Any, classes: int | None, dropout: float = 0.5) -> Any:
    """4096-4096-n; a map of another size is first averaged to the 7x7 of the weights."""
    if x.shape[1:3] != (7, 7):
        x = layers.AdaptiveAveragePooling2D(7, name="top_pool")(x)
    x = flatten_chw(x, name="top_flatten")
    x = layers.Dense(4096, activation="relu", name="top_fc1")(x)
    x = layers.Dropout(dropout, name="top_fc1_dropout")(x)
    x = layers.Dense(4096, activation="relu", name="top_fc2")(x)
    return logits(x, classes, dropout)


def vgg_cifar(x: Any) -> Any:
    """Two blocks, 32-32-pool and 64-64-pool: from pixels (32) to (batch, 6, 6, 64).

    Of each pair the second convolution has no padding, hence 6 and not 8.
    """
    for stage, width in ((1, 32), (2, 64)):
        for i, padding in ((1, 1), (2, 0)):
            name = f"stage{stage}_conv{i}"
            x = conv(x, width, 3, padding=padding, name=name, use_bias=True, activation="relu")
            x = norm(x, name=f"stage{stage}_bn{i}")
        x = layers.MaxPooling2D(2, name=f"stage{stage}_pool")(x)
        x = layers.Dropout(0.25, name=f"stage{stage}_dropout")(x)
    return x


def fc512(x: Any, classes: int | None) -> Any:
    """512-n on all 2,304 numbers of the last map, with batch norm and dropout between."""
    x = layers.Flatten(name="top_flatten")(x)
    x = layers.Dense(512, activation="relu", name="top_fc1")(x)
    return logits(norm(x, name="top_bn"), classes, dropout=0.5)


def keys(names: Sequence[str]) -> dict[str, tuple[str, ...]]:
    """Module names in a state dict: torchvision counts every layer of the features in one row."""
    modules: dict[str, tuple[str, ...]] = {
        "top_fc1": ("classifier.0", "pre_logits.fc1"),
        "top_fc2": ("classifier.3", "pre_logits.fc2"),
        "top_logits": ("classifier.6", "head.fc"),
    }
    index, last = 0, "1"
    for name in sorted(n for n in names if re.fullmatch(r"stage\d_conv\d", n)):
        stage = name[len("stage")]
        index += stage != last  # the pool between two blocks
        last = stage
        modules[name] = (f"features.{index}",)
        norm = name.replace("conv", "bn")
        if norm in names:
            index += 1
            modules[norm] = (f"features.{index}",)
        index += 2  # past this layer and its ReLU
    return {name: modules[name] for name in names}
