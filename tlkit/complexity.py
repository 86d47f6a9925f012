"""What each layer of a network costs: memory, parameters and multiply-accumulates.

Counted as lectures and papers do: multiply-accumulates of convolution and dense layers, biases left
out, for one image.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Any

import keras
import pandas as pd
from keras import layers

BYTES = 4  # of a float32
COLUMNS = (
    "layer",
    "kind",
    "output_shape",
    "memory_kb",
    "parameters",
    "trainable",
    "macs",
    "operations",
)


def layer_table(model: keras.Model) -> pd.DataFrame:
    """One row for each layer, from the input to the output.

    Args:
        model: a flat functional model; layers of unknown size (None) cannot be counted.

    Returns:
        layer (name), kind (class), output_shape (tuple, without the batch), memory_kb (of the
        output in float32, for one image), parameters (batch norm's statistics included), trainable
        (parameters that training moves), macs (multiply-accumulates of convolution and dense
        layers), operations (macs, and for a pool its window times its outputs).
    """
    rows = [_row(layer) for layer in _flat(model)]
    return pd.DataFrame(rows, columns=list(COLUMNS))


def macs(model: keras.Model) -> int:
    """Multiply-accumulates of one image."""
    return sum(_macs(layer, _output_shape(layer)) for layer in _flat(model))


def trainable_parameters(model: keras.Model) -> int:
    """Numbers that training moves."""
    return numbers(model.trainable_weights)


def numbers(weights: Iterable[keras.Variable]) -> int:
    """How many numbers some weights hold."""
    return sum(math.prod(weight.shape) for weight in weights)


@contextmanager
def shapes_only() -> Iterator[None]:
    """Networks built inside have shapes but no numbers: a VGG19 takes no memory and no time.

    They can be counted, not run. On leaving, Keras' global state is reset (names start anew),
    because it would otherwise still draw the numbers later.
    """
    try:
        with keras.StatelessScope(initialize_variables=False):
            yield
    finally:
        keras.utils.clear_session(free_memory=False)


def _flat(model: keras.Model) -> Iterator[layers.Layer]:
    """The layers of a model, those of a Sequential in it (ConvNeXt) one by one."""
    for layer in model.layers:
        if isinstance(layer, keras.Sequential):
            yield from _flat(layer)
        else:
            yield layer


def _row(layer: layers.Layer) -> tuple[Any, ...]:
    shape = _output_shape(layer)
    multiplications = _macs(layer, shape)
    return (
        layer.name,
        type(layer).__name__,
        shape,
        math.prod(shape) * BYTES / 1024,
        numbers(layer.weights),
        numbers(layer.trainable_weights),
        multiplications,
        multiplications or _pooled(layer, shape),
    )


def _output_shape(layer: layers.Layer) -> tuple[int, ...]:
    output = layer.output
    return tuple((output[0] if isinstance(output, list) else output).shape[1:])


def _macs(layer: layers.Layer, output: tuple[int, ...]) -> int:
    """Each kernel element is used once for every place of the output."""
    if isinstance(layer, layers.SeparableConv2D):
        kernels = [layer.depthwise_kernel, layer.pointwise_kernel]
    elif isinstance(layer, (layers.Conv2D, layers.DepthwiseConv2D, layers.Dense)):
        kernels = [layer.kernel]
    else:
        return 0
    return sum(math.prod(kernel.shape) for kernel in kernels) * math.prod(output[:-1])


def _pooled(layer: layers.Layer, output: tuple[int, ...]) -> int:
    if isinstance(layer, (layers.MaxPooling2D, layers.AveragePooling2D)):
        return math.prod(layer.pool_size) * math.prod(output)
    if isinstance(layer, (layers.GlobalAveragePooling2D, layers.GlobalMaxPooling2D)):
        return math.prod(layer.input.shape[1:])
    return 0
