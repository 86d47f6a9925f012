"""Batches for Keras: threads that decode, transform and stack, the same for any number of them."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import cv2
import keras
import numpy as np
import pandas as pd
from numpy.typing import NDArray

from tlkit.data.folder import data_root
from tlkit.data.images import read_image
from tlkit.data.parallel import worker_count
from tlkit.data.stream import stream_images
from tlkit.data.transforms import augmentation
from tlkit.errors import DataError
from tlkit.labels import multi_hot, split_labels
from tlkit.recipe import Augment, Recipe, Resize


class _Row(Protocol):
    """What is needed of a backbone's row; the registry itself is out of this package's reach."""

    @property
    def input_size(self) -> int: ...
    @property
    def preprocess(self) -> Any: ...


class ImageBatches(keras.utils.PyDataset):
    """Pictures and labels: float32 (batch, size, size, 3), RGB 0-255, and float32 (batch, classes).

    The order of an epoch and the views of an augmented picture follow from the seed, the epoch and
    the picture's bytes, never from threads. Labels are one-hot, or multi-hot with `multi_label`.

    Args:
        samples: columns path (relative to `root`), label, sha256; kept as they are.
        root: folder of the pictures.
        classes: label names in the order of the one-hot columns.
        size: side of the square, pixels.
        resize: crop, pad or stretch.
        crop: share of the short side that "crop" keeps.
        augment: none, light, standard, strong, or steps of `tlkit.augmentations`.
        batch_size: pictures per batch; the last may hold fewer.
        shuffle: a new order for each epoch.
        seed: of the order and the views.
        workers: threads; the number of processors when None.
        devices: how many share a batch; each gets a part of the same size.
        multi_label: whether a label is a list such as `a;b`; labels are multi-hot then.

    Attributes:
        paths: of the pictures, as in `samples`.
        labels: int64, (pictures,), class numbers; empty where pictures have several.
        multi_hot: float32, (pictures, classes), which they have; empty where they have one each.
        epoch: number of the current epoch, from 0; set it to go on where a run ended.
        part: which part of each batch is read, of how many: another process reads the others.
        failure: the error that a picture raised in one of Keras' threads (`original_data_error`).

    Raises:
        DataError: a label is not in `classes`.
    """

    def __init__(
        self,
        samples: pd.DataFrame,
        root: Path,
        classes: Sequence[str],
        size: int,
        resize: Resize = "crop",
        crop: float = 0.875,
        augment: Augment = "none",
        batch_size: int = 32,
        shuffle: bool = False,
        seed: int = 0,
        workers: int | None = None,
        devices: int = 1,
        multi_label: bool = False,
    ):
        threads = worker_count(workers)
        super().__init__(workers=threads, max_queue_size=threads + 1)
        cv2.setNumThreads(1)  # OpenCV's own threads would compete with ours
        self.samples, self.root, self.classes = samples, root, tuple(classes)
        self.size, self.augment = size, augment
        self.devices, self.batch_size = devices, max(1, batch_size // devices) * devices
        self.shuffle, self.seed = shuffle, seed
        self.transform = augmentation(augment, size, resize, crop)
        self.paths: list[str] = samples["path"].tolist()
        self._contents: list[str] = samples["sha256"].tolist()
        numbers = {name: number for number, name in enumerate(self.classes)}
        cells = set(samples["label"])
        names = {name for cell in cells for name in split_labels(cell)} if multi_label else cells
        unknown = sorted(names - set(numbers))
        if unknown:
            raise DataError(f"Unknown class {unknown[0]!r}; known are {', '.join(self.classes)}.")
        ones = samples["label"].map(numbers)
        self.labels = np.empty(0, np.int64) if multi_label else ones.to_numpy(np.int64)
        several = samples["label"] if multi_label else ()
        self.multi_hot = multi_hot(several, self.classes)
        self.epoch = 0
        self.part = (0, 1)
        self.failure: DataError | None = None

    @property
    def epoch(self) -> int:
        """Number of the current epoch."""
        return self._epoch

    @epoch.setter
    def epoch(self, epoch: int) -> None:
        self._epoch, self._order = epoch, self.order(epoch)

    def order(self, epoch: int) -> NDArray[np.int64]:
        """The rows of `samples` in the order of an epoch: int64, (pictures,)."""
        if not self.shuffle:
            return np.arange(len(self.paths))
        return np.random.default_rng((self.seed, epoch)).permutation(len(self.paths))

    def __len__(self) -> int:
        return math.ceil(len(self.paths) / self.batch_size)

    def __getitem__(self, index: int) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """Batch `index` of the current epoch; Keras calls this from its threads."""
        rows = self.rows_of_batch(self._order, index)
        images = np.empty((len(rows), self.size, self.size, 3), np.float32)
        try:
            for place, row in enumerate(rows):
                picture = read_image(self.root / self.paths[row], self.transform.at_least)
                images[place] = self.transform(picture, self._view(row, self._epoch))
        except DataError as error:
            self.failure = error
            raise
        return images, self.one_hot(rows)

    def rows_of_batch(self, order: NDArray[np.int64], index: int) -> NDArray[np.int64]:
        """What this process reads of batch `index` of an epoch's `order`.

        Several devices need parts of one size, so the last batch is filled up from the epoch's
        start, as PyTorch's DistributedSampler does; whoever predicts drops what is too many.
        """
        rows = order[index * self.batch_size : (index + 1) * self.batch_size]
        missing = -len(rows) % self.devices
        filled = np.concatenate([rows, np.resize(order, missing)]) if missing else rows
        number, parts = self.part
        return np.split(filled, parts)[number]

    def one_hot(self, rows: NDArray[np.int64]) -> NDArray[np.float32]:
        """Labels of some rows of `samples`: float32, (rows, classes)."""
        if len(self.multi_hot):
            return self.multi_hot[rows]
        return np.eye(len(self.classes), dtype=np.float32)[self.labels[rows]]

    def on_epoch_end(self) -> None:
        """Go on to the next epoch: Keras calls this."""
        self.epoch += 1

    def iter_images(
        self, view: int = 0, rows: Sequence[int] | None = None
    ) -> Iterator[tuple[int, NDArray[np.uint8]]]:
        """All pictures in the order of `samples`, decoded ahead of the consumer.

        Args:
            view: which view of an augmented picture; that of epoch `view`.
            rows: only these rows of `samples`, in this order.

        Yields:
            The number of the batch's first picture, and uint8 (pictures, size, size, 3).

        Raises:
            DataError: a picture cannot be read any more; the message names it.
        """
        chosen = range(len(self.paths)) if rows is None else rows
        paths = (self.root / self.paths[row] for row in chosen)
        views = (self._view(row, view) for row in chosen)
        return stream_images(paths, self.transform, views, self.batch_size, self.workers)

    def _view(self, row: int, epoch: int) -> int:
        """The seed of a picture's view: from its bytes, so that other pictures do not change it."""
        name = f"{self.seed} {epoch} {self._contents[row]}"
        return int.from_bytes(hashlib.blake2b(name.encode(), digest_size=8).digest())


@contextmanager
def original_data_error(*batches: object) -> Iterator[None]:
    """Inside, an unreadable picture is the DataError it was.

    TensorFlow wraps whatever a Python generator raises into an error of its own, many lines long.

    Args:
        batches: what `fit` or `predict` reads; only ImageBatches matter.
    """
    try:
        yield
    except Exception:
        for part in batches:
            if isinstance(part, ImageBatches) and part.failure is not None:
                raise part.failure from None
        raise


@dataclass(frozen=True)
class Datasets:
    """Batches of one split; `train_eval` holds the training pictures as evaluation sees them."""

    train: ImageBatches
    train_eval: ImageBatches
    val: ImageBatches | None
    test: ImageBatches | None

    def parts(self) -> tuple[ImageBatches, ...]:
        """Every picture once, as evaluation sees it: train_eval, val, test, where there are any."""
        return tuple(p for p in (self.train_eval, self.val, self.test) if p is not None)


def make_datasets(split: pd.DataFrame, recipe: Recipe, row: _Row, devices: int = 1) -> Datasets:
    """Batches for training and evaluation.

    Args:
        split: columns path, label, split, sha256, as `split_samples` gives.
        recipe: its [data], batch size, seed and workers.
        row: the backbone's row, for its input size and crop.
        devices: how many share a batch.

    Returns:
        Datasets; val and test are None where the split has none. Only `train` is shuffled and
        augmented.
    """
    data = recipe.data
    assert data.root is not None
    root, classes = data_root(data.root.expanduser()), sorted(set(split["label"]))
    if data.multi_label:
        classes = sorted({name for cell in classes for name in split_labels(cell)})

    def batches(part: str, augment: Augment = "none", shuffle: bool = False) -> ImageBatches:
        samples = split[split["split"] == part]
        return ImageBatches(
            samples,
            root,
            classes,
            data.img_size or row.input_size,
            data.resize,
            row.preprocess.crop,
            augment,
            recipe.train.batch_size,
            shuffle,
            recipe.seed,
            recipe.workers,
            devices,
            data.multi_label,
        )

    present = set(split["split"])
    return Datasets(
        train=batches("train", data.augment, shuffle=True),
        train_eval=batches("train"),
        val=batches("val") if "val" in present else None,
        test=batches("test") if "test" in present else None,
    )
