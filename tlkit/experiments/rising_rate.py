"""A callback that raises the learning rate from batch to batch and writes the losses down."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import keras
import numpy as np

from tlkit.evaluation.rates import BLOWN_UP, smooth


class RisingRate(keras.callbacks.Callback):
    """Sets the rate before each batch and ends the training when the loss has blown up.

    Args:
        rates: of the batches, in order.

    Attributes:
        losses: of the batches so far.
    """

    def __init__(self, rates: Sequence[float]):
        super().__init__()
        self.rates, self.losses = list(rates), list[float]()

    def on_train_batch_begin(self, batch: int, logs: Any = None) -> None:
        """Set the next rate; what Keras averages over an epoch begins anew with each batch."""
        if len(self.losses) < len(self.rates):
            self.model.optimizer.learning_rate = self.rates[len(self.losses)]
        self.model.reset_metrics()

    def on_train_batch_end(self, batch: int, logs: Any = None) -> None:
        """Note the loss."""
        if len(self.losses) < len(self.rates):
            self.losses.append(float((logs or {})["loss"]))
        smoothed = smooth(np.array(self.losses))
        over = not math.isfinite(smoothed[-1]) or smoothed[-1] > BLOWN_UP * smoothed.min()
        if over or len(self.losses) == len(self.rates):
            self.model.stop_training = True
