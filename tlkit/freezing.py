"""Freeze and unfreeze a backbone by stage; a trained backbone's batch norm stays in inference."""

from __future__ import annotations

from typing import Any

import keras

from tlkit.backbones import Backbone, stage_of
from tlkit.errors import RecipeError, did_you_mean

HEAD = "head"


def parts(model: keras.Model, row: Backbone) -> dict[str, str]:
    """Which part of the classifier each layer belongs to: a stage of the row, "top" or "head".

    "top" are a backbone's own fully connected layers, where the head keeps them; preprocessing
    belongs to no part and is left out.
    """
    stages = stage_of(row, [layer.name for layer in model.layers])
    named = dict(stages)
    for layer in model.layers:
        part = layer.name.partition("_")[0]
        if part in (HEAD, "top"):
            named[layer.name] = part
    return named


def freeze(model: keras.Model, row: Backbone) -> None:
    """Make every layer but the head's untrainable (step 2 of the four-step recipe)."""
    where = parts(model, row)
    for layer in model.layers:
        layer.trainable = where.get(layer.name) == HEAD


def unfreeze(model: keras.Model, row: Backbone, what: str) -> None:
    """Make the head and some of the backbone trainable, its batch norm excepted.

    Batch norm keeps the statistics of the large data set it was trained on: a small one would spoil
    them (Keras transfer-learning guide), and `layer.trainable = False` is what holds it in
    inference under `fit`.

    Args:
        model: a classifier's model.
        row: its backbone's row.
        what: "last" (stage), a number of stages counted from the output, "all", or the
            name of the first stage to train.

    Raises:
        RecipeError: no such stage, or more stages than there are.
    """
    trained = chosen(model, row, what)
    where = parts(model, row)
    for layer in model.layers:
        part = where.get(layer.name)
        layer.trainable = part == HEAD or (part in trained and not _is_batch_norm(layer))


def stages_of(model: keras.Model, row: Backbone) -> list[str]:
    """The stages that hold weights in this model, input to output; "top" last, where kept."""
    where = parts(model, row)
    weighted = {where.get(layer.name) for layer in model.layers if layer.weights}
    return [stage for stage in (*row.stages, "top") if stage in weighted]


def last_frozen(model: keras.Model, row: Backbone) -> str | None:
    """The layer whose output everything trainable starts from; None when nothing is frozen.

    Up to there the network is a fixed function of the image: it can be run once and its output
    kept.
    """
    where = parts(model, row)
    order = [*row.stages, "top", HEAD]
    trained = {where.get(layer.name) for layer in model.layers if layer.trainable and layer.weights}
    first = min((order.index(part) for part in trained if part in order), default=len(order))
    pooled = [layer.name for layer in model.layers if layer.name == "head_pool"]
    if order[first:] == [HEAD] and pooled:
        return pooled[0]
    before = [layer.name for layer in model.layers if where.get(layer.name) in order[:first]]
    return before[-1] if before else None


def rate_factors(model: keras.Model, row: Backbone, decay: float) -> dict[str, float]:
    """What each trained variable's rate is multiplied by, by its path: 1 for the head, `decay` for
    the last stage, its square for the one before, and so on (Howard & Ruder 2018, section 3.2)."""
    where = parts(model, row)
    order = [HEAD, *reversed(stages_of(model, row))]
    return {
        weight.path: decay ** order.index(where[layer.name])
        for layer in model.layers
        for weight in layer.trainable_weights
    }


def chosen(model: keras.Model, row: Backbone, what: str) -> set[str]:
    """The stages that `unfreeze(..., what)` trains; RecipeError when there is no such stage."""
    stages = stages_of(model, row)
    if what == "all":
        return set(stages)
    count = 1 if what == "last" else int(what) if what.isdigit() else None
    if count is None:
        if what not in stages:
            raise RecipeError(
                f"No stage {what!r} to unfreeze.{did_you_mean(what, stages)} "
                f"Choose last, all, a number, or one of {', '.join(stages)}."
            )
        return set(stages[stages.index(what) :])
    if not 1 <= count <= len(stages):
        raise RecipeError(
            f"Cannot unfreeze {count} stages: there are {len(stages)} ({', '.join(stages)})."
        )
    return set(stages[-count:])


def _is_batch_norm(layer: Any) -> bool:
    return isinstance(layer, keras.layers.BatchNormalization)
