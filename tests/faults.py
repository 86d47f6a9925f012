"""Faults that a test plants in a forked run, by name: each takes the run's settings."""

from __future__ import annotations

import errno
import os
from pathlib import Path
from typing import Any


def little_memory(settings: dict[str, Any]) -> None:
    """The device holds batches of four images and no more."""
    import keras
    import tensorflow as tf

    fit, predict = keras.Model.fit, keras.Model.predict

    def refuse(batches: Any) -> None:
        size = getattr(batches, "images", batches).batch_size
        if size > 4:
            raise tf.errors.ResourceExhaustedError(None, None, f"OOM with {size} images")

    def small_fit(self: Any, x: Any, **named: Any) -> Any:
        refuse(x)
        return fit(self, x, **named)

    def small_predict(self: Any, x: Any, **named: Any) -> Any:
        refuse(x)
        return predict(self, x, **named)

    keras.Model.fit, keras.Model.predict = small_fit, small_predict


def no_memory(settings: dict[str, Any]) -> None:
    """The device holds nothing."""
    import keras
    import tensorflow as tf

    def refuse(*_: Any, **__: Any) -> None:
        raise tf.errors.ResourceExhaustedError(None, None, "OOM")

    keras.Model.fit = refuse


def nan_in_third_epoch(settings: dict[str, Any]) -> None:
    """The features of the third epoch are not numbers; Keras' own set-up counts as one."""
    from tlkit.features import FeatureBatches

    get = FeatureBatches.__getitem__

    def spoiled(self: Any, index: int) -> Any:
        x, y = get(self, index)
        return (x * float("nan"), y) if self.epoch == 3 and self.images.shuffle else (x, y)

    FeatureBatches.__getitem__ = spoiled


def lost_image(settings: dict[str, Any]) -> None:
    """An image disappears between the scan and the training."""
    from tlkit import trainer

    fit = trainer.fit

    def late(*arguments: Any) -> Any:
        (Path(settings["data"]) / "red" / "03.jpg").unlink()
        return fit(*arguments)

    trainer.fit = late


def image_lost_late(settings: dict[str, Any]) -> None:
    """An image disappears between its prediction and the report."""
    from tlkit.evaluation import predictions

    fit = predictions.fit_temperature

    def late(*arguments: Any) -> Any:
        for image in Path(settings["data"]).glob("red/*.jpg"):
            image.unlink()
        return fit(*arguments)

    predictions.fit_temperature = late


def disk_full_at(settings: dict[str, Any], call: int) -> None:
    """The n-th file that is written does not fit any more, and no later one."""
    sync = os.fsync
    calls = iter(range(1, 1 << 30))

    def full(handle: int) -> None:
        if next(calls) >= call:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        sync(handle)

    os.fsync = full


def plant(name: str, settings: dict[str, Any]) -> None:
    """Plant the fault `name`, or `name:number`."""
    name, _, number = name.partition(":")
    globals()[name](settings, *([int(number)] if number else []))
