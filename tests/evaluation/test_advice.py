"""The one thing that would help most follows from the numbers, and from nothing else."""

import numpy as np
import pandas as pd
import pytest

from tlkit.evaluation.advice import advise
from tlkit.evaluation.metrics import score
from tlkit.evaluation.predictions_table import predictions_table

CLASSES = ["cat", "dog", "eel"]


def make_case(train_right, val_right, confidence=0.7, val_images=200, wrong_class=None):
    """Predictions with given shares of right answers, all of one confidence."""
    tables = []
    for split, share, images in (("train", train_right, 300), ("val", val_right, val_images)):
        labels = [CLASSES[i % 3] for i in range(images)]
        if wrong_class is None:
            right = np.arange(images) < round(share * images)
        else:
            right = (np.array(labels) != wrong_class) | (split == "train")
        truth = np.array([CLASSES.index(label) for label in labels])
        p = np.full((images, 3), (1 - confidence) / 2, np.float32)
        p[np.arange(images), np.where(right, truth, (truth + 1) % 3)] = confidence
        samples = pd.DataFrame({"path": "a", "split": split, "label": labels})
        tables.append(predictions_table(samples, p, CLASSES))
    predictions = pd.concat(tables, ignore_index=True)
    return score(predictions, CLASSES), predictions


def make_history(losses, phases=None):
    return pd.DataFrame(
        {
            "phase": phases or ["head"] * len(losses),
            "loss": losses,
            "val_loss": losses,
        }
    )


FLAT = make_history([0.5, 0.31, 0.3, 0.3, 0.3, 0.31])


def kind(case, history=FLAT):
    return advise(*case, history).kind


def test_overfitting_asks_for_pictures():
    found = advise(*make_case(1.0, 0.85), FLAT)
    assert found.kind == "more pictures"
    assert found.facts["train"] == 1
    assert found.facts["mistakes"] == 30
    assert found.facts["class"] is None


def test_a_class_that_makes_most_mistakes_is_named():
    case = make_case(1, 0, wrong_class="eel")
    assert advise(*case, FLAT).facts["class"] == "eel"
    two = make_case(1, 0.8, val_images=10)
    assert advise(*two, FLAT).facts["class"] is None, "two mistakes point at nothing"


def test_no_gap_and_a_frozen_backbone_ask_for_fine_tuning():
    assert kind(make_case(0.9, 0.88)) == "fine-tune"
    tuned = make_history([0.5, 0.4, 0.4, 0.4], ["head", "head", "fine-tune", "fine-tune"])
    assert kind(make_case(0.9, 0.88), tuned) == "more pictures"


def test_a_loss_that_was_still_falling_asks_for_more_epochs():
    falling = make_history([0.9, 0.8, 0.7, 0.6, 0.5, 0.4])
    found = advise(*make_case(0.9, 0.88), falling)
    assert found.kind == "train longer"
    assert (found.facts["before"], found.facts["after"]) == (0.7, 0.4)
    assert kind(make_case(0.9, 0.88), falling.assign(lr=0.0)) == "fine-tune", "it was solved"
    assert kind(make_case(1.0, 0.85), falling) == "more pictures", "a gap comes first"
    assert kind(make_case(0.9, 0.88), make_history([0.9, 0.5])) == "fine-tune"


@pytest.mark.parametrize(("right", "images"), [(1.0, 10), (1.0, 1000), (0.996, 1000), (0.95, 20)])
def test_a_mistake_or_two_ask_for_nothing(right, images):
    assert kind(make_case(1.0, right, val_images=images)) == "nothing"


def test_sure_mistakes_ask_for_a_look_at_the_labels():
    assert kind(make_case(1.0, 0.9, confidence=0.97)) == "fix labels"
    assert kind(make_case(1.0, 0.9, confidence=0.91)) == "more pictures", "20 of 200 is its word"


def test_a_network_that_learned_nothing_is_told_to_learn_before_anything_else():
    case = make_case(0.34, 0.3, confidence=0.97)
    assert kind(case) == "learn"
    assert kind(make_case(0.5, 0.3, confidence=0.97)) == "fix labels"


def test_two_pictures_that_are_learned_are_not_called_guessing():
    metrics, predictions = make_case(1.0, 0.9)
    train = metrics["splits"]["train"]
    train |= {"accuracy": 1.0, "accuracy_interval": [0.3, 1.0]}
    assert advise(metrics, predictions, FLAT).kind != "learn"
    train |= {"accuracy": 0.5}
    assert advise(metrics, predictions, FLAT).kind == "learn"


def test_without_held_out_pictures_the_first_thing_is_to_hold_some_out():
    _, predictions = make_case(1.0, 0.9)
    train = predictions[predictions["split"] == "train"]
    assert advise(score(train, CLASSES), train, FLAT).kind == "hold out"


def test_an_evaluation_has_no_training_to_speak_of():
    _, predictions = make_case(1.0, 0.9)
    test = predictions[predictions["split"] == "val"].assign(split="test")
    found = advise(score(test, CLASSES), test, pd.DataFrame())
    assert found.kind == "more pictures"
    assert "train" not in found.facts


def asked(gain_interval, train_right=1.0, val_right=0.85):
    """A case whose data curve was measured."""
    metrics, predictions = make_case(train_right, val_right)
    gain = sum(gain_interval) / 2
    return metrics | {"curve": {"gain": gain, "gain_interval": list(gain_interval)}}, predictions


def test_what_the_data_curve_measured_decides_between_pictures_and_fine_tuning():
    assert kind(asked((0.01, 0.05), 0.9, 0.88)) == "more pictures", "it would be fine-tuning"
    assert kind(asked((-0.01, 0.005))) == "fine-tune", "it would be more pictures"
    assert kind(asked((-0.02, 0.05))) == "more pictures", "it cannot tell, the gap can"
    assert kind(asked((-0.05, 0.02))) == "fine-tune", "no gain shows"
    assert kind(asked((-0.3, 0.2))) == "more pictures", "too few pictures to show any"


def test_many_very_doubtful_labels_come_first():
    metrics, predictions = make_case(1.0, 0.85)
    few = metrics | {"audit": {"doubtful": 9, "very_doubtful": 4, "images": 500}}
    many = metrics | {"audit": {"doubtful": 30, "very_doubtful": 25, "images": 500}}
    assert kind((few, predictions)) == "more pictures"
    assert advise(many, predictions, FLAT).facts["doubtful"] == 25
    assert kind((many, predictions)) == "fix labels"
    lost = metrics | {"audit": {"doubtful": 150, "very_doubtful": 25, "images": 500}}
    assert kind((lost, predictions)) == "more pictures", "heads that are lost judge no label"


def test_very_doubtful_decisions_are_counted_as_decisions():
    metrics, predictions = make_case(1.0, 0.85)
    audit = {"doubtful": 150, "very_doubtful": 25, "images": 500, "decisions": 2000}
    assert kind((metrics | {"audit": audit}, predictions)) == "more pictures"
    found = advise(metrics | {"audit": audit | {"very_doubtful": 40}}, predictions, FLAT)
    assert found.kind == "fix labels"
    assert (found.facts["of"], found.facts["several"]) == (2000, True)
