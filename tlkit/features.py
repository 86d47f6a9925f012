"""The frozen part, once: what does not train is run a single time, the rest works on its output.

Up to its last frozen layer a classifier is a fixed function of the image. Every other tool repeats
that function each epoch; here the classifier is cut after it (`freezing.last_frozen`), the front is
run once over the images by the fastest engine that proves itself (`tlkit.engines`), and its output
is kept on disk under the image's hash (`tlkit.feature_cache`), where the next run finds it. The
rear trains on what was kept: the new head on pooled features, fine-tuning on the feature map at the
cut. With augmentation a few views of each image are kept, and the epochs take turns with them.

Truth before speed: validation and test images are computed and kept in float32; training images may
be computed in bfloat16 and are kept in float16. What is kept is what is used, already in the run
that computes it, so that a second run gets the same numbers.
"""

from __future__ import annotations

import hashlib
import logging
import math
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from importlib.metadata import version
from pathlib import Path
from typing import Any

import cv2
import keras
import numpy as np
import pandas as pd
import PIL
from numpy.typing import NDArray

import tlkit
from tlkit import complexity, data, freezing
from tlkit.classifier import Classifier
from tlkit.data.loader import Datasets, ImageBatches
from tlkit.data.mixing import MixedBatches
from tlkit.engines import SAMPLE, Engines
from tlkit.feature_cache import Compute, FeatureCache, Rows, Space
from tlkit.progress import track

log = logging.getLogger(__name__)

LEAST_SHARE = 0.1
"""Share of the network's work that must be frozen before keeping its output pays."""


class FeatureBatches(keras.utils.PyDataset):
    """Batches of kept features, with the labels of the images they came from.

    Args:
        views: rows in the order of the images' table, one Rows per view; epoch e uses view
            e modulo their number.
        images: where the rows came from; gives labels, batch size and the order of an epoch.
    """

    def __init__(self, views: list[Rows], images: ImageBatches):
        super().__init__(workers=1)
        self.views, self.images = views, images
        self.epoch = 0

    @property
    def epoch(self) -> int:
        """Number of the current epoch; it decides the view and the order."""
        return self._epoch

    @epoch.setter
    def epoch(self, epoch: int) -> None:
        self._epoch, self._order = epoch, self.images.order(epoch)

    @property
    def samples(self) -> pd.DataFrame:
        """The table of the images, row by row."""
        return self.images.samples

    def __len__(self) -> int:
        return math.ceil(len(self.samples) / self.images.batch_size)

    def __getitem__(self, index: int) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        rows = self.images.rows_of_batch(self._order, index)
        return self.views[self._epoch % len(self.views)][rows], self.images.one_hot(rows)

    def on_epoch_end(self) -> None:
        """Go on to the next epoch: Keras calls this."""
        self.epoch += 1


@dataclass(frozen=True)
class Cut:
    """What remains to be computed: a model and, by split, the batches it takes."""

    model: keras.Model
    train: ImageBatches | MixedBatches | FeatureBatches
    val: ImageBatches | FeatureBatches | None


class FrozenFeatures:
    """The outputs of a classifier's frozen part, computed when first asked for.

    They stay valid as long as freezing only moves towards the input during a run, which is how the
    phases are ordered.

    Args:
        classifier: its layers' `trainable` flags say where the frozen part ends at the moment of
            asking.
        datasets: training, validation and test images.
        cache: where features are kept; its limit is the budget, beyond which the ordinary path is
            taken.
        views: of each augmented training image.
        on_cpu: whether Keras computes on the CPU, where other engines are faster.
    """

    def __init__(
        self,
        classifier: Classifier,
        datasets: Datasets,
        cache: FeatureCache,
        views: int = 1,
        on_cpu: bool = True,
    ):
        self.classifier, self.datasets, self.cache, self.on_cpu = (
            classifier,
            datasets,
            cache,
            on_cpu,
        )
        self.views = 1 if datasets.train.augment == "none" else views
        self._front: Front | None = None

    def cut(self) -> Cut:
        """What to train: the rear with kept features where that pays, else model and images."""
        front, data = self._front_now(), self.datasets
        if front is None:
            return Cut(self.classifier.model, data.train, data.val)
        return Cut(
            front.rear,
            self._features(front, data.train, self.views),
            self._features(front, data.val) if data.val else None,
        )

    def for_prediction(
        self, images: ImageBatches
    ) -> tuple[keras.Model, ImageBatches | FeatureBatches]:
        """The model and the batches that give the probabilities of `images` in their own order."""
        front = self._front_now()
        if front is None:
            return self.classifier.model, images
        return front.rear, self._features(front, images)

    def kept(self, images: ImageBatches) -> Rows | None:
        """The features of `images` in their own order, one vector each.

        None where nothing is kept, or where what is kept is a map (the backbone is not frozen).
        """
        front = self._front_now()
        if front is None or len(front.network.output_shape) != 2:
            return None
        return self._features(front, images).views[0]

    def _front_now(self) -> Front | None:
        """The frozen part as it is now; None, and the log says why, where keeping is no use."""
        model = self.classifier.model
        boundary = freezing.last_frozen(model, self.classifier.row)
        if boundary is None:
            return None
        if self._front is None or (self._front.model, self._front.boundary) != (model, boundary):
            self._front = Front(self.classifier, boundary, self.datasets, self.on_cpu)
            if why_not := self._why_not(self._front):
                log.info("features are not kept, every epoch runs the whole network: %s", why_not)
                self._front.pays = False
        return self._front if self._front.pays else None

    def _why_not(self, front: Front) -> str | None:
        share = complexity.macs(front.network) / max(1, complexity.macs(front.model))
        if share < LEAST_SHARE:
            return f"{front.boundary} ends only the first {share:.0%} of the network's work"
        row = math.prod(front.network.output_shape[1:])
        train, exact = len(self.datasets.train.samples), 0
        for part in self.datasets.parts():
            exact += len(part.samples) if part is not self.datasets.train_eval else 0
        copies = self.views if self.datasets.train.augment == "none" else self.views + 1
        need = row * (2 * copies * train + 4 * exact)
        if need > self.cache.limit:
            return (
                f"{need >> 20:,} MiB would be needed, the cache may hold {self.cache.limit >> 20:,}"
                " MiB (--cache-size)"
            )
        return None

    def _features(self, front: Front, images: ImageBatches, views: int = 1) -> FeatureBatches:
        exact = images is not self.datasets.train and images is not self.datasets.train_eval
        digests = [bytes.fromhex(digest) for digest in images.samples["sha256"]]
        rows = [
            self.cache.rows(
                front.space(images, exact, view), digests, front.computing(images, exact, view)
            )
            for view in range(views)
        ]
        return FeatureBatches(rows, images)


class Front:
    """The frozen part of a classifier up to a layer, with the engines that run it.

    Attributes:
        network: images to features.
        rear: features to class probabilities; shares the classifier's layers.
        pays: whether keeping the features is worth it.
    """

    def __init__(
        self, classifier: Classifier, boundary: str, datasets: Datasets, on_cpu: bool = True
    ):
        self.model, self.boundary, self.row = classifier.model, boundary, classifier.row
        self.network, self.rear = classifier.prefix(boundary), classifier.tail(boundary)
        self.pays = True
        images = datasets.train_eval
        count = sum(len(part.samples) for part in datasets.parts())
        self.engines = Engines(
            self.network,
            lambda: next(images.iter_images(rows=range(min(SAMPLE, len(images.samples)))))[1],
            count,
            self.rear,
            on_cpu,
        )

    @cached_property
    def fingerprint(self) -> str:
        """Hash of the front's architecture and weights: all that decides its output."""
        digest = hashlib.sha256(self.network.to_json().encode())
        for weight in self.network.weights:
            digest.update(np.asarray(weight).tobytes())
        return digest.hexdigest()

    def space(self, images: ImageBatches, exact: bool, view: int = 0) -> Space:
        """Where the cache keeps what this front makes of these images."""
        facts = {
            "backbone": self.row.name,
            "boundary": self.boundary,
            "network": self.fingerprint,
            "precision": "float32" if exact else "fast",
            **transform_facts(images),
        }
        if images.augment != "none":
            facts |= {"view": view, "seed": images.seed}
        return Space(facts, self.network.output_shape[1:], exact)

    def computing(self, images: ImageBatches, exact: bool, view: int = 0) -> Compute:
        """A function that runs some of these images, for the cache to call where it has none."""

        def compute(
            rows: NDArray[np.intp],
        ) -> Iterator[tuple[NDArray[np.intp], NDArray[np.float32]]]:
            engine = self.engines.fastest(exact)
            total = math.ceil(len(rows) / images.batch_size)
            batches = images.iter_images(view, rows.tolist())
            for start, batch in track(batches, "frozen layers, once", total):
                yield rows[start : start + len(batch)], engine(batch)

        return compute


def transform_facts(images: ImageBatches) -> dict[str, Any]:
    """What decides the pixels that an image becomes, the code that makes them included."""
    transform = images.transform
    folder = Path(data.__file__).parent
    code = b"".join(
        (folder / name).read_bytes() for name in ("images.py", "transforms.py", "pipelines.py")
    )
    decoders = {"opencv": cv2.__version__, "pillow": PIL.__version__}
    if images.augment != "none":
        decoders["albumentations"] = version("albumentations")
    return {
        "tlkit": tlkit.__version__,
        "code": hashlib.sha256(code).hexdigest(),
        "transform": [images.augment, images.size, transform.resize, transform.at_least],
        **decoders,
    }
