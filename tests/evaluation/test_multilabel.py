"""Scores of several labels: scikit-learn's numbers, in the form that the report knows."""

import numpy as np
import pandas as pd
import pytest
from sklearn import metrics as truth_of

from tlkit import labels
from tlkit.errors import DataError
from tlkit.evaluation.metrics import score
from tlkit.evaluation.predictions_table import predictions_table
from tlkit.evaluation.temperature import fit_temperature

CLASSES = ["cat", "dog", "fox", "yak"]


def make_table(images=60, seed=0, scale=1.5):
    random = np.random.default_rng(seed)
    own = random.random((images, 4)) < [0.6, 0.3, 0.2, 0.0]
    logits = scale * (2.0 * own - 1 + random.normal(0, 1, own.shape))
    p = (1 / (1 + np.exp(-logits))).astype(np.float32)
    samples = pd.DataFrame(
        {
            "path": [f"{i:03}.jpg" for i in range(images)],
            "label": [labels.join_labels(np.array(CLASSES)[row]) for row in own],
            "split": "val",
        }
    )
    return predictions_table(samples, p, CLASSES, multi_label=True), own, p


def test_the_scores_are_those_of_scikit_learn():
    table, own, p = make_table()
    found = score(table, CLASSES, multi_label=True)
    scores, said = found["splits"]["val"], p >= 0.5
    assert found["multi_label"]
    assert scores["accuracy"] == truth_of.accuracy_score(own, said)
    assert scores["hamming_loss"] == pytest.approx(truth_of.hamming_loss(own, said))
    assert scores["micro_f1"] == pytest.approx(truth_of.f1_score(own, said, average="micro"))
    seen = own.any(axis=0) | said.any(axis=0)
    macro = truth_of.f1_score(own[:, seen], said[:, seen], average="macro", zero_division=0)
    assert scores["macro_f1"] == pytest.approx(macro)
    expected = truth_of.average_precision_score(own[:, :3], p[:, :3], average="macro")
    assert scores["mean_average_precision"] == found["mean_average_precision"]
    assert scores["mean_average_precision"] == pytest.approx(expected, abs=1e-6)
    rows = scores["per_class"]
    assert [row["images"] for row in rows] == own.sum(axis=0).tolist()
    assert rows[3]["average_precision"] is None, "no image shows it"
    assert rows[0]["recall"] == pytest.approx(truth_of.recall_score(own[:, 0], said[:, 0]))
    for key in ("accuracy", "macro_f1", "micro_f1", "mean_average_precision", "hamming_loss"):
        low, high = scores[f"{key}_interval"]
        assert low <= scores[key] <= high
        assert low < high


def test_the_table_judges_all_labels_together():
    table, own, p = make_table()
    assert ((table["label"] == table["predicted"]) == (own == (p >= 0.5)).all(axis=1)).all()
    binary = -(own * np.log(p) + ~own * np.log1p(-p)).sum(axis=1)
    np.testing.assert_allclose(table["loss"], binary, rtol=1e-4)


def test_the_temperature_mends_confidence_and_changes_no_answer():
    table, *_ = make_table(images=400, scale=6)
    found = fit_temperature(table, CLASSES, multi_label=True)
    assert 1.5 < found.temperature < 6, "the logits were too large by far"
    assert found.loss_after < found.loss_before
    after = found.apply(table, CLASSES, multi_label=True)
    assert after["predicted"].equals(table["predicted"])
    assert after["loss"].mean() == pytest.approx(found.loss_after, rel=1e-4)


def test_images_without_any_label_are_scored():
    table = predictions_table(
        pd.DataFrame({"path": ["a", "b"], "label": ["", ""], "split": "test"}),
        np.full((2, 2), 0.1, np.float32), ["cat", "dog"], multi_label=True,
    )  # fmt: skip
    found = score(table, ["cat", "dog"], multi_label=True)
    assert found["accuracy"] == 1
    assert found["mean_average_precision"] is None


def test_an_unknown_class_is_named():
    table, *_ = make_table()
    table.loc[0, "label"] = "cat;emu"
    with pytest.raises(DataError, match="'emu'"):
        score(table, CLASSES, multi_label=True)
