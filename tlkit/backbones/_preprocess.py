"""From raw pixels to what a network was trained on, inside the graph: it travels with the model."""

from __future__ import annotations

import math
from typing import Any

from tlkit.backbones._row import Backbone


def preprocess(x: Any, row: Backbone) -> Any:
    """Normalise raw pixels for a network; nothing is added for one that normalises for itself.

    It is part of the graph, not of the loader: keras.applications' own functions differ by family
    and change a float32 array in place, and an exported model would not carry them.

    Args:
        x: Keras tensor, float32 (batch, height, width, 3), RGB 0-255.
        row: the network's row; grey (Rec. 601 luma, as Pillow's "L") for one of a single channel.

    Returns:
        Keras tensor, float32 (batch, height, width, row.channels).
    """
    import keras

    facts = row.preprocess
    if row.channels == 1:
        x = keras.ops.image.rgb_to_grayscale(x, data_format="channels_last")
    elif facts.bgr:
        x = keras.ops.flip(x, axis=-1)
    if facts.per_image:
        # A flat image has no variance: as in TensorFlow, at least 1 / number of pixels.
        least = 1 / math.prod(x.shape[1:])
        return keras.layers.LayerNormalization(
            axis=(1, 2, 3), epsilon=least, center=False, scale=False,
            name="preprocess_standardise",
        )(x)  # fmt: skip
    # (x / scale - mean) / std as one multiplication and one addition.
    factors = [1 / (facts.scale * std) for std in facts.std]
    offsets = [-mean / std for mean, std in zip(facts.mean, facts.std, strict=True)]
    if all(f == 1 for f in factors) and not any(offsets):
        return x
    return keras.layers.Rescaling(factors, offsets, name="preprocess_rescale")(x)
