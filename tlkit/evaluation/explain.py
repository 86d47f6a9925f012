"""What the network saw: its input, where it looked, its first filters, and what each stage made of
it.

Where it looked is Grad-CAM (Selvaraju et al. 2017, arXiv:1610.02391, equations 1 and 2) on the
backbone's last feature map. The classifier is one flat graph, so any of its layers can be read.
"""

from __future__ import annotations

import base64
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import cv2
import keras
import numpy as np
import pandas as pd
from numpy.typing import NDArray

from tlkit import freezing
from tlkit.classifier import Classifier
from tlkit.data.images import read_image
from tlkit.evaluation.displays import most_correct, most_wrong
from tlkit.progress import track

Picture = NDArray[np.uint8]

WRONG, RIGHT = 8, 4
"""Pictures of the report that are explained: the most wrong, and a few right ones."""
CHANNELS = 8
"""Channels of a stage that are shown: those that answer the picture most."""
FILTERS = 64
"""First-layer filters that are shown."""
BATCH = 4
"""Pictures that are explained at a time: called directly, Keras keeps every layer's output."""
SIDE = 192
"""Side of an embedded picture, pixels."""


def last_map(classifier: Classifier) -> str:
    """The layer whose output is the last feature map: the end of the last stage that is a map."""
    ends = stage_ends(classifier)
    wide = [name for name, shape in ends.values() if len(shape) == 4 and shape[1:3] != (1, 1)]
    maps = [name for name, shape in ends.values() if len(shape) == 4]
    return (wide or maps)[-1]


def stage_ends(classifier: Classifier) -> dict[str, tuple[str, tuple[int | None, ...]]]:
    """Stage to its last layer and that layer's output shape, input to output."""
    where = freezing.parts(classifier.model, classifier.row)
    ends = {
        where[layer.name]: (layer.name, tuple(layer.output.shape))
        for layer in classifier.model.layers
        if where.get(layer.name) in classifier.row.stages
    }
    return {stage: ends[stage] for stage in classifier.row.stages if stage in ends}


def grad_cam(
    classifier: Classifier, images: NDArray[np.uint8], targets: Sequence[int]
) -> NDArray[np.float32]:
    """How much each place of the last feature map speaks for a class.

    Args:
        classifier: any.
        images: uint8, (n, size, size, 3), as the network takes them.
        targets: for each image the number of the class that is asked about.

    Returns:
        float32, (n, size, size): 0 says nothing for the class, 1 the most; all 0 where nothing
        speaks for it.
    """
    model, layer = classifier.model, last_map(classifier)
    maps = keras.Model(model.input, model.get_layer(layer).output)
    feature = np.asarray(maps(images.astype(np.float32), training=False))
    return _heat(_to_logits(classifier, layer), feature, targets, classifier.size)


def _to_logits(classifier: Classifier, layer: str) -> keras.Model:
    model = classifier.model
    logits = model.get_layer("head_probabilities").input
    return keras.Model(model.get_layer(layer).output, logits)


def _heat(
    rest: keras.Model, feature: NDArray[np.float32], targets: Sequence[int], size: int
) -> NDArray[np.float32]:
    """`grad_cam` of images whose last feature map is known, at `size` pixels."""
    chosen = np.eye(rest.output_shape[-1], dtype=np.float32)[np.asarray(targets)]
    slope = _gradient(rest, feature, chosen)
    weight = slope.mean(axis=(1, 2), keepdims=True)
    heat = np.maximum((weight * feature).sum(axis=-1), 0)
    heat /= np.maximum(heat.max(axis=(1, 2), keepdims=True), np.finfo(np.float32).tiny)
    wide = [cv2.resize(each, (size, size), interpolation=cv2.INTER_CUBIC) for each in heat]
    return np.clip(np.stack(wide), 0, 1).astype(np.float32)


def _asked(row: dict[Any, Any], classifier: Classifier) -> str:
    """The class that a picture is explained for: the predicted one, of several the surest."""
    if not classifier.multi_label:
        return str(row["predicted"])
    return max(classifier.classes, key=lambda name: row[f"p_{name}"])


def explain(classifier: Classifier, table: pd.DataFrame, root: Path) -> dict[str, Any]:
    """Explain some pictures; the values are ready for JSON and for the report.

    Args:
        classifier: a trained one.
        table: columns path, predicted, confidence, and label (None where it is not known).
        root: the folder the paths are relative to.

    Returns:
        filters: the first layer's filters as one picture (None where it is no convolution);
        images: for each row path, label, predicted, confidence, right (None where that is not
        known), and pictures as base64 JPEG: seen, looked (Grad-CAM for the predicted class),
        stages [{name, picture}]; places: height and width of the map behind Grad-CAM.

    Raises:
        DataError: a picture cannot be read.
    """
    view = classifier.view
    ends = {
        stage: name for stage, (name, shape) in stage_ends(classifier).items() if len(shape) == 4
    }
    outputs = [classifier.model.get_layer(name).output for name in ends.values()]
    reader = keras.Model(classifier.model.input, outputs)
    last = last_map(classifier)
    looked_at = next(stage for stage, name in ends.items() if name == last)
    rest = _to_logits(classifier, last)
    index = {name: i for i, name in enumerate(classifier.classes)}
    images = []
    starts = range(0, len(table), BATCH)
    for start in track(starts, "what the network saw", total=len(starts)):
        rows = table.iloc[start : start + BATCH].to_dict("records")
        seen = np.stack([view(read_image(root / row["path"], view.at_least)) for row in rows])
        maps = keras.tree.flatten(reader(seen.astype(np.float32), training=False))
        stages = dict(zip(ends, (np.asarray(each) for each in maps), strict=True))
        targets = [index[_asked(row, classifier)] for row in rows]
        heat = _heat(rest, stages[looked_at], targets, classifier.size)
        for i, row in enumerate(rows):
            images.append(
                {
                    "path": row["path"],
                    "label": row["label"],
                    "predicted": row["predicted"],
                    "confidence": float(row["confidence"]),
                    "right": None if row["label"] is None else row["label"] == row["predicted"],
                    "seen": encode(seen[i]),
                    "looked": encode(overlay(seen[i], heat[i])),
                    "stages": [
                        {"name": stage, "picture": encode(strongest(feature[i]), 512)}
                        for stage, feature in stages.items()
                    ],
                }
            )
    filters = first_filters(classifier)
    return {
        "filters": None if filters is None else encode(filters),
        "images": images,
        "places": list(classifier.model.get_layer(last).output.shape[1:3]),
    }


def worth_explaining(predictions: pd.DataFrame) -> pd.DataFrame:
    """The most wrong pictures of the headline split and a few right ones."""
    return pd.concat([most_wrong(predictions, WRONG), most_correct(predictions, RIGHT)])


def first_filters(classifier: Classifier) -> Picture | None:
    """The first convolution's filters, each stretched to 0-255, as one picture."""
    for layer in classifier.model.layers:
        kernel = getattr(layer, "kernel", None)
        if kernel is not None and len(kernel.shape) == 4 and kernel.shape[2] in (1, 3):
            filters = np.moveaxis(np.asarray(kernel), -1, 0)[:FILTERS]
            return mosaic([_stretch(each) for each in filters], 24)
    return None


def strongest(feature: NDArray[np.float32]) -> Picture:
    """The channels of one map, (height, width, channels), that answer most, side by side."""
    order = np.argsort(-np.abs(feature).mean(axis=(0, 1)), kind="stable")[:CHANNELS]
    return mosaic([_stretch(feature[:, :, channel]) for channel in order], 96, columns=CHANNELS)


def overlay(image: Picture, heat: NDArray[np.float32]) -> Picture:
    """The picture in grey, with what spoke for the class in colour."""
    grey = cv2.cvtColor(cv2.cvtColor(image, cv2.COLOR_RGB2GRAY), cv2.COLOR_GRAY2RGB)
    colour = cv2.applyColorMap((heat * 255).astype(np.uint8), cv2.COLORMAP_INFERNO)
    colour = cv2.cvtColor(colour, cv2.COLOR_BGR2RGB)
    share = 0.65 * heat[..., None]
    return (grey * (1 - share) + colour * share).astype(np.uint8)


def mosaic(tiles: Sequence[Picture], side: int, columns: int | None = None) -> Picture:
    """Square tiles in rows, each enlarged to `side` pixels without smoothing, one pixel apart."""
    columns = columns or math.ceil(math.sqrt(len(tiles)))
    rows = math.ceil(len(tiles) / columns)
    sheet = np.full((rows * (side + 1) - 1, columns * (side + 1) - 1, 3), 128, np.uint8)
    for i, tile in enumerate(tiles):
        y, x = (i // columns) * (side + 1), (i % columns) * (side + 1)
        wide = cv2.resize(tile, (side, side), interpolation=cv2.INTER_NEAREST)
        sheet[y : y + side, x : x + side] = wide.reshape(side, side, -1)
    return sheet


def encode(image: Picture, side: int = SIDE) -> str:
    """A picture as base64 JPEG, its longer side at most `side` pixels."""
    scale = min(1.0, side / max(image.shape[:2]))
    small = cv2.resize(image, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA)
    quality = [cv2.IMWRITE_JPEG_QUALITY, 85]
    _, data = cv2.imencode(".jpg", cv2.cvtColor(small, cv2.COLOR_RGB2BGR), quality)
    return base64.b64encode(data.tobytes()).decode()


def _stretch(values: NDArray[Any]) -> Picture:
    """Any numbers as 0-255; a channel that is the same everywhere is black."""
    low, high = float(values.min()), float(values.max())
    return ((values - low) * (255 / (high - low) if high > low else 0)).astype(np.uint8)


def _gradient(
    model: keras.Model, x: NDArray[np.float32], chosen: NDArray[np.float32]
) -> NDArray[np.float32]:
    """How the chosen outputs of `model` change with its input; the shape of `x`."""
    if keras.backend.backend() == "jax":
        import jax

        def score(values: Any) -> Any:
            outputs, _ = model.stateless_call(
                model.trainable_variables, model.non_trainable_variables, values, training=False
            )
            return (outputs * chosen).sum()

        return np.asarray(jax.grad(score)(x))
    import tensorflow as tf

    values = tf.constant(x)
    with tf.GradientTape() as tape:
        tape.watch(values)
        total = tf.reduce_sum(model(values, training=False) * chosen)
    return np.asarray(tape.gradient(total, values))
