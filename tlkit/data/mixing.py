"""MixUp and CutMix: batches whose images and labels are blends of two, by Keras' own layers."""

from __future__ import annotations

import hashlib

import keras
import numpy as np
from numpy.typing import NDArray

from tlkit.data.loader import ImageBatches


class MixedBatches(keras.utils.PyDataset):
    """Training batches, each mixed with itself in another order.

    A batch follows from the seed, the epoch and its number, whichever thread makes it.

    Args:
        images: the batches to mix.
        mixup: alpha of MixUp's Beta distribution (Zhang et al. 2018), or None.
        cutmix: alpha of CutMix's (Yun et al. 2019), or None; with both, a batch takes either.
    """

    def __init__(self, images: ImageBatches, mixup: float | None, cutmix: float | None):
        super().__init__(workers=images.workers, max_queue_size=images.max_queue_size)
        self.images = images
        self._layers: list[keras.layers.Layer] = []
        if mixup is not None:
            self._layers.append(keras.layers.MixUp(mixup))
        if cutmix is not None:
            self._layers.append(keras.layers.CutMix((cutmix, cutmix)))

    @property
    def epoch(self) -> int:
        """Number of the current epoch."""
        return self.images.epoch

    @epoch.setter
    def epoch(self, epoch: int) -> None:
        self.images.epoch = epoch

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, index: int) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """Batch `index` of the current epoch; Keras calls this from its threads."""
        name = f"{self.images.seed} {self.images.epoch} {index}"
        number = int.from_bytes(hashlib.blake2b(name.encode(), digest_size=4).digest())
        layer = self._layers[number % len(self._layers)]
        with keras.device("cpu"):
            # The layers' own random state would depend on which thread comes first.
            seed = keras.random.SeedGenerator(number >> 1)
            images, labels = map(keras.ops.convert_to_tensor, self.images[index])
            chosen = layer.get_random_transformation(
                {"images": images, "labels": labels}, training=True, seed=seed
            )
            mixed = layer.transform_images(images, chosen, training=True)
            shares = layer.transform_labels(labels, chosen, training=True)
        return _float32(mixed), _float32(shares)

    def on_epoch_end(self) -> None:
        """Go on to the next epoch: Keras calls this."""
        self.images.on_epoch_end()


def _float32(tensor: object) -> NDArray[np.float32]:
    return np.asarray(keras.ops.convert_to_numpy(tensor), np.float32)
