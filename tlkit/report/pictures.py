"""The report's pictures: read again from disk, upright, as a person would see them."""

from __future__ import annotations

import base64
import os
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from urllib.parse import quote

from tlkit.data.images import thumbnail
from tlkit.errors import DataError
from tlkit.progress import progress_bar

QUALITY = 80


def inline_thumbnails(
    root: Path | None, paths: Iterable[str], side: int, budget: int, workers: int | None = None
) -> dict[str, str | None]:
    """Thumbnails as base64 text, in the order of `paths`, until `budget` is spent.

    Args:
        root: the folder the paths are relative to; None when unknown, so every picture is missing.
        paths: relative paths, the most important first.
        side: longest side, pixels.
        budget: characters of base64 in all; what comes after it is left out of the result.
        workers: threads that decode; the number of processors when None.

    Returns:
        Path to base64 JPEG, or to None where the file is gone or cannot be read.
    """
    found: dict[str, str | None] = {}
    spent = 0
    for path, encoded in _encode(root, list(dict.fromkeys(paths)), side, workers):
        spent += len(encoded or "")
        if spent > budget:
            break
        found[path] = encoded
    return found


def relative_address(root: Path | None, folder: Path) -> str:
    """The address of the data folder as seen from the run folder, percent-encoded, ending in /."""
    if root is None:
        return ""
    try:
        relative = Path(os.path.relpath(root.resolve(), folder.resolve())).as_posix()
    except ValueError:  # another drive on Windows
        return root.resolve().as_uri() + "/"
    return quote(relative) + "/"


def _encode(
    root: Path | None, paths: list[str], side: int, workers: int | None
) -> Iterator[tuple[str, str | None]]:
    def encode(path: str) -> str | None:
        if root is None:
            return None
        try:
            return base64.b64encode(thumbnail(root / path, side, QUALITY)).decode("ascii")
        except DataError:
            return None

    workers = workers or os.cpu_count() or 1
    with ThreadPoolExecutor(workers) as pool, progress_bar() as bar:
        task = bar.add_task("Pictures for the report", total=len(paths))
        # In small batches, because the budget may end the work long before the last path.
        for some in _batches(paths, 8 * workers):
            for path, encoded in zip(some, pool.map(encode, some), strict=True):
                bar.advance(task)
                yield path, encoded


def _batches(items: list[str], size: int) -> Iterator[list[str]]:
    for start in range(0, len(items), size):
        yield items[start : start + size]
