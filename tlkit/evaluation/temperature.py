"""Calibration: one number, fitted on validation, that makes the confidence mean what it says.

Temperature scaling [Guo et al. 2017, section 4.2] divides the logits by T before the softmax. No
answer changes, only how sure it is: T > 1 takes confidence back, T < 1 adds some.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import pandas as pd
from scipy.optimize import minimize_scalar
from scipy.special import log_softmax

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

    def apply(self, predictions: pd.DataFrame, classes: Sequence[str]) -> pd.DataFrame:
        """The table with every probability at this temperature; what it predicts stays."""
        if self.temperature == 1:
            return predictions
        scaled = np.exp(log_softmax(_logits(predictions, classes) / self.temperature, axis=1))
        return predictions_table(predictions, scaled.astype(np.float32), classes)

    def facts(self) -> dict[str, Any]:
        """As metrics.json holds it."""
        return asdict(self)


def fit_temperature(predictions: pd.DataFrame, classes: Sequence[str]) -> Temperature:
    """The most probable temperature given the validation images.

    Args:
        predictions: uncalibrated, as `predict` gives them.
        classes: in the order of the probabilities' columns.

    Returns:
        Temperature 1 where there are no validation images.
    """
    table = predictions[predictions["split"] == "val"]
    if not len(table):
        return Temperature()
    logits = _logits(table, classes)
    place = {name: i for i, name in enumerate(classes)}
    truth = table["label"].map(place).to_numpy(dtype=int)
    rows = np.arange(len(table))

    def log_p(logarithm: float) -> np.ndarray:
        return log_softmax(logits / np.exp(logarithm), axis=1)

    def cost(logarithm: float) -> float:
        return -log_p(logarithm)[rows, truth].sum() + 0.5 * (logarithm / PRIOR) ** 2

    def measure(logarithm: float) -> tuple[float, float]:
        scaled = log_p(logarithm)
        confidence, right = np.exp(scaled.max(axis=1)), scaled.argmax(axis=1) == truth
        return float(-scaled[rows, truth].mean()), calibration(confidence, right)[1]

    found = minimize_scalar(
        cost, bounds=(np.log(LEAST), np.log(LARGEST)), method="bounded", options={"xatol": 1e-6}
    )
    (loss_before, ece_before), (loss_after, ece_after) = measure(0.0), measure(found.x)
    return Temperature(
        round(float(np.exp(found.x)), 6), len(table), loss_before, loss_after, ece_before, ece_after
    )


def _logits(predictions: pd.DataFrame, classes: Sequence[str]) -> np.ndarray:
    """Logits up to a constant per image, which the softmax does not see: float64, (images, n)."""
    p = predictions[[f"p_{name}" for name in classes]].to_numpy(dtype=np.float64)
    return np.log(np.maximum(p, np.finfo(np.float32).tiny))
