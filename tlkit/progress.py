"""Progress bars for whatever takes longer than two seconds (rich draws them, on stderr)."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import TypeVar

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)

T = TypeVar("T")
console = Console(stderr=True)


@contextmanager
def progress_bar() -> Iterator[Progress]:
    """A rich Progress; it disappears when done and stays silent where stderr is not a terminal."""
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
    )
    with Progress(
        *columns, console=console, transient=True, disable=not console.is_terminal
    ) as bar:
        yield bar


@contextmanager
def working(what: str) -> Iterator[None]:
    """A sign of life on a terminal while something takes long that cannot be counted."""
    if not console.is_terminal:
        yield
        return
    with console.status(what):
        yield


def track(items: Iterable[T], description: str, total: int | None = None) -> Iterator[T]:
    """Yield `items` while a bar counts them."""
    with progress_bar() as bar:
        yield from bar.track(items, total=total, description=description)
