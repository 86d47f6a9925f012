"""The one thing that would help most, decided from what the run measured."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

import pandas as pd

from tlkit.evaluation.displays import LearningCurves, headline

Kind = Literal[
    "hold out", "learn", "fix labels", "more pictures", "train longer", "fine-tune", "nothing"
]

# A mistake made with more confidence than this is a sure one.
SURE = 0.9
# So many times more sure mistakes than the calibrated confidence allows speak of wrong labels.
SUSPICIOUS = 3.0
# A share of very doubtful labels that is worth an hour before anything else.
MANY_DOUBTFUL = 0.02
# Heads that contradict more of the labels than this are themselves to be doubted.
POOR_JUDGE = 0.2
# If twice the pictures cannot have brought more than this, more of them will not.
HARDLY = 0.01
# If they brought nothing, and cannot have brought more than this, something else is tried first.
LITTLE = 0.05
# A validation loss that still fell by this share in the last epochs was not done.
STILL_FALLING, LAST_EPOCHS = 0.05, 3


@dataclass(frozen=True)
class Advice:
    """What would help most, and the numbers that say so.

    Attributes:
        kind: the one thing.
        facts: what was measured; `tlkit.report.words` puts it into a sentence.
    """

    kind: Kind
    facts: dict[str, Any]


def advise(metrics: dict[str, Any], predictions: pd.DataFrame, history: pd.DataFrame) -> Advice:
    """Choose between more pictures, mended labels, longer or deeper training, and nothing.

    Args:
        metrics: as in metrics.json.
        predictions: as in predictions.csv.
        history: as in history.csv; empty for an evaluation on other images.
    """
    scores = metrics["splits"][metrics["evaluated"]]
    images, mistakes = scores["images"], scores["images"] - scores["correct"]
    if metrics["evaluated"] == "train":
        return Advice("hold out", {})
    if trained_on := metrics.get("data", {}).get("trained_on"):
        return Advice("hold out", {"trained_on": trained_on, "images": images})
    train = metrics["splits"].get("train")
    asked = train is not None and len(history) and not metrics.get("multi_label")
    if asked and _learned_nothing(train):
        return Advice("learn", {"train": train["accuracy"], "guessing": _guessing(train)})
    high = scores["accuracy_interval"][1]
    facts: dict[str, Any] = {"images": images, "mistakes": mistakes}
    audit = metrics.get("audit") or {"very_doubtful": 0, "images": 1}
    many = audit["very_doubtful"] >= max(3, MANY_DOUBTFUL * judged(audit))
    if many and not poor_judge(audit):
        facts |= {"doubtful": audit["very_doubtful"], "of": judged(audit)}
        return Advice("fix labels", facts | {"several": "decisions" in audit})
    sure, expected = _sure_mistakes(predictions)
    if sure >= 3 and sure > SUSPICIOUS * expected:
        return Advice("fix labels", facts | {"sure": sure, "expected": expected})
    if mistakes <= max(1, 0.005 * images):
        return Advice("nothing", facts)
    if train is None or not len(history):
        return Advice("more pictures", facts | {"class": _hardest(scores)})
    facts |= {"train": train["accuracy"], "learned_from": train["images"]}
    phases = LearningCurves.from_history(history).phases
    known = metrics.get("curve")
    if known:
        facts |= {"gain": known["gain"], "gain_interval": known["gain_interval"]}
        # Asked directly: what did the second half of the pictures bring?
        if known["gain_interval"][0] > 0:
            return Advice("more pictures", facts | {"class": _hardest(scores)})
        if little_gain(known) and phases[-1].name == "head":
            return Advice("fine-tune", facts)
    if train["accuracy"] > high:
        return Advice("more pictures", facts | {"class": _hardest(scores)})
    last = phases[-1]
    losses = last.curves["val_loss"]
    # Solved, it is at its optimum: no epoch would move it.
    if last.best == last.epochs[-1] and len(losses) > LAST_EPOCHS and not last.solved:
        before, after = losses[-1 - LAST_EPOCHS], losses[-1]
        if after < before * (1 - STILL_FALLING):
            return Advice(
                "train longer",
                facts
                | {"phase": last.name, "epochs": len(losses), "before": before, "after": after},
            )
    if last.name == "head":
        return Advice("fine-tune", facts)
    return Advice("more pictures", facts | {"class": _hardest(scores)})


def poor_judge(audit: dict[str, Any]) -> bool:
    """Whether the heads contradict so many labels that the labels are not the first to suspect."""
    return bool(audit["doubtful"] > POOR_JUDGE * judged(audit))


def judged(audit: dict[str, Any]) -> int:
    """How many labels were audited: one an image, or its decision on each class."""
    return int(audit.get("decisions", audit["images"]))


def little_gain(curve: dict[str, Any]) -> bool:
    """Whether twice the pictures brought surely next to nothing, or nothing and surely not much."""
    if "gain" not in curve:
        return False
    most = curve["gain_interval"][1]
    return bool(most < HARDLY or (curve["gain"] <= 0 and most < LITTLE))


def _sure_mistakes(predictions: pd.DataFrame) -> tuple[int, float]:
    """How many mistakes were sure, and how many there should be if confidence kept its word."""
    table = headline(predictions)
    sure = table[table["confidence"] > SURE]
    return int((sure["label"] != sure["predicted"]).sum()), float((1 - sure["confidence"]).sum())


def _learned_nothing(train: dict[str, Any]) -> bool:
    """Whether it does no better than guessing on what it learned from; of a handful of pictures
    even all of them right could be luck, so it must also be wrong on many."""
    guessing = _guessing(train)
    nearer_to_guessing = train["accuracy"] < (1 + guessing) / 2
    return bool(nearer_to_guessing and train["accuracy_interval"][0] <= guessing)


def _guessing(scores: dict[str, Any]) -> float:
    """The accuracy of always naming the most frequent class."""
    return float(max(row["images"] for row in scores["per_class"]) / max(1, scores["images"]))


def _hardest(scores: dict[str, Any]) -> str | None:
    """The class with most of all mistakes, if there are more than two classes."""
    missed = {
        row["class"]: round(row["images"] * (1 - row["recall"]))
        for row in scores["per_class"]
        if row["recall"] is not None
    }
    worst = max(missed, key=lambda name: missed[name])
    # One mistake of two would point at whichever class comes first.
    enough = missed[worst] >= 3 and 2 * missed[worst] > sum(missed.values())
    return worst if enough and len(missed) > 2 else None
