"""The head without epochs: logistic regression on kept features, solved by L-BFGS.

On frozen features a linear head is a convex problem: it has one best answer, which scikit-learn
finds in a fraction of a second, with the strength of regularisation chosen by cross-validation.
The answer is folded into the head's Dense layer exactly, scaling included, so the model is the
same kind of model that gradient descent would have left, and fine-tuning can start from it (linear
probe, then fine-tune: Kumar et al., "Fine-Tuning can Distort Pretrained Features and Underperform
Out-of-Distribution", ICLR 2022).
"""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

STRENGTHS = tuple(10.0**exponent for exponent in range(-5, 3))
"""Values of C, the inverse of regularisation, that cross-validation tries, strongest first."""
FOLDS = 5  # 3 from a thousand images on, where each fold knows enough
PRIOR = 50
"""Images' worth of belief that all features vary alike: the scale of a feature is uncertain when
there are few images, and dividing by it would then mostly amplify noise."""
STEPS = (1, 1, 1, 2, 3, 5, 8, 13, 21, 34, 55, 89, 144)
"""Iterations between two points of the learning curve; the last ones reach the optimum."""


@dataclass(frozen=True)
class Point:
    """One point of the learning curve: losses in nats, accuracies 0 to 1; NaN where unknown."""

    iteration: int
    loss: float
    accuracy: float
    val_loss: float
    val_accuracy: float


@dataclass(frozen=True)
class Head:
    """What goes into the Dense layer.

    Attributes:
        kernel: float32, (features, classes).
        bias: float32, (classes,).
        strength: C, the inverse of regularisation.
        curve: after 1, 2, 3, 5, 8, ... iterations.
    """

    kernel: NDArray[np.float32]
    bias: NDArray[np.float32]
    strength: float
    curve: tuple[Point, ...]


def solve(
    views: Sequence[NDArray[np.float32]],
    labels: NDArray[np.integer[Any]],
    classes: int,
    weights: dict[int, float] | None = None,
    val: tuple[NDArray[np.float32], NDArray[np.integer[Any]]] | None = None,
    seed: int = 0,
) -> Head:
    """Find the best linear head.

    Args:
        views: float32, (images, features) each: one, or the augmented views of the same images.
        labels: class number of each image; every class has at least one.
        classes: how many.
        weights: of the classes in the loss.
        val: features and labels that only the learning curve looks at.
        seed: of the folds.
    """
    with single_thread():
        return _solve(views, labels, classes, weights, val, seed)


def _solve(
    views: Sequence[NDArray[np.float32]],
    labels: NDArray[np.integer[Any]],
    classes: int,
    weights: dict[int, float] | None,
    val: tuple[NDArray[np.float32], NDArray[np.integer[Any]]] | None,
    seed: int,
) -> Head:
    strength = choose_strength(views, labels, weights, seed)
    rows, targets = np.concatenate(views), np.tile(labels, len(views))
    middle, scale = scaling(rows)
    curve = []
    for iteration, model in iterations((rows - middle) / scale, targets, strength, weights):
        kernel, bias = fold(model.coef_, model.intercept_, middle, scale, classes)
        seen = score(rows, targets, kernel, bias)
        unseen = score(*val, kernel, bias) if val else (float("nan"), float("nan"))
        curve.append(Point(iteration, *seen, *unseen))
    return Head(kernel, bias, strength, tuple(curve))


def solve_each(
    views: Sequence[NDArray[np.float32]],
    targets: NDArray[np.float32],
    val: tuple[NDArray[np.float32], NDArray[np.float32]] | None = None,
    seed: int = 0,
) -> Head:
    """Find the best linear head where every class is a question of its own, one regression each.

    Args:
        views: as for `solve`.
        targets: (images, classes), 1 where an image shows a class, else 0.
        val: features and targets that only the learning curve looks at.
        seed: of the folds.

    Returns:
        The head; its strength is the median of the classes', its curve the one point at the end,
        with the loss and the accuracy of the mean class.
    """
    parts = [_solve_one(views, present, seed) for present in targets.T.astype(np.int64)]
    kernel = np.stack([part.kernel[:, 1] - part.kernel[:, 0] for part in parts], axis=1)
    bias = np.array([part.bias[1] - part.bias[0] for part in parts], np.float32)
    seen = score_each(np.concatenate(views), np.tile(targets, (len(views), 1)), kernel, bias)
    unseen = score_each(*val, kernel, bias) if val else (float("nan"), float("nan"))
    longest = max(part.curve[-1].iteration for part in parts)
    strength = float(np.median([part.strength for part in parts]))
    return Head(kernel, bias, strength, (Point(longest, *seen, *unseen),))


def _solve_one(views: Sequence[NDArray[np.float32]], present: NDArray[np.int64], seed: int) -> Head:
    """The head of the question whether one class is there: columns no, yes."""
    yes = int(present.sum())
    if 0 < yes < len(present):
        return solve(views, present, 2, seed=seed)
    # All images answer alike, so there is nothing to look at; Laplace's rule for what is to come.
    odds = np.log((yes + 1) / (len(present) - yes + 1))
    nothing = np.zeros((views[0].shape[1], 2), np.float32)
    unknown = float("nan")
    curve = (Point(0, unknown, unknown, unknown, unknown),)
    return Head(nothing, np.array([0, odds], np.float32), 1.0, curve)


def choose_strength(
    views: Sequence[NDArray[np.float32]],
    labels: NDArray[np.integer[Any]],
    weights: dict[int, float] | None = None,
    seed: int = 0,
) -> float:
    """The C with the lowest log-loss in stratified cross-validation; views never cross folds."""
    from sklearn.model_selection import StratifiedKFold

    wanted = FOLDS if len(labels) < 1000 else 3
    folds = min(wanted, int(np.bincount(labels)[np.unique(labels)].min()))
    if folds < 2:
        return 1.0
    splitter = StratifiedKFold(folds, shuffle=True, random_state=seed)
    models = [regression(weights, max_iter=300) for _ in range(folds)]
    losses: list[float] = []
    for strength in STRENGTHS:
        losses.append(0.0)
        for model, (known, held_out) in zip(models, splitter.split(labels, labels), strict=True):
            rows = np.concatenate([view[known] for view in views])
            middle, scale = scaling(rows)
            model.set_params(C=strength)
            fit(model, (rows - middle) / scale, np.tile(labels[known], len(views)))
            others = (np.concatenate([view[held_out] for view in views]) - middle) / scale
            truth = np.tile(labels[held_out], len(views))
            chances = model.predict_proba(others)[np.arange(len(truth)), truth]
            losses[-1] -= float(np.log(np.maximum(chances, 1e-12)).sum())
        if losses[-1] > min(losses) and losses[-2] > min(losses):
            break  # twice past the lowest; weaker regularisation takes longest and does not help
    return STRENGTHS[int(np.argmin(losses))]


def scaling(rows: NDArray[np.float32]) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Middle and scale of each feature; few images draw the scale to the common one."""
    middle, own = rows.mean(axis=0), rows.var(axis=0)
    common = max(float(own.mean()), float(np.finfo(np.float32).tiny))
    return middle, np.sqrt((len(rows) * own + PRIOR * common) / (len(rows) + PRIOR))


def iterations(
    rows: NDArray[np.float32],
    labels: NDArray[np.integer[Any]],
    strength: float,
    weights: dict[int, float] | None,
) -> Iterator[tuple[int, Any]]:
    """The regression on its way to the optimum, and how many iterations it has behind it."""
    model, done = regression(weights, C=strength), 0
    for steps in STEPS:
        model.set_params(max_iter=steps)
        fit(model, rows, labels)
        done += int(model.n_iter_[0])
        yield done, model
        if model.n_iter_[0] < steps:
            return


def regression(weights: dict[int, float] | None, **settings: Any) -> Any:
    """scikit-learn's regression; each fit goes on where the last one stopped."""
    from sklearn.linear_model import LogisticRegression

    return LogisticRegression(class_weight=weights, warm_start=True, tol=1e-4, **settings)


def single_thread() -> Any:
    """Keep the linear algebra on one thread: on matrices this small more threads only wait."""
    from threadpoolctl import threadpool_limits

    return threadpool_limits(1)


def fit(model: Any, rows: NDArray[np.float32], labels: NDArray[np.integer[Any]]) -> None:
    """Fit, and take the limit on iterations, and classes of one image, for what they are."""
    from sklearn.exceptions import ConvergenceWarning

    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        warnings.filterwarnings("ignore", "The number of unique classes", UserWarning)
        model.fit(rows, labels)


def fold(
    coefficients: NDArray[Any],
    intercepts: NDArray[Any],
    middle: NDArray[np.float32],
    scale: NDArray[np.float32],
    classes: int,
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Kernel and bias that give on raw features what the regression gives on scaled ones."""
    if classes == 2:  # scikit-learn keeps one score; half of it on each side is the same softmax
        coefficients = np.concatenate([-coefficients, coefficients]) / 2
        intercepts = np.concatenate([-intercepts, intercepts]) / 2
    kernel = coefficients.astype(np.float64).T / scale[:, None]
    bias = intercepts - middle.astype(np.float64) @ kernel
    return kernel.astype(np.float32), bias.astype(np.float32)


def score(
    rows: NDArray[np.float32],
    labels: NDArray[np.integer[Any]],
    kernel: NDArray[np.float32],
    bias: NDArray[np.float32],
) -> tuple[float, float]:
    """Mean log-loss and accuracy of a head."""
    logits = (rows @ kernel + bias).astype(np.float64)
    logits -= logits.max(axis=1, keepdims=True)
    loss = np.log(np.exp(logits).sum(axis=1)) - logits[np.arange(len(labels)), labels]
    return float(loss.mean()), float((logits.argmax(axis=1) == labels).mean())


def score_each(
    rows: NDArray[np.float32],
    targets: NDArray[np.float32],
    kernel: NDArray[np.float32],
    bias: NDArray[np.float32],
) -> tuple[float, float]:
    """Log-loss and accuracy of the mean class, each a question of its own."""
    logits = (rows @ kernel + bias).astype(np.float64)
    loss = np.logaddexp(0, logits) - targets * logits
    return float(loss.mean()), float(((logits > 0) == (targets > 0)).mean())
