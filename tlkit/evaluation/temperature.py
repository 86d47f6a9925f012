"""Calibration: one number, fitted on validation, that makes the confidence mean what it says.

Temperature scaling [Guo et al. 2017, section 4.2] divides the logits by T before the softmax. No
answer changes, only how sure it is: T > 1 takes confidence back, T < 1 adds some.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import pandas as pd
from scipy.optimize import minimize_scalar
from scipy.special import expit, log_softmax

from tlkit import labels
from tlkit.evaluation.metrics import calibration
from tlkit.evaluation.predictions_table import predictions_table

# Before any image is seen ln T is normal with this deviation, so a factor of two either way is one
# standard deviation. Where all validation images are right, the likelihood alone would have T -> 0.
PRIOR = float(np.log(2))
# Beyond this a float32 probability that underflowed to 0 would be seen in the result.
LEAST, LARGEST = 1 / 8, 8.0


@dataclass(frozen=True)
class Temperature:
    """The fitted temperature and what it did on the images it was fitted on.

    Attributes:
        temperature: what the logits are divided by; 1 leaves everything as it was.
        images: validation images it was fitted on.
        loss_before, loss_after: their mean loss, nats.
        ece_before, ece_after: their expected calibration error; None without images.
    """

    temperature: float = 1.0
    images: int = 0
    loss_before: float | None = None
    loss_after: float | None = None
    ece_before: float | None = None
    ece_after: float | None = None

    def apply(
        self, predictions: pd.DataFrame, classes: Sequence[str], multi_label: bool = False
    ) -> pd.DataFrame:
        """The table with every probability at this temperature; what it predicts stays."""
        if self.temperature == 1:
            return predictions
        logits = _logits(predictions, classes, multi_label) / self.temperature
        scaled = expit(logits) if multi_label else np.exp(log_softmax(logits, axis=1))
        return predictions_table(predictions, scaled.astype(np.float32), classes, multi_label)

    def facts(self) -> dict[str, Any]:
        """As metrics.json holds it."""
        return asdict(self)


def fit_temperature(
    predictions: pd.DataFrame, classes: Sequence[str], multi_label: bool = False
) -> Temperature:
    """The most probable temperature given the validation images.

    Args:
        predictions: uncalibrated, as `predict` gives them.
        classes: in the order of the probabilities' columns.
        multi_label: whether a label is a list such as `a;b`; the loss is that of all classes
            together then.

    Returns:
        Temperature 1 where there are no validation images.
    """
    table = predictions[predictions["split"] == "val"]
    if not len(table):
        return Temperature()
    right = (table["label"] == table["predicted"]).to_numpy()  # at any temperature
    judge = _together if multi_label else _one_of
    at = judge(_logits(table, classes, multi_label), table["label"], classes)

    def cost(logarithm: float) -> float:
        return float(at(np.exp(logarithm))[0].sum() + 0.5 * (logarithm / PRIOR) ** 2)

    def measure(logarithm: float) -> tuple[float, float]:
        loss, confidence = at(np.exp(logarithm))
        return float(loss.mean()), calibration(confidence, right)[1]

    found = minimize_scalar(
        cost, bounds=(np.log(LEAST), np.log(LARGEST)), method="bounded", options={"xatol": 1e-6}
    )
    (loss_before, ece_before), (loss_after, ece_after) = measure(0.0), measure(found.x)
    return Temperature(
        round(float(np.exp(found.x)), 6), len(table), loss_before, loss_after, ece_before, ece_after
    )


Judge = Callable[[float], tuple[np.ndarray, np.ndarray]]


def _one_of(logits: np.ndarray, cells: pd.Series, classes: Sequence[str]) -> Judge:
    """From a temperature to the loss and the confidence of each image, where it has one label."""
    place = {name: i for i, name in enumerate(classes)}
    truth, rows = cells.map(place).to_numpy(dtype=int), np.arange(len(cells))

    def at(temperature: float) -> tuple[np.ndarray, np.ndarray]:
        scaled = log_softmax(logits / temperature, axis=1)
        return -scaled[rows, truth], np.exp(scaled.max(axis=1))

    return at


def _together(logits: np.ndarray, cells: pd.Series, classes: Sequence[str]) -> Judge:
    """The same where an image has any number of labels."""
    truth = labels.multi_hot(cells, classes)

    def at(temperature: float) -> tuple[np.ndarray, np.ndarray]:
        p = expit(logits / temperature)
        return labels.loss(p, truth), labels.confidence(p)

    return at


def _logits(predictions: pd.DataFrame, classes: Sequence[str], multi_label: bool) -> np.ndarray:
    """Logits: float64, (images, n); for a softmax up to a constant, which it does not see."""
    p = predictions[[f"p_{name}" for name in classes]].to_numpy(dtype=np.float64)
    least = np.finfo(np.float32).tiny
    log_p = np.log(np.maximum(p, least))
    # A float32 probability next to 1 is no nearer to it than this.
    return log_p - np.log(np.maximum(1 - p, 1e-8)) if multi_label else log_p
