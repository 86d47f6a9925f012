"""What the report says of ensembles and cross-validations: values and words, no HTML."""

from __future__ import annotations

from typing import Any

from tlkit.report.sections import Material
from tlkit.report.words import SPLIT_NAMES, p_value


def ensemble(material: Material) -> dict[str, Any] | None:
    """The runs behind an ensemble, and whether their mean is better than the best of them."""
    facts = material.metrics.get("ensemble")
    if facts is None:
        return None
    return {
        "members": facts["members"],
        "best": facts["best"],
        "says": ensemble_verdict(facts),
        "scores": material.scores,
        "split": SPLIT_NAMES[material.metrics["evaluated"]],
    }


def ensemble_verdict(facts: dict[str, Any]) -> str:
    """Whether an ensemble is better than its best run, in one sentence."""
    pair, best = facts["against_best"], facts["best"]
    gained, lost = pair["only_first"], pair["only_second"]
    if not facts["is_first"]:
        gained, lost = lost, gained
    counts = f"{gained:,} of {pair['images']:,} pictures gained, {lost:,} lost"
    if not gained + lost:
        return f"It cannot be told apart from the best single run, “{best}”: {counts}."
    counts += f", {p_value(pair['p_value'])}"
    if not pair["distinguishable"]:
        return f"It cannot be told apart from the best single run, “{best}”: {counts}."
    better = "better" if facts["is_first"] else "worse"
    points = f"{100 * abs(pair['difference']):.1f} points"
    return f"It is {better} than the best single run, “{best}”, by {points}: {counts}."


def folds(material: Material) -> dict[str, Any] | None:
    """What each fold of a cross-validation reached, and their mean."""
    return material.metrics.get("folds")


def folds_table(facts: dict[str, Any]) -> str:
    """The folds of a cross-validation for the terminal, with their mean last."""
    lines = ["fold  images  accuracy  95 % interval    macro-F1   loss"]
    for row in facts["rows"]:
        low, high = row["accuracy_interval"]
        lines.append(
            f"{row['fold']:>4}  {row['images']:>6,}  {row['accuracy']:>8.3f}  "
            f"{low:.3f} to {high:.3f}  {row['macro_f1']:>8.3f}  {row['loss']:>5.3f}"
        )
    low, high = facts["accuracy"]["interval"]
    images = sum(row["images"] for row in facts["rows"])
    lines.append(
        f"mean  {images:>6,}  {facts['accuracy']['mean']:>8.3f}  {low:.3f} to {high:.3f}  "
        f"{facts['macro_f1']['mean']:>8.3f}  {facts['loss']['mean']:>5.3f}"
    )
    return "\n".join(lines)
