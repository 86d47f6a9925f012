"""albumentations, behind the words of `data.augment`."""

from __future__ import annotations

import os
from typing import Any

import cv2
import numpy as np

from tlkit.augmentations import READY_MADE, steps_of

PADDING = (124, 116, 104)  # ImageNet's mean colour: close to zero once the network has normalised

# Of RGB in 0-1 over ImageNet's training pictures, as fb.resnet.torch gives them: the standard
# deviations along the principal axes, and the axes as columns.
SPREADS = np.array([0.2175, 0.0188, 0.0045])
AXES = np.array(
    [[-0.5675, 0.7192, 0.4009], [-0.5808, -0.0045, -0.8140], [-0.5836, -0.6948, 0.4203]]
)


def pipeline(name: str, size: int) -> Any:
    """The pipeline behind a ready-made name or a list of steps, from a square of at least `size`.

    Steps that move the picture come before it is cut to size, in their order, the rest after.
    """
    os.environ.setdefault("NO_ALBUMENTATIONS_UPDATE", "1")  # it would ask the network on import
    import albumentations as a

    if name in READY_MADE:
        return a.Compose(_ready_made(a, name, size))
    moved, cut, varied = [], [a.CenterCrop(size, size)], []
    for step, number in steps_of(name):
        if step == "rotate":
            moved.append(a.Rotate((-number, number), border_mode=cv2.BORDER_REFLECT_101, p=1.0))
        elif step == "shift":
            moved.append(_shift(a, number))
        elif step == "random-crop":
            cut = [a.RandomCrop(size, size)]
        elif step == "pad-crop":
            cut += [a.Pad(int(number), fill=0, p=1.0), a.RandomCrop(size, size)]
        elif step == "flip":
            varied.append(a.HorizontalFlip(p=0.5))
        elif step == "flip-vertical":
            varied.append(a.VerticalFlip(p=0.5))
        elif step == "colour-pca":
            varied.append(_colour_pca(a, number))
        elif step == "randaugment":
            varied.append(_randaugment(a, number / 30))
    return a.Compose([*moved, *cut, *varied])


def _ready_made(a: Any, name: str, size: int) -> list[Any]:
    flip = a.HorizontalFlip(p=0.5)
    if name == "light":
        turn = a.Rotate((-5, 5), border_mode=cv2.BORDER_REFLECT_101, p=1.0)
        return [turn, a.CenterCrop(size, size), flip]
    if name == "standard":
        cut = a.RandomResizedCrop((size, size), scale=(0.6, 1.0), ratio=(0.8, 1.25))
        colour = a.ColorJitter((0.8, 1.2), (0.8, 1.2), (0.8, 1.2), hue=(0.0, 0.0), p=0.8)
        return [cut, flip, colour]
    return [
        a.Rotate((-15, 15), border_mode=cv2.BORDER_REFLECT_101, p=0.5),
        a.RandomResizedCrop((size, size), scale=(0.3, 1.0), ratio=(0.75, 1.33)),
        flip,
        a.ColorJitter((0.6, 1.4), (0.6, 1.4), (0.6, 1.4), hue=(-0.03, 0.03), p=0.8),
        a.ToGray(p=0.1),
        a.GaussianBlur((3, 5), p=0.1),
        a.CoarseDropout((1, 1), (0.1, 0.3), (0.1, 0.3), fill=PADDING, p=0.5),
    ]


def _shift(a: Any, share: float) -> Any:
    each = {"x": (-share, share), "y": (-share, share)}
    return a.Affine(translate_percent=each, border_mode=cv2.BORDER_REFLECT_101, p=1.0)


def _colour_pca(a: Any, deviation: float) -> Any:
    """One shift of all pixels along the principal axes of ImageNet's colours (Krizhevsky et al.
    2012, section 4.1). albumentations' FancyPCA rescales a picture's own components instead.

    Args:
        a: the module.
        deviation: of the normal factors; 0.1 in the paper.
    """

    class ColourPCA(a.ImageOnlyTransform):
        def get_params(self) -> dict[str, Any]:
            drawn = [self.py_random.gauss(0, deviation) for _ in SPREADS]
            return {"shift": 255 * AXES @ (SPREADS * drawn)}

        def apply(self, img: Any, shift: Any, **rest: Any) -> Any:
            return np.clip(np.rint(img + shift), 0, 255).astype(np.uint8)

    return ColourPCA(p=1.0)


def _randaugment(a: Any, strength: float) -> Any:
    """Two of the paper's 14 operations, drawn anew for each picture (Cubuk et al. 2020).

    Args:
        a: the module.
        strength: magnitude, 0 to 1.
    """
    reflect = {"border_mode": cv2.BORDER_REFLECT_101, "p": 1.0}
    angle, share, factor = 30 * strength, 0.3 * strength, 0.9 * strength
    around, none = (1 - factor, 1 + factor), (1.0, 1.0)

    def colour(**changed: tuple[float, float]) -> Any:
        still = {"brightness": none, "contrast": none, "saturation": none, "hue": (0.0, 0.0)}
        return a.ColorJitter(**(still | changed), p=1.0)

    return a.SomeOf(
        [
            a.NoOp(p=1.0),
            a.AutoContrast(p=1.0),
            a.Equalize(p=1.0),
            a.Rotate((-angle, angle), **reflect),
            a.Solarize((1 - strength, 1.0), p=1.0),
            a.Posterize((8 - round(4 * strength), 8), p=1.0),
            colour(saturation=around),
            colour(contrast=around),
            colour(brightness=around),
            a.Sharpen((0.0, factor), (1.0, 1.0), p=1.0),
            a.Affine(shear={"x": (-angle, angle), "y": (0.0, 0.0)}, **reflect),
            a.Affine(shear={"x": (0.0, 0.0), "y": (-angle, angle)}, **reflect),
            a.Affine(translate_percent={"x": (-share, share), "y": (0.0, 0.0)}, **reflect),
            a.Affine(translate_percent={"x": (0.0, 0.0), "y": (-share, share)}, **reflect),
        ],
        n=2,
        replace=True,
    )
