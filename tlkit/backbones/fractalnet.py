"""FractalNet: ultra-deep networks without residuals (Larsson et al. 2016, arXiv:1605.07648).

A fractal block of C columns is f_1 = conv, f_C+1(z) = f_C(f_C(z)) joined with conv(z) (figure 1):
column c holds 2^(c-1) convolutions, and wherever several columns end together a join takes the mean
of them. Five blocks, each ended by a 2x2 max pool, make 5 * 2^(C-1) layers.

Drop-path (section 3) trains subsets of the paths. Local: a join leaves out each of its inputs with
a fixed probability, but never all. Global: one column carries the whole network, so that each
learns to work alone. Every image draws its own; inference joins all.

The paper states how many parameters the networks have (38.6 M with 20 layers, 22.9 M with 40) and
the widths of the first, but not how one block's width becomes the next one's. `widened` is what
reproduces the numbers: a 1x1 convolution in front of the blocks it names; in the others the first
convolution of each column does it (with which the first would have 33.7 M).
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from statistics import NormalDist
from typing import Any

from keras import layers, ops

from tlkit.backbones._blocks import conv_bn

WIDTHS = (64, 128, 256, 512, 512)


def fractalnet(
    x: Any,
    columns: int = 3,
    widths: Sequence[int] = WIDTHS,
    widened: Sequence[int] = (1, 2, 3, 4),
    local_drop: float = 0.0,
    global_drop: float = 0.0,
) -> Any:
    """From pixels to (batch, height / 32, width / 32, widths[-1]).

    Args:
        x: normalised pixels.
        columns: C.
        widths: channels of each block.
        widened: numbers of the blocks that a 1x1 convolution opens; see the module.
        local_drop: chance that a join leaves out one of its inputs in training (the paper's 0.15).
        global_drop: share of the images that train a single column (the paper's 0.5); the others
            train with `local_drop`.
    """
    # One seed for all blocks: each draws the same columns for itself, from its own input, and a
    # network can still be cut between two blocks.
    seed = random.randrange(2**31)
    for stage, width in enumerate(widths, start=1):
        if stage in widened:
            x = conv_bn(x, width, 1, name=f"stage{stage}_widen_conv")
        chosen = chosen_columns(x, columns, global_drop, seed, name=f"stage{stage}")
        x = block(x, width, columns, chosen, local_drop, name=f"stage{stage}")
        x = layers.MaxPooling2D(2, name=f"stage{stage}_pool")(x)
    return x


def block(x: Any, width: int, columns: int, chosen: Any, local_drop: float, name: str) -> Any:
    """The fractal f_C, row by row: column c has a convolution every 2^(C-c) rows."""
    rows = 2 ** (columns - 1)
    paths = [x] * columns
    for row in range(1, rows + 1):
        ending = [c for c in range(columns) if row % (rows >> c) == 0]
        for c in ending:
            at = f"{name}_column{c + 1}_conv{row // (rows >> c)}"
            paths[c] = conv_bn(paths[c], width, 3, name=at)
        joined = join([paths[c] for c in ending], chosen, local_drop, name=f"{name}_join{row}")
        for c in ending:
            paths[c] = joined
    return paths[0]


def join(paths: Sequence[Any], chosen: Any, local_drop: float, name: str) -> Any:
    """The mean of the columns that end here (the deepest ones), in training of those that are kept.

    Args:
        paths: the columns' outputs, float (batch, height, width, channels), the deepest last.
        chosen: of `chosen_columns`.
        local_drop: chance to leave out one of the paths in training.
        name: of the layer.
    """
    if len(paths) == 1:
        return paths[0]
    if chosen is None and not local_drop:
        return layers.Average(name=name)(paths)
    keep = survivors(paths[0], len(paths), local_drop, name) if local_drop else None
    if chosen is not None:
        here = chosen[..., -len(paths) :]
        if keep is not None:  # an image either draws one column or drops locally
            alone = ops.logical_not(ops.all(chosen, axis=-1, keepdims=True))
            here = ops.logical_and(here, ops.logical_or(keep, alone))
        # Where the one column does not end here, this mean is left out at a later join.
        keep = ops.logical_or(here, ops.logical_not(ops.any(here, axis=-1, keepdims=True)))
    share = ops.cast(keep, paths[0].dtype)
    share = share / ops.sum(share, axis=-1, keepdims=True)
    shares = ops.split(share, len(paths), axis=-1)
    weighed = [
        layers.Multiply(name=f"{name}_path{i}")([path, share])
        for i, (path, share) in enumerate(zip(paths, shares, strict=True), start=1)
    ]
    return layers.Add(name=name)(weighed)


def survivors(x: Any, paths: int, rate: float, name: str) -> Any:
    """Which paths local drop-path keeps: bool (batch, 1, 1, paths), all of them at inference.

    A path stays when its normal noise passes the quantile `rate`, or is the largest of all.
    """
    noise = _noise(x, paths, None, name=f"{name}_noise")
    limit = ops.minimum(ops.max(noise, axis=-1, keepdims=True), NormalDist().inv_cdf(rate))
    return ops.greater_equal(noise, limit)


def chosen_columns(x: Any, columns: int, share: float, seed: int, name: str) -> Any:
    """The columns that global drop-path lets pass: bool (batch, 1, 1, columns), or None for all.

    One column for a `share` of the images, all of them for the others and at inference.
    """
    if not share:
        return None
    noise = _noise(x, columns, seed, name=f"{name}_column_noise")
    chosen = ops.greater_equal(noise, ops.max(noise, axis=-1, keepdims=True))
    if share < 1:
        coin = _noise(x, 1, seed + 1, name=f"{name}_coin_noise")
        chosen = ops.logical_or(chosen, ops.greater_equal(coin, NormalDist().inv_cdf(share)))
    return chosen


def _noise(x: Any, count: int, seed: int | None, *, name: str) -> Any:
    """Normal numbers in training, zeros at inference: float (batch, 1, 1, count)."""
    zeros = ops.zeros_like(ops.mean(x, axis=(1, 2, 3), keepdims=True))
    return layers.GaussianNoise(1.0, seed=seed, name=name)(ops.repeat(zeros, count, axis=-1))
