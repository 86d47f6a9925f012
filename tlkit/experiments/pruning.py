"""Cutting a trial short whose validation loss is worse than most trials' at the same epoch."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import keras

if TYPE_CHECKING:
    import optuna


class Pruning(keras.callbacks.Callback):
    """Tells Optuna the validation loss of each epoch, and stops where it says so.

    Attributes:
        pruned: whether it did.
        epochs: how many it has seen, over all phases.
    """

    def __init__(self, trial: optuna.Trial):
        super().__init__()
        self.trial, self.pruned, self.epochs = trial, False, 0

    def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
        """Report and ask."""
        if getattr(self.model, "optimizer", None) is None:
            return  # a head that was solved: its iterations are over already, and no epochs
        self.epochs += 1
        value = (logs or {}).get("val_loss")
        if value is None or not math.isfinite(value):
            return
        self.trial.report(value, self.epochs)
        self.pruned = self.pruned or self.trial.should_prune()
        self.model.stop_training = self.model.stop_training or self.pruned

    def on_train_batch_end(self, batch: int, logs: Any = None) -> None:
        """End a later phase of a trial that has been cut short."""
        self.model.stop_training = self.model.stop_training or self.pruned
