"""What the report says in words: the verdict, the notes, and how numbers are written."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

import pandas as pd

from tlkit.evaluation.advice import LAST_EPOCHS, SURE, Advice, advise, little_gain
from tlkit.evaluation.comparison import Pair
from tlkit.evaluation.displays import headline, most_wrong
from tlkit.foreign_text import printable

SPLIT_NAMES = {"train": "training", "val": "validation", "test": "test"}


def verdict(metrics: dict[str, Any]) -> str:
    """How good the classifier is, in one sentence."""
    scores = metrics["splits"][metrics["evaluated"]]
    images, correct = scores["images"], scores["correct"]
    low, high = scores["accuracy_interval"]
    split = SPLIT_NAMES[metrics["evaluated"]]
    pictures = f"{split} picture" if images == 1 else f"{split} pictures"
    what = f"{correct:,} of {images:,} {pictures}"
    start = f"It names {what} correctly ({percent(scores['accuracy'])})"
    if metrics.get("folds"):
        start = f"Cross-validated, it names {what} correctly ({percent(scores['accuracy'])})"
    if metrics.get("multi_label"):
        start = (
            f"It names all labels of {what} correctly ({percent(scores['accuracy'])}), and decides "
            f"{percent(1 - scores['hamming_loss'])} of all questions “does it show this?” rightly"
        )
    if metrics["evaluated"] == "train":
        return (
            f"{start}, but it was trained on these very pictures, so this says nothing about new "
            "ones; hold some out with --val-split."
        )
    if trained_on := metrics.get("data", {}).get("trained_on"):
        return (
            f"{start}, but it was trained on {trained_on:,} of them, so this says too little about "
            "new ones."
        )
    common, share = _majority(scores)
    if low <= share and not metrics.get("multi_label"):
        return (
            f"{start}; that is not clearly better than always answering “{common}”, "
            f"which would be right for {percent(share)}."
        )
    what = "all labels right for " if metrics.get("multi_label") else ""
    return (
        f"{start}; for new pictures of the same kind, expect {what}between {percent(low)} and "
        f"{percent(high)}."
    )


def notes(metrics: dict[str, Any], skipped: int = 0, solved: bool = False) -> list[str]:
    """What a reader should know before relying on the numbers.

    Args:
        metrics: as in metrics.json.
        skipped: how many files were.
        solved: whether there were no epochs to choose from.
    """
    scores = metrics["splits"][metrics["evaluated"]]
    low, high = scores["accuracy_interval"]
    found = []
    if trained_on := metrics.get("data", {}).get("trained_on"):
        found.append(
            f"{trained_on:,} of these {scores['images']:,} pictures are among those it was trained "
            "on, so every number here is too good. Evaluate on pictures that are new to it."
        )
    if metrics["evaluated"] == "val" and not solved:
        found.append(
            "These validation pictures also chose when the training stopped, so the accuracy is "
            "slightly flattering. A test split (--test-split) gives a number nobody tuned for."
        )
    if high - low > 0.1 and metrics["evaluated"] != "train":
        found.append(
            f"{scores['images']:,} pictures pin the accuracy down only to a range of "
            f"{(high - low) * 100:.0f} percentage points. More held-out pictures narrow it."
        )
    train = metrics["splits"].get("train", {}).get("accuracy")
    if train is not None and metrics["evaluated"] != "train" and train > high + 0.02:
        found.append(
            f"It is right for {percent(train)} of the pictures it was trained on: part of what "
            "it learned does not carry over (overfitting). More pictures or stronger augmentation "
            "help."
        )
    common, share = _majority(scores)
    balanced = scores["balanced_accuracy"]
    misleads = scores["accuracy"] - min(balanced, scores["macro_f1"]) > 0.05
    sizes = [row["images"] for row in scores["per_class"] if row["images"]]
    uneven = bool(sizes) and max(sizes) >= 2 * min(sizes)
    if misleads and uneven and not metrics.get("multi_label"):
        found.append(
            f"Accuracy misleads here, because “{common}” makes up {percent(share)} of the "
            f"pictures. Every class counted alike, it is {percent(balanced)} (balanced accuracy; "
            f"macro F1 {percent(scores['macro_f1'])}). Judge by these; --class-weights auto may "
            "help."
        )
    never = [row["class"] for row in scores["per_class"] if row["images"] and not row["recall"]]
    if never and scores["correct"]:
        split = SPLIT_NAMES[metrics["evaluated"]]
        found.append(f"It recognised none of the {split} pictures of {listed(never)}.")
    absent = [row["class"] for row in scores["per_class"] if not row["images"]]
    if absent:
        found.append(
            f"No {SPLIT_NAMES[metrics['evaluated']]} picture shows {listed(absent)}: nothing here "
            "says how well it is recognised."
        )
    if skipped:
        found.append(
            "1 file was skipped; it is listed under Data."
            if skipped == 1
            else f"{skipped:,} files were skipped; they are listed under Data."
        )
    return found


def advice(found: Advice) -> str:
    """The one thing that would help most, and why, in one clause."""
    facts = found.facts
    match found.kind:
        case "hold out" if "trained_on" in facts:
            return (
                f"new pictures to judge by: {facts['trained_on']:,} of these {facts['images']:,} "
                "are among those it was trained on"
            )
        case "hold out":
            return (
                "hold some pictures out (--val-split 0.2): nothing was measured on new ones so far"
            )
        case "learn":
            return (
                f"trained weights (--weights imagenet) or longer training: it names "
                f"{percent(facts['train'])} of the pictures it learned from correctly, no more "
                f"than guessing would ({percent(facts['guessing'])})"
            )
        case "fix labels" if facts.get("several"):
            return (
                f"mend the labels: {facts['doubtful']:,} of {facts['of']:,} decisions on a class "
                "are very doubtful; the report shows them, mend the manifest and train again"
            )
        case "fix labels" if "doubtful" in facts:
            return (
                f"mend the labels: {facts['doubtful']:,} of {facts['of']:,} are very doubtful; "
                "mark them in the report and train again with --fixes fixes.csv"
            )
        case "fix labels":
            return (
                f"check the labels of the most wrong pictures: {facts['sure']} mistakes were made "
                f"with over {percent(SURE, 0)} confidence, where {facts['expected']:.1f} are to be "
                "expected"
            )
        case "train longer":
            flag = "--freeze-epochs" if facts["phase"] == "head" else "--epochs"
            return (
                f"longer training ({flag} {2 * facts['epochs']}): in the last {LAST_EPOCHS} of "
                f"{facts['epochs']} epochs the validation loss still fell from "
                f"{facts['before']:.3f} to {facts['after']:.3f}"
            )
        case "fine-tune" if little_gain(facts):
            return (
                "fine-tuning (--epochs 10): twice the pictures brought the new layers "
                f"{gain_text(facts)}"
            )
        case "fine-tune":
            return (
                "fine-tuning (--epochs 10): the new layers alone are right on only "
                f"{percent(facts['train'])} of the pictures they learned from"
            )
        case "nothing":
            right = "all are right" if not facts["mistakes"] else f"{facts['mistakes']:,} is wrong"
            if facts["mistakes"] > 1:
                right = f"{facts['mistakes']:,} are wrong"
            return (
                f"nothing in the training: of {facts['images']:,} held-out pictures {right}; more "
                "of them would tell more than more training"
            )
    who = f", above all of “{facts['class']}”" if facts.get("class") else ""
    if facts.get("gain_interval", (0, 1))[0] > 0:
        return f"more pictures{who}: the second half of them brought {gain_text(facts)}"
    why = f"{facts['mistakes']:,} of {facts['images']:,} new ones are named wrongly"
    if "train" in facts:
        why = (
            f"it names {percent(facts['train'])} of the {facts['learned_from']:,} it learned from "
            f"correctly, but {percent(1 - facts['mistakes'] / facts['images'])} of new ones"
        )
    return f"more pictures{who}: {why}"


def summary(
    metrics: dict[str, Any], predictions: pd.DataFrame, history: pd.DataFrame, report: str
) -> str:
    """What the terminal shows at the end, in five lines."""
    scores = metrics["splits"][metrics["evaluated"]]
    low, high = scores["accuracy_interval"]
    images = len(headline(predictions))
    wrong = [
        f"{row['path']} ({row['label']}, said to be {row['predicted']} "
        f"{percent(row['confidence'], 0)})"
        for row in most_wrong(predictions, 5).to_dict("records")
    ]
    several = bool(metrics.get("multi_label"))
    lines = [
        f"{'all labels right' if several else 'accuracy'} {scores['accuracy']:.3f} on "
        f"{images:,} {SPLIT_NAMES[metrics['evaluated']]} pictures "
        f"(95 % interval {low:.3f} to {high:.3f})",
        _beside(scores, several),
        f"most wrong: {'; '.join(wrong) if wrong else f'none, all {images:,} are right'}",
        f"report {report}",
        f"would help most: {advice(advise(metrics, predictions, history))}",
    ]
    return "\n".join(map(printable, lines))


def _beside(scores: dict[str, Any], multi_label: bool) -> str:
    """The numbers that stand beside accuracy."""
    low, high = scores["macro_f1_interval"]
    macro = f"macro-F1 {scores['macro_f1']:.3f} ({low:.3f} to {high:.3f})"
    if not multi_label:
        return f"{macro}, balanced accuracy {scores['balanced_accuracy']:.3f}"
    precision = scores["mean_average_precision"]
    return (
        f"{'' if precision is None else f'mAP {precision:.3f}, '}{macro}, micro-F1 "
        f"{scores['micro_f1']:.3f}, Hamming loss {scores['hamming_loss']:.4f}"
    )


def pair_verdict(pair: Pair) -> str:
    """What the test says of the second run of a pair: worse, or not distinguishable."""
    flips = pair.only_first + pair.only_second
    if not flips:
        return "not distinguishable: right on the same pictures"
    counts = f"{pair.only_second:,} gained, {pair.only_first:,} lost, {p_value(pair.p_value)}"
    return f"{'worse' if pair.distinguishable else 'not distinguishable'}: {counts}"


def both_sides(pair: Pair) -> str:
    """What the test says of a pair of which neither is the yardstick."""
    if not pair.only_first + pair.only_second:
        return pair_verdict(pair)
    better = f"“{pair.first}” is better" if pair.distinguishable else "not distinguishable"
    return (
        f"{better}: only “{pair.first}” right "
        f"on {pair.only_first:,}, only “{pair.second}” on {pair.only_second:,}, "
        f"{p_value(pair.p_value)}"
    )


def p_value(p: float) -> str:
    """`"p = 0.63"`, `"p = 0.004"`, `"p < 0.001"`; it stays on one line."""
    sign = "=" if p >= 0.001 else "<"
    return f"p\u00a0{sign}\u00a0{max(p, 0.001):.{2 if p >= 0.1 else 3}f}"


def points(difference: float) -> str:
    """A difference of shares in percentage points: `"+1.2"`, `"−0.4"` (a minus sign), `"0.0"`."""
    text = f"{100 * difference:+.1f}"
    return "0.0" if float(text) == 0 else text.replace("-", "−")


def points_interval(pair: Sequence[float]) -> str:
    """`"−1.3 to +28.2"`."""
    return f"{points(pair[0])} to {points(pair[1])}"


def gain_text(facts: dict[str, Any]) -> str:
    """What twice the pictures brought: `"+3.7 points of accuracy (−1.4 to +8.8)"`."""
    return f"{points(facts['gain'])} points of accuracy ({points_interval(facts['gain_interval'])})"


def percent(share: float | None, digits: int = 1) -> str:
    """`"98.1 %"`; never 100 % for less than all, never 0 % for more than none; a dash for None."""
    if share is None:
        return "–"
    text = f"{share * 100:.{digits}f}"
    smallest = 10.0**-digits
    if share < 1 and float(text) == 100:
        text = f">{100 - smallest:.{digits}f}"
    elif share > 0 and float(text) == 0:
        text = f"<{smallest:.{digits}f}"
    return re.sub(r"\.0$", "", text) + "\u00a0%" if share in (0, 1) else text + "\u00a0%"


def interval(pair: Sequence[float]) -> str:
    """`"77.0–97.0 %"`; its ends reach 0 and 100 only where they are."""
    low, high = pair
    least = "0" if low == 0 else f"{max(low * 100, 0.1):.1f}"
    most = "100" if high == 1 else f"{min(high * 100, 99.9):.1f}"
    return f"{least}–{most}\u00a0%"


def duration(seconds: float | None) -> str:
    """`"3.4 s"`, `"2 min 05 s"`, `"1 h 02 min"`; a dash for None."""
    if seconds is None:
        return "–"
    if seconds < 60:
        return f"{seconds:.1f}\u00a0s"
    minutes, rest = divmod(round(seconds), 60)
    if minutes < 60:
        return f"{minutes}\u00a0min\u00a0{rest:02}\u00a0s"
    return f"{minutes // 60}\u00a0h\u00a0{minutes % 60:02}\u00a0min"


def _majority(scores: dict[str, Any]) -> tuple[str, float]:
    largest = max(scores["per_class"], key=lambda row: row["images"])
    return largest["class"], largest["images"] / scores["images"]


def listed(names: Sequence[str], most: int = 3) -> str:
    """`“a”, “b”, “c” and 4 more`."""
    shown = ", ".join(f"“{name}”" for name in names[:most])
    return shown if len(names) <= most else f"{shown} and {len(names) - most} more"
