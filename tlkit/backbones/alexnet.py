"""AlexNet (Krizhevsky, Sutskever & Hinton 2012, NIPS): three builds of it.

| layer | `alexnet_2012` (the paper, 227 px) | `alexnet` (torchvision)  | `alexnet_cifar` (64 px) |
|-------|------------------------------------|--------------------------|-------------------------|
| 1     | 96 @ 11x11/4, LRN, pool 3/2        | 64 @ 11x11/4, pool 3/2   | 128 @ 11x11/4, pool 2   |
| 2     | 256 @ 5x5 in 2 groups, LRN, pool   | 192 @ 5x5, pool 3/2      | 256 @ 5x5, pool 3       |
| 3     | 384 @ 3x3                          | 384 @ 3x3                | 256 @ 3x3               |
| 4     | 384 @ 3x3 in 2 groups              | 256 @ 3x3                | 256 @ 1x1               |
| 5     | 256 @ 3x3 in 2 groups, pool 3/2    | 256 @ 3x3, pool 3/2      | 256 @ 1x1, pool 2       |
| 6, 7  | 4096, 4096                         | 4096, 4096               | 1024, 1024              |

The two groups are the paper's towers (figure 2), one a GPU: they meet in layer 3 and the dense
layers. Each is a convolution of its own here, since Keras trains grouped ones slowly on a CPU.
`alexnet` is the one-tower version (Krizhevsky 2014, arXiv:1404.5997) that torchvision trained; it
takes 227 px as well as 224.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from keras import layers, ops

from tlkit.backbones._blocks import batch_norm, conv, flatten_chw, local_response_norm, logits


def alexnet(x: Any) -> Any:
    """From pixels to (batch, 6, 6, 256)."""
    x = conv_relu(x, 64, 11, 4, padding=2, name="stage1_conv")
    x = layers.MaxPooling2D(3, 2, name="stage1_pool")(x)
    x = conv_relu(x, 192, 5, name="stage2_conv")
    x = layers.MaxPooling2D(3, 2, name="stage2_pool")(x)
    x = conv_relu(x, 384, 3, name="stage3_conv")
    x = conv_relu(x, 256, 3, name="stage4_conv")
    x = conv_relu(x, 256, 3, name="stage5_conv")
    return layers.MaxPooling2D(3, 2, name="stage5_pool")(x)


def alexnet_2012(x: Any) -> Any:
    """From pixels to (batch, 6, 6, 256); pools of 3 at stride 2 overlap (section 3.4)."""
    x = conv_relu(x, 96, 11, 4, padding=0, name="stage1_conv")
    x = local_response_norm(x)
    x = layers.MaxPooling2D(3, 2, name="stage1_pool")(x)
    x = towers(x, 256, 5, name="stage2_conv")
    x = local_response_norm(x)
    x = layers.MaxPooling2D(3, 2, name="stage2_pool")(x)
    x = conv_relu(x, 384, 3, name="stage3_conv")
    x = towers(x, 384, 3, name="stage4_conv")
    x = towers(x, 256, 3, name="stage5_conv")
    return layers.MaxPooling2D(3, 2, name="stage5_pool")(x)


def alexnet_cifar(x: Any) -> Any:
    """For small pictures, with batch norm after every ReLU: (batch, 64, 64, 3) to (1, 1, 256)."""
    x = conv_relu(x, 128, 11, 4, padding=0, name="stage1_conv")
    x = batch_norm(x, name="stage1_bn")
    x = layers.MaxPooling2D(2, name="stage1_pool")(x)
    x = conv_relu(x, 256, 5, name="stage2_conv")
    x = batch_norm(x, name="stage2_bn")
    x = layers.MaxPooling2D(3, name="stage2_pool")(x)
    for stage, kernel in ((3, 3), (4, 1), (5, 1)):
        x = conv_relu(x, 256, kernel, name=f"stage{stage}_conv")
        x = batch_norm(x, name=f"stage{stage}_bn")
    return layers.MaxPooling2D(2, name="stage5_pool")(x)


def conv_relu(x: Any, filters: int, kernel: int, stride: int = 1, **options: Any) -> Any:
    """A convolution with bias and ReLU; its options are those of `_blocks.conv`."""
    return conv(x, filters, kernel, stride, use_bias=True, activation="relu", **options)


def towers(x: Any, filters: int, kernel: int, *, name: str) -> Any:
    """A convolution in two groups: each half of the maps sees one half of the input."""
    halves = [
        conv_relu(half, filters // 2, kernel, name=f"{name}{i}")
        for i, half in enumerate(ops.split(x, 2, axis=-1), start=1)
    ]
    return layers.Concatenate(name=name)(halves)


def fully_connected(
    x: Any,
    classes: int | None,
    units: int = 4096,
    side: int = 6,
    dropout: float = 0.5,
    dropout_first: bool = False,
) -> Any:
    """Two dense layers with dropout and the last one; another map is first averaged to `side`.

    Args:
        x: the last map.
        classes: outputs; None stops at the second dense layer.
        units: of each of the two.
        side: of the map that the first dense layer takes.
        dropout: on each dense layer's output (section 4.2).
        dropout_first: on each one's input instead, as in torchvision.
    """
    if x.shape[1:3] != (side, side):
        x = layers.AdaptiveAveragePooling2D(side, name="top_pool")(x)
    x = flatten_chw(x, name="top_flatten")
    for name in ("top_fc1", "top_fc2"):
        if dropout_first:
            x = layers.Dropout(dropout, name=f"{name}_dropout")(x)
        x = layers.Dense(units, activation="relu", name=name)(x)
        if not dropout_first:
            x = layers.Dropout(dropout, name=f"{name}_dropout")(x)
    return logits(x, classes)


def keys(names: Sequence[str]) -> dict[str, tuple[str, ...]]:
    """Module names in torchvision's state dict of `alexnet`."""
    modules = {
        **{f"stage{i + 1}_conv": (f"features.{at}",) for i, at in enumerate((0, 3, 6, 8, 10))},
        "top_fc1": ("classifier.1",),
        "top_fc2": ("classifier.4",),
        "top_logits": ("classifier.6",),
    }
    return {name: modules[name] for name in names}
