"""LeNet-5 (LeCun, Bottou, Bengio & Haffner 1998, Proc. IEEE 86(11), section II.B) and descendants.

| layer | kind                     | maps | kernel | side | trainable |
|-------|--------------------------|------|--------|------|-----------|
| C1    | convolution              | 6    | 5x5    | 28   | 156       |
| S2    | trainable subsampling    | 6    | 2x2    | 14   | 12        |
| C3    | convolution, table I     | 16   | 5x5    | 10   | 1,516     |
| S4    | trainable subsampling    | 16   | 2x2    | 5    | 32        |
| C5    | convolution              | 120  | 5x5    | 1    | 48,120    |
| F6    | fully connected          | 84   |        |      | 10,164    |
| RBF   | distance to a fixed code | n    |        |      | 0         |

Every layer up to F6 squashes with the paper's sigmoid, A tanh(S a) (appendix A), subsampling too:
with the logistic function in its place ten epochs on 6,400 digits are not enough. The weights start
uniformly within 2.4 / fan-in, as in the appendix.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from keras import initializers, layers, ops

from tlkit.backbones._blocks import conv, logits

CONNECTIONS = (  # table I: the maps of S2 that each of the 16 maps of C3 sees, by their number
    *((0, 1, 2), (1, 2, 3), (2, 3, 4), (3, 4, 5), (0, 4, 5), (0, 1, 5)),
    *((0, 1, 2, 3), (1, 2, 3, 4), (2, 3, 4, 5), (0, 3, 4, 5), (0, 1, 4, 5), (0, 1, 2, 5)),
    *((0, 1, 3, 4), (1, 2, 4, 5), (0, 2, 3, 5)),
    (0, 1, 2, 3, 4, 5),
)
# What the output units wait for at F6: pictures of 7x12, in the manner of figure 3; # is +1, . -1.
BITMAPS = """
..###.. ...#... .#####. .#####. ....##. ####### ..####. ####### .#####. .#####.
.##.##. ..##... ##...## ##...## ....##. ##..... .##.... ##...## ##...## ##...##
##...## .###... ##...## .....## ...###. ##..... ##..... .....## ##...## ##...##
##...## ...#... .....## .....## ..####. ##..... ##..... ....##. ##...## ##...##
##...## ...#... .....## .....## .##.##. ######. ##..... ....##. .##.##. ##...##
##...## ...#... ....##. ..####. ##..##. .....## ######. ...##.. ..###.. .######
##...## ...#... ...##.. .....## ####### .....## ##...## ...##.. .##.##. .....##
##...## ...#... ..##... .....## ....##. .....## ##...## ..##... ##...## .....##
##...## ...#... .##.... .....## ....##. .....## ##...## ..##... ##...## .....##
##...## ...#... ##..... .....## ....##. ##...## ##...## .##.... ##...## .....##
.##.##. ...#... ##..... ##...## ....##. ##...## .##.##. .##.... ##...## ....##.
..###.. .#####. ####### .#####. ....##. .#####. ..###.. .##.... .#####. .####..
"""


def lenet5(x: Any) -> Any:
    """C1 to C5: (batch, 32, 32, 1) to (batch, 1, 1, 120), and more for a larger picture."""
    x = squash(layers.Conv2D(6, 5, kernel_initializer=within(25), name="c1_conv")(x))
    x = subsample(x, name="s2")
    x = squash(partly_connected(x, name="c3_conv"))
    x = subsample(x, name="s4")
    return squash(layers.Conv2D(120, 5, kernel_initializer=within(400), name="c5_conv")(x))


def within(fan_in: int) -> initializers.Initializer:
    """Uniform between -2.4 / fan-in and 2.4 / fan-in (appendix A)."""
    return initializers.RandomUniform(-2.4 / fan_in, 2.4 / fan_in)


def squash(x: Any) -> Any:
    """A tanh(S a) with A = 1.7159 and S = 2/3, so that f(1) = 1 and f(-1) = -1 (appendix A)."""
    return 1.7159 * ops.tanh(2 / 3 * x)


def subsample(x: Any, *, name: str) -> Any:
    """Mean of 2x2, times one trainable weight per map, plus one bias per map, then the sigmoid.

    The paper weighs the sum of the four, here it is their mean. The weight starts at 16 (4 on the
    sum): C1 starts small, and with less the layers behind see hardly anything at first.
    """
    x = layers.AveragePooling2D(2, name=f"{name}_mean")(x)
    start = initializers.Constant(16.0)
    return squash(layers.DepthwiseConv2D(1, depthwise_initializer=start, name=f"{name}_scale")(x))


def partly_connected(x: Any, *, name: str) -> Any:
    """C3: 16 maps, each of which sees only the maps of S2 that table I names.

    Each is a convolution of its own on what it sees: a missing connection has no weight at all.
    """
    maps = []
    for i, sees in enumerate(CONNECTIONS):
        seen = ops.take(x, np.array(sees), axis=-1)
        start = within(25 * len(sees))
        maps.append(layers.Conv2D(1, 5, kernel_initializer=start, name=f"{name}{i}")(seen))
    return layers.Concatenate(name=name)(maps)


def f6_rbf(x: Any, classes: int | None) -> Any:
    """F6 and the Euclidean radial basis functions (equation 7), as the logits of a softmax.

    A unit's output is the squared distance |x - w|^2 between F6 and its code: a penalty. Its
    negative is a logit, and softmax cross-entropy on it is the paper's discriminative criterion
    (equation 9) without the constant class j.

    Args:
        x: the maps of C5.
        classes: outputs; None stops at F6.
    """
    x = layers.GlobalAveragePooling2D(name="top_pool")(x)  # one place, unless the picture is larger
    x = squash(layers.Dense(84, kernel_initializer=within(120), name="top_f6")(x))
    if classes is None:
        return x
    distance = ops.sum(ops.square(ops.expand_dims(x, 1) - codes(classes)), axis=-1)
    return layers.Rescaling(-1.0, name="top_logits")(distance)


def codes(classes: int) -> np.ndarray:
    """The fixed codes of the output units: bitmaps of 0 to 9, then random ones from a fixed seed.

    The paper considers codes "chosen at random with equal probabilities for -1 and +1" (II.B) and
    prefers pictures, so that similar characters get similar codes.

    Returns:
        float32, (classes, 84): -1 or +1.
    """
    rows = [line.split() for line in BITMAPS.split("\n") if line]
    digits = ["".join(picture) for picture in zip(*rows, strict=True)]
    drawn = np.array([[1 if dot == "#" else -1 for dot in digit] for digit in digits], np.float32)
    more = np.random.default_rng(1998).choice([-1, 1], (max(0, classes - 10), 84))
    return np.concatenate([drawn, more.astype(np.float32)])[:classes]


def lenet5_modern(x: Any) -> Any:
    """LeNet-5 as it is taught today: tanh, plain average pools, every map of C3 sees all six."""
    x = layers.Conv2D(6, 5, activation="tanh", name="c1_conv")(x)
    x = layers.AveragePooling2D(2, name="s2_pool")(x)
    x = layers.Conv2D(16, 5, activation="tanh", name="c3_conv")(x)
    x = layers.AveragePooling2D(2, name="s4_pool")(x)
    return layers.Conv2D(120, 5, activation="tanh", name="c5_conv")(x)


def f6_linear(x: Any, classes: int | None) -> Any:
    """F6 with tanh, then a linear output."""
    x = layers.GlobalAveragePooling2D(name="top_pool")(x)
    x = layers.Dense(84, activation="tanh", name="top_f6")(x)
    return logits(x, classes)


def lenet(x: Any) -> Any:
    """The wider one for 28x28, with ReLU and max pools: to (batch, 7, 7, 50)."""
    x = conv(x, 20, 5, name="stage1_conv", use_bias=True, activation="relu")
    x = layers.MaxPooling2D(2, name="stage1_pool")(x)
    x = conv(x, 50, 5, name="stage2_conv", use_bias=True, activation="relu")
    return layers.MaxPooling2D(2, name="stage2_pool")(x)


def fc500(x: Any, classes: int | None) -> Any:
    """500-n on all 2,450 numbers of the last map."""
    x = layers.Flatten(name="top_flatten")(x)
    x = layers.Dense(500, activation="relu", name="top_fc1")(x)
    return logits(x, classes)
