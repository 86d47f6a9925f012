"""Marks on labels, laid over a folder: what fixes.csv says to drop or relabel. No file is moved.

path,action,label
train/cat/12.jpg,relabel,dog
train/cat/13.jpg,drop,
train/cat/14.jpg,keep,
"""

from __future__ import annotations

import csv
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pandas as pd

from tlkit.data.folder import ImageFolder
from tlkit.errors import DataError, did_you_mean
from tlkit.foreign_text import from_cell

COLUMNS = ["path", "action", "label"]
ACTIONS = ("keep", "relabel", "drop")


class Fix(NamedTuple):
    """One mark; `label` is the new class of a "relabel" and empty otherwise."""

    path: str
    action: str
    label: str


def read_fixes(file: Path) -> list[Fix]:
    """The marks of a fixes.csv.

    Raises:
        DataError: it cannot be read, a column is missing, an action is unknown, or a path has two
            different marks; the line is named.
    """
    try:
        with file.open(encoding="utf-8-sig", newline="") as lines:
            fixes = list(_parse(file, csv.DictReader(lines, strict=True)))
    except OSError as error:
        raise DataError(f"Cannot read the fixes {file}: {error.strerror or error}.") from None
    except (UnicodeDecodeError, csv.Error) as error:
        raise DataError(f"The fixes {file} are no UTF-8 CSV: {error}.") from None
    return fixes


def _parse(file: Path, rows: csv.DictReader[str]) -> Iterator[Fix]:
    missing = [name for name in COLUMNS if name not in (rows.fieldnames or [])]
    if missing:
        raise DataError(
            f"The fixes {file} lack the column {missing[0]!r}; the first line must be"
            f" {','.join(COLUMNS)}."
        )
    seen: dict[str, Fix] = {}
    for row in rows:
        path, action, label = (row[name] or "" for name in COLUMNS)
        fix = Fix(from_cell(path), action.strip(), from_cell(label))
        where = f"{file}, line {rows.line_num}:"
        if fix.action not in ACTIONS:
            hint = did_you_mean(fix.action, ACTIONS)
            raise DataError(f"{where} action {fix.action!r} is none of {', '.join(ACTIONS)}.{hint}")
        if fix.action == "relabel" and not fix.label:
            raise DataError(f"{where} relabel {fix.path!r} needs a class in the column label.")
        if seen.setdefault(fix.path, fix) != fix:
            raise DataError(f"{where} {fix.path!r} has two marks that differ; keep one.")
        yield fix


def apply_fixes(folder: ImageFolder, file: Path) -> None:
    """Change the folder's tables: dropped images move to `skipped`, relabelled ones get their new
    label.

    Args:
        folder: as scanned; its `samples` and `skipped` are changed, no file is.
        file: a fixes.csv.

    Raises:
        DataError: as `read_fixes`; a path or a class is not in the folder, or a class is left
            without training images.
    """
    fixes = read_fixes(file)
    known = set(folder.samples["path"]) | set(folder.skipped["path"])
    for fix in fixes:
        if fix.path not in known:
            hint = did_you_mean(fix.path, known)
            raise DataError(
                f"The fixes {file} name {fix.path!r}, which is not in {folder.root};{hint}"
                " paths are relative to that folder."
            )
        if fix.action == "relabel" and fix.label not in folder.classes:
            hint = did_you_mean(fix.label, folder.classes)
            raise DataError(
                f"The fixes {file} make {fix.path!r} the class {fix.label!r}, which {folder.root}"
                f" does not have.{hint}"
            )
    labels = {fix.path: fix.label for fix in fixes if fix.action == "relabel"}
    drops = {fix.path for fix in fixes if fix.action == "drop"}
    samples = folder.samples
    dropped = samples[samples["path"].isin(drops)]
    samples = samples[~samples["path"].isin(drops)].reset_index(drop=True)
    samples["label"] = samples["path"].map(labels).fillna(samples["label"])
    training = set(samples.loc[samples["split"].isin(["", "train"]), "label"])
    lost = next((name for name in folder.classes if name not in training), None)
    if lost is not None:
        raise DataError(f"The fixes {file} leave no training image of the class {lost!r}.")
    reasons = pd.DataFrame({"path": dropped["path"], "reason": f"dropped by {file.name}"})
    skipped = pd.concat([folder.skipped, reasons])
    folder.samples = samples
    folder.skipped = skipped.sort_values("path", ignore_index=True)
