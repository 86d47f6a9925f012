"""What the network saw of given pictures, as a page of its own (`tlkit explain`)."""

from __future__ import annotations

from importlib import metadata
from pathlib import Path
from typing import Any

from markupsafe import Markup

from tlkit.report.render import asset, environment, write_page


def write_explanation(values: dict[str, Any], name: str, path: Path) -> Path:
    """Write the page.

    Args:
        values: from `tlkit.evaluation.explain.explain`.
        name: the run's name.
        path: of the HTML file; its folder must exist.

    Raises:
        DataError: the file cannot be written.
    """
    page = (
        environment()
        .get_template("explain.html")
        .render(
            version=metadata.version("tlkit"),
            name=name,
            values=values,
            style=Markup(asset("report.css")),
        )
    )
    return write_page(page, path)
