"""More data or more training: how the head's accuracy grows with the number of training images."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.stats import norm

from tlkit.evaluation.intervals import LEVEL, wilson
from tlkit.evaluation.probe import LOGISTIC, head_for, probabilities
from tlkit.labels import THRESHOLD
from tlkit.progress import track

SHARES = {0.1: 8, 0.25: 6, 0.5: 4, 1.0: 1}
"""Share of the training images, and how many times it is drawn."""
MOST_HELD_OUT = 3_000


def data_curve(
    rows: NDArray[np.float32],
    labels: NDArray[np.int64],
    train: NDArray[np.int64],
    held_out: NDArray[np.int64],
    classes: int,
    seed: int = 0,
) -> dict[str, Any] | None:
    """Accuracy on the held-out images of heads trained on growing shares of the training images.

    Args:
        rows: float32, (images, features).
        labels: class number of each row; or (images, classes), 1 where an image shows a class, else
            0: an image is right then where all its classes are.
        train, held_out: places in `rows`.
        classes: how many.
        seed: of the draws.

    Returns:
        `points`: one per share, with share, images, draws, accuracy and its 95 % interval (over the
        choice of held-out images and that of training images); `gain`: what the second half of the
        training images brought, with its interval over the held-out images; `head` where it is not
        the usual logistic regression; None where there is nothing held out, or nothing to halve.
    """
    if not len(held_out) or not len(train):
        return None
    rng = np.random.default_rng(seed)
    held_out = rng.permutation(held_out)[:MOST_HELD_OUT]
    draws = [(share, draw) for share, number in SHARES.items() for draw in range(number)]
    right: dict[float, list[NDArray[np.bool_]]] = {share: [] for share in SHARES}
    counts: dict[float, int] = {}
    head = head_for(len(train), labels[train])
    for share, _ in track(draws, "More data?"):
        some = _draw(labels, train, share, rng)
        answer = probabilities(rows[some], labels[some], rows[held_out], classes, head=head)
        right[share].append(
            ((answer >= THRESHOLD) == labels[held_out]).all(axis=1)
            if labels.ndim == 2
            else answer.argmax(axis=1) == labels[held_out]
        )
        counts[share] = len(some)
    if counts[0.5] == counts[1.0]:
        return None
    points = []
    for share, answers in right.items():
        if share < 1 and counts[share] in [counts[more] for more in SHARES if more > share]:
            continue  # so few that a smaller share draws as many
        single = np.array([answer.mean() for answer in answers])
        low, high = wilson(single.mean(keepdims=True), np.array([len(held_out)]))
        drawn = _Z**2 * (single.var(ddof=1) if len(single) > 1 else 0.0)
        mean = float(single.mean())
        points.append(
            {
                "share": share,
                "images": counts[share],
                "draws": len(single),
                "accuracy": mean,
                "interval": [
                    max(0.0, mean - float(np.sqrt((mean - low[0]) ** 2 + drawn))),
                    min(1.0, mean + float(np.sqrt((high[0] - mean) ** 2 + drawn))),
                ],
            }
        )
    # Image by image: the same pictures were asked about, which makes the difference far surer.
    difference = np.mean(right[1.0], axis=0) - np.mean(right[0.5], axis=0)
    return {
        "held_out": len(held_out),
        "points": points,
        "gain": float(difference.mean()),
        "gain_interval": _paired_interval(difference),
        **({} if head == LOGISTIC else {"head": head}),
    }


_Z = float(norm.ppf((1 + LEVEL) / 2))


def _paired_interval(difference: NDArray[np.float64]) -> list[float]:
    """Of a mean difference between -1 and 1: half an image is added to each of the four outcomes
    of a pair [Agresti & Min 2005, section 2.4], so that a few equal pictures prove nothing."""
    images = len(difference) + 2
    mean = float(difference.sum()) / images
    variance = (float((difference**2).sum()) + 1) / images - mean**2
    half = _Z * float(np.sqrt(variance / images))
    return [max(-1.0, mean - half), min(1.0, mean + half)]


def _draw(
    labels: NDArray[np.int64], train: NDArray[np.int64], share: float, rng: np.random.Generator
) -> NDArray[np.int64]:
    """A share of each class, at least one image of each; of several classes the rarest counts."""
    if labels.ndim == 2:
        counts = np.where(labels, labels.sum(axis=0), len(labels) + 1)
        labels = np.where(labels.any(axis=1), counts.argmin(axis=1), -1)
    chosen = [
        rng.permutation(own)[: max(1, round(share * len(own)))]
        for own in (train[labels[train] == c] for c in np.unique(labels[train]))
    ]
    return np.sort(np.concatenate(chosen))
