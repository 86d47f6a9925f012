"""How sure a number is: 95 % intervals, closed where a formula exists, by bootstrap elsewhere.

Everything here is deterministic: the bootstrap draws from a generator with a fixed seed, so one
table of predictions gives one metrics.json.
"""

from __future__ import annotations

import numpy as np
from scipy.sparse import csr_array
from scipy.stats import binomtest, norm

LEVEL = 0.95
RESAMPLES = 1000
_Z = float(norm.ppf((1 + LEVEL) / 2))


def accuracy_interval(correct: int, images: int) -> list[float] | None:
    """The 95 % Wilson score interval of a share [Wilson 1927]; None without images."""
    if not images:
        return None
    interval = binomtest(correct, images).proportion_ci(confidence_level=LEVEL, method="wilson")
    return [float(interval.low), float(interval.high)]


def share_interval(share: float, weight: float) -> list[float]:
    """Wilson's interval of a share that `weight` images vouch for; `weight` need not be whole."""
    low, high = wilson(np.array([share]), np.array([weight]))
    return [float(low[0]), float(high[0])]


def wilson(share: np.ndarray, images: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Wilson's 95 % interval of many shares at once, low and high ends."""
    square = _Z**2
    centre = (share + square / (2 * images)) / (1 + square / images)
    spread = share * (1 - share) / images + square / (4 * images**2)
    half = _Z / (1 + square / images) * np.sqrt(spread)
    # Rounding must not put a share of all or none outside its own interval.
    return np.clip(centre - half, 0, share), np.clip(centre + half, share, 1)


def auc_interval(auc: float, positives: int, negatives: int) -> list[float]:
    """The 95 % interval of an area under the ROC curve.

    Hanley and McNeil's standard error [1982, equation 2] says how many independent answers the area
    is worth; Wilson's interval of that many stays inside 0 to 1 and does not collapse at 1.
    """
    more = (positives - 1) * (1 - auc) / (2 - auc) + (negatives - 1) * auc / (1 + auc)
    return share_interval(auc, positives * negatives / (1 + more))


def mean_interval(values: np.ndarray) -> list[float] | None:
    """The 95 % interval of the mean of non-negative values (normal approximation); None for < 2."""
    if len(values) < 2:
        return None
    mean, half = values.mean(), _Z * values.std(ddof=1) / np.sqrt(len(values))
    return [float(max(0.0, mean - half)), float(mean + half)]


def resample(counts: np.ndarray, resamples: int = RESAMPLES, seed: int = 0) -> np.ndarray:
    """Draw data sets of the same size with replacement, as counts of equal rows.

    Args:
        counts: int, (cells,): how many images share each combination of what matters.
        resamples: how many data sets.
        seed: of the draw.

    Returns:
        int, (resamples, cells); each row sums to the number of images.
    """
    random = np.random.default_rng(seed)
    return random.multinomial(int(counts.sum()), counts / counts.sum(), size=resamples)


def percentiles(samples: np.ndarray) -> list[float]:
    """The middle 95 % of bootstrap samples, (resamples,)."""
    low, high = np.quantile(samples, [(1 - LEVEL) / 2, (1 + LEVEL) / 2])
    return [float(low), float(high)]


def bootstrap_interval(samples: np.ndarray, value: float, images: float) -> list[float]:
    """The middle 95 % of bootstrap samples; Wilson's interval where they are all the same.

    A bootstrap can only repeat what it was given: without a mistake among 12 images it would be
    certain that there never is one.

    Args:
        samples: (resamples,) of a share.
        value: the share itself.
        images: how many images vouch for it.
    """
    low, high = percentiles(samples)
    return [low, high] if high - low > 1e-9 else share_interval(value, images)


def effective_images(support: np.ndarray) -> float:
    """How many images a mean over classes is worth, when each class counts alike: (classes,)."""
    present = support[support > 0]
    return float(len(present) ** 2 / (1 / present).sum())


def one_hot(places: np.ndarray, classes: int) -> csr_array:
    """A row for each class number: int, (cells,), to (cells, classes)."""
    cells = np.arange(len(places))
    return csr_array((np.ones(len(places)), (cells, places)), (len(places), classes))


def class_scores(
    label: csr_array, predicted: csr_array, weights: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Recall and F1 of each class in each of many resampled data sets.

    Args:
        label: (cells, classes), 1 for the true class of each group of equal images, or for each of
            its true classes.
        predicted: the same of the answers.
        weights: (resamples, cells), images in the cell.

    Returns:
        Two float arrays (resamples, classes); NaN where a class has no image (recall), or neither
        an image nor an answer (F1).
    """
    hits, images, answers = (weights @ kind for kind in (label * predicted, label, predicted))
    with np.errstate(invalid="ignore"):
        return hits / images, 2 * hits / (images + answers)


def macro(scores: np.ndarray) -> np.ndarray:
    """The mean over the classes that have a score: (resamples, classes) to (resamples,)."""
    known = ~np.isnan(scores)
    return np.where(known, scores, 0).sum(axis=1) / known.sum(axis=1)
