"""The blocks that several families share, with torch's arithmetic and addressable layer names.

Published checkpoints come from torch, where a padded stride-2 convolution or pool pads both sides
alike; Keras' `same` pads more on the right and at the bottom. So padding is explicit here:
`padding=None` means half the kernel on every side, a number means that many zeros, and "same" means
TensorFlow's rule.

Every `x` is a Keras tensor, float (batch, height, width, channels), and every `name` is the layer's
own: `<stage>_...`, for example `stage4_block2_conv1`.
"""

from __future__ import annotations

from typing import Any

from keras import layers, ops

EPS = 1e-5  # torch.nn.BatchNorm2d
MOMENTUM = 0.9  # torch's 0.1

Pair = int | tuple[int, int]
Padding = Pair | str | None


def conv(
    x: Any,
    filters: int,
    kernel: Pair,
    stride: int = 1,
    padding: Padding = None,
    *,
    name: str,
    groups: int = 1,
    use_bias: bool = False,
    activation: str | None = None,
) -> Any:
    """A convolution, He-initialised; zeros that `same` cannot add come from a `<name>_pad`."""
    x, mode = _pad(x, kernel, stride, padding, name)
    return layers.Conv2D(
        filters,
        kernel,
        stride,
        mode,
        groups=groups,
        use_bias=use_bias,
        activation=activation,
        kernel_initializer="he_normal",
        name=name,
    )(x)


def depthwise_conv(
    x: Any,
    kernel: Pair,
    stride: int = 1,
    padding: Padding = None,
    *,
    name: str,
    use_bias: bool = False,
) -> Any:
    """One filter per channel."""
    x, mode = _pad(x, kernel, stride, padding, name)
    return layers.DepthwiseConv2D(
        kernel, stride, mode, use_bias=use_bias, depthwise_initializer="he_normal", name=name
    )(x)


def batch_norm(x: Any, *, name: str, eps: float = EPS, momentum: float = MOMENTUM) -> Any:
    """Batch normalisation; `momentum` is Keras' (1 minus torch's)."""
    return layers.BatchNormalization(momentum=momentum, epsilon=eps, name=name)(x)


def activate(x: Any, activation: str | None, *, name: str) -> Any:
    """An activation as a layer of its own; None changes nothing."""
    return x if activation is None else layers.Activation(activation, name=name)(x)


def conv_bn(
    x: Any,
    filters: int,
    kernel: Pair,
    stride: int = 1,
    padding: Padding = None,
    *,
    name: str,
    activation: str | None = "relu",
    groups: int = 1,
    use_bias: bool = False,
    eps: float = EPS,
    momentum: float = MOMENTUM,
) -> Any:
    """Convolution, batch norm, activation: `stem_conv`, `stem_bn`, `stem_relu`.

    Args:
        x: the input.
        filters: output channels.
        kernel: side or (height, width), pixels.
        stride: pixels.
        padding: see the module.
        name: of the convolution; the others are called `sibling(name, "bn")` and so on.
        activation: a Keras activation, or None to stop after the batch norm.
        groups: of channels that do not mix.
        use_bias: of the convolution.
        eps: added to the variance.
        momentum: of the running statistics, Keras' way.
    """
    x = conv(x, filters, kernel, stride, padding, name=name, groups=groups, use_bias=use_bias)
    x = batch_norm(x, name=sibling(name, "bn"), eps=eps, momentum=momentum)
    return activate(x, activation, name=sibling(name, activation or ""))


def depthwise_conv_bn(
    x: Any,
    kernel: Pair,
    stride: int = 1,
    padding: Padding = None,
    *,
    name: str,
    activation: str | None = "relu",
    eps: float = EPS,
    momentum: float = MOMENTUM,
) -> Any:
    """`conv_bn` with one filter per channel."""
    x = depthwise_conv(x, kernel, stride, padding, name=name)
    x = batch_norm(x, name=sibling(name, "bn"), eps=eps, momentum=momentum)
    return activate(x, activation, name=sibling(name, activation or ""))


def sibling(name: str, kind: str) -> str:
    """The name of the layer that goes with a convolution.

    `stage1_block2_conv3` -> `stage1_block2_bn3`, `stem_conv` -> `stem_bn`; a last part that does
    not start with "conv" is kept: `stage1_block2_expand` -> `stage1_block2_expand_bn`.
    """
    head, _, last = name.rpartition("_")
    return f"{head}_{kind}{last[4:]}" if last.startswith("conv") else f"{name}_{kind}"


def max_pool(
    x: Any, size: int, stride: int, padding: int = 0, *, name: str, after_relu: bool = True
) -> Any:
    """Max pooling as torch does it, where the padding never wins.

    Zeros do as padding after a ReLU. Elsewhere (`after_relu=False`) a stride-1 pool, whose `same`
    is symmetric and pads with minus infinity, is thinned out; this needs `padding` = (size - 1) /
    2.
    """
    if padding and not after_relu:
        if 2 * padding != size - 1:
            raise ValueError(
                f"{name}: padding must be (size - 1) / 2. Received: {padding=}, {size=}"
            )
        x = layers.MaxPooling2D(size, 1, "same", name=f"{name}_dense")(x)
        return layers.MaxPooling2D(1, stride, "valid", name=name)(x)
    if padding:
        x = layers.ZeroPadding2D(padding, name=f"{name}_pad")(x)
    return layers.MaxPooling2D(size, stride, "valid", name=name)(x)


def ceil_max_pool(x: Any, size: int, stride: int, *, name: str) -> Any:
    """Max pooling with torch's `ceil_mode=True`, after a ReLU: an incomplete window counts too."""
    over = tuple((0, -(side - size) % stride) for side in x.shape[1:3])
    if any(after for _, after in over):
        x = layers.ZeroPadding2D(over, name=f"{name}_pad")(x)
    return layers.MaxPooling2D(size, stride, "valid", name=name)(x)


def avg_pool(
    x: Any, size: int, stride: int, padding: int = 0, *, name: str, count_padding: bool = True
) -> Any:
    """Average pooling; `count_padding` is torch's `count_include_pad`, True by default there too.

    Without it the padding must be what `same` adds (stride 1, half the window).
    """
    if padding and not count_padding:
        if stride != 1 or 2 * padding != size - 1:
            raise ValueError(
                f"{name}: uncounted padding must be what `same` adds. "
                f"Received: {size=}, {stride=}, {padding=}"
            )
        return layers.AveragePooling2D(size, 1, "same", name=name)(x)
    if padding:
        x = layers.ZeroPadding2D(padding, name=f"{name}_pad")(x)
    return layers.AveragePooling2D(size, stride, "valid", name=name)(x)


def squeeze_excite(
    x: Any, squeezed: int, *, name: str, activation: str = "relu", gate: str = "sigmoid"
) -> Any:
    """Squeeze-and-excitation (Hu et al. 2018, figure 2): weigh channels by the whole map's content.

    Args:
        x: the map.
        squeezed: units of the bottleneck, channels / r.
        name: prefix of the layers: `<name>_pool`, `_fc1`, `_fc2`, `_scale`.
        activation: after the first of the two fully connected layers.
        gate: after the second.
    """
    s = layers.GlobalAveragePooling2D(keepdims=True, name=f"{name}_pool")(x)
    s = conv(s, squeezed, 1, name=f"{name}_fc1", use_bias=True, activation=activation)
    s = conv(s, x.shape[-1], 1, name=f"{name}_fc2", use_bias=True, activation=gate)
    return layers.Multiply(name=f"{name}_scale")([x, s])


def local_response_norm(
    x: Any, k: float = 2.0, n: int = 5, alpha: float = 1e-4, beta: float = 0.75
) -> Any:
    """Divide by the activity of `n` neighbouring channels (Krizhevsky et al. 2012, section 3.3).

    b_i = a_i / (k + alpha * sum of a_j^2 over the n channels around i) ^ beta, with the paper's
    constants; alpha is not divided by n, as some libraries do.
    """
    channels = x.shape[-1]
    squares = ops.pad(ops.square(x), ((0, 0), (0, 0), (0, 0), (n // 2, n // 2)))
    around = sum(squares[..., i : i + channels] for i in range(n))
    return x / ops.power(k + alpha * around, beta)


def drop_path(x: Any, rate: float, *, name: str) -> Any:
    """Stochastic depth (Huang et al. 2016): drop an image's whole branch with probability `rate`.

    What survives is divided by 1 - rate in training, so that inference uses the full depth as it
    is.
    """
    return layers.Dropout(rate, noise_shape=(None, 1, 1, 1), name=name)(x) if rate else x


def flatten_chw(x: Any, *, name: str) -> Any:
    """Flatten a map in torch's order (channel, height, width), so that its Linear weights fit."""
    x = layers.Permute((3, 1, 2), name=f"{name}_chw")(x)
    return layers.Flatten(name=name)(x)


def pooled_top(x: Any, classes: int | None, dropout: float = 0.0) -> Any:
    """Global average, dropout, one dense layer: the top of most networks since 2014.

    Args:
        x: last feature map.
        classes: outputs; None stops at the features that the last layer would see.
        dropout: before the dense layer.
    """
    x = layers.GlobalAveragePooling2D(name="top_pool")(x)
    return logits(x, classes, dropout)


def logits(x: Any, classes: int | None, dropout: float = 0.0) -> Any:
    """The last dense layer, `top_logits`; None as `classes` leaves the features as they are."""
    if classes is None:
        return x
    if dropout:
        x = layers.Dropout(dropout, name="top_dropout")(x)
    return layers.Dense(classes, name="top_logits")(x)


def _pad(x: Any, kernel: Pair, stride: int, padding: Padding, name: str) -> tuple[Any, str]:
    """Pad `x` where the convolution cannot; returns it with the mode left to the convolution."""
    if padding == "same":
        return x, "same"
    kh, kw = _pair(kernel)
    ph, pw = (kh // 2, kw // 2) if padding is None else _pair(padding)
    if (ph, pw) == (0, 0):
        return x, "valid"
    if stride == 1 and (2 * ph + 1, 2 * pw + 1) == (kh, kw):
        return x, "same"  # at stride 1 `same` is symmetric
    return layers.ZeroPadding2D((ph, pw), name=f"{name}_pad")(x), "valid"


def _pair(value: Any) -> tuple[int, int]:
    return (value, value) if isinstance(value, int) else tuple(value)
