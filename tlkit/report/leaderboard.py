"""Runs side by side, as a page and as a table for the terminal."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from tlkit.evaluation.comparison import Comparison, Pair
from tlkit.foreign_text import printable
from tlkit.report import words
from tlkit.report.pictures import inline_thumbnails
from tlkit.report.render import render, write_page

# Flipped images shown on each side of a pair; the page says how many more there are.
SHOWN = 48
SIDE, BUDGET = 192, 10_000_000


def write_comparison(comparison: Comparison, path: Path) -> Path:
    """Write the page: the leaderboard, every pair, and the images that flipped.

    Args:
        comparison: from `compare_runs`.
        path: of the HTML file; its folder must exist.

    Raises:
        DataError: the file cannot be written.
    """
    duels = [_duel(comparison, pair) for pair in comparison.against_best()]
    paths = [image["path"] for duel in duels for side in duel["sides"] for image in side["images"]]
    page = render(
        "comparison.html",
        verdict=verdict(comparison),
        split=words.SPLIT_NAMES[comparison.split],
        images=len(comparison.images),
        rows=_rows(comparison),
        pairs=[{"pair": pair, "says": words.both_sides(pair)} for pair in comparison.pairs],
        duels=duels,
        remarks=comparison.remarks,
        thumbnails=inline_thumbnails(comparison.root, paths, SIDE, BUDGET),
    )
    return write_page(page, path)


def verdict(comparison: Comparison) -> str:
    """Which run is better, in one sentence."""
    best, others = comparison.rows[0], comparison.against_best()
    start = f"“{best['name']}” is right most often: {words.percent(best['scores']['accuracy'])}"
    worse = [pair.second for pair in others if pair.distinguishable]
    if len(worse) == len(others):
        return f"{start}, beyond what chance explains."
    if worse:
        level = [pair.second for pair in others if not pair.distinguishable]
        return f"{start}, but it cannot be told apart from {words.listed(level)}."
    if all(pair.only_first == pair.only_second == 0 for pair in others):
        return "The runs are right on exactly the same pictures."
    return (
        f"{start}, but the runs are not distinguishable: chance alone would part equally good ones "
        "this far."
    )


def leaderboard(comparison: Comparison) -> str:
    """The table for the terminal, and its verdict."""
    header = ["", "run", "accuracy", "95 % interval", "macro-F1", "balanced", "against the best"]
    lines = [header]
    for rank, row in enumerate(_rows(comparison), start=1):
        scores = row["scores"]
        low, high = scores["accuracy_interval"]
        lines.append(
            [
                *(str(rank), row["name"], f"{scores['accuracy']:.3f}", f"{low:.3f} to {high:.3f}"),
                *(f"{scores['macro_f1']:.3f}", f"{scores['balanced_accuracy']:.3f}", row["says"]),
            ]
        )
    widths = [max(len(line[i]) for line in lines) for i in range(len(header))]
    table = ["  ".join(text.ljust(w) for text, w in zip(line, widths, strict=True)).rstrip()
             for line in lines]  # fmt: skip
    images, split = len(comparison.images), words.SPLIT_NAMES[comparison.split]
    top = f"{len(comparison.names)} runs on the {images:,} {split} images that all evaluated"
    return "\n".join(map(printable, [top, *comparison.remarks, *table, verdict(comparison)]))


def _rows(comparison: Comparison) -> list[dict[str, Any]]:
    says = ["the best"] + [words.pair_verdict(pair) for pair in comparison.against_best()]
    return [row | {"says": text} for row, text in zip(comparison.rows, says, strict=True)]


def _duel(comparison: Comparison, pair: Pair) -> dict[str, Any]:
    """The images that flipped between the best run and another."""
    sides = []
    flipped = comparison.flipped(pair)
    for winner, loser, table in zip(
        (pair.first, pair.second), (pair.second, pair.first), flipped, strict=True
    ):
        own = "first" if winner == pair.first else "second"
        other = "second" if own == "first" else "first"
        images = [
            {
                "path": row["path"],
                "label": row["label"],
                "wrong": row[other],
                "sure": row[f"{own}_confidence"],
                "wrong_sure": row[f"{other}_confidence"],
                "alt": f"{row['label']} photo; {winner}: {row[own]}, {loser}: {row[other]}",
            }
            for row in table.head(SHOWN).to_dict("records")
        ]
        sides.append({"winner": winner, "loser": loser, "count": len(table), "images": images})
    return {"pair": pair, "says": words.pair_verdict(pair), "sides": sides}
