"""The precision in which a network trains; its weights, and all that comes after, are float32.

Mixed precision (Micikevicius et al. 2018): layers compute in 16 bits, which the tensor cores of a
GPU and the AMX units of a processor do several times as fast, and weights stay in 32. float16 has
a small range, so Keras scales the loss; bfloat16 has the range of float32 and fewer digits.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    import keras

Precision = Literal["float32", "bfloat16", "float16"]


@contextlib.contextmanager
def computing_in(model: keras.Model, precision: Precision) -> Iterator[None]:
    """Inside, the layers of a model compute in this precision; compile and fit it there.

    Pixels are scaled, and probabilities made of logits, in float32 all the same.

    Args:
        model: flat, of float32 layers; they are float32 again afterwards.
        precision: "float32" changes nothing.
    """
    if precision == "float32":
        yield
        return
    layers = [layer for layer in model.layers if not _always_float32(layer)]
    _set_policy(model, layers, f"mixed_{precision}")
    try:
        yield
    finally:
        _set_policy(model, layers, "float32")


def _set_policy(model: keras.Model, layers: list[keras.layers.Layer], policy: str) -> None:
    for each in (model, *layers):
        each.dtype_policy = policy
    # What was traced before goes on computing as it did then.
    model.train_function = model.test_function = model.predict_function = None


def _always_float32(layer: keras.layers.Layer) -> bool:
    return layer.name.startswith("preprocess_") or layer.name.endswith("_probabilities")
