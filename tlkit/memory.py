"""Out of memory on the device: smaller batches, and the log says so."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import TypeVar

from tlkit.data.loader import Datasets
from tlkit.errors import DeviceError

log = logging.getLogger(__name__)

T = TypeVar("T")


def with_smaller_batches(datasets: Datasets, devices: int, work: Callable[[], T]) -> T:
    """The result of `work`, called again with half the batch size while the device is too small.

    Args:
        datasets: what `work` reads; their batch size is changed.
        devices: how many share a batch; it stays a multiple of them.
        work: can be called again after it has failed.

    Raises:
        DeviceError: it is too small for the smallest batch as well.
    """
    while True:
        try:
            return work()
        except Exception as error:
            if not out_of_memory(error):
                raise
            before = datasets.train.batch_size
        half = before // 2 // devices * devices
        if not half:
            raise DeviceError(
                f"The device has too little memory even for batches of {before}; use a smaller "
                "--img-size or another --backbone."
            )
        log.warning("out of memory with batches of %d: going on with %d", before, half)
        set_batch_size(datasets, half)


def set_batch_size(datasets: Datasets, size: int) -> None:
    """Change the batches of all splits; training and evaluation go by the same size."""
    for part in (datasets.train, datasets.train_eval, datasets.val, datasets.test):
        if part is not None:
            part.batch_size = min(part.batch_size, size)


def out_of_memory(error: BaseException) -> bool:
    """Whether a backend says that the device's memory is full (TensorFlow's class, XLA's code)."""
    named = type(error).__name__ == "ResourceExhaustedError"
    return named or "RESOURCE_EXHAUSTED" in str(error)
