"""The learning-rate range test as numbers: the loss at each rate, and the rate that it suggests."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

# The loss of a batch jumps about; its moving average keeps this share of what was before.
MEMORY = 0.9
# Once the smoothed loss is this many times the lowest, it has blown up and the test is over.
BLOWN_UP = 4.0
# Between the steepest fall and the lowest loss there is at least this factor of rate to spare.
SAFETY = 10.0


@dataclass(frozen=True)
class RateCurve:
    """What the loss did while the rate rose from step to step [Smith 2017, section 3.3].

    Attributes:
        phase: "head", "fine-tune" or "scratch".
        rates: of each step, rising.
        raw: the loss of each step's batch.
        losses: the same, smoothed.
        used: the rate that the recipe has now.
        images: the name of the folder that was trained on.
    """

    phase: str
    rates: NDArray[np.float64]
    raw: NDArray[np.float64]
    losses: NDArray[np.float64]
    used: float
    images: str = "images"

    @classmethod
    def from_steps(
        cls,
        phase: str,
        rates: Sequence[float],
        raw: Sequence[float],
        used: float,
        images: str = "images",
    ) -> RateCurve:
        """From what each step showed, up to the last finite loss."""
        finite = np.isfinite(raw)
        end = len(raw) if finite.all() else int(finite.argmin())
        kept = np.asarray(raw[:end], dtype=float)
        return cls(phase, np.asarray(rates[:end], dtype=float), kept, smooth(kept), used, images)

    @property
    def lowest(self) -> float:
        """The rate at which the smoothed loss was lowest; above it training falls apart."""
        return float(self.rates[self.losses.argmin()])

    @property
    def suggestion(self) -> float | None:
        """The rate at which the loss fell the fastest, at most a tenth of `lowest`.

        None where the loss never fell by a tenth.
        """
        end = int(self.losses.argmin())
        if end < 3 or self.losses[end] > 0.9 * self.losses[: end + 1].max():
            return None
        slope = np.gradient(self.losses[: end + 1], np.log(self.rates[: end + 1]))
        return min(float(self.rates[slope.argmin()]), self.lowest / SAFETY)


def smooth(values: NDArray[np.float64]) -> NDArray[np.float64]:
    """The exponential moving average, without the bias of its beginning: (steps,)."""
    smoothed, average = np.empty(len(values)), 0.0
    for i, value in enumerate(values):
        average = MEMORY * average + (1 - MEMORY) * value
        smoothed[i] = average / (1 - MEMORY ** (i + 1))
    return smoothed
