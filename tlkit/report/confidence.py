"""The sections about confidence: each class against the rest, calibration, and "don't know"."""

from __future__ import annotations

from typing import Any

import numpy as np

from tlkit.evaluation.displays import (
    CoverageCurve,
    ReliabilityDiagram,
    headline,
    threshold_curves,
)
from tlkit.report import charts
from tlkit.report.sections import Material
from tlkit.report.words import SPLIT_NAMES

# Of more classes than this, those with the lowest average precision are drawn.
MOST_CURVES = 20
THRESHOLDS = (0.0, 0.5, 0.6, 0.7, 0.8, 0.9, 0.95, 0.99)


def thresholds(material: Material) -> dict[str, Any] | None:
    """Precision-recall and ROC curves, each class against the rest."""
    rows = [row for row in material.scores["per_class"] if row.get("auc") is not None]
    if not rows:
        return None
    rows = sorted(rows, key=lambda row: row["average_precision"])
    chosen = {row["class"] for row in rows[:MOST_CURVES]}
    curves = threshold_curves(
        material.predictions,
        material.classes,
        [name for name in material.classes if name in chosen],
        material.multi_label,
    )
    return {
        "split": SPLIT_NAMES[material.metrics["evaluated"]],
        "charts": {
            "precision_recall": charts.precision_recall_chart(curves),
            "roc": charts.roc_chart(curves),
        },
        "drawn": [{"place": curve.place, "name": curve.name} for curve in curves],
        "rows": rows,
    }


def calibration(material: Material) -> dict[str, Any]:
    """Whether its confidence can be taken at its word."""
    diagram = ReliabilityDiagram.from_predictions(material.predictions)
    confidence = headline(material.predictions)["confidence"].to_numpy(dtype=float)
    mean = float(confidence.mean())
    # How far accuracy strays from it by chance, if every picture keeps its word.
    chance = 1.96 * float(np.sqrt((confidence * (1 - confidence)).sum())) / len(confidence)
    gap = mean - material.scores["accuracy"]
    return {
        "split": SPLIT_NAMES[material.metrics["evaluated"]],
        "chart": charts.reliability_chart(diagram),
        "ece": material.scores["ece"],
        "by_chance": material.scores["ece_by_chance"],
        "images": diagram.images,
        "confidence": mean,
        "gap": gap if abs(gap) > chance else 0.0,
        "accuracy": material.scores["accuracy"],
        "fitted": material.metrics.get("calibration"),
    }


def coverage(material: Material) -> dict[str, Any]:
    """What withholding the least confident answers costs and brings."""
    curve = CoverageCurve.from_predictions(material.predictions)
    rows = []
    for threshold in THRESHOLDS:
        row = curve.at(threshold)
        if row is None:
            continue
        mistakes = int(row["answered"] - row["correct"])
        interval = [row["accuracy_low"], row["accuracy_high"]]
        rows.append(row | {"threshold": threshold, "mistakes": mistakes, "interval": interval})
    return {
        "split": SPLIT_NAMES[material.metrics["evaluated"]],
        "chart": charts.coverage_chart(curve),
        "rows": rows,
        "images": curve.images,
    }
