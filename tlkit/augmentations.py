"""The words of `data.augment`: how training images are varied, as plain data.

Either one of the ready-made settings, or steps with their numbers, as a paper or a lesson lists
them: "rotate 20, shift 0.2, flip". `tlkit.data.transforms` makes them out of albumentations.
"""

from __future__ import annotations

from typing import NamedTuple

READY_MADE = ("none", "light", "standard", "strong")


class Number(NamedTuple):
    """What a step's number means, and what it may be."""

    meaning: str
    low: float
    high: float
    whole: bool = False


STEPS: dict[str, Number | None] = {
    "rotate": Number("degrees to either side", 0, 180),
    "shift": Number("share of the side, each way", 0, 1),
    "flip": None,
    "flip-vertical": None,
    "random-crop": None,
    "pad-crop": Number("pixels of black on every side", 1, 1000, whole=True),
    "colour-pca": Number("standard deviation along the colours' axes", 0, 10),
    "randaugment": Number("magnitude of 30", 0, 30),
}
"""A step takes its number after a space. The flips are done at even odds; random-crop cuts its
square from anywhere in the larger one that evaluation cuts the middle of."""


def steps_of(text: str) -> list[tuple[str, float]]:
    """The steps in the order given, each with its number (0 where it takes none).

    Raises:
        ValueError: an unknown step, or a number that does not fit; one line.
    """
    found = []
    for part in text.split(","):
        name, *numbers = part.split()
        if name not in STEPS:
            raise ValueError(
                f"{name!r} is neither ready-made ({', '.join(READY_MADE)}) nor a step "
                f"({', '.join(STEPS)})"
            )
        found.append((name, _number(name, numbers)))
    names = [name for name, _ in found]
    if len(set(names)) < len(names):
        raise ValueError(f"a step is named twice in {text!r}")
    if {"random-crop", "pad-crop"} <= set(names):
        raise ValueError("random-crop and pad-crop both cut the image; choose one")
    return found


def checked(text: str) -> str:
    """`text` if it is ready-made or a list of steps, else ValueError."""
    if text not in READY_MADE:
        if not all(part.split() for part in text.split(",")):
            raise ValueError("a step is missing between commas")
        steps_of(text)
    return text


def _number(name: str, given: list[str]) -> float:
    fits = STEPS[name]
    if fits is None:
        if given:
            raise ValueError(f"{name} takes no number, got {' '.join(given)}")
        return 0.0
    try:
        (number,) = map(float, given)
    except ValueError:
        number = float("nan")
    if not fits.low <= number <= fits.high or (fits.whole and number % 1):
        raise ValueError(
            f"{name} takes a number from {fits.low:g} to {fits.high:g} ({fits.meaning}), as in "
            f"'{name} {max(1, fits.low) if fits.high > 1 else 0.1:g}'; got "
            f"{' '.join(given) or 'none'}"
        )
    return number
