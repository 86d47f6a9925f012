"""How numbers are written, and what the verdict dares to say."""

import pytest

from tlkit.report.words import duration, notes, percent, verdict

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


def make_metrics(evaluated="val", correct=52, interval=(0.901, 0.997), counts=(27, 26), **scores):
    images = sum(counts)
    split = {
        "images": images,
        "correct": correct,
        "accuracy": correct / images,
        "accuracy_interval": list(interval),
        "balanced_accuracy": correct / images,
        "per_class": [{"class": n, "images": c} for n, c in zip("ab", counts, strict=True)],
    }
    return {"evaluated": evaluated, "splits": {evaluated: split | scores}}


def test_the_verdict_states_count_share_and_interval():
    text = verdict(make_metrics()).replace(SPACE, " ")
    assert text == (
        "It names 52 of 53 validation pictures correctly (98.1 %); for new pictures of the same "
        "kind, expect between 90.1 % and 99.7 %."
    )


def test_the_verdict_admits_a_classifier_that_is_no_better_than_guessing():
    metrics = make_metrics(correct=46, interval=(0.75, 0.93), counts=(44, 9))
    assert "not clearly better than always answering “a”" in verdict(metrics)


def test_the_verdict_says_when_only_training_pictures_were_counted():
    assert "says nothing about new" in verdict(make_metrics(evaluated="train"))


def test_notes_name_what_misleads():
    said = " ".join(notes(make_metrics(), skipped=3))
    assert "chose when the training stopped" in said
    assert "3 files were skipped" in said
    assert not notes(make_metrics(evaluated="test", interval=(0.93, 0.99)))

    wide = notes(make_metrics(evaluated="test", interval=(0.6, 0.99)))
    assert "39 percentage points" in " ".join(wide)

    skewed = make_metrics(correct=45, counts=(44, 9), balanced_accuracy=0.55)
    assert "“a” makes up 83.0\u00a0% of the pictures" in " ".join(notes(skewed))

    absent = notes(make_metrics(counts=(53, 0)))
    assert "No validation picture shows “b”" in " ".join(absent)

    overfit = make_metrics()
    overfit["splits"]["train"] = {"accuracy": 1.0}
    overfit["splits"]["val"]["accuracy_interval"] = [0.7, 0.8]
    assert "overfitting" in " ".join(notes(overfit))
