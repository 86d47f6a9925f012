"""What the report draws, as numbers: computed here once, drawn elsewhere."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from sklearn.metrics import confusion_matrix, precision_recall_curve, roc_curve

from tlkit.evaluation.intervals import accuracy_interval, wilson
from tlkit.evaluation.metrics import (
    CALIBRATION_BINS,
    LARGEST_MATRIX,
    calibration,
    confused_pairs,
    headline_split,
)
from tlkit.labels import split_labels

CURVES = ("loss", "val_loss", "accuracy", "val_accuracy")


def headline(predictions: pd.DataFrame) -> pd.DataFrame:
    """The rows of the headline split (test when there is one, else val, else train)."""
    split = headline_split(set(predictions["split"]))
    return predictions[predictions["split"] == split]


def most_correct(predictions: pd.DataFrame, n: int = 12) -> pd.DataFrame:
    """The `n` images of the headline split that were right with the highest confidence."""
    table = headline(predictions)
    right = table[table["label"] == table["predicted"]]
    return right.sort_values(["confidence", "path"], ascending=[False, True]).head(n)


def most_wrong(predictions: pd.DataFrame, n: int = 12) -> pd.DataFrame:
    """The `n` mistakes of the headline split with the highest loss, so the surest mistakes."""
    table = headline(predictions)
    wrong = table[table["label"] != table["predicted"]]
    return wrong.sort_values(["loss", "path"], ascending=[False, True]).head(n)


def most_uncertain(
    predictions: pd.DataFrame, n: int = 12, multi_label: bool = False
) -> pd.DataFrame:
    """The `n` images of the headline split whose two best classes were the closest.

    Of images with several labels: those whose answer is the least probable.
    """
    table = headline(predictions)
    if multi_label:
        return table.sort_values(["confidence", "path"]).head(n)
    probabilities = table.filter(regex="^p_").to_numpy(dtype=float)
    best = np.partition(probabilities, -2, axis=1)
    order = np.lexsort((table["path"].to_numpy(dtype=str), best[:, -1] - best[:, -2]))
    return table.iloc[order[:n]]


@dataclass(frozen=True)
class ConfusionMatrix:
    """How often each class was taken for each class.

    Args:
        classes: class names.
        counts: int, (classes, classes): rows are the true class, columns the predicted one.
    """

    classes: list[str]
    counts: np.ndarray

    @classmethod
    def from_predictions(cls, predictions: pd.DataFrame, classes: Sequence[str]) -> ConfusionMatrix:
        """The matrix of the headline split."""
        table = headline(predictions)
        place = {name: index for index, name in enumerate(classes)}
        counts = confusion_matrix(
            table["label"].map(place), table["predicted"].map(place), labels=range(len(classes))
        )
        return cls(list(classes), counts)

    @property
    def normalised(self) -> np.ndarray:
        """float, (classes, classes): each row over its sum; an empty row stays 0."""
        return self.counts / np.maximum(self.counts.sum(axis=1, keepdims=True), 1)

    def most_confused(self, n: int) -> list[dict[str, Any]]:
        """The `n` most frequent mistakes: {label, predicted, images}."""
        return confused_pairs(self.counts, self.classes, n)


@dataclass(frozen=True)
class Phase:
    """One phase of the training.

    Args:
        name: as in history.csv.
        epochs: counted over all phases, from 1; iterations where nothing but a solver worked.
        curves: loss, val_loss, accuracy, val_accuracy; (epochs,) each, NaN where not measured.
        best: the epoch (counted over all phases) of the lowest val_loss, else loss.
        solved: whether a solver found the weights, so that there was nothing to choose.
    """

    name: str
    epochs: list[int]
    curves: dict[str, np.ndarray]
    best: int
    solved: bool = False


@dataclass(frozen=True)
class LearningCurves:
    """How loss and accuracy went, epoch by epoch, phase after phase."""

    phases: list[Phase]

    @classmethod
    def from_history(cls, history: pd.DataFrame) -> LearningCurves:
        """From the table of history.csv; a column that is absent or empty becomes NaN."""
        phases = []
        table = history.reset_index(drop=True)
        for name, rows in table.groupby("phase", sort=False):
            curves = {
                curve: pd.to_numeric(rows.get(curve, pd.Series(np.nan, rows.index)), "coerce")
                for curve in CURVES
            }
            judge = curves["val_loss"] if curves["val_loss"].notna().any() else curves["loss"]
            best = int(judge.fillna(np.inf).argmin())
            solved = "lr" in rows and bool((rows["lr"] == 0).all())
            if solved:
                best = len(rows) - 1  # the end is what was looked for
            arrays = {curve: values.to_numpy(dtype=float) for curve, values in curves.items()}
            epochs = [i + 1 for i in rows.index]
            if solved and len(rows) == len(table) and "epoch" in rows:
                epochs = rows["epoch"].astype(int).tolist()
            phases.append(Phase(str(name), epochs, arrays, epochs[best], solved))
        return cls(phases)


@dataclass(frozen=True)
class ReliabilityDiagram:
    """Accuracy against confidence, in equal-width bins [Guo et al. 2017].

    Args:
        bins: low, high, images, correct, accuracy, confidence, and accuracy_low / accuracy_high
            (Wilson 95 %), one row per bin that holds images.
        ece: expected calibration error.
        images: how many were counted.
    """

    bins: pd.DataFrame
    ece: float
    images: int

    @classmethod
    def from_predictions(
        cls, predictions: pd.DataFrame, bins: int = CALIBRATION_BINS
    ) -> ReliabilityDiagram:
        """The diagram of the headline split."""
        table = headline(predictions)
        right = (table["label"] == table["predicted"]).to_numpy()
        rows, ece = calibration(table["confidence"].to_numpy(dtype=float), right, bins)
        intervals = [
            accuracy_interval(correct, images) or (0.0, 1.0)
            for correct, images in zip(rows["correct"], rows["images"], strict=True)
        ]
        rows["accuracy_low"] = [low for low, _ in intervals]
        rows["accuracy_high"] = [high for _, high in intervals]
        return cls(rows, ece, len(table))


@dataclass(frozen=True)
class ThresholdCurve:
    """One class against the rest, while the threshold on its probability falls.

    Args:
        name: the class.
        place: its number in the order of the model's outputs.
        images: how many show it, of the split.
        false_alarms, hits: the ROC curve; (points,) each, from 0 to 1.
        recall, precision: the precision-recall curve, recall rising; each precision holds from the
            recall before it to its own, which is how average precision counts.
    """

    name: str
    place: int
    images: int
    false_alarms: np.ndarray
    hits: np.ndarray
    recall: np.ndarray
    precision: np.ndarray


def threshold_curves(
    predictions: pd.DataFrame,
    classes: Sequence[str],
    chosen: Sequence[str],
    multi_label: bool = False,
) -> list[ThresholdCurve]:
    """The curves of some classes on the headline split; classes without images have none."""
    table = headline(predictions)
    curves: list[ThresholdCurve] = []
    for name in chosen if len(classes) <= LARGEST_MATRIX else ():
        shows = {cell: name in split_labels(cell) for cell in set(table["label"])}
        own = (table["label"].map(shows) if multi_label else table["label"] == name).to_numpy(bool)
        if not 0 < own.sum() < len(own):
            continue
        p = table[f"p_{name}"].to_numpy(dtype=float)
        false_alarms, hits, _ = roc_curve(own, p)
        precision, recall, _ = precision_recall_curve(own, p, drop_intermediate=True)
        recall, precision = recall[::-1], precision[::-1]
        # Once all are found, a lower threshold only adds what is wrong.
        end = int(np.argmax(recall == 1)) + 1
        curves.append(
            ThresholdCurve(
                name=name,
                place=list(classes).index(name),
                images=int(own.sum()),
                false_alarms=false_alarms,
                hits=hits,
                recall=recall[:end],
                precision=precision[:end],
            )
        )
    return curves


@dataclass(frozen=True)
class CoverageCurve:
    """What is gained and lost when the least confident answers are withheld.

    Args:
        points: one row per distinct confidence, falling: confidence (answer from here up), answered
            (images), correct, coverage, accuracy, accuracy_low, accuracy_high (Wilson 95 %).
        images: of the split.
    """

    points: pd.DataFrame
    images: int

    @classmethod
    def from_predictions(cls, predictions: pd.DataFrame) -> CoverageCurve:
        """The curve of the headline split."""
        table = headline(predictions).sort_values("confidence", ascending=False)
        right = (table["label"] == table["predicted"]).to_numpy()
        confidence = table["confidence"].to_numpy(dtype=float)
        # Answers of one confidence are given or withheld together.
        last = np.append(confidence[1:] != confidence[:-1], True)
        answered, correct = np.arange(1, len(table) + 1)[last], np.cumsum(right)[last]
        low, high = wilson(correct / answered, answered)
        points = pd.DataFrame(
            {
                "confidence": confidence[last],
                "answered": answered,
                "correct": correct,
                "coverage": answered / len(table),
                "accuracy": correct / answered,
                "accuracy_low": low,
                "accuracy_high": high,
            }
        )
        return cls(points, len(table))

    def at(self, threshold: float) -> dict[str, Any] | None:
        """The row of `points` for answers of at least this confidence; None when there is none."""
        rows = self.points[self.points["confidence"] >= threshold]
        return {str(key): float(n) for key, n in rows.iloc[-1].items()} if len(rows) else None
