"""A CSV manifest: which images, which labels and, where it says so, which splits."""

from __future__ import annotations

import re
from pathlib import Path, PurePosixPath
from typing import Any, NamedTuple

import pandas as pd

from tlkit.errors import DataError, did_you_mean
from tlkit.foreign_text import from_cell
from tlkit.labels import SEPARATOR, join_labels, split_labels

SPLITS = {
    "train": "train",
    "training": "train",
    "val": "val",
    "valid": "val",
    "validation": "val",
    "test": "test",
    "testing": "test",
}
"""Names that people give to folders and splits, and ours."""


class Entry(NamedTuple):
    """An image that is listed: where, what it shows, and its split ("" where nothing says)."""

    path: str
    label: str
    split: str


def read_manifest(file: Path, multi_label: bool = False) -> list[Entry]:
    """The rows of a CSV file with the columns path, label and perhaps split; others are ignored.

    Columns are separated by commas, or by semicolons as some spreadsheets write them. Paths are
    relative to the manifest's folder (a backslash separates folders, too), or absolute, and may not
    leave it. An empty split leaves the row to the training images. An apostrophe before a cell that
    would be a formula is taken off, so that a run's own split.csv may serve as a manifest.

    Args:
        file: the table.
        multi_label: whether a label is a list such as `a;b`, which may be empty.

    Raises:
        DataError: the file is no such table; the message names the line.
    """
    table = _read_table(file)
    folder = file.parent.absolute()
    rows: dict[str, Entry] = {}
    several = table["label"].str.contains(SEPARATOR, regex=False).any()
    columns = (table[name].tolist() for name in ("path", "label", "split"))
    for number, (path, label, split) in enumerate(zip(*columns, strict=True), start=2):
        where = f"{file}, line {number}"
        path, label = from_cell(path.strip()), from_cell(label.strip())
        if multi_label:
            label = join_labels(split_labels(label))
        entry = Entry(_clean_path(path, folder, where), label, split.strip().lower())
        if not entry.label and not multi_label:
            lists = " (or add --multi-label, if labels are lists such as a;b)" if several else ""
            raise DataError(f"{where}: the label of {entry.path!r} is empty; give it one{lists}.")
        if entry.split and entry.split not in SPLITS:
            raise DataError(
                f"{where}: unknown split {split!r}.{did_you_mean(entry.split, SPLITS)}"
                " Use train, val or test, or leave it empty."
            )
        entry = entry._replace(split=SPLITS.get(entry.split, ""))
        before = rows.setdefault(entry.path, entry)
        if before != entry:
            what = "label" if before.label != entry.label else "split"
            raise DataError(
                f"{where}: {entry.path!r} stands there twice, with the {what}s"
                f" {getattr(before, what)!r} and {getattr(entry, what)!r}; keep one."
            )
    return list(rows.values())


def _read_table(file: Path) -> pd.DataFrame:
    try:
        # Class names such as "NA" or "007" are text, never missing values or numbers.
        form: dict[str, Any] = {"dtype": str, "keep_default_na": False, "encoding": "utf-8-sig"}
        table = pd.read_csv(file, **form)
        if len(table.columns) == 1 and ";" in str(table.columns[0]):
            table = pd.read_csv(file, sep=";", **form)
    except UnicodeDecodeError:
        raise DataError(f"{file} is not UTF-8 text; save the manifest as CSV in UTF-8.") from None
    except OSError as error:
        raise DataError(f"Cannot read {file}: {error.strerror or error}.") from None
    except ValueError as error:  # pandas' ParserError and EmptyDataError
        reason = repr(str(error).strip())
        raise DataError(f"{file} is not a CSV table: {reason}.") from None
    table.columns = [str(name).strip().lower() for name in table.columns]
    for name in ("path", "label"):
        if name not in table.columns:
            found = ", ".join(map(repr, table.columns))
            raise DataError(
                f"{file} has no column {name!r}; it has {found}. A manifest has path,label[,split]."
            )
    if not len(table):
        raise DataError(f"{file} lists no images; a manifest has a row path,label for each.")
    if "split" not in table.columns:
        table["split"] = ""
    return table.fillna("")


def _clean_path(text: str, folder: Path, where: str) -> str:
    path = PurePosixPath(text.replace("\\", "/"))
    if path.is_relative_to(folder.as_posix()):
        path = path.relative_to(folder.as_posix())
    if path == PurePosixPath("."):
        raise DataError(f"{where}: the path is empty; give it one.")
    if path.is_absolute() or ".." in path.parts or re.match(r"[A-Za-z]:", path.parts[0]):
        raise DataError(
            f"{where}: {text!r} points outside the manifest's folder; write paths relative to it."
        )
    return str(path)
