"""How numbers are written, and what the verdict dares to say."""

import pandas as pd
import pytest
from synthetic_run import make_predictions

from tlkit.evaluation.advice import Advice
from tlkit.evaluation.metrics import score
from tlkit.report.words import (
    advice,
    duration,
    interval,
    notes,
    percent,
    points,
    points_interval,
    summary,
    verdict,
)

SPACE = "\u00a0"


@pytest.mark.parametrize(
    ("share", "digits", "text"),
    [
        (0.98113, 1, "98.1 %"),
        (0.5, 0, "50 %"),
        (1, 1, "100 %"),
        (0, 1, "0 %"),
        (0.99999, 1, ">99.9 %"),
        (0.99999, 0, ">99 %"),
        (0.0001, 1, "<0.1 %"),
        (0.001, 0, "<1 %"),
        (None, 1, "–"),
    ],
)
def test_percent_never_claims_all_or_none(share, digits, text):
    assert percent(share, digits) == text.replace(" ", SPACE)


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(3.42, "3.4 s"), (59.94, "59.9 s"), (125, "2 min 05 s"), (3725, "1 h 02 min"), (None, "–")],
)
def test_duration(seconds, text):
    assert duration(seconds) == text.replace(" ", SPACE)


@pytest.mark.parametrize(
    ("pair", "text"),
    [
        ((0.7704, 0.9695), "77.0–97.0 %"),
        ((0, 1), "0–100 %"),
        ((0.0001, 0.99999), "0.1–99.9 %"),
    ],
)
def test_an_interval_reaches_the_ends_only_where_it_does(pair, text):
    assert interval(pair) == text.replace(" ", SPACE)


@pytest.mark.parametrize(
    ("difference", "text"),
    [(0.0314, "+3.1"), (-0.013, "\u22121.3"), (0, "0.0"), (-0.0001, "0.0")],
)
def test_a_difference_has_a_sign_and_minus_is_no_hyphen(difference, text):
    assert points(difference) == text
    assert points_interval([difference, 0.5]) == f"{text} to +50.0"


def make_metrics(evaluated="val", correct=52, interval=(0.901, 0.997), counts=(27, 26), **scores):
    images = sum(counts)
    split = {
        "images": images,
        "correct": correct,
        "accuracy": correct / images,
        "accuracy_interval": list(interval),
        "balanced_accuracy": correct / images,
        "macro_f1": correct / images,
        "per_class": [
            {"class": n, "images": c, "recall": 0.9} for n, c in zip("ab", counts, strict=True)
        ],
    }
    return {"evaluated": evaluated, "splits": {evaluated: split | scores}}


def test_the_verdict_states_count_share_and_interval():
    text = verdict(make_metrics()).replace(SPACE, " ")
    assert text == (
        "It names 52 of 53 validation pictures correctly (98.1 %); for new pictures of the same "
        "kind, expect between 90.1 % and 99.7 %."
    )


def test_the_verdict_says_what_is_expected_of_several_labels_and_of_folds():
    several = verdict(make_metrics(hamming_loss=0.1) | {"multi_label": True})
    assert "expect all labels right for between 90.1" in several
    assert verdict(make_metrics() | {"folds": {}}).startswith("It names")
    assert verdict(make_metrics() | {"folds": {"rows": []}}).startswith("Cross-validated, it names")


def test_the_verdict_admits_a_classifier_that_is_no_better_than_guessing():
    metrics = make_metrics(correct=46, interval=(0.75, 0.93), counts=(44, 9))
    assert "not clearly better than always answering “a”" in verdict(metrics)


def test_the_verdict_says_when_only_training_pictures_were_counted():
    assert "says nothing about new" in verdict(make_metrics(evaluated="train"))


def test_notes_name_what_misleads():
    said = " ".join(notes(make_metrics(), skipped=3))
    assert "chose when the training stopped" in said
    assert "3 files were skipped" in said
    assert "chose when the training stopped" not in " ".join(notes(make_metrics(), solved=True))
    assert not notes(make_metrics(evaluated="test", interval=(0.93, 0.99)))

    wide = notes(make_metrics(evaluated="test", interval=(0.6, 0.99)))
    assert "39 percentage points" in " ".join(wide)

    skewed = make_metrics(correct=45, counts=(44, 9), balanced_accuracy=0.55)
    assert "“a” makes up 83.0\u00a0% of the pictures" in " ".join(notes(skewed))

    macro = make_metrics(correct=45, counts=(44, 9), macro_f1=0.6)
    assert "Accuracy misleads" in " ".join(notes(macro))
    assert "Accuracy misleads" not in said

    even = make_metrics(correct=26, balanced_accuracy=0.4, macro_f1=0.3)
    assert "Accuracy misleads" not in " ".join(notes(even)), "the classes are as large"

    never = make_metrics()
    never["splits"]["val"]["per_class"][1]["recall"] = 0.0
    assert "It recognised none of the validation pictures of “b”." in notes(never)

    absent = notes(make_metrics(counts=(53, 0)))
    assert "No validation picture shows “b”" in " ".join(absent)

    overfit = make_metrics()
    overfit["splits"]["train"] = {"accuracy": 1.0}
    overfit["splits"]["val"]["accuracy_interval"] = [0.7, 0.8]
    assert "overfitting" in " ".join(notes(overfit))


def test_notes_of_pictures_that_show_no_class_at_all():
    metrics = make_metrics()
    for row in metrics["splits"]["val"]["per_class"]:
        row["images"] = 0
    told = notes(metrics | {"multi_label": True})
    assert not any("misleads" in note for note in told)


def test_the_summary_is_five_lines_with_the_advice_last():
    classes = ["cat", "dog\x1b[31m"]
    predictions = make_predictions(classes, {"train": 5, "val": 30}, skill=1.5)
    metrics = score(predictions, classes)
    lines = summary(metrics, predictions, pd.DataFrame(), "runs/a/report.html").splitlines()
    assert len(lines) == 5
    assert lines[0].startswith(f"accuracy {metrics['accuracy']:.3f} on 60 validation pictures (95")
    assert f"macro-F1 {metrics['macro_f1']:.3f} (" in lines[1]
    assert f"balanced accuracy {metrics['balanced_accuracy']:.3f}" in lines[1]
    assert lines[2].startswith("most wrong: val/class ")
    assert lines[2].count(";") == 4
    assert lines[3] == "report runs/a/report.html"
    assert lines[4].startswith("would help most: more pictures")
    assert not any("\x1b" in line for line in lines)


def test_the_summary_of_a_perfect_run():
    predictions = make_predictions(["cat", "dog"], {"val": 30}, skill=50)
    lines = summary(score(predictions, ["cat", "dog"]), predictions, pd.DataFrame(), "r").split(
        "\n"
    )
    assert lines[2] == "most wrong: none, all 60 are right"
    assert "nothing in the training: of 60 held-out pictures all are right" in lines[4]


FACTS = {"images": 200, "mistakes": 20, "train": 0.995, "learned_from": 800, "class": "eel",
         "sure": 6, "expected": 1.21, "phase": "head", "epochs": 20, "before": 0.4,
         "after": 0.3}  # fmt: skip


@pytest.mark.parametrize(
    ("kind", "says"),
    [
        ("hold out", "--val-split"),
        ("fix labels", "6 mistakes were made with over 90 % confidence, where 1.2 are to be"),
        ("more pictures", "more pictures, above all of “eel”: it names 99.5 % of the 800 it"),
        ("train longer", "longer training (--freeze-epochs 40): in the last 3 of 20 epochs"),
        ("fine-tune", "fine-tuning (--epochs 10): the new layers alone are right on only 99.5 %"),
        ("nothing", "20 are wrong"),
    ],
)
def test_advice_states_its_facts(kind, says):
    assert says in advice(Advice(kind, FACTS)).replace(SPACE, " ")


@pytest.mark.parametrize(
    ("kind", "facts", "says"),
    [
        ("fix labels", {"doubtful": 25, "of": 500}, "25 of 500 are very doubtful; mark them"),
        (
            "fix labels",
            {"doubtful": 50, "of": 2000, "several": True},
            "50 of 2,000 decisions on a class are very doubtful; the report shows them",
        ),
        (
            "more pictures",
            {"gain": 0.031, "gain_interval": [0.01, 0.052]},
            "the second half of them brought +3.1 points of accuracy (+1.0 to +5.2)",
        ),
        (
            "fine-tune",
            {"gain": -0.002, "gain_interval": [-0.01, 0.006]},
            "brought the new layers −0.2 points of accuracy (−1.0 to +0.6)",
        ),
        (
            "fine-tune",
            {"gain": 0.01, "gain_interval": [-0.01, 0.03]},
            "the new layers alone are right on only 99.5",
        ),
    ],
)
def test_advice_from_the_audit_and_the_data_curve(kind, facts, says):
    assert says in advice(Advice(kind, FACTS | facts))
