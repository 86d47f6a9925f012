"""What the report draws, checked as numbers."""

import numpy as np
import pandas as pd
import pytest

from tlkit.evaluation.displays import (
    ConfusionMatrix,
    CoverageCurve,
    LearningCurves,
    ReliabilityDiagram,
    most_correct,
    most_uncertain,
    most_wrong,
    threshold_curves,
)
from tlkit.evaluation.metrics import score

CLASSES = ["cat", "dog", "eel"]


def make_table(split, rows):
    """`rows`: (path, label, probabilities)."""
    return pd.DataFrame(
        [
            {
                "path": path,
                "split": split,
                "label": label,
                "predicted": CLASSES[int(np.argmax(p))],
                "confidence": max(p),
                "loss": -np.log(p[CLASSES.index(label)]),
                **{f"p_{name}": value for name, value in zip(CLASSES, p, strict=True)},
            }
            for path, label, p in rows
        ]
    )


@pytest.fixture
def predictions():
    val = make_table(
        "val",
        [
            ("right-sure", "cat", [0.98, 0.01, 0.01]),
            ("right-unsure", "cat", [0.40, 0.39, 0.21]),
            ("wrong-sure", "dog", [0.90, 0.05, 0.05]),
            ("wrong-unsure", "dog", [0.45, 0.35, 0.20]),
            ("right-middle", "eel", [0.2, 0.2, 0.6]),
        ],
    )
    train = make_table("train", [("train-wrong", "dog", [0.999, 0.0005, 0.0005])])
    return pd.concat([train, val], ignore_index=True)


def test_selections_come_from_the_headline_split_in_order(predictions):
    assert most_correct(predictions, 2)["path"].tolist() == ["right-sure", "right-middle"]
    assert most_wrong(predictions, 9)["path"].tolist() == ["wrong-sure", "wrong-unsure"]
    assert most_uncertain(predictions, 2)["path"].tolist() == ["right-unsure", "wrong-unsure"]
    assert list(most_uncertain(predictions)) == list(predictions)


def test_ties_are_broken_by_path_whatever_the_order(predictions):
    same = pd.concat([predictions.assign(path=predictions["path"] + s) for s in "ba"])
    shuffled = same.sample(frac=1, random_state=3)
    for select in (most_correct, most_wrong, most_uncertain):
        assert select(same)["path"].tolist() == select(shuffled)["path"].tolist()


def test_confusion_matrix_counts_and_shares(predictions):
    matrix = ConfusionMatrix.from_predictions(predictions, CLASSES)
    assert matrix.counts.tolist() == [[2, 0, 0], [2, 0, 0], [0, 0, 1]]
    assert matrix.normalised.tolist() == [[1, 0, 0], [1, 0, 0], [0, 0, 1]]
    assert matrix.most_confused(5) == [{"label": "dog", "predicted": "cat", "images": 2}]
    assert score(predictions, CLASSES)["splits"]["val"]["confusion_matrix"] == (
        matrix.counts.tolist()
    )
    empty = ConfusionMatrix(CLASSES, np.zeros((3, 3), dtype=int))
    assert empty.normalised.sum() == 0


def test_reliability_agrees_with_the_score(predictions):
    diagram = ReliabilityDiagram.from_predictions(predictions)
    assert diagram.images == 5
    assert diagram.ece == score(predictions, CLASSES)["ece"]
    assert diagram.bins["images"].sum() == 5
    assert (diagram.bins["accuracy_low"] <= diagram.bins["accuracy"]).all()
    assert (diagram.bins["accuracy_high"] >= diagram.bins["accuracy"]).all()


def test_learning_curves_count_epochs_over_the_phases():
    history = pd.DataFrame(
        {
            "phase": ["head", "head", "head", "fine-tune", "fine-tune"],
            "epoch": [1, 2, 3, 1, 2],
            "loss": [0.9, 0.5, 0.3, 0.2, 0.1],
            "accuracy": [0.5, 0.7, 0.8, 0.9, 1],
            "val_loss": [0.8, 0.4, 0.6, 0.35, 0.3],
            "val_accuracy": [0.6, 0.8, 0.7, 0.9, 0.9],
        }
    )
    head, fine = LearningCurves.from_history(history).phases
    assert (head.name, head.epochs, head.best) == ("head", [1, 2, 3], 2)
    assert (fine.name, fine.epochs, fine.best) == ("fine-tune", [4, 5], 5)
    assert fine.curves["accuracy"].tolist() == [0.9, 1]


def test_learning_curves_without_validation_or_epochs():
    history = pd.DataFrame({"phase": ["head"] * 2, "loss": [0.2, 0.4], "val_loss": ["", ""]})
    (head,) = LearningCurves.from_history(history).phases
    assert head.best == 1
    assert np.isnan(head.curves["val_loss"]).all()
    assert np.isnan(head.curves["accuracy"]).all()
    assert LearningCurves.from_history(history.iloc[:0]).phases == []


def many(images=300, seed=0):
    random = np.random.default_rng(seed)
    p = random.dirichlet([0.6, 0.6, 0.6], size=images).round(2) + 0.001
    labels = [CLASSES[random.choice(3, p=row / row.sum())] for row in p]
    return make_table("val", list(zip(map(str, range(images)), labels, p, strict=True)))


def test_the_areas_of_the_drawn_curves_are_the_scores():
    table = many()
    rows = {row["class"]: row for row in score(table, CLASSES)["splits"]["val"]["per_class"]}
    curves = threshold_curves(table, CLASSES, ["eel", "cat"])
    assert [(curve.name, curve.place) for curve in curves] == [("eel", 2), ("cat", 0)]
    for curve in curves:
        assert curve.images == rows[curve.name]["images"]
        assert np.trapezoid(curve.hits, curve.false_alarms) == pytest.approx(
            rows[curve.name]["auc"]
        )
        steps = np.diff(curve.recall, prepend=0) * curve.precision
        assert steps.sum() == pytest.approx(rows[curve.name]["average_precision"])
        assert curve.recall[-1] == 1
        assert curve.recall[-2] < 1


def test_a_class_without_images_has_no_curve(predictions):
    table = predictions[predictions["label"] != "eel"]
    assert [c.name for c in threshold_curves(table, CLASSES, CLASSES)] == ["cat", "dog"]


def test_coverage_by_hand(predictions):
    curve = CoverageCurve.from_predictions(predictions)
    assert curve.points["confidence"].tolist() == [0.98, 0.90, 0.60, 0.45, 0.40]
    assert curve.points["correct"].tolist() == [1, 1, 2, 2, 3]
    assert curve.points["coverage"].tolist() == pytest.approx([0.2, 0.4, 0.6, 0.8, 1])
    assert curve.at(0)["accuracy"] == score(predictions, CLASSES)["accuracy"]
    assert curve.at(0.6)["answered"] == 3
    assert curve.at(0.61)["answered"] == 2
    assert curve.at(0.99) is None
    assert (curve.points["accuracy_low"] <= curve.points["accuracy"]).all()


def test_answers_of_one_confidence_are_withheld_together(predictions):
    twice = pd.concat([predictions, predictions], ignore_index=True)
    curve = CoverageCurve.from_predictions(twice)
    assert curve.points["answered"].tolist() == [2, 4, 6, 8, 10]
