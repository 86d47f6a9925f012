"""Intervals against published formulas, scikit-learn, and how often they hold the truth."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.metrics import f1_score, recall_score

from tlkit.evaluation import intervals


def test_wilson_interval_is_the_published_formula():
    # Wilson 1927 / Brown, Cai and DasGupta 2001, equation 4, z = 1.959964.
    n, p, z = 53, 52 / 53, 1.959963984540054
    center = (p + z * z / (2 * n)) / (1 + z * z / n)
    half = z / (1 + z * z / n) * np.sqrt(p * (1 - p) / n + z * z / (4 * n * n))
    assert intervals.accuracy_interval(52, 53) == pytest.approx([center - half, center + half])
    assert intervals.accuracy_interval(0, 0) is None
    low, high = intervals.accuracy_interval(12, 12)
    assert low < 0.8
    assert high == pytest.approx(1)


@given(images=st.integers(1, 5000), share=st.floats(0, 1))
def test_a_share_of_whole_images_is_wilson(images, share):
    correct = round(images * share)
    assert intervals.share_interval(correct / images, images) == pytest.approx(
        intervals.accuracy_interval(correct, images), abs=1e-9
    )


@given(auc=st.floats(0, 1), positives=st.integers(1, 10**4), negatives=st.integers(1, 10**4))
def test_an_area_lies_in_its_interval_and_in_the_unit(auc, positives, negatives):
    low, high = intervals.auc_interval(auc, positives, negatives)
    assert 0 <= low <= auc <= high <= 1


def test_auc_interval_is_as_wide_as_hanley_and_mcneil_say():
    # The paper's example: 58 normal and 51 abnormal, standard error 0.032.
    low, high = intervals.auc_interval(0.893, 51, 58)
    assert (high - low) / 2 / 1.96 == pytest.approx(0.032, abs=0.003)


def test_the_mean_of_one_value_has_no_interval():
    assert intervals.mean_interval(np.array([0.3])) is None
    low, high = intervals.mean_interval(np.array([0.0, 0.1, 0.0, 0.1]))
    assert low == 0
    assert high == pytest.approx(0.05 + 1.96 * np.sqrt(0.01 / 3) / 2, rel=1e-3)


def test_resampled_class_scores_are_scikit_learns():
    random = np.random.default_rng(1)
    label, predicted = random.integers(4, size=(2, 30))
    classes = 5  # one of which never occurs
    weights = intervals.resample(np.ones(30, dtype=int), resamples=7)
    assert (weights.sum(axis=1) == 30).all()
    columns = (intervals.one_hot(column, classes) for column in (label, predicted))
    recall, f1 = intervals.class_scores(*columns, weights)
    for drawn, own_recall, own_f1 in zip(weights, recall, f1, strict=True):
        truth, answer = np.repeat(label, drawn), np.repeat(predicted, drawn)
        present = np.unique(truth)
        expected = recall_score(truth, answer, labels=present, average=None, zero_division=0)
        np.testing.assert_allclose(own_recall[present], expected)
        assert np.isnan(own_recall[4])
        assert np.isnan(own_f1[4])
        assert intervals.macro(own_f1[None])[0] == pytest.approx(
            f1_score(truth, answer, average="macro", zero_division=0)
        )


def test_the_bootstrap_holds_the_truth_about_as_often_as_it_says():
    random = np.random.default_rng(0)
    hits = 0
    for seed in range(100):
        right = random.random(200) < 0.8
        counts = np.array([right.sum(), 200 - right.sum()])
        drawn = intervals.resample(counts, resamples=300, seed=seed)[:, 0] / 200
        low, high = intervals.percentiles(drawn)
        hits += low <= 0.8 <= high
    assert 88 <= hits <= 100


def test_equal_classes_are_worth_their_images_and_a_rare_one_costs():
    assert intervals.effective_images(np.array([6, 6, 0])) == pytest.approx(12)
    assert intervals.effective_images(np.array([1000, 2])) == pytest.approx(8, abs=0.1)
