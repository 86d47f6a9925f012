"""A hyper-parameter search as a page and as a table for the terminal."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from tlkit.report.charts import trials_chart
from tlkit.report.render import render, write_page
from tlkit.report.words import percent

# Rows that the terminal shows.
SHOWN = 10


def write_search(
    trials: pd.DataFrame, keys: Sequence[str], images: int, name: str, path: Path
) -> Path:
    """Write the page: the best trial, all trials, and the loss against each key.

    Args:
        trials: the best first: trial, state, loss, accuracy, seconds and a column per key.
        keys: that varied.
        images: how many validation images judged.
        name: of what was trained on.
        path: of the HTML file; its folder must exist.

    Raises:
        DataError: the file cannot be written.
    """
    page = render(
        "search.html",
        name=name,
        keys=keys,
        images=images,
        states=set(trials["state"]),
        rows=[_row(row, keys) for row in trials.to_dict("records")],
        charts={key: chart for key in keys if (chart := trials_chart(trials, key))},
        says=verdict(trials),
    )
    return write_page(page, path)


def verdict(trials: pd.DataFrame) -> str:
    """What the search found, in one sentence."""
    counts = trials["state"].value_counts()
    done = ", ".join(f"{counts[state]:,} {state}" for state in counts.index)
    if not trials["loss"].notna().any():
        return f"No trial was finished ({done})."
    best = trials.iloc[0]
    return (
        f"Trial {best['trial']} is the best of {len(trials):,} ({done}): validation loss "
        f"{best['loss']:.4f}, accuracy {percent(best['accuracy'])}."
    )


def trials_table(trials: pd.DataFrame, keys: Sequence[str]) -> str:
    """The best trials for the terminal."""
    header = ["trial", "loss", "accuracy", *keys]
    rows = [_row(row, keys) for row in trials.head(SHOWN).to_dict("records")]
    lines = [header] + [
        [str(row["trial"]), row["loss"] or row["state"], row["accuracy"], *row["drawn"]]
        for row in rows
    ]
    widths = [max(len(line[i]) for line in lines) for i in range(len(header))]
    text = ["  ".join(cell.rjust(w) for cell, w in zip(line, widths, strict=True)).rstrip()
            for line in lines]  # fmt: skip
    if len(trials) > SHOWN:
        text.append(f"and {len(trials) - SHOWN} more in trials.csv")
    return "\n".join([*text, verdict(trials)])


def _row(row: dict[Any, Any], keys: Sequence[str]) -> dict[str, Any]:
    finished = row["state"] == "complete"
    return {
        "trial": row["trial"],
        "state": row["state"],
        "loss": f"{row['loss']:.4f}" if finished else "",
        "accuracy": f"{row['accuracy']:.3f}" if finished else "",
        "share": row["accuracy"] if finished else None,
        "seconds": row["seconds"],
        "drawn": [_value(row[key]) for key in keys],
    }


def _value(value: Any) -> str:
    if isinstance(value, float) and value != value:
        return ""  # a key that this trial did not have
    return f"{value:.3g}" if isinstance(value, float) else str(value)
