"""keras.applications as backbones: built onto a given tensor, every layer named by its stage."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Any

import keras
from keras import layers

from tlkit.backbones._blocks import conv, logits


def application(x: Any, model: str, undo_scale: float | None = None) -> Any:
    """A network of keras.applications without its top, as part of the graph that `x` belongs to.

    Its layers are renamed `<stage>_<Keras' name>`. A stage ends where the map gets smaller, so they
    are `stem` (down to half the size), `stage1` (a quarter), `stage2` and so on.

    Args:
        x: Keras tensor, (batch, height, width, 3), normalised as the family expects.
        model: the function's name in keras.applications.
        undo_scale: undoes the division that the network begins with, for one that would normalise
            with statistics from its weights file (EfficientNet; there Keras even adds a layer when
            it loads the file). The row's preprocessing does all of it, and Keras' own layers,
            which keep their neutral statistics, change nothing.
    """
    if undo_scale:
        x = layers.Rescaling(undo_scale, name="preprocess_undo")(x)
    before = {id(x)} | {id(operation.output) for operation in _graph(x).operations}
    network = getattr(keras.applications, model)(
        include_top=False, weights=None, input_tensor=x, input_shape=tuple(x.shape[1:])
    )
    _name_by_stage([o for o in network.operations if id(o.output) not in before])
    return network.output


def _graph(x: Any) -> keras.Model:
    return keras.Model(keras.utils.get_source_inputs(x), x)


def _name_by_stage(operations: Iterable[Any]) -> None:
    """Prefix each name with the stage: by how many strided layers lie between the image and it."""
    levels: dict[int, int] = {}
    placed = []
    for operation in operations:  # inputs come before what uses them
        reached = [levels.get(id(tensor), 0) for tensor in keras.tree.flatten(operation.input)]
        level = max(reached) + _shrinks(operation)
        levels[id(operation.output)] = level
        placed.append((operation, level))
    first = min(level for operation, level in placed if getattr(operation, "trainable_weights", ()))
    counts: dict[str, int] = {}
    for operation, level in placed:
        stage = f"stage{level - first}" if level > first else "stem"
        name = operation.name
        kind = _snake(type(operation).__name__)
        if re.fullmatch(
            rf"{kind}(_\d+)?", name
        ):  # Keras counts such names through the whole process
            counts[kind] = counts.get(kind, 0) + 1
            name = f"{kind}_{counts[kind]}"
        operation.name = name if name.startswith(f"{stage}_") else f"{stage}_{name}"


def _shrinks(operation: Any) -> bool:
    if isinstance(operation, keras.Sequential):  # ConvNeXt's downsampling
        return any(_shrinks(layer) for layer in operation.layers)
    strides = getattr(operation, "strides", 1)
    return max(strides if isinstance(strides, (tuple, list)) else (strides,)) > 1


def _snake(name: str) -> str:
    """Keras' rule from a class to a name: `Conv2D` -> `conv2d`, `ReLU` -> `re_lu`."""
    name = re.sub(r"\W+", "", name)
    name = re.sub("(.)([A-Z][a-z]+)", r"\1_\2", name)
    return re.sub("([a-z])([A-Z])", r"\1_\2", name).lower()


def vgg_top(x: Any, classes: int | None) -> Any:
    """Flatten, 4096-4096-n."""
    x = layers.Flatten(name="top_flatten")(x)
    x = layers.Dense(4096, activation="relu", name="top_fc1")(x)
    x = layers.Dense(4096, activation="relu", name="top_fc2")(x)
    return logits(x, classes)


def mobilenet_v3_top(x: Any, classes: int | None, units: int) -> Any:
    """Global average, one 1x1 convolution with hard swish, dropout, the 1x1 convolution to n."""
    x = layers.GlobalAveragePooling2D(keepdims=True, name="top_pool")(x)
    x = conv(x, units, 1, name="top_conv", use_bias=True, activation="hard_swish")
    x = layers.Flatten(name="top_flatten")(x)
    return logits(x, classes, dropout=0.2)


def convnext_top(x: Any, classes: int | None) -> Any:
    """Global average, layer norm, dense: without a top, Keras norms the map itself instead."""
    unnormalised = x._keras_history.operation.input
    x = layers.GlobalAveragePooling2D(name="top_pool")(unnormalised)
    x = layers.LayerNormalization(epsilon=1e-6, name="top_norm")(x)
    return logits(x, classes)
