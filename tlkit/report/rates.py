"""The learning-rate range test: its page, its chart, and its line for the terminal."""

from __future__ import annotations

from pathlib import Path

from tlkit.evaluation.rates import RateCurve
from tlkit.report.charts import rate_chart
from tlkit.report.render import render, write_page

FLAGS = {"head": "--head-lr", "fine-tune": "--lr", "scratch": "--lr"}


def advice(curve: RateCurve) -> str:
    """What the test suggests, in one line."""
    if curve.suggestion is None:
        return (
            f"{curve.phase}: the loss fell at no rate between {curve.rates[0]:.2g} and "
            f"{curve.rates[-1]:.2g}; the recipe's {curve.used:g} has nothing to be judged by"
        )
    return (
        f"{curve.phase}: try {FLAGS[curve.phase]} {curve.suggestion:.2g} (the loss is lowest at "
        f"{curve.lowest:.2g}; the recipe has {curve.used:g})"
    )


def write_rates(curve: RateCurve, path: Path) -> Path:
    """Write the page.

    Args:
        curve: what the test found.
        path: of the HTML file; its folder must exist.

    Raises:
        DataError: the file cannot be written.
    """
    page = render(
        "rates.html",
        name=curve.images,
        curve=curve,
        chart=rate_chart(curve),
        says=advice(curve),
    )
    return write_page(page, path)
