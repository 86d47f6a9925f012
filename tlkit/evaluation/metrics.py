"""The numbers of a run, from its table of predictions. Plain values, ready for metrics.json."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from typing import Any

import numpy as np
import pandas as pd
from sklearn.metrics import (
    average_precision_score,
    confusion_matrix,
    precision_recall_fscore_support,
    roc_auc_score,
    top_k_accuracy_score,
)

from tlkit.errors import DataError
from tlkit.evaluation import intervals
from tlkit.evaluation.intervals import accuracy_interval
from tlkit.labels import split_labels

SPLITS = ("train", "val", "test")
AREAS = ("auc", "auc_interval", "average_precision", "average_precision_interval")
# What metrics.json says of the headline split before anything else.
HEADLINE = (
    *("accuracy", "accuracy_interval", "balanced_accuracy", "balanced_accuracy_interval"),
    *("macro_f1", "macro_f1_interval", "ece"),
)

# Equal-width confidence bins of the reliability diagram and of ECE (Guo et al. 2017, section 4).
CALIBRATION_BINS = 15
# A full matrix of more classes is millions of numbers; predictions.csv holds the same facts. Nor is
# the threshold of each of them swept.
LARGEST_MATRIX = 500
# How often chance is simulated for `ece_by_chance`.
SIMULATIONS = 200
# How many pairs of classes `most_confused` lists.
MOST_CONFUSED = 50
# A float32 softmax can reach 0, whose loss is infinite; the smallest normal float32 bounds it.
LARGEST_LOSS = float(-np.log(np.finfo(np.float32).tiny))


def score(
    predictions: pd.DataFrame, classes: Sequence[str], multi_label: bool = False
) -> dict[str, Any]:
    """Everything metrics.json says about how good the classifier is.

    Args:
        predictions: one row per image: path, split, label, predicted, confidence, loss and
            p_<class> for every class.
        classes: class names, in the order of the model's outputs.
        multi_label: whether a label is a list such as `a;b`. Accuracy is the share of images whose
            labels are all right then; `tlkit.evaluation.multilabel` says what comes with it.

    Returns:
        A dict without NaN: `classes`, `evaluated` (the headline split: test, else val, else
        train), its `HEADLINE` scores, and `splits` with the full scores of each. A key that ends
        in `_interval` is the 95 % interval of the number beside it.

    Raises:
        DataError: there is nothing to score, or a label is not one of the classes.
    """
    from tlkit.evaluation import multilabel

    cells = set(predictions["label"])
    names = {name for cell in cells for name in split_labels(cell)} if multi_label else cells
    unknown = sorted(names - set(classes))
    if unknown:
        raise DataError(
            f"Cannot score the label {unknown[0]!r}: the model knows {_listed(classes)}. "
            "Rename the folder or remove it."
        )
    score_split = multilabel.score_split if multi_label else _score_split
    splits = {
        split: score_split(predictions[predictions["split"] == split], list(classes))
        for split in SPLITS
        if (predictions["split"] == split).any()
    }
    if not splits:
        raise DataError(
            "There are no predictions to score: no image belongs to train, val or test."
        )
    evaluated = headline_split(splits)
    headline = splits[evaluated]
    return {
        "classes": list(classes),
        "evaluated": evaluated,
        **{key: headline[key] for key in HEADLINE},
        **({key: headline[key] for key in multilabel.HEADLINE} if multi_label else {}),
        **({"multi_label": True} if multi_label else {}),
        "splits": splits,
    }


def headline_split(splits: Collection[str]) -> str:
    """The split whose accuracy is the run's: test when there is one, else val, else train."""
    return next(split for split in ("test", "val", "train") if split in splits)


def calibration(
    confidence: np.ndarray, correct: np.ndarray, bins: int = CALIBRATION_BINS
) -> tuple[pd.DataFrame, float]:
    """How far the model's confidence is from its accuracy [Guo et al. 2017, section 2].

    Args:
        confidence: float, (images,), the probability of the predicted class.
        correct: bool, (images,).
        bins: number of equal-width bins (k/bins, (k+1)/bins].

    Returns:
        One row per bin that holds images (low, high, images, correct, accuracy, confidence), and
        the expected calibration error: the mean over images of their bin's |accuracy - confidence|.
    """
    place = np.clip(np.ceil(confidence * bins).astype(int) - 1, 0, bins - 1)
    table = pd.DataFrame({"bin": place, "confidence": confidence, "correct": correct})
    grouped = table.groupby("bin").agg(
        images=("correct", "size"),
        correct=("correct", "sum"),
        accuracy=("correct", "mean"),
        confidence=("confidence", "mean"),
    )
    grouped.insert(0, "low", grouped.index / bins)
    grouped.insert(1, "high", (grouped.index + 1) / bins)
    gap = (grouped["accuracy"] - grouped["confidence"]).abs()
    ece = float((gap * grouped["images"]).sum() / max(len(table), 1))
    return grouped.reset_index(drop=True), ece


def ece_by_chance(bins: pd.DataFrame) -> float:
    """The calibration error that a perfectly calibrated classifier would show by chance alone.

    Few images per bin make the error of any classifier positive; this is the mean over simulations
    that draw each bin's right answers at the rate of its confidence.

    Args:
        bins: as `calibration` returns.
    """
    images = bins["images"].to_numpy()
    confidence = np.clip(bins["confidence"].to_numpy(dtype=float), 0, 1)
    drawn = np.random.default_rng(0).binomial(images, confidence, (SIMULATIONS, len(images)))
    return float(np.abs(drawn - images * confidence).sum() / images.sum() / SIMULATIONS)


def confused_pairs(counts: np.ndarray, classes: Sequence[str], n: int) -> list[dict[str, Any]]:
    """The `n` most frequent mistakes of a confusion matrix: {label, predicted, images} each."""
    mistakes = counts.copy()
    np.fill_diagonal(mistakes, 0)
    rows, columns = np.nonzero(mistakes)
    order = np.lexsort((columns, rows, -mistakes[rows, columns]))[:n]
    return [
        {
            "label": classes[rows[i]],
            "predicted": classes[columns[i]],
            "images": int(mistakes[rows[i], columns[i]]),
        }
        for i in order
    ]


def _score_split(table: pd.DataFrame, classes: list[str]) -> dict[str, Any]:
    place = {name: index for index, name in enumerate(classes)}
    label = table["label"].map(place).to_numpy(dtype=int)
    predicted = table["predicted"].map(place).to_numpy(dtype=int)
    confidence = table["confidence"].to_numpy(dtype=float)
    right = label == predicted
    counts = confusion_matrix(label, predicted, labels=range(len(classes)))
    images, correct = len(table), int(right.sum())
    # Undefined means NaN here and null in the file: nothing was predicted, or no image was there.
    precision, recall, f1, support = precision_recall_fscore_support(
        label, predicted, labels=range(len(classes)), zero_division=np.nan
    )
    answers = counts.sum(axis=0)
    cells = np.nonzero(counts)
    of_label, of_answer = (intervals.one_hot(places, len(classes)) for places in cells)
    drawn = intervals.resample(counts[cells])
    drawn_recall, drawn_f1 = intervals.class_scores(of_label, of_answer, drawn)
    curves = areas(table, classes, lambda name: (table["label"] == name).to_numpy())
    per_class = [
        {
            "class": name,
            "images": int(support[i]),
            "precision": number(precision[i]),
            "precision_interval": accuracy_interval(int(counts[i, i]), int(answers[i])),
            "recall": number(recall[i]) if support[i] else None,
            "recall_interval": accuracy_interval(int(counts[i, i]), int(support[i])),
            "f1": number(f1[i]),
            "f1_interval": f1_interval(drawn_f1[:, i], f1[i], (support[i] + answers[i]) / 2),
            **curves[i],
        }
        for i, name in enumerate(classes)
    ]
    bins, ece = calibration(confidence, right)
    top5 = _top5(table, label, classes)
    loss = np.minimum(table["loss"].to_numpy(dtype=float), LARGEST_LOSS)
    seen = (support > 0) | (answers > 0)
    balanced, macro_f1 = float(np.mean(recall[support > 0])), float(np.nan_to_num(f1[seen]).mean())
    worth = intervals.effective_images(support)
    return {
        "images": images,
        "correct": correct,
        "accuracy": correct / images,
        "accuracy_interval": accuracy_interval(correct, images),
        "top5": top5,
        "top5_interval": None if top5 is None else intervals.share_interval(top5, images),
        "loss": float(loss.mean()),
        "loss_interval": intervals.mean_interval(loss),
        # Over the classes that this split holds; scikit-learn's own function warns of the others.
        "balanced_accuracy": balanced,
        "balanced_accuracy_interval": intervals.bootstrap_interval(
            intervals.macro(drawn_recall), balanced, worth
        ),
        "macro_f1": macro_f1,
        "macro_f1_interval": intervals.bootstrap_interval(
            intervals.macro(drawn_f1), macro_f1, worth
        ),
        "ece": ece,
        "ece_by_chance": ece_by_chance(bins),
        "per_class": per_class,
        "confusion_matrix": counts.tolist() if len(classes) <= LARGEST_MATRIX else None,
        "most_confused": confused_pairs(counts, classes, MOST_CONFUSED),
    }


def areas(
    table: pd.DataFrame, classes: Sequence[str], shows: Callable[[str], np.ndarray]
) -> list[dict[str, Any]]:
    """Each class against the rest: the areas under its ROC and its precision-recall curve.

    Args:
        table: with the columns p_<class>.
        classes: names.
        shows: from a class to whether each image shows it: bool, (images,).

    The interval of an average precision is that of a share of the class's images [Boyd, Eng & Page
    2013, section 4.1], in Wilson's form.
    """
    rows: list[dict[str, Any]] = []
    for name in classes:
        own = shows(name)
        positives, negatives = int(own.sum()), int((~own).sum())
        if not positives or not negatives or len(classes) > LARGEST_MATRIX:
            rows.append(dict.fromkeys(AREAS))
            continue
        probability = table[f"p_{name}"].to_numpy(dtype=float)
        auc = float(roc_auc_score(own, probability))
        precision = float(average_precision_score(own, probability))
        bounds = (
            intervals.auc_interval(auc, positives, negatives),
            intervals.share_interval(precision, positives),
        )
        rows.append(dict(zip(AREAS, (auc, bounds[0], precision, bounds[1]), strict=True)))
    return rows


def f1_interval(samples: np.ndarray, f1: float, images: float) -> list[float] | None:
    """None where F1 is undefined; `images` is the mean of the class's images and answers."""
    if np.isnan(f1):
        return None
    return intervals.bootstrap_interval(samples[~np.isnan(samples)], float(f1), images)


def _top5(table: pd.DataFrame, label: np.ndarray, classes: list[str]) -> float | None:
    """The share of images with their label among the five most probable; None for <= 5 classes."""
    if len(classes) <= 5:
        return None
    probabilities = table[[f"p_{name}" for name in classes]].to_numpy(dtype=float)
    return float(top_k_accuracy_score(label, probabilities, k=5, labels=range(len(classes))))


def number(value: float) -> float | None:
    """None for NaN, which JSON does not know."""
    return None if np.isnan(value) else float(value)


def _listed(names: Sequence[str], most: int = 5) -> str:
    shown = ", ".join(map(repr, names[:most]))
    return shown if len(names) <= most else f"{shown} and {len(names) - most} more"
