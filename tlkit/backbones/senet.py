"""SENet: squeeze-and-excitation networks (Hu et al. 2017, arXiv:1709.01507).

A block looks at the whole map, squeezed to one number a channel, and weighs its channels by it. The
block as an option of a ResNet is `resnet(se_reduction=16)`. Here stand the networks as the authors
trained them in Caffe, whose pools round up: `legacy_seresnet50`, and `senet154`, the winner of
ILSVRC 2017 (the paper's appendix).
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Any

from tlkit.backbones._blocks import ceil_max_pool, conv_bn
from tlkit.backbones.resnet import BLOCKS, bottleneck, join, residual_stages
from tlkit.backbones.resnet import keys as resnet_keys


def senet(
    x: Any, depth: int = 154, se_reduction: int = 16, groups: int = 64, drop_path_rate: float = 0.0
) -> Any:
    """From pixels to the last map, (batch, height / 32, width / 32, 2048).

    Args:
        x: normalised pixels.
        depth: 154, whose stem is three convolutions, or that of a ResNet of bottlenecks, which here
            have their stride on the first 1x1.
        se_reduction: r of the squeeze-and-excitation.
        groups: of the 3x3 convolutions of depth 154.
        drop_path_rate: chance that the last block is dropped in training; it falls linearly towards
            the input.
    """
    if depth == 154:
        x = conv_bn(x, 64, 3, 2, name="stem_conv1")
        x = conv_bn(x, 64, 3, name="stem_conv2")
        x = conv_bn(x, 128, 3, name="stem_conv3")
        block, counts = partial(half_bottleneck, groups=groups), BLOCKS[152][1]
    else:
        x = conv_bn(x, 64, 7, 2, name="stem_conv")
        block, counts = partial(bottleneck, stride_at=1), BLOCKS[depth][1]
    x = ceil_max_pool(x, 3, 2, name="stem_pool")
    return residual_stages(x, block, counts, drop_path_rate, se_reduction=se_reduction)


def half_bottleneck(
    x: Any, width: int, stride: int, name: str, drop: float, groups: int, se_reduction: int
) -> Any:
    """1x1 to twice `width`, grouped 3x3 to four times, 1x1; the shortcut that halves is a 3x3."""
    y = conv_bn(x, 2 * width, 1, name=f"{name}_conv1")
    y = conv_bn(y, 4 * width, 3, stride, groups=groups, name=f"{name}_conv2")
    y = conv_bn(y, 4 * width, 1, name=f"{name}_conv3", activation=None)
    return join(x, y, stride, name, drop, se_reduction, kernel=3 if stride == 2 else 1)


_FIXED = {"stem_conv": "layer0.conv1", "stem_bn": "layer0.bn1", "top_logits": "last_linear"} | {
    f"stem_{part}{i}": f"layer0.{part}{i}" for part in ("conv", "bn") for i in (1, 2, 3)
}


def keys(names: Sequence[str]) -> dict[str, tuple[str, ...]]:
    """Module names in the authors' state dicts and timm's `legacy_*`, which spell them alike."""
    blocks = resnet_keys([name for name in names if name not in _FIXED])
    legacy = {name: module.replace(".se.", ".se_module.") for name, (module,) in blocks.items()}
    return {name: (_FIXED.get(name) or legacy[name],) for name in names}
