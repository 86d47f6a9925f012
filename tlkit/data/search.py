"""Files by name, folder or glob, found one at a time: a million of them cost no memory."""

from __future__ import annotations

import glob
from collections.abc import Iterator, Sequence
from itertools import chain
from pathlib import Path

from tlkit.data.folder import IGNORED
from tlkit.errors import DataError


def find_files(names: str | Path | Sequence[str | Path]) -> Iterator[Path]:
    """The files that `names` stand for, in their order.

    A folder's are sorted by name; a glob's come as the file system has them.

    Args:
        names: files, folders (searched at any depth, hidden files and folders passed over), or
            globs such as "photos/**/*.jpg" where no shell has expanded them; one or several.

    Returns:
        An iterator that reads one folder at a time.

    Raises:
        DataError: a name stands for nothing; before the first file is given.
    """
    names = [names] if isinstance(names, str | Path) else names
    for name in names:
        if not isinstance(name, str | Path):
            raise DataError(
                f"Images are named by their paths; got {type(name).__name__}. For pixels in memory "
                "take the run's `model`."
            )
    parts = [_expand(str(name)) for name in names]
    files = chain.from_iterable(parts)
    first = next(files, None)
    if first is None:
        raise DataError(
            f"No files in {', '.join(map(str, names))}; name images, or folders with images."
        )
    return chain([first], files)


def _expand(name: str) -> Iterator[Path]:
    path = Path(name).expanduser()
    if path.is_dir():
        return _walk(path)
    if path.exists():
        return iter([path])
    if not glob.has_magic(name):
        raise DataError(
            f"No such file or folder: {path}; name images, folders with images, or a glob."
        )
    found = glob.iglob(str(path), recursive=True)  # noqa: PTH207  Path.glob takes no absolute one
    first = next(found, None)
    if first is None:
        raise DataError(f"Nothing matches {name}; name images, or folders with images.")
    matches = map(Path, chain([first], found))
    return chain.from_iterable(_walk(m) if m.is_dir() else [m] for m in matches)


def _walk(folder: Path) -> Iterator[Path]:
    """Every file below `folder`, one folder's names in memory at a time."""
    visited: set[tuple[int, int]] = set()
    waiting = [folder]
    while waiting:
        current = waiting.pop()
        try:
            status = current.stat()
            if (status.st_dev, status.st_ino) in visited:  # links may lead in circles
                continue
            visited.add((status.st_dev, status.st_ino))
            names = sorted(path.name for path in current.iterdir())
        except OSError as error:
            raise DataError(f"Cannot read {current}: {error.strerror or error}.") from None
        inner = []
        for name in names:
            if name.startswith(".") or name.lower() in IGNORED:
                continue
            path = current / name
            if path.is_dir():
                inner.append(path)
            else:
                yield path
        waiting += reversed(inner)
