"""The numbers of a run whose images may show several classes, in the form of `metrics.score`.

What counts images counts those whose labels are all right (exact match). Beside it: the mean over
classes of the average precision (mAP), F1 over all decisions (micro) and over classes (macro), and
the share of decisions that are wrong (Hamming loss).
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd

from tlkit import labels
from tlkit.evaluation import intervals
from tlkit.evaluation.intervals import accuracy_interval
from tlkit.evaluation.metrics import (
    LARGEST_LOSS,
    areas,
    calibration,
    ece_by_chance,
    f1_interval,
    number,
)

HEADLINE = (
    *("mean_average_precision", "mean_average_precision_interval"),
    *("micro_f1", "micro_f1_interval", "hamming_loss", "hamming_loss_interval"),
)


def score_split(table: pd.DataFrame, classes: list[str]) -> dict[str, Any]:
    """The scores of one split; keys as of one label, and `HEADLINE`.

    Args:
        table: as in predictions.csv, with labels such as `a;b`.
        classes: names, in the order of the model's outputs.
    """
    truth = labels.multi_hot(table["label"], classes) > 0
    said = labels.multi_hot(table["predicted"], classes) > 0
    images, right = len(table), (truth == said).all(axis=1)
    correct, support, answers = int(right.sum()), truth.sum(axis=0), said.sum(axis=0)
    hits = (truth & said).sum(axis=0)
    with np.errstate(invalid="ignore"):
        precision, recall, f1 = hits / answers, hits / support, 2 * hits / (support + answers)

    # Equal rows are drawn as one: there are far fewer of them than images.
    both, counts = np.unique(np.concatenate([truth, said], axis=1), axis=0, return_counts=True)
    drawn = intervals.resample(counts)
    cells, answered = both[:, : len(classes)], both[:, len(classes) :]
    some_hits, some_support, some_answers = (
        drawn @ kind.astype(np.int64) for kind in (cells & answered, cells, answered)
    )
    with np.errstate(invalid="ignore"):
        some_recall = some_hits / some_support
        some_f1 = 2 * some_hits / (some_support + some_answers)
        some_micro = 2 * some_hits.sum(axis=1) / (some_support + some_answers).sum(axis=1)

    curves = areas(table, classes, lambda name: truth[:, classes.index(name)])
    per_class = [
        {
            "class": name,
            "images": int(support[i]),
            "precision": number(precision[i]),
            "precision_interval": accuracy_interval(int(hits[i]), int(answers[i])),
            "recall": number(recall[i]),
            "recall_interval": accuracy_interval(int(hits[i]), int(support[i])),
            "f1": number(f1[i]),
            "f1_interval": f1_interval(some_f1[:, i], f1[i], (support[i] + answers[i]) / 2),
            **curves[i],
        }
        for i, name in enumerate(classes)
    ]
    shown, seen = support > 0, (support > 0) | (answers > 0)
    worth = intervals.effective_images(support) if shown.any() else float(images)
    balanced = float(recall[shown].mean()) if shown.any() else 1.0
    macro_f1 = float(f1[seen].mean()) if seen.any() else 1.0
    micro_f1 = float(2 * hits.sum() / (support + answers).sum()) if seen.any() else 1.0
    known = [row["average_precision"] for row in curves if row["average_precision"] is not None]
    mean_precision = float(np.mean(known)) if known else None
    hamming = float((truth != said).mean())
    bins, ece = calibration(table["confidence"].to_numpy(dtype=float), right)
    loss = np.minimum(table["loss"].to_numpy(dtype=float), LARGEST_LOSS * len(classes))
    return {
        "images": images,
        "correct": correct,
        "accuracy": correct / images,
        "accuracy_interval": accuracy_interval(correct, images),
        "top5": None,
        "top5_interval": None,
        "loss": float(loss.mean()),
        "loss_interval": intervals.mean_interval(loss),
        "balanced_accuracy": balanced,
        "balanced_accuracy_interval": _interval(some_recall, balanced, worth),
        "macro_f1": macro_f1,
        "macro_f1_interval": _interval(some_f1, macro_f1, worth),
        "micro_f1": micro_f1,
        "micro_f1_interval": intervals.bootstrap_interval(
            some_micro[~np.isnan(some_micro)], micro_f1, float(max(1, support.sum()))
        )
        if seen.any()
        else None,
        "mean_average_precision": mean_precision,
        "mean_average_precision_interval": None
        if mean_precision is None
        else intervals.share_interval(mean_precision, worth),
        "hamming_loss": hamming,
        # Decisions on one image go together: it is worth no more than one of them.
        "hamming_loss_interval": intervals.share_interval(hamming, images),
        "ece": ece,
        "ece_by_chance": ece_by_chance(bins),
        "per_class": per_class,
        "confusion_matrix": None,
        "most_confused": [],
    }


def _interval(samples: np.ndarray, value: float, images: float) -> list[float]:
    """Of a mean over classes, from (resamples, classes) with NaN where a class is undefined."""
    some = samples[~np.isnan(samples).all(axis=1)]
    if not len(some):
        return intervals.share_interval(value, images)
    return intervals.bootstrap_interval(intervals.macro(some), value, images)
