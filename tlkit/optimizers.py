"""Optimizers and learning-rate schedules: Keras' own, by the names of the recipe."""

from __future__ import annotations

from typing import Any

import keras


def make_optimizer(name: str, rate: Any) -> keras.optimizers.Optimizer:
    """A Keras optimizer; SGD with Nesterov momentum 0.9, the rest as Keras sets them."""
    if name == "sgd":
        return keras.optimizers.SGD(rate, momentum=0.9, nesterov=True)
    kinds = {
        "adam": keras.optimizers.Adam,
        "adamw": keras.optimizers.AdamW,
        "rmsprop": keras.optimizers.RMSprop,
    }
    return kinds[name](rate)


def make_schedule(name: str, rate: float, steps: int) -> Any:
    """The rate itself (constant, and plateau, which a callback lowers) or a Keras schedule over
    `steps`."""
    if name == "cosine":
        return keras.optimizers.schedules.CosineDecay(rate, steps)
    return rate
