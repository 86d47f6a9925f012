"""The proof of an export: its own runtime gives the answers that Keras gives."""

from __future__ import annotations

import importlib.metadata
import math
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from tlkit.classifier import Classifier
from tlkit.data.stream import stream_images
from tlkit.errors import DataError, ExportError
from tlkit.export.formats import Calibration, Format
from tlkit.labels import THRESHOLD, multi_hot
from tlkit.progress import track

IMAGES = 1000
"""The proof is of so many held-out images at most, evenly spread."""
CALIBRATION = 300
"""Training images whose activations set the ranges of int8 (NNCF's default, too)."""


@dataclass(frozen=True)
class Tolerance:
    """What an export may differ by.

    Attributes:
        largest: of any probability of any image; None where it is not limited.
        mean: of the images' largest differences.
        flips: share of the images whose answer may change, rounded up to whole images.
    """

    largest: float | None = None
    mean: float | None = None
    flips: float | None = None

    def __str__(self) -> str:
        limits = (
            f"largest difference {self.largest:.0e}" if self.largest else "",
            f"mean difference {self.mean}" if self.mean else "",
            f"{self.flips:.0%} of the answers changed" if self.flips else "",
        )
        return ", ".join(limit for limit in limits if limit)


FLOAT = Tolerance(largest=1e-4)
"""Rounding alone; an answer changes only where two classes are that near. Measured: 3e-6."""
INT8 = Tolerance(mean=0.02, flips=0.02)
"""256 values a channel move single probabilities near one half by a lot, answers seldom."""


@dataclass(frozen=True)
class Proof:
    """How an export compares with Keras on the same images.

    Attributes:
        runtime: what ran it, with its version.
        images: how many were run.
        split: of the run; which of its images these are.
        largest_difference: of any probability of any image.
        mean_difference: mean over the images of each one's largest difference.
        flips: images whose most probable class changed.
        accuracy, accuracy_keras: share of the images that are right.
        tolerance: what was allowed.
    """

    runtime: str
    images: int
    split: str
    largest_difference: float
    mean_difference: float
    flips: int
    accuracy: float
    accuracy_keras: float
    tolerance: Tolerance

    @property
    def holds(self) -> bool:
        """Whether all is within the tolerance; a NaN is not."""
        limit = self.tolerance
        return (
            (limit.largest is None or self.largest_difference <= limit.largest)
            and (limit.mean is None or self.mean_difference <= limit.mean)
            and (limit.flips is None or self.flips <= math.ceil(limit.flips * self.images))
            and math.isfinite(self.largest_difference)
        )

    def __str__(self) -> str:
        split = {"train": "training", "val": "validation"}.get(self.split, self.split)
        return (
            f"{self.runtime} on {self.images:,} {split} pictures: largest difference from "
            f"Keras {self.largest_difference:.1e}, mean {self.mean_difference:.1e}, {self.flips} "
            f"answers changed, accuracy {self.accuracy:.3f} (Keras {self.accuracy_keras:.3f}); "
            f"allowed: {self.tolerance}"
        )

    def to_dict(self) -> dict[str, Any]:
        """For proof.json."""
        return asdict(self)


def targets(cells: pd.Series, classifier: Classifier) -> NDArray[np.bool_]:
    """Which classes each image shows: (images, classes)."""
    if classifier.multi_label:
        return multi_hot(cells, classifier.classes) > 0
    numbers = {name: number for number, name in enumerate(classifier.classes)}
    return np.eye(len(numbers), dtype=bool)[cells.map(numbers).to_numpy()]


def decide(probabilities: NDArray[np.floating], multi_label: bool) -> NDArray[np.bool_]:
    """Which classes are answered: (images, classes); one of each image, but for `multi_label`."""
    if multi_label:
        return probabilities >= THRESHOLD
    return np.eye(probabilities.shape[1], dtype=bool)[probabilities.argmax(axis=1)]


def prove(
    form: Format, export: Path, classifier: Classifier, rows: pd.DataFrame, root: Path, int8: bool
) -> Proof:
    """Run an export and Keras on the same images.

    Args:
        form: the format.
        export: what its runtime loads.
        classifier: what was exported.
        rows: columns path, label and split (one split).
        root: folder of the images.
        int8: whether the export was quantised.

    Raises:
        ExportError: the export does not know the classes, or gives answers of another shape.
    """
    if form.about(export) != classifier.about:
        raise ExportError(f"The {form.name} export does not say the classes it was given.")
    run = form.load(export)
    difference, right, right_keras, flips = [], 0, 0, 0
    true = targets(rows["label"], classifier)
    images = stream_images([root / path for path in rows["path"]], classifier.view)
    for start, batch in track(images, "comparing with Keras", -(-len(rows) // 32)):
        pixels = batch.astype(np.float32)
        truth = np.asarray(classifier.model.predict_on_batch(pixels))
        answer = run(pixels)
        if answer.shape != truth.shape:
            raise ExportError(f"The {form.name} export gives {answer.shape} for {truth.shape}.")
        difference.append(np.abs(answer - truth).max(axis=1))
        said, meant = (decide(p, classifier.multi_label) for p in (answer, truth))
        right += int((said == true[start : start + len(batch)]).all(1).sum())
        right_keras += int((meant == true[start : start + len(batch)]).all(1).sum())
        flips += int((said != meant).any(1).sum())
    all_of = np.concatenate(difference)
    name, package = form.runtime
    return Proof(
        f"{name} {importlib.metadata.version(package)}",
        len(rows),
        str(rows["split"].iloc[0]),
        float(all_of.max()),
        float(all_of.mean()),
        flips,
        right / len(rows),
        right_keras / len(rows),
        INT8 if int8 else FLOAT,
    )


def held_out(split: pd.DataFrame, root: Path) -> pd.DataFrame:
    """The images to prove an export on: validation, else test, else training images.

    Raises:
        DataError: none of them is there any more.
    """
    for part in ("val", "test", "train"):
        rows = _present(split[split["split"] == part], root)
        if len(rows):
            return spread(rows, IMAGES)
    raise DataError(
        f"None of the run's images is in {root} any more, so an export cannot be proven; say where "
        "they are with --data DIR."
    )


def calibration_images(split: pd.DataFrame, root: Path, classifier: Classifier) -> Calibration:
    """Training images as the network takes them, evenly spread over split.csv.

    Raises:
        DataError: there are none.
    """
    rows = spread(_present(split[split["split"] == "train"], root), CALIBRATION)
    if not len(rows):
        raise DataError(f"--int8 is calibrated on training images, and {root} holds none of them.")
    batches = stream_images([root / path for path in rows["path"]], classifier.view)
    return [image for _, batch in batches for image in batch]


def spread(rows: pd.DataFrame, most: int) -> pd.DataFrame:
    """At most so many rows, evenly spread, so that every class has its share."""
    if not len(rows):
        return rows
    return rows.iloc[np.unique(np.linspace(0, len(rows) - 1, most).astype(int))]


def _present(rows: pd.DataFrame, root: Path) -> pd.DataFrame:
    return rows[[(root / path).is_file() for path in rows["path"]]]
