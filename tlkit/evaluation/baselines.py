"""What trivial rules reach: a classifier that is no better has learned a shortcut, or nothing."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from threadpoolctl import threadpool_limits

from tlkit.data.duplicates import look_at
from tlkit.evaluation.intervals import accuracy_interval
from tlkit.evaluation.probe import LOGISTIC, head_for, probabilities

MOST_TRAIN, MOST_HELD_OUT = 3_000, 1_500


def baselines(
    rows: NDArray[np.float32],
    samples: pd.DataFrame,
    labels: NDArray[np.int64],
    train: NDArray[np.int64],
    held_out: NDArray[np.int64],
    root: Path,
    seed: int = 0,
    workers: int | None = None,
) -> list[dict[str, Any]]:
    """The accuracy of trivial rules on the held-out images.

    Args:
        rows: the backbone's features, float32, (images, features).
        samples: columns path, width, height, format; row by row the same images.
        labels: class number of each.
        train, held_out: places in `rows`; up to MOST_TRAIN and MOST_HELD_OUT of them are used.
        root: the folder that paths are relative to.
        seed: of the choice.
        workers: threads that decode.

    Returns:
        For each rule "majority", "size", "colour" and "neighbour": {rule, accuracy, interval,
        images}, and `head` of those that learn where it is not the usual logistic regression;
        nothing where there is nothing held out.
    """
    if not len(held_out) or not len(train):
        return []
    rng = np.random.default_rng(seed)
    train = np.sort(rng.permutation(train)[:MOST_TRAIN])
    held_out = np.sort(rng.permutation(held_out)[:MOST_HELD_OUT])
    known, asked = labels[train], labels[held_out]
    both = samples.iloc[np.concatenate([train, held_out])]
    n, classes = len(train), int(labels.max()) + 1
    head = head_for(n, known)

    def simple(values: NDArray[np.float64]) -> NDArray[np.int64]:
        x = _with_squares(values, n)
        return probabilities(x[:n], known, x[n:], classes, 1.0, head).argmax(axis=1)

    answers = {
        "majority": np.full(len(asked), np.bincount(known).argmax()),
        "size": simple(_size(both)),
        "colour": simple(_colour(root, both, workers)),
        "neighbour": known[_nearest(rows[train], rows[held_out])],
    }
    return [
        {
            "rule": rule,
            "accuracy": float((answer == asked).mean()),
            "interval": accuracy_interval(int((answer == asked).sum()), len(asked)),
            "images": len(asked),
            **({"head": head} if head != LOGISTIC and rule in ("size", "colour") else {}),
        }
        for rule, answer in answers.items()
    ]


def _size(samples: pd.DataFrame) -> NDArray[np.float64]:
    """Width and height on a logarithmic scale, and the file format."""
    sides = np.log(samples[["width", "height"]].to_numpy(dtype=np.float64))
    formats = pd.get_dummies(samples["format"]).to_numpy(dtype=np.float64)
    return np.concatenate([sides, formats], axis=1)


def _colour(root: Path, samples: pd.DataFrame, workers: int | None) -> NDArray[np.float64]:
    """Mean and standard deviation of red, green and blue."""
    colour = look_at(root, samples, workers).colour.astype(np.float64)
    return np.concatenate([colour.mean(axis=(1, 2)), colour.std(axis=(1, 2))], axis=1)


def _with_squares(values: NDArray[np.float64], n: int) -> NDArray[np.float32]:
    """Standardised by the first n rows, with all products of two."""
    values = (values - values[:n].mean(axis=0)) / np.maximum(values[:n].std(axis=0), 1e-6)
    products = [values[:, i] * values[:, j] for i in range(values.shape[1]) for j in range(i + 1)]
    return np.clip(np.column_stack([values, *products]), -10, 10).astype(np.float32)


def _nearest(rows: NDArray[np.float32], others: NDArray[np.float32]) -> NDArray[np.intp]:
    """The row nearest to each of the others by the angle between them."""
    rows, others = (v / np.maximum(np.linalg.norm(v, axis=1, keepdims=True), 1e-6)
                    for v in (rows, others))  # fmt: skip
    with threadpool_limits(1):
        return (others @ rows.T).argmax(axis=1)
