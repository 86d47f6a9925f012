"""The frozen prefix: the part of the classifier that does not train is run once, and the rest works
on its output.

Up to the last frozen layer a classifier is a fixed function of the image. Every other tool repeats
it each epoch; here its output is computed once per image and kept, for the head alone (pooled
features) and for fine-tuning (the feature map where freezing ends) alike.
"""

from __future__ import annotations

import logging
import math
from dataclasses import dataclass

import keras
import numpy as np
import pandas as pd

from tlkit import freezing
from tlkit.classifier import Classifier
from tlkit.data.loader import Datasets, ImageBatches
from tlkit.progress import track

log = logging.getLogger(__name__)


class FeatureBatches(keras.utils.PyDataset):
    """Batches of kept features, with the labels of the images they came from.

    Args:
        features: float32, (images, ...).
        images: the batches they were computed from; gives labels, batch size, seed and whether to
        shuffle.
    """

    def __init__(self, features: np.ndarray, images: ImageBatches):
        super().__init__(workers=1)
        self.features, self.images = features, images
        self.epoch = 0
        self._order = self._permutation()

    @property
    def samples(self) -> pd.DataFrame:
        """The table of the images, row by row."""
        return self.images.samples

    def __len__(self) -> int:
        return math.ceil(len(self.features) / self.images.batch_size)

    def __getitem__(self, index: int) -> tuple[np.ndarray, np.ndarray]:
        size = self.images.batch_size
        rows = self._order[index * size : (index + 1) * size]
        return self.features[rows], self.images.one_hot(rows)

    def on_epoch_end(self) -> None:
        """Draw the next epoch's order from the seed and the epoch's number."""
        self.epoch += 1
        self._order = self._permutation()

    def _permutation(self) -> np.ndarray:
        if not self.images.shuffle:
            return np.arange(len(self.features))
        return np.random.default_rng((self.images.seed, self.epoch)).permutation(len(self.features))


@dataclass
class Cut:
    """What remains to be computed: a model and, by split, the batches it takes."""

    model: keras.Model
    train: ImageBatches | FeatureBatches
    val: ImageBatches | FeatureBatches | None


class FrozenFeatures:
    """The outputs of a classifier's frozen part, computed when first asked for.

    They stay valid as long as freezing only moves towards the input during a run, which is how the
    phases are ordered.

    Args:
        classifier: its layers' `trainable` flags say where the frozen part ends at the moment of
        asking.
        datasets: training, validation and test images.
        budget: bytes of features to keep at most; beyond it the ordinary path is taken.
    """

    def __init__(self, classifier: Classifier, datasets: Datasets, budget: int = 2 << 30):
        self.classifier, self.datasets, self.budget = classifier, datasets, budget
        self._boundary: str | None = None
        self._kept: dict[int, np.ndarray] = {}
        self._tail: keras.Model | None = None

    def cut(self) -> Cut:
        """The model to train with its training and validation batches, on features where that
        pays."""
        boundary = self._move_boundary()
        data = self.datasets
        if boundary is None or data.train.augment != "none":
            return Cut(self.classifier.model, data.train, data.val)
        return Cut(
            self._tail_at(boundary),
            self._features(boundary, data.train),
            self._features(boundary, data.val) if data.val else None,
        )

    def for_prediction(
        self, images: ImageBatches
    ) -> tuple[keras.Model, ImageBatches | FeatureBatches]:
        """The model and the batches that give the probabilities of `images` in their own order."""
        boundary = self._move_boundary()
        if boundary is None:
            return self.classifier.model, images
        return self._tail_at(boundary), self._features(boundary, images)

    def _tail_at(self, boundary: str) -> keras.Model:
        # One tail for training and all predictions: each new model is traced by the backend anew.
        if self._tail is None:
            self._tail = self.classifier.tail(boundary)
        return self._tail

    def _move_boundary(self) -> str | None:
        boundary = freezing.last_frozen(self.classifier.model, self.classifier.row)
        if boundary is not None and (reason := self._why_not(boundary)):
            log.info("features are not kept: %s", reason)
            boundary = None
        if boundary != self._boundary:
            self._kept.clear()
            self._tail = None
            self._boundary = boundary
        return boundary

    def _why_not(self, boundary: str) -> str | None:
        shape = self.classifier.model.get_layer(boundary).output.shape[1:]
        need = 4 * math.prod(shape) * sum(len(part.samples) for part in self.datasets.parts())
        if need > self.budget:
            return f"{need >> 20:,} MiB would be needed, the budget is {self.budget >> 20:,} MiB"
        return None

    def _features(self, boundary: str, images: ImageBatches) -> FeatureBatches:
        # Without augmentation the training images and their evaluation twins are the same pictures.
        plain = images is self.datasets.train_eval and self.datasets.train.augment == "none"
        key = id(self.datasets.train if plain else images)
        if key not in self._kept:
            self._kept[key] = extract(self.classifier.prefix(boundary), images)
        return FeatureBatches(self._kept[key], images)


def extract(prefix: keras.Model, images: ImageBatches) -> np.ndarray:
    """Run `prefix` over all images, in the order of their table.

    Returns:
        float32, (images, ...) in the shape of the prefix' output.
    """
    features = np.empty((len(images.samples), *prefix.output_shape[1:]), np.float32)
    for start, batch in track(images.iter_images(), "frozen layers, once", total=len(images)):
        output = prefix.predict_on_batch(batch.astype(np.float32))
        features[start : start + len(batch)] = output
    return features
