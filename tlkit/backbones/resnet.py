"""ResNet (He et al. 2015, arXiv:1512.03385, table 1) and what grew directly out of it.

ResNeXt (Xie et al. 2016, arXiv:1611.05431) splits the 3x3 convolution into groups; Wide ResNet for
ImageNet (Zagoruyko & Komodakis 2016, arXiv:1605.07146) doubles its width. As in torchvision, a
bottleneck's stride sits on the 3x3 convolution ("v1.5"), not on the first 1x1 as in the paper: the
weights are trained so. The plain networks that the paper compares with are the same without
shortcuts, and section 4.2 has a smaller kind for CIFAR.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from typing import Any, Literal

from keras import layers, ops

from tlkit.backbones._blocks import activate, conv_bn, drop_path, max_pool, squeeze_excite

BLOCKS = {  # residual blocks in each of the four stages, by the number of layers with weights
    18: ("basic", (2, 2, 2, 2)),
    34: ("basic", (3, 4, 6, 3)),
    50: ("bottleneck", (3, 4, 6, 3)),
    101: ("bottleneck", (3, 4, 23, 3)),
    152: ("bottleneck", (3, 8, 36, 3)),
}
EXPANSION = 4  # output over inner channels of a bottleneck
Shortcut = Literal["projection", "padding"] | None  # section 3.3: options B and A; None is plain


def resnet(x: Any, depth: int = 50, drop_path_rate: float = 0.0, **design: Any) -> Any:
    """From pixels to the last map, (batch, height / 32, width / 32, 512 or 2048).

    Args:
        x: normalised pixels.
        depth: layers with weights, one of BLOCKS.
        drop_path_rate: chance that the last block is dropped in training; it falls linearly towards
            the input (stochastic depth, Huang et al. 2016).
        design: what all blocks share: see `basic` and `bottleneck`.
    """
    kind, counts = BLOCKS[depth]
    block = {"basic": basic, "bottleneck": bottleneck}[kind]
    x = conv_bn(x, 64, 7, 2, name="stem_conv")
    x = max_pool(x, 3, 2, padding=1, name="stem_pool")
    return residual_stages(x, block, counts, drop_path_rate, **design)


def resnet_cifar(
    x: Any,
    depth: int = 20,
    drop_path_rate: float = 0.0,
    shortcut: Shortcut = "padding",
    se_reduction: int | None = None,
) -> Any:
    """Section 4.2: three stages of n blocks on 32x32 pixels; (batch, height / 4, width / 4, 64).

    Args:
        x: normalised pixels.
        depth: layers with weights, 6 n + 2.
        drop_path_rate: as in `resnet`.
        shortcut: see `join`; the paper's padding adds no parameters.
        se_reduction: r of a squeeze-and-excitation in the branch; None for none.
    """
    x = conv_bn(x, 16, 3, name="stem_conv")
    counts = ((depth - 2) // 6,) * 3
    design = {"shortcut": shortcut, "se_reduction": se_reduction}
    return residual_stages(x, basic, counts, drop_path_rate, width=16, **design)


def residual_stages(
    x: Any,
    block: Callable[..., Any],
    counts: Sequence[int],
    drop_path_rate: float = 0.0,
    width: int = 64,
    **design: Any,
) -> Any:
    """Stages of `width`, 2 `width`, ... inner channels; each but the first halves the map.

    Args:
        x: the map.
        block: `basic` or another of its kind.
        counts: blocks in each stage.
        drop_path_rate: chance that the last block is dropped in training; the first of n blocks has
            an n-th of it, and so on linearly.
        width: inner channels of the first stage.
        design: the block's other arguments.
    """
    done, total = 0, sum(counts)
    for stage, count in enumerate(counts, start=1):
        for i in range(1, count + 1):
            done += 1
            x = block(
                x,
                width * 2 ** (stage - 1),
                stride=2 if stage > 1 and i == 1 else 1,
                name=f"stage{stage}_block{i}",
                drop=drop_path_rate * done / total,
                **design,
            )
    return x


def basic(
    x: Any,
    width: int,
    stride: int,
    name: str,
    drop: float = 0.0,
    se_reduction: int | None = None,
    shortcut: Shortcut = "projection",
) -> Any:
    """Two 3x3 convolutions (the paper's figure 5, left).

    Args:
        x: the map.
        width: channels inside and out.
        stride: of the first convolution, pixels.
        name: prefix of the layers.
        drop: chance that the branch is dropped in training.
        se_reduction: r of a squeeze-and-excitation in the branch; None for none.
        shortcut: what carries the input past the branch; see `join`.
    """
    y = conv_bn(x, width, 3, stride, name=f"{name}_conv1")
    y = conv_bn(y, width, 3, name=f"{name}_conv2", activation=None)
    return join(x, y, stride, name, drop, se_reduction, shortcut)


def bottleneck(
    x: Any,
    width: int,
    stride: int,
    name: str,
    drop: float = 0.0,
    se_reduction: int | None = None,
    shortcut: Shortcut = "projection",
    groups: int = 1,
    base_width: int = 64,
    stride_at: int = 2,
) -> Any:
    """1x1 down, 3x3, 1x1 up to four times `width` (the paper's figure 5, right).

    Args:
        x: the map.
        width: inner channels, before `groups` and `base_width`.
        stride: of the block, pixels.
        name: prefix of the layers.
        drop: chance that the branch is dropped in training.
        se_reduction: r of a squeeze-and-excitation in the branch; None for none.
        shortcut: what carries the input past the branch; see `join`.
        groups: of the 3x3 convolution (ResNeXt's cardinality).
        base_width: channels of one group where `width` is 64 (ResNeXt's d; 128 for a wide ResNet).
        stride_at: which convolution carries the stride; 1 in the paper, 2 in torchvision.
    """
    inner = width * base_width // 64 * groups
    first, second = (stride, 1) if stride_at == 1 else (1, stride)
    y = conv_bn(x, inner, 1, first, name=f"{name}_conv1")
    y = conv_bn(y, inner, 3, second, groups=groups, name=f"{name}_conv2")
    y = conv_bn(y, width * EXPANSION, 1, name=f"{name}_conv3", activation=None)
    return join(x, y, stride, name, drop, se_reduction, shortcut)


def join(
    x: Any,
    y: Any,
    stride: int,
    name: str,
    drop: float = 0.0,
    se_reduction: int | None = None,
    shortcut: Shortcut = "projection",
    kernel: int = 1,
) -> Any:
    """Weigh the branch, add what came past it, and rectify.

    Args:
        x: the block's input.
        y: the branch's output.
        stride: of the block, pixels.
        name: prefix of the layers.
        drop: chance that the branch is dropped in training.
        se_reduction: r of a squeeze-and-excitation of the branch; None for none.
        shortcut: "projection" brings `x` to the shape of `y`, where it differs, by a convolution
            (option B); "padding" by leaving pixels out and adding channels of zeros (option A);
            None leaves the branch alone: a plain network.
        kernel: of the projection.
    """
    channels = y.shape[-1]
    if se_reduction:
        y = squeeze_excite(y, channels // se_reduction, name=f"{name}_se")
    if shortcut:
        if stride != 1 or x.shape[-1] != channels:
            if shortcut == "projection":
                at = f"{name}_shortcut_conv"
                x = conv_bn(x, channels, kernel, stride, name=at, activation=None)
            else:
                x = layers.MaxPooling2D(1, stride, name=f"{name}_shortcut_subsample")(x)
                x = ops.pad(x, ((0, 0), (0, 0), (0, 0), (0, channels - x.shape[-1])))
        y = drop_path(y, drop, name=f"{name}_drop")
        y = layers.Add(name=f"{name}_add")([y, x])
    return activate(y, "relu", name=f"{name}_relu")


_FIXED = {"stem_conv": ("conv1",), "stem_bn": ("bn1",), "top_logits": ("fc",)}
_PARTS = {  # part of a name -> module within a block, where they differ
    "shortcut_conv": "downsample.0",
    "shortcut_bn": "downsample.1",
    "se_fc1": "se.fc1",
    "se_fc2": "se.fc2",
}


def keys(names: Sequence[str]) -> dict[str, tuple[str, ...]]:
    """Module names in a state dict: `stage2_block1_conv1` is `layer2.0.conv1`."""
    modules: dict[str, tuple[str, ...]] = {}
    for name in names:
        if name in _FIXED:
            modules[name] = _FIXED[name]
            continue
        place = re.fullmatch(r"stage(\d+)_block(\d+)_(\w+)", name)
        if place is None:
            raise KeyError(name)
        stage, block, part = place.groups()
        modules[name] = (f"layer{stage}.{int(block) - 1}.{_PARTS.get(part, part)}",)
    return modules
