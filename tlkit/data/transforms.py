"""Cut pictures to the square the network sees, and vary the training images.

A transform is called with a picture and a seed and gives a uint8 square. `Evaluation` ignores the
seed; `Augmentation` draws from nothing else, so a view is the same whichever thread makes it.
albumentations stays behind `pipelines`.
"""

from __future__ import annotations

import random
from typing import Any, Protocol

import cv2
import numpy as np
from numpy.typing import NDArray

from tlkit.data.pipelines import PADDING, pipeline
from tlkit.recipe import Augment, Resize

Picture = NDArray[np.uint8]

MOST_VIEWS = 10
"""Views of one picture at test time: the centre and four corners, each with its mirror image."""


class Transform(Protocol):
    """From a picture of any size to the network's square."""

    size: int
    """Side of the square, pixels."""
    at_least: int
    """Short side that a decoded picture needs; a JPEG may be decoded that small."""

    def __call__(self, image: Picture, seed: int = 0) -> Picture:
        """The view of `image`, uint8 (height, width, 3), for `seed`: uint8 (size, size, 3)."""
        ...


class Evaluation:
    """The same view always: for validation, test and prediction.

    Args:
        size: side of the result, pixels.
        resize: crop, pad or stretch; see `resize`.
        crop: share of the short side that "crop" keeps.
    """

    def __init__(self, size: int, resize: Resize = "crop", crop: float = 0.875):
        self.size, self.resize, self.crop = size, resize, crop
        self.at_least = decode_size(size, resize, crop)

    def __call__(self, image: Picture, seed: int = 0) -> Picture:
        """Cut `image` to size; `seed` has no effect."""
        return resize(image, self.size, self.resize, self.crop)


class TestTimeViews:
    """Views of one picture whose answers are averaged at test time: seed v gives view v.

    View 0 is what `Evaluation` gives; then come the four corners, cut as large; an odd view is the
    mirror image of the one before it [Krizhevsky, Sutskever & Hinton 2012, section 4.1].

    Args:
        count: how many views will be asked for, 1 to `MOST_VIEWS`.
        size, resize, crop: as for `Evaluation`.
    """

    __test__ = False  # pytest takes the name for that of a test

    def __init__(self, count: int, size: int, resize: Resize = "crop", crop: float = 0.875):
        self.centre = Evaluation(size, resize, crop)
        self.count, self.size = count, size
        self.square = decode_size(size, "crop", crop)
        # As few pixels as evaluation decodes where no corner is cut.
        self.at_least = self.square if count > 2 else self.centre.at_least

    def __call__(self, image: Picture, seed: int = 0) -> Picture:
        """View `seed` of `image`."""
        place, mirrored = divmod(seed, 2)
        view = self._corner(image, place - 1) if place else self.centre(image)
        return np.ascontiguousarray(view[:, ::-1]) if mirrored else view

    def _corner(self, image: Picture, corner: int) -> Picture:
        margin = self.square - self.size
        top, left = margin * (corner // 2), margin * (corner % 2)
        square = resize(image, self.square, self.centre.resize, crop=1.0)
        return square[top : top + self.size, left : left + self.size]


class Augmentation:
    """A random view for each seed: for training images only.

    The picture is cut as for evaluation, with a margin where the view needs one, then varied.

    Args:
        name: light (the lesson's rotation of up to 5 degrees, and flip), standard (a mild random
            crop, flip, brightness), strong (wider crop, flip, rotation, colour, blur, a hole), or
            steps of `tlkit.augmentations`.
        size: side of the result, pixels.
        resize: crop, pad or stretch; see `resize`.
        crop: share of the short side that evaluation keeps under "crop".
    """

    def __init__(self, name: Augment, size: int, resize: Resize = "crop", crop: float = 0.875):
        self.name, self.size, self.resize = name, size, resize
        # A rotated padded picture keeps its frame; a crop is cut out of a larger square.
        margin = resize == "crop" or name in ("standard", "strong") or "random-crop" in name
        self.at_least = decode_size(size, "crop", crop) if margin else size
        self._idle: list[Any] = []

    def __call__(self, image: Picture, seed: int = 0) -> Picture:
        """The view of `image` that `seed` stands for."""
        square = resize(image, self.at_least, self.resize, crop=1.0)
        # A pipeline holds its random state, so threads must not share one; list.pop is atomic.
        try:
            steps = self._idle.pop()
        except IndexError:
            steps = pipeline(self.name, self.size)
        # One generator for all steps: set_random_seed would give each of them the same numbers.
        steps.set_random_state(np.random.default_rng(seed), random.Random(seed))
        view: Picture = steps(image=square)["image"]
        self._idle.append(steps)
        return view


def augmentation(
    name: Augment, size: int, resize: Resize = "crop", crop: float = 0.875
) -> Evaluation | Augmentation:
    """A new transform for training images; with "none" they look as in evaluation."""
    if name == "none":
        return Evaluation(size, resize, crop)
    return Augmentation(name, size, resize, crop)


def decode_size(size: int, resize: Resize = "crop", crop: float = 0.875) -> int:
    """The short side below which a decoded picture would have to be enlarged, pixels."""
    return max(size, round(size / crop)) if resize == "crop" else size


def resize(image: Picture, size: int, mode: Resize = "crop", crop: float = 0.875) -> Picture:
    """Cut a picture to a square.

    "crop" takes the centre square with `crop` of the short side; "pad" scales the long side to
    `size` and fills the rest with grey; "stretch" ignores the aspect ratio.

    Args:
        image: uint8, (height, width, 3).
        size: side of the result, pixels.
        mode: crop, pad or stretch.
        crop: share of the short side that "crop" keeps, 0 to 1; 0.875 is the customary short side
            of 256 and centre of 224 in one step.

    Returns:
        uint8, (size, size, 3).
    """
    height, width = image.shape[:2]
    if mode == "stretch":
        return _scale(image, size, size)
    if mode == "pad":
        scale = size / max(height, width)
        inner = _scale(image, max(1, round(width * scale)), max(1, round(height * scale)))
        top, left = (size - inner.shape[0]) // 2, (size - inner.shape[1]) // 2
        padded = np.full((size, size, 3), PADDING, np.uint8)
        padded[top : top + inner.shape[0], left : left + inner.shape[1]] = inner
        return padded
    side = max(1, round(min(height, width) * size / decode_size(size, mode, crop)))
    top, left = (height - side) // 2, (width - side) // 2
    return _scale(image[top : top + side, left : left + side], size, size)


def _scale(image: Picture, width: int, height: int) -> Picture:
    """Resize: cubic to enlarge, linear down to two thirds, by area below.

    Down to two thirds, linear is as near to the antialiased bicubic that published networks were
    trained with as antialiased bilinear is, at a quarter of area's cost.
    """
    if image.shape[1] > 1.5 * width or image.shape[0] > 1.5 * height:
        smaller = (min(image.shape[1], width), min(image.shape[0], height))
        image = cv2.resize(image, smaller, interpolation=cv2.INTER_AREA)  # type: ignore[assignment]
    if image.shape[1] == width and image.shape[0] == height:
        return image
    enlarge = image.shape[1] <= width and image.shape[0] <= height
    kind = cv2.INTER_CUBIC if enlarge else cv2.INTER_LINEAR
    return cv2.resize(image, (width, height), interpolation=kind)  # type: ignore[return-value]
