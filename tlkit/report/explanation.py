"""What the network saw of given pictures, as a page of its own (`tlkit explain`)."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from tlkit.report.render import render, write_page


def write_explanation(values: dict[str, Any], name: str, path: Path) -> Path:
    """Write the page.

    Args:
        values: from `tlkit.evaluation.explain.explain`.
        name: the run's name.
        path: of the HTML file; its folder must exist.

    Raises:
        DataError: the file cannot be written.
    """
    page = render(
        "explain.html",
        name=name,
        values=values,
    )
    return write_page(page, path)
