"""Commands about images: inspect."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer


def inspect(
    data: Annotated[
        Path, typer.Argument(metavar="DIR", help="Folder of class folders, or a CSV manifest.")
    ],
    html: Annotated[
        Path | None, typer.Option("--html", help="Also write a page with the pictures here.")
    ] = None,
    workers: Annotated[
        int | None, typer.Option("--workers", "-j", min=1, help="Threads that read images.")
    ] = None,
) -> None:
    """Find leaks, copies, bad files and odd pictures in a folder.

    Trains nothing and needs no network.
    """
    from tlkit.data import lint

    found = lint.inspect(data, workers)
    print(lint.summary(found))
    if html is not None:
        from tlkit.report.inspection import write_inspection

        print(f"page {write_inspection(found, html)}")
