"""Numbers against scikit-learn's own, and every corner that a real split has."""

import json

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn import metrics as sklearn_metrics

from tlkit.errors import DataError
from tlkit.evaluation.metrics import HEADLINE, calibration, confused_pairs, ece_by_chance, score


def make_predictions(classes, labels, probabilities, split="val"):
    probabilities = np.asarray(probabilities, dtype=float)
    top = probabilities.argmax(axis=1)
    own = probabilities[np.arange(len(labels)), [classes.index(name) for name in labels]]
    table = pd.DataFrame(
        {
            "path": [f"{name}/{i:04}.jpg" for i, name in enumerate(labels)],
            "split": split,
            "label": labels,
            "predicted": [classes[i] for i in top],
            "confidence": probabilities.max(axis=1),
            "loss": -np.log(own),
        }
    )
    columns = pd.DataFrame(probabilities, columns=[f"p_{name}" for name in classes])
    return pd.concat([table, columns], axis=1)


def random_predictions(classes, images, seed=0, split="val", skill=1.0):
    random = np.random.default_rng(seed)
    labels = random.integers(len(classes), size=images)
    logits = random.normal(size=(images, len(classes)))
    logits[np.arange(images), labels] += skill
    probabilities = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    return make_predictions(classes, [classes[i] for i in labels], probabilities, split)


@settings(max_examples=25, deadline=None)
@given(count=st.integers(2, 9), images=st.integers(1, 60), seed=st.integers(0, 10_000))
def test_agrees_with_scikit_learn(count, images, seed):
    classes = [f"class {i}" for i in range(count)]
    table = random_predictions(classes, images, seed)
    scores = score(table, classes)["splits"]["val"]
    label, predicted = table["label"], table["predicted"]

    assert scores["accuracy"] == pytest.approx(sklearn_metrics.accuracy_score(label, predicted))
    assert scores["macro_f1"] == pytest.approx(
        sklearn_metrics.f1_score(label, predicted, average="macro", zero_division=0)
    )
    present = sorted(set(label))
    assert scores["balanced_accuracy"] == pytest.approx(
        sklearn_metrics.recall_score(label, predicted, labels=present, average="macro")
    )
    assert scores["confusion_matrix"] == (
        sklearn_metrics.confusion_matrix(label, predicted, labels=classes).tolist()
    )
    probabilities = table[[f"p_{name}" for name in classes]]
    assert scores["loss"] == pytest.approx(
        sklearn_metrics.log_loss(label, probabilities, labels=classes)
    )
    if count > 5:
        assert scores["top5"] == pytest.approx(
            sklearn_metrics.top_k_accuracy_score(label, probabilities, k=5, labels=classes)
        )
    else:
        assert scores["top5"] is None
    precision, recall, f1, support = sklearn_metrics.precision_recall_fscore_support(
        label, predicted, labels=classes, zero_division=0
    )
    for i, row in enumerate(scores["per_class"]):
        assert row["images"] == support[i]
        for key, expected in (("precision", precision), ("recall", recall), ("f1", f1)):
            assert (row[key] or 0) == pytest.approx(expected[i])
        if row["images"]:
            low, high = row["recall_interval"]
            assert low <= row["recall"] <= high
        else:
            assert row["recall"] is None
            assert row["recall_interval"] is None


def test_every_number_comes_with_an_interval_that_holds_it():
    classes = [f"class {i}" for i in range(7)]
    scores = score(random_predictions(classes, 80), classes)
    split = scores["splits"]["val"]
    for table in (split, *split["per_class"]):
        for key in [key for key in table if key.endswith("_interval")]:
            low, high = table[key]
            assert low <= table[key.removesuffix("_interval")] <= high, key
            assert high - low > 0.01, key
    assert scores["macro_f1_interval"] == split["macro_f1_interval"]
    again = score(random_predictions(classes, 80), classes)
    assert again == scores, "the bootstrap draws the same each time"


@pytest.mark.parametrize("right", [True, False])
def test_a_few_images_without_a_mistake_prove_little(right):
    p = np.tile([[0.9, 0.1], [0.1, 0.9]] if right else [[0.1, 0.9], [0.9, 0.1]], (6, 1))
    split = score(make_predictions(["cat", "dog"], ["cat", "dog"] * 6, p), ["cat", "dog"])
    scores = split["splits"]["val"]
    for table, width in ((scores, 0.2), *((row, 0.2) for row in scores["per_class"])):
        for key in [key for key in table if key.endswith("_interval") and table[key]]:
            if key != "loss_interval":
                assert table[key][1] - table[key][0] > width, key
    assert scores["macro_f1_interval"] == pytest.approx(scores["accuracy_interval"])


def test_areas_under_the_curves_are_scikit_learns():
    classes = ["cat", "dog", "eel"]
    table = random_predictions(classes, 50)
    for row in score(table, classes)["splits"]["val"]["per_class"]:
        own, p = table["label"] == row["class"], table[f"p_{row['class']}"]
        assert row["auc"] == sklearn_metrics.roc_auc_score(own, p)
        assert row["average_precision"] == sklearn_metrics.average_precision_score(own, p)


def test_chance_alone_shows_a_calibration_error():
    random = np.random.default_rng(3)
    errors, by_chance = [], []
    for _ in range(60):
        confidence = random.uniform(0.5, 1, size=40)
        bins, ece = calibration(confidence, random.random(40) < confidence)
        errors.append(ece)
        by_chance.append(ece_by_chance(bins))
    assert np.mean(by_chance) == pytest.approx(np.mean(errors), abs=0.02)
    bins, _ = calibration(np.ones(40), np.ones(40, dtype=bool))
    assert ece_by_chance(bins) == 0


def test_headline_is_test_then_val_then_train():
    classes = ["cat", "dog"]
    parts = {
        s: random_predictions(classes, 20, i, s) for i, s in enumerate(("train", "val", "test"))
    }
    for splits, expected in ((["train", "val", "test"], "test"), (["train", "val"], "val")):
        scores = score(pd.concat([parts[s] for s in splits], ignore_index=True), classes)
        assert scores["evaluated"] == expected
        assert list(scores["splits"]) == splits
        for key in HEADLINE:
            assert scores[key] == scores["splits"][expected][key]
    assert score(parts["train"], classes)["evaluated"] == "train"


def test_absent_and_never_predicted_classes_are_null_and_the_file_has_no_nan():
    classes = ["cat", "dog", "eel"]
    table = make_predictions(classes, ["cat", "dog", "dog"], [[0.8, 0.1, 0.1]] * 3)
    scores = score(table, classes)
    json.dumps(scores, allow_nan=False)
    cat, dog, eel = scores["splits"]["val"]["per_class"]
    assert cat["precision"] == pytest.approx(1 / 3)
    assert dog["precision"] is None
    assert dog["recall"] == 0
    assert dog["f1"] == 0
    assert eel["images"] == 0
    assert {value for key, value in eel.items() if key not in ("class", "images")} == {None}
    assert scores["splits"]["val"]["most_confused"] == [
        {"label": "dog", "predicted": "cat", "images": 2}
    ]


def test_a_probability_of_zero_keeps_the_loss_finite():
    table = make_predictions(["cat", "dog"], ["cat", "cat"], [[1 - 1e-9, 1e-9], [0.5, 0.5]])
    table.loc[0, "loss"] = np.inf
    assert 40 < score(table, ["cat", "dog"])["splits"]["val"]["loss"] < 50


def test_calibration_by_hand():
    confidence = np.array([0.95, 0.85, 0.85, 0.55])
    table, ece = calibration(confidence, np.array([True, True, False, False]), bins=10)
    assert table["images"].tolist() == [1, 2, 1]
    assert table["accuracy"].tolist() == [0, 0.5, 1]
    assert table["low"].tolist() == pytest.approx([0.5, 0.8, 0.9])
    assert ece == pytest.approx((0.55 + 2 * 0.35 + 0.05) / 4)
    # The ends of the range belong to the first and the last bin.
    assert calibration(np.array([0.0, 1.0]), np.array([False, True]), bins=4)[1] == 0


def test_confused_pairs_orders_by_count_then_place():
    counts = np.array([[9, 1, 2], [2, 9, 0], [1, 0, 9]])
    pairs = confused_pairs(counts, ["a", "b", "c"], 3)
    assert [(p["label"], p["predicted"], p["images"]) for p in pairs] == [
        ("a", "c", 2), ("b", "a", 2), ("a", "b", 1),
    ]  # fmt: skip
    assert counts[0, 0] == 9


def test_two_thousand_classes_stay_writable():
    classes = [f"c{i}" for i in range(2000)]
    table = make_predictions(classes, classes, np.eye(2000)[::-1] * 0.9 + 0.1 / 2000)
    scores = score(table, classes)
    assert scores["splits"]["val"]["confusion_matrix"] is None
    assert len(scores["splits"]["val"]["most_confused"]) == 50


def test_unknown_labels_and_an_empty_table_are_refused():
    table = random_predictions(["cat", "dog"], 4)
    with pytest.raises(DataError, match="Cannot score the label 'dog'"):
        score(table, ["cat"])
    with pytest.raises(DataError, match="no predictions"):
        score(table.iloc[:0], ["cat", "dog"])
