"""The head: the new layers that the four-step recipe adds on top of a trained backbone."""

from __future__ import annotations

from typing import Any

import keras

from tlkit.errors import RecipeError
from tlkit.recipe import HeadConfig


def add_head(
    x: Any, classes: int, config: HeadConfig, new_logits: bool = True, multi_label: bool = False
) -> Any:
    """Class probabilities from a feature map or a feature vector.

    `linear`: global average pooling, dropout, dense. `mlp`: one hidden ReLU layer before the dense
    one. `classifier`: dropout and dense on the pretrained fully connected layers, which are part of
    `x`.

    Args:
        x: Keras tensor, (batch, height, width, channels), or (batch, channels) for `classifier`.
        classes: how many.
        config: kind, dropout, hidden units.
        new_logits: False where `x` are the network's own logits already.
        multi_label: whether an image may show several classes.

    Returns:
        Keras tensor, float32 (batch, classes); rows sum to 1, but for `multi_label`.
    """
    if not new_logits:
        return probabilities(x, multi_label)
    if len(x.shape) == 4:
        if config.kind == "classifier":
            raise RecipeError(
                "head.kind = 'classifier' needs the backbone's own fully connected layers."
            )
        x = keras.layers.GlobalAveragePooling2D(name="head_pool")(x)
    if config.kind == "mlp":
        x = keras.layers.Dropout(config.dropout, name="head_hidden_dropout")(x)
        x = keras.layers.Dense(config.hidden or 256, activation="relu", name="head_hidden")(x)
    x = keras.layers.Dropout(config.dropout, name="head_dropout")(x)
    # A new head that starts small starts near the uniform distribution: no step is spent on
    # unlearning noise.
    small = keras.initializers.RandomNormal(stddev=0.01)
    x = keras.layers.Dense(classes, kernel_initializer=small, name="head_logits")(x)
    return probabilities(x, multi_label)


def probabilities(logits: Any, multi_label: bool = False) -> Any:
    """Of one class for each image, or of each class on its own."""
    kind = "sigmoid" if multi_label else "softmax"
    return keras.layers.Activation(kind, name="head_probabilities")(logits)
