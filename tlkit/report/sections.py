"""What each section of the report says, as plain values. No HTML here, no drawing, no files.

Every function takes the Material of a run and returns a dict for its template of the same name, or
None when the run holds nothing for it; the section is then left out. To add a section: a function
here, a template, and a row in `render.SECTIONS`.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from tlkit.evaluation.advice import advise
from tlkit.evaluation.displays import (
    ConfusionMatrix,
    LearningCurves,
    headline,
    most_correct,
    most_uncertain,
    most_wrong,
)
from tlkit.evaluation.metrics import SPLITS
from tlkit.labels import split_labels
from tlkit.report import charts, words
from tlkit.report.words import SPLIT_NAMES, percent

NO_LABEL = "(none)"
# Names of folders that say nothing of what is in them.
PLAIN_FOLDERS = {"train", "training", "val", "valid", "validation", "test", "testing"} | {
    "data", "dataset", "images", "pictures"
}  # fmt: skip
# Pictures in each of the three grids, at most.
GRID = 12
# Up to here the matrix is a table with numbers; then a picture; above that only the worst pairs.
LARGEST_TABLE, LARGEST_PICTURE = 20, 200


@dataclass(frozen=True)
class Material:
    """Everything a section may draw on.

    Args:
        name: the run's name.
        recipe: the text of recipe.toml.
        metrics, predictions, history, skipped: as in the run folder.
        root: the folder that the predictions' paths are relative to, if known.
        explanations: what the network saw of some pictures, if it was asked.
    """

    name: str
    recipe: str
    metrics: dict[str, Any]
    predictions: pd.DataFrame
    history: pd.DataFrame
    skipped: pd.DataFrame
    root: Path | None
    explanations: dict[str, Any] | None = None

    @property
    def classes(self) -> list[str]:
        """Class names, in the order of the model's outputs."""
        return self.metrics["classes"]

    @property
    def multi_label(self) -> bool:
        """Whether an image may show several classes; a label is a list such as `a;b` then."""
        return bool(self.metrics.get("multi_label"))

    @property
    def scores(self) -> dict[str, Any]:
        """The scores of the headline split."""
        return self.metrics["splits"][self.metrics["evaluated"]]


def summary(material: Material) -> dict[str, Any]:
    """The tiles at the top: the headline accuracy with its interval, and what stands beside it."""
    metrics, scores = material.metrics, material.scores
    others = [
        {"split": SPLIT_NAMES[split], "scores": metrics["splits"][split]}
        for split in SPLITS
        if split in metrics["splits"] and split != metrics["evaluated"]
    ]
    return {
        "verdict": words.verdict(metrics),
        "split": SPLIT_NAMES[metrics["evaluated"]],
        "scores": scores,
        "multi_label": material.multi_label,
        "others": others,
        "seconds": _total_seconds(metrics),
        "notes": words.notes(metrics, len(material.skipped), _solved(material.history)),
        "advice": words.advice(advise(metrics, material.predictions, material.history)),
    }


def steps(material: Material) -> dict[str, Any] | None:
    """The four steps (and the fifth, fine-tuning) with their numbers."""
    rows = material.metrics.get("steps")
    return {"steps": rows} if rows else None


def curves(material: Material) -> dict[str, Any] | None:
    """Loss and accuracy over the epochs of all phases, or the iterations of a solver."""
    if not len(material.history):
        return None
    history = LearningCurves.from_history(material.history)
    drawn = {q: charts.learning_chart(history, q) for q in ("loss", "accuracy")}
    title = {}
    if len(material.history) == 1 and history.phases[0].solved:
        drawn, title = {}, {"title": "Training"}  # one number needs no chart
    rows = [
        {
            "phase": phase.name,
            "epoch": epoch,
            "best": epoch == phase.best,
            **{name: _finite(values[i]) for name, values in phase.curves.items()},
        }
        for phase in history.phases
        for i, epoch in enumerate(phase.epochs)
    ]
    seconds = pd.to_numeric(material.history.get("seconds", pd.Series(dtype=float)), "coerce")
    return title | {
        "charts": {q: chart for q, chart in drawn.items() if chart},
        "rows": rows,
        "solved": _solved(material.history),
        "head_solved": history.phases[0].solved,
        "multi_label": material.multi_label,
        "seconds": float(seconds.sum()) if len(seconds) else None,
        "validated": any(row["val_loss"] is not None for row in rows),
    }


def _solved(history: pd.DataFrame) -> bool:
    """Whether all that was learned was solved for."""
    phases = LearningCurves.from_history(history).phases if len(history) else []
    return bool(phases) and all(phase.solved for phase in phases)


def confusion(material: Material) -> dict[str, Any] | None:
    """The confusion matrix of the headline split, in the form that its size allows; None where an
    image has several labels, as no class is taken for another then."""
    if material.multi_label:
        return None
    matrix = ConfusionMatrix.from_predictions(material.predictions, material.classes)
    count = len(matrix.classes)
    form = "table" if count <= LARGEST_TABLE else "picture" if count <= LARGEST_PICTURE else "pairs"
    shares, rows, cells = matrix.normalised, [], []
    if form == "table":
        rows = [
            [{"count": int(n), "share": float(s)} for n, s in zip(counts, share, strict=True)]
            for counts, share in zip(matrix.counts, shares, strict=True)
        ]
    elif form == "picture":
        cells = [
            {"row": int(r), "column": int(c), "count": int(matrix.counts[r, c]),
             "share": float(shares[r, c])}
            for r, c in zip(*np.nonzero(matrix.counts), strict=True)
        ]  # fmt: skip
    totals = matrix.counts.sum(axis=1)
    place = {name: i for i, name in enumerate(matrix.classes)}
    pairs = [
        {**pair, "of": int(totals[place[pair["label"]]]),
         "row": place[pair["label"]], "column": place[pair["predicted"]]}
        for i, pair in enumerate(matrix.most_confused(30))
        if i < 10 or pair["images"] > 1
    ]  # fmt: skip
    return {
        "split": SPLIT_NAMES[material.metrics["evaluated"]],
        "classes": matrix.classes,
        "form": form,
        "rows": rows,
        "cells": cells,
        "pairs": pairs,
        "mistakes": int(totals.sum() - np.trace(matrix.counts)),
    }


def per_class(material: Material) -> dict[str, Any]:
    """Precision, recall and F1 of each class."""
    return {
        "split": SPLIT_NAMES[material.metrics["evaluated"]],
        "rows": material.scores["per_class"],
        "multi_label": material.multi_label,
        "macro_f1": material.scores["macro_f1"],
    }


def pictures(material: Material) -> dict[str, Any]:
    """The three grids: the surest mistakes, the closest calls, the surest right answers."""
    # A quarter of a small split, so that its surest and its least sure pictures are not the same.
    n = min(GRID, max(4, material.scores["images"] // 4))
    chosen = {
        "wrong": most_wrong(material.predictions, n),
        "uncertain": most_uncertain(material.predictions, n, material.multi_label),
        "right": most_correct(material.predictions, n),
    }
    return {
        "split": SPLIT_NAMES[material.metrics["evaluated"]],
        "grids": {
            name: [image(row, material.multi_label) for row in _rows(table)]
            for name, table in chosen.items()
        },
        "multi_label": material.multi_label,
    }


def explained(material: Material) -> dict[str, Any] | None:
    """What the network saw of the most wrong and of a few right pictures."""
    known = material.explanations
    return known if known and known["images"] else None


def gallery(material: Material, top: int = 3) -> dict[str, Any]:
    """Every held-out image as one short list, for the page's script to filter and show.

    Returns:
        `images`: one list per image, the most wrong first: path, split, label, predicted (both as
        places in `classes`), confidence, and the `top` classes and the label as (place,
        probability).
    """
    held_out = material.predictions[material.predictions["split"].isin(["val", "test"])]
    table = held_out if len(held_out) else headline(material.predictions)
    table = table.sort_values(["loss", "path"], ascending=[False, True])
    # Of several labels, every set that occurs is a name of its own.
    cells = set(table["label"]) | set(table["predicted"])
    names = [*material.classes, *sorted(cells - set(material.classes))]
    place = {name: i for i, name in enumerate(names)}
    probabilities = table[[f"p_{name}" for name in material.classes]].to_numpy(dtype=float)
    best = np.argsort(-probabilities, axis=1, kind="stable")[:, :top]
    images = [
        [
            row["path"],
            row["split"],
            place[row["label"]],
            place[row["predicted"]],
            _six_digits(row["confidence"]),
            [[int(c), _six_digits(p[c])] for c in _with(order, place[row["label"]], len(p))],
        ]
        for row, order, p in zip(_rows(table), best, probabilities, strict=True)
    ]
    splits = [split for split in SPLITS if (table["split"] == split).any()]
    return {
        "classes": [name or NO_LABEL for name in names],
        "splits": splits,
        "split_names": SPLIT_NAMES,
        "evaluated": material.metrics["evaluated"],
        "multi_label": material.multi_label,
        "images": images,
    }


def _with(order: NDArray[np.intp], label: int, classes: int) -> list[int]:
    """Places of classes, and the label's last where it is a class that is not among them."""
    return [*order, label] if label < classes and label not in order else list(order)


def data(material: Material) -> dict[str, Any]:
    """How many images of each class went where, and what was skipped."""
    images = material.predictions[["label", "split"]]
    if material.multi_label:
        images = images.assign(label=images["label"].map(split_labels)).explode("label")
    counts = pd.crosstab(images["label"], images["split"])
    splits = [split for split in SPLITS if split in counts]
    counts = counts.reindex(index=material.classes, columns=splits, fill_value=0)
    rows = [
        {"class": name, "counts": [int(n) for n in numbers], "total": int(sum(numbers))}
        for name, numbers in zip(counts.index, counts.to_numpy(), strict=True)
    ]
    root = material.metrics.get("data", {}).get("root")
    return {
        "root": root,
        "folder": _title(Path(root)) if root else None,
        "splits": [SPLIT_NAMES[split] for split in splits],
        "rows": rows,
        "multi_label": material.multi_label,
        "totals": [int((material.predictions["split"] == split).sum()) for split in splits],
        "total": len(material.predictions),
        "skipped": _rows(material.skipped),
        "empty_classes": material.metrics.get("data", {}).get("empty_classes", []),
    }


def passport(material: Material) -> dict[str, Any]:
    """What it takes to know this run again, and to repeat it."""
    metrics = material.metrics
    return {
        "name": material.name,
        "created": metrics.get("created", "").replace("T", " "),
        "model": metrics.get("model", {}),
        "data": metrics.get("data", {}),
        "device": metrics.get("device"),
        "timings": metrics.get("timings", {}),
        "versions": metrics.get("versions", {}),
        "recipe": material.recipe,
    }


def image(row: dict[str, Any], multi_label: bool = False) -> dict[str, Any]:
    """One picture with its caption's values and its alternative text; `given` is the probability
    that a label got, where there is one label."""
    return {
        "path": row["path"],
        "label": row["label"] or NO_LABEL,
        "predicted": row["predicted"] or NO_LABEL,
        "confidence": float(row["confidence"]),
        "given": None if multi_label else float(row[f"p_{row['label']}"]),
        "right": row["label"] == row["predicted"],
        "alt": f"{row['label'] or NO_LABEL} photo predicted as {row['predicted'] or NO_LABEL}, "
        f"{percent(row['confidence'], 0)}",
    }


def _title(folder: Path) -> str:
    """A folder's name, with its parent's where the name alone says nothing."""
    plain = folder.name.lower() in PLAIN_FOLDERS
    return f"{folder.parent.name}/{folder.name}" if plain and folder.parent.name else folder.name


def _total_seconds(metrics: dict[str, Any]) -> float | None:
    timings = metrics.get("timings")
    if not timings:
        return None
    return float(timings.get("total", sum(timings.values())))


def _rows(table: pd.DataFrame) -> list[dict[str, Any]]:
    return [{str(key): value for key, value in row.items()} for row in table.to_dict("records")]


def _six_digits(share: float) -> float:
    """Short in the page; rounded down, so that nearly certain never becomes certain."""
    return float(np.floor(share * 1e6) / 1e6)


def _finite(value: float) -> float | None:
    return float(value) if np.isfinite(value) else None
