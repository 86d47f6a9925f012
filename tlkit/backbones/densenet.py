"""DenseNet: densely connected convolutional networks (Huang et al. 2016, arXiv:1608.06993).

Table 1 of the paper, bottlenecks and compression included (DenseNet-BC): within a stage each layer
sees the maps of all layers before it and adds k = `growth` channels to them. `densenet_bc100_12` is
the network for CIFAR of section 3 (depth 100, k = 12).
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

from keras import layers

from tlkit.backbones._blocks import activate, avg_pool, batch_norm, conv, conv_bn, max_pool

VARIANTS = {  # growth, channels of the stem, layers in each of the four dense blocks
    121: (32, 64, (6, 12, 24, 16)),
    161: (48, 96, (6, 12, 36, 24)),
    169: (32, 64, (6, 12, 32, 32)),
    201: (32, 64, (6, 12, 48, 32)),
}
BOTTLENECK = 4  # channels of a layer's 1x1 convolution over `growth`
COMPRESSION = 0.5  # what a transition leaves of the channels


def densenet(x: Any, depth: int = 121, dropout: float = 0.0) -> Any:
    """From pixels to the last map, (batch, height / 32, width / 32, channels).

    Args:
        x: normalised pixels.
        depth: layers with weights, one of VARIANTS.
        dropout: after each layer's 3x3 convolution, in training.
    """
    growth, channels, counts = VARIANTS[depth]
    x = conv_bn(x, channels, 7, 2, name="stem_conv")
    x = max_pool(x, 3, 2, padding=1, name="stem_pool")
    return dense_stages(x, growth, counts, dropout)


def densenet_cifar(x: Any, depth: int = 100, growth: int = 12, dropout: float = 0.0) -> Any:
    """From 32x32 pixels to a map of 8x8: three dense blocks of (depth - 4) / 6 layers each.

    Args:
        x: normalised pixels.
        depth: layers with weights, 6 n + 4.
        growth: k.
        dropout: after each 3x3 convolution; the paper's 0.2 is for training without augmentation.
    """
    x = conv(x, 2 * growth, 3, name="stem_conv")
    return dense_stages(x, growth, ((depth - 4) // 6,) * 3, dropout)


def dense_stages(x: Any, growth: int, counts: Sequence[int], dropout: float) -> Any:
    """Dense blocks with transitions between them; batch norm and ReLU end the last."""
    for stage, count in enumerate(counts, start=1):
        for i in range(1, count + 1):
            x = dense_layer(x, growth, dropout, name=f"stage{stage}_layer{i}")
        if stage < len(counts):
            x = transition(x, name=f"stage{stage}_transition")
    x = batch_norm(x, name=f"stage{len(counts)}_bn")
    return activate(x, "relu", name=f"stage{len(counts)}_relu")


def dense_layer(x: Any, growth: int, dropout: float, *, name: str) -> Any:
    """BN-ReLU-conv 1x1, BN-ReLU-conv 3x3; the result joins the input's channels."""
    y = activate(batch_norm(x, name=f"{name}_bn1"), "relu", name=f"{name}_relu1")
    y = conv(y, BOTTLENECK * growth, 1, name=f"{name}_conv1")
    y = activate(batch_norm(y, name=f"{name}_bn2"), "relu", name=f"{name}_relu2")
    y = conv(y, growth, 3, name=f"{name}_conv2")
    if dropout:
        y = layers.Dropout(dropout, name=f"{name}_dropout")(y)
    return layers.Concatenate(name=f"{name}_concat")([x, y])


def transition(x: Any, *, name: str) -> Any:
    """Half the channels, half the height and width."""
    x = activate(batch_norm(x, name=f"{name}_bn"), "relu", name=f"{name}_relu")
    x = conv(x, int(COMPRESSION * x.shape[-1]), 1, name=f"{name}_conv")
    return avg_pool(x, 2, 2, name=f"{name}_pool")


def keys(names: Sequence[str]) -> dict[str, tuple[str, ...]]:
    """Names in a state dict: `stage1_layer2_bn1` is `features.denseblock1.denselayer2.norm1`.

    The files that torchvision publishes spell it `norm.1` and `conv.1`, as its first version did.
    """
    modules: dict[str, tuple[str, ...]] = {
        "stem_conv": ("features.conv0",),
        "stem_bn": ("features.norm0",),
        "top_logits": ("classifier",),
    }
    for name in names:
        part = name.rpartition("_")[2].replace("bn", "norm")
        if place := re.match(r"stage(\d)_layer(\d+)_", name):
            layer = f"features.denseblock{place[1]}.denselayer{place[2]}."
            modules[name] = (layer + part, f"{layer}{part[:-1]}.{part[-1]}")
        elif place := re.match(r"stage(\d)_transition_", name):
            modules[name] = (f"features.transition{place[1]}.{part}",)
        elif re.fullmatch(r"stage\d_bn", name):
            modules[name] = ("features.norm5",)
    return {name: modules[name] for name in names}
