"""The range test suggests a rate on the way down, well before the loss blows up."""

import numpy as np
import pytest

from tlkit.evaluation.rates import RateCurve, smooth

RATES = np.geomspace(1e-6, 10, 100)


def losses(noise=0.0):
    """Falls around a rate of 1e-3, lowest near 0.1, blows up above 1."""
    falling = 2 / (1 + (RATES / 1e-3) ** 1.5)
    rising = (RATES / 0.5) ** 2
    return falling + 0.2 + rising + np.random.default_rng(0).normal(0, noise, len(RATES))


@pytest.mark.parametrize("noise", [0.0, 0.05])
def test_the_suggestion_is_where_the_loss_falls(noise):
    curve = RateCurve.from_steps("head", RATES, losses(noise), used=1e-3)
    assert 3e-4 < curve.suggestion < 1e-2
    assert curve.suggestion <= curve.lowest / 10
    assert 1e-2 < curve.lowest < 1


def test_a_flat_or_rising_loss_suggests_nothing():
    assert RateCurve.from_steps("head", RATES, np.full(100, 0.7), 1e-3).suggestion is None
    assert RateCurve.from_steps("head", RATES, np.linspace(0.7, 3, 100), 1e-3).suggestion is None


def test_what_comes_after_the_first_nan_is_left_out():
    raw = losses()
    raw[60] = np.nan
    curve = RateCurve.from_steps("head", RATES, raw, 1e-3)
    assert len(curve.rates) == len(curve.losses) == 60


def test_smoothing_keeps_a_constant_and_has_no_bias_at_the_start():
    np.testing.assert_allclose(smooth(np.full(20, 3.0)), 3.0)
    assert smooth(np.array([5.0, 1.0]))[0] == pytest.approx(5.0)
