"""Calibration: it finds the temperature that was applied, and stays sober where images are few."""

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.special import softmax

from tlkit.evaluation.predictions_table import predictions_table
from tlkit.evaluation.temperature import LARGEST, LEAST, PRIOR, Temperature, fit_temperature

CLASSES = ["cat", "dog", "eel"]


def make_predictions(images, distortion=1.0, split="val", seed=0, spread=2.0):
    """Labels drawn from the true probabilities; the shown logits are `distortion` times too big."""
    random = np.random.default_rng(seed)
    logits = random.normal(scale=spread, size=(images, len(CLASSES)))
    truth = [random.choice(CLASSES, p=p) for p in softmax(logits, axis=1)]
    samples = pd.DataFrame(
        {"path": [f"{i}.jpg" for i in range(images)], "split": split, "label": truth}
    )
    return predictions_table(
        samples, softmax(distortion * logits, axis=1).astype(np.float32), CLASSES
    )


@pytest.mark.parametrize("distortion", [0.4, 1.0, 3.0])
def test_the_temperature_that_was_applied_is_found(distortion):
    found = fit_temperature(make_predictions(4000, distortion), CLASSES)
    assert found.temperature == pytest.approx(distortion, rel=0.07)
    assert found.images == 4000
    assert found.loss_after <= found.loss_before
    assert found.ece_after < 0.03
    if distortion == 3:
        assert found.ece_before > 0.1


def test_it_is_fitted_on_validation_and_applied_to_all():
    val, test = make_predictions(500, 3.0), make_predictions(50, 3.0, "test", seed=1)
    table = pd.concat([val, test], ignore_index=True)
    found = fit_temperature(table, CLASSES)
    assert found == fit_temperature(val, CLASSES)
    after = found.apply(table, CLASSES)
    assert list(after) == list(table)
    assert (after["predicted"] == table["predicted"]).all()
    assert (after["confidence"] < table["confidence"]).all()
    p = after[[f"p_{name}" for name in CLASSES]]
    assert (p.dtypes == np.float32).all()
    np.testing.assert_allclose(p.sum(axis=1), 1, rtol=1e-6)
    own = p.to_numpy()[np.arange(550), after["label"].map(CLASSES.index)]
    np.testing.assert_allclose(after["loss"], -np.log(own), rtol=1e-5, atol=1e-7)


@settings(max_examples=30, deadline=None)
@given(images=st.integers(1, 40), sure=st.floats(0.5, 0.95))
def test_a_few_images_all_right_do_not_freeze_it(images, sure):
    """The likelihood alone would ask for T -> 0; it moves only as far as the images pay for."""
    rest = (1 - sure) / 2
    p = np.tile(np.array([sure, rest, rest], np.float32), (images, 1))
    samples = pd.DataFrame({"path": "a", "split": "val", "label": "cat"}, index=range(images))
    found = fit_temperature(predictions_table(samples, p, CLASSES), CLASSES)
    assert LEAST < found.temperature < 1
    gain = images * (found.loss_before - found.loss_after)
    assert 0.5 * (np.log(found.temperature) / PRIOR) ** 2 <= gain + 1e-6
    one = fit_temperature(predictions_table(samples[:1], p[:1], CLASSES), CLASSES)
    assert found.temperature <= one.temperature + 1e-6, "more evidence moves it further"


def test_all_wrong_and_sure_stays_inside_the_bounds():
    p = np.tile(np.array([0, 0, 1], np.float32), (300, 1))
    samples = pd.DataFrame({"path": "a", "split": "val", "label": "cat"}, index=range(300))
    found = fit_temperature(predictions_table(samples, p, CLASSES), CLASSES)
    assert LEAST <= found.temperature <= LARGEST
    assert np.isfinite(found.loss_after)


def test_without_validation_nothing_changes():
    table = make_predictions(20, split="train")
    found = fit_temperature(table, CLASSES)
    assert found == Temperature()
    assert found.apply(table, CLASSES) is table
    assert found.facts()["loss_after"] is None
