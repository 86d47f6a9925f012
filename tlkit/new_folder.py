"""A folder that is written whole or not at all."""

from __future__ import annotations

import contextlib
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

from tlkit.errors import DataError, TlkitError


@contextlib.contextmanager
def new_folder(
    target: Path, failure: type[TlkitError] = DataError, hint: str = ""
) -> Iterator[Path]:
    """An empty folder beside `target` that takes its place when all went well.

    Otherwise nothing is left, neither of it nor of the parents made for it, and what was at
    `target` stays.

    Args:
        target: need not exist; a folder there is replaced.
        failure: what to raise.
        hint: what to do next, behind the message.

    Raises:
        failure: something cannot be written.
    """
    try:
        with _replacing(target) as folder:
            yield folder
    except OSError as error:
        raise failure(f"Cannot write {target}: {error.strerror or error}.{hint}") from None


@contextlib.contextmanager
def _replacing(target: Path) -> Iterator[Path]:
    before = next(parent for parent in target.absolute().parents if parent.exists())
    target.parent.mkdir(parents=True, exist_ok=True)
    room = Path(tempfile.mkdtemp(dir=target.parent, prefix=f".{target.name}-"))
    try:
        new = room / "new"
        new.mkdir()
        yield new
        if target.exists():
            target.rename(room / "old")
        new.rename(target)
    finally:
        shutil.rmtree(room, ignore_errors=True)
        for parent in target.absolute().parents:
            if parent == before:
                break
            with contextlib.suppress(OSError):  # it holds something by now
                parent.rmdir()
