"""Backbones: every network of the registry, in Keras 3, able to load its published weights.

A file with a plain name is a paper or a family, one with an underscore is machinery. The rest of
tlkit imports from here what this page exports; weights it asks of `_weights`, which costs a tenth
of a second. Importing this package is cheap: Keras comes in when a network is built.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from tlkit.backbones._listing import backbones_table
from tlkit.backbones._registry import (
    BACKBONES,
    Backbone,
    get_backbone,
    list_backbones,
    load,
    stage_of,
)
from tlkit.errors import BackboneError

if TYPE_CHECKING:
    import keras

__all__ = [
    "BACKBONES",
    "Backbone",
    "apply_aux",
    "apply_backbone",
    "apply_top",
    "backbones_table",
    "build_backbone",
    "get_backbone",
    "list_backbones",
    "load",
    "stage_of",
]


def build_backbone(
    name: str,
    weights: str | Path | None = None,
    include_top: bool = True,
    classes: int | None = None,
    input_size: int | tuple[int, int] | None = None,
    *,
    aux: bool = False,
    **arguments: Any,
) -> keras.Model:
    """A network alone, from normalised pixels to logits or to its last feature map.

    Args:
        name: a name of the registry.
        weights: None or "none" for random ones, "imagenet" for the published ones, or a file.
        include_top: with the classification layers, or up to the last feature map.
        classes: outputs of the top; the published number (1000 on ImageNet) when None.
        input_size: side of the square input, or (height, width), pixels; the network's own when
            None.
        aux: also return the logits of the auxiliary classifiers, where the network has them.
        arguments: override the row's builder arguments, for example `drop_path_rate=0.1`.

    Returns:
        float32 (batch, height, width, channels), normalised as the row's `preprocess` says, to
        float32 logits (batch, classes), a list of logits with `aux`, or a feature map.

    Raises:
        BackboneError: an unknown name, an input too small, or `aux` where there is none.
        WeightsError: the weights cannot be had, or do not fit.
    """
    row = get_backbone(name)
    if aux and not (row.aux and include_top):
        raise BackboneError(f"{name} has no auxiliary classifiers here; leave aux out.")
    file = None
    if weights is not None and str(weights) != "none":
        from tlkit.backbones._weights import find_weights

        file = find_weights(
            row, weights
        )  # before the network is built: missing weights fail at once
    import keras

    height, width = _pair(input_size or row.input_size)
    image = keras.Input((height, width, row.channels), name="image")
    outputs = apply_backbone(row, image, **arguments)
    if include_top:
        heads = apply_aux(row, image, outputs, classes or row.classes) if aux else []
        outputs = apply_top(row, outputs, classes or row.classes)
        outputs = [outputs, *heads] if heads else outputs
    model = keras.Model(image, outputs, name=name.replace(".", "_"))
    if file is not None:
        from tlkit.backbones._weights import load_weights

        load_weights(model, row, file.path)
    return model


def apply_backbone(row: Backbone, x: Any, **arguments: Any) -> Any:
    """Run a row's builder on a Keras tensor; the layers join the graph that `x` belongs to.

    Args:
        row: of the registry.
        x: normalised pixels, float (batch, height, width, channels).
        arguments: override those of the row.

    Returns:
        The last feature map.

    Raises:
        BackboneError: another number of channels than the network's, or an image too small for it.
    """
    height, width, channels = x.shape[1:]
    if channels != row.channels:
        raise BackboneError(
            f"{row.name} takes images of {row.channels} channel(s). Received: {channels}; "
            "convert them, or choose another backbone (`tlkit backbones`)."
        )
    too_small = BackboneError(
        f"An image of {height}x{width} pixels is too small for {row.name}: nothing is left of it "
        f"on the way. Its own size is {row.input_size} (--img-size {row.input_size})."
    )
    try:
        y = load(row.builder)(x, **{**row.arguments, **arguments})
    except ValueError:  # Keras' words for a map smaller than the window that is to slide over it
        if min(height, width) < row.input_size:
            raise too_small from None
        raise
    if min(y.shape[1:]) < 1:
        raise too_small
    return y


def apply_top(row: Backbone, x: Any, classes: int | None) -> Any:
    """Run a row's own classification layers on its last feature map.

    Args:
        row: of the registry.
        x: the last feature map.
        classes: outputs; None stops at the features that the last layer would see.

    Returns:
        Logits (batch, classes), or features (batch, units).
    """
    return load(row.top)(x, classes, **row.top_arguments)


def apply_aux(row: Backbone, image: Any, features: Any, classes: int) -> list[Any]:
    """Run a row's auxiliary classifiers, which help in training and are dropped afterwards.

    Args:
        row: of the registry; `aux_weight` is what each one's loss counts beside the main one.
        image: the input of the graph.
        features: its last feature map, made by `apply_backbone`.
        classes: outputs.

    Returns:
        Logits (batch, classes) of each, from the input's side to the output's.

    Raises:
        BackboneError: the row has none, or the image is too small for them.
    """
    if row.aux is None:
        raise BackboneError(f"{row.name} has no auxiliary classifiers; leave them out.")
    import keras

    body = keras.Model(image, features)
    try:
        return load(row.aux)(lambda layer: body.get_layer(layer).output, classes)
    except ValueError:  # as in apply_backbone
        height, width = image.shape[1:3]
        if min(height, width) < row.input_size:
            raise BackboneError(
                f"An image of {height}x{width} pixels is too small for {row.name}'s auxiliary "
                f"classifiers. Its own size is {row.input_size}; take that, or leave them out."
            ) from None
        raise


def _pair(size: int | tuple[int, int]) -> tuple[int, int]:
    return (size, size) if isinstance(size, int) else size
