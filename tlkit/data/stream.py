"""Pictures as plain arrays, in order, decoded by threads ahead of their consumer. No Keras here."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from itertools import islice, repeat
from pathlib import Path
from typing import NamedTuple

import cv2
import numpy as np
from numpy.typing import NDArray

from tlkit.data.images import read_image
from tlkit.data.parallel import ordered_map
from tlkit.data.transforms import Transform
from tlkit.errors import DataError

_CHUNK = 8  # pictures per task: few enough that all threads share the last batch


class _Task(NamedTuple):
    start: int
    batch: NDArray[np.uint8]
    offset: int
    pictures: list[tuple[Path, int]]


def stream_images(
    paths: Iterable[Path],
    transform: Transform,
    seeds: Iterable[int] = repeat(0),
    batch_size: int = 32,
    workers: int | None = None,
    on_bad: Callable[[int, DataError], None] | None = None,
) -> Iterator[tuple[int, NDArray[np.uint8]]]:
    """Decode and transform pictures; two batches wait ready while one is in use.

    OpenCV's own threads are switched off for the process, as they would compete with these.

    Args:
        paths: files, consumed as the batches are; there may be any number.
        transform: from decoded picture to square.
        seeds: what `transform` draws from, one for each path.
        batch_size: pictures per batch; the last may hold fewer.
        workers: threads that decode; the number of processors when None.
        on_bad: called with a picture's number and the reason when it cannot be read, which leaves
            its place black; without it the error is raised.

    Yields:
        The number of the batch's first picture, and uint8 (pictures, size, size, 3).

    Raises:
        DataError: a picture cannot be read; the message names it.
    """
    cv2.setNumThreads(1)

    def tasks() -> Iterator[_Task]:
        pictures = zip(paths, seeds, strict=False)
        start = 0
        while of_batch := list(islice(pictures, batch_size)):
            batch = np.zeros((len(of_batch), transform.size, transform.size, 3), np.uint8)
            for offset in range(0, len(of_batch), _CHUNK):
                yield _Task(start, batch, offset, of_batch[offset : offset + _CHUNK])
            start += len(of_batch)

    def fill(task: _Task) -> _Task:
        for place, (path, seed) in enumerate(task.pictures, start=task.offset):
            try:
                task.batch[place] = transform(read_image(path, transform.at_least), seed)
            except DataError as error:
                if on_bad is None:
                    raise
                on_bad(task.start + place, error)
        return task

    ahead = 2 * -(-batch_size // _CHUNK)
    for task in ordered_map(fill, tasks(), workers, ahead):
        if task.offset + len(task.pictures) == len(task.batch):
            yield task.start, task.batch
