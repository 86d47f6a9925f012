"""Splits and manifests as files of their own: a CSV, or a folder of copies or links. The user's
own folder is only read."""

from __future__ import annotations

import logging
import shutil
from collections.abc import Iterable, Iterator
from pathlib import Path, PurePosixPath

import pandas as pd

from tlkit.data.duplicates import group_copies
from tlkit.data.fetch import refuse_taken
from tlkit.data.folder import IGNORED, ImageFolder
from tlkit.data.manifest import SPLITS
from tlkit.data.split import split_samples
from tlkit.errors import DataError
from tlkit.labels import SEPARATOR
from tlkit.new_folder import new_folder
from tlkit.progress import track
from tlkit.recipe import DataConfig
from tlkit.runs import write_csv

log = logging.getLogger(__name__)


def split(
    data: Path | str,
    output: Path | str | None = None,
    *,
    val_split: float = 0.2,
    test_split: float = 0.0,
    seed: int = 0,
    link: bool = False,
    multi_label: bool = False,
) -> tuple[Path, pd.DataFrame]:
    """Split a folder as `finetune` would, and write it down.

    Args:
        data: a folder of class folders, train/val/test folders, or a manifest.
        output: a name that ends in .csv: a manifest path,label,split, in a folder above the images.
            Any other: a new folder <split>/<class>/<file>. <name>-split.csv beside the data when
            None.
        val_split, test_split: shares held out, where the data has no such part of its own.
        seed: of the draw.
        link: links instead of copies, in a new folder.
        multi_label: whether a label of the manifest is a list such as `a;b`; only a manifest can
            hold such a split.

    Returns:
        What was written, and the table path, label, split, sha256 (paths relative to the data).

    Raises:
        DataError: the output is taken or lies in the wrong place, or the data cannot be split.
    """
    source = Path(data).expanduser()
    target = Path(output).expanduser() if output else _beside(source)
    as_csv = target.suffix.lower() == ".csv"
    if as_csv and target.exists():
        raise DataError(f"{target} exists already; choose another --output.")
    if multi_label and not as_csv:
        raise DataError(
            f"An image of several labels has no one class folder to lie in; got {target}, give an "
            "--output that ends in .csv."
        )
    root = source.parent if source.is_file() else source
    prefix = _prefix(root, target) if as_csv else ""
    if not as_csv:
        refuse_taken(target)
        _refuse_inside(root, target)
    folder = ImageFolder(source, multi_label=multi_label)
    config = DataConfig(
        root=source, val_split=val_split, test_split=test_split, multi_label=multi_label
    )
    table = split_samples(folder, config, seed, group_copies(folder))
    if as_csv:
        _write_manifest(table.assign(path=prefix + table["path"]), target)
    else:
        _place(table, folder, target, link)
    return target, table


def from_csv(
    manifest: Path | str, output: Path | str, *, link: bool = False, multi_label: bool = False
) -> ImageFolder:
    """Lay out the images of a manifest as a folder, <class>/<file>, or <split>/<class>/<file>.

    Images of several labels have no one class folder: they go to images/<file>, and manifest.csv
    beside that says what is what.

    Args:
        manifest: a CSV file path,label[,split].
        output: a new folder.
        link: links instead of copies.
        multi_label: whether a label of the manifest is a list such as `a;b`.

    Returns:
        What the manifest holds; its `skipped` were not taken along.

    Raises:
        DataError: no manifest, a label that no folder can be named after, or a folder that is
            taken.
    """
    target = Path(output).expanduser()
    refuse_taken(target)
    if not Path(manifest).expanduser().is_file():
        raise DataError(f"No such file: {manifest}. Give a CSV manifest path,label[,split].")
    folder = ImageFolder(manifest, min_classes=1, multi_label=multi_label)
    table = folder.samples[["path", "label", "split"]].copy()
    if table["split"].any():
        table["split"] = table["split"].replace("", "train")
    if multi_label:
        _place_with_manifest(table, folder, target, link)
    else:
        _hint_at_lists(table["label"])
        _place(table, folder, target, link)
    return folder


def _hint_at_lists(labels: pd.Series) -> None:
    lists = labels[labels.str.contains(SEPARATOR, regex=False)]
    if len(lists):
        log.warning(
            "%d images have a label with a semicolon, such as %r, which names a folder of its own; "
            "if these are lists of labels, lay them out with --multi-label",
            len(lists),
            lists.iloc[0],
        )


def _beside(source: Path) -> Path:
    whole = source.resolve() if source.name in ("", "..") else source.absolute()
    return whole.with_name(f"{whole.stem if source.is_file() else whole.name}-split.csv")


def _prefix(root: Path, manifest: Path) -> str:
    """From the manifest's folder down to the images': "" or "cats_dogs/"."""
    place, above = root.absolute(), manifest.parent.absolute()
    # As it is written if it can be: a link to images elsewhere leads down to them, too.
    if ".." in place.parts or not place.is_relative_to(above):
        place, above = root.resolve(), manifest.parent.resolve()
    try:
        below = place.relative_to(above)
    except ValueError:
        raise DataError(
            f"A manifest lies above its images, which are in {root}; give an --output there, such "
            f"as {_beside(root)}, or a folder."
        ) from None
    return "" if below == Path() else f"{below.as_posix()}/"


def _refuse_inside(root: Path, target: Path) -> None:
    if target.resolve().is_relative_to(root.resolve()):
        raise DataError(
            f"{target} lies in {root}, which is left as it is; name a folder elsewhere."
        )


def _write_manifest(table: pd.DataFrame, target: Path) -> None:
    columns = ["path", "label", *(["split"] if table["split"].any() else [])]
    try:
        write_csv(target, table[columns])
    except OSError as error:
        raise DataError(
            f"Cannot write {target}: {error.strerror}. Choose another --output."
        ) from None


def _place(table: pd.DataFrame, folder: ImageFolder, target: Path, link: bool) -> None:
    """Copy or link every image to <split>/<class>/<file>."""
    split = bool(table["split"].any())
    for label in table["label"].unique():
        _refuse_label(label, split)
    places = [
        PurePosixPath(part, label)
        for part, label in zip(table["split"], table["label"], strict=True)
    ]
    with new_folder(target) as new:
        _fill(new, list(_names(table["path"], places)), folder, link)


def _place_with_manifest(
    table: pd.DataFrame, folder: ImageFolder, target: Path, link: bool
) -> None:
    """Copy or link every image to images/<file>, and write manifest.csv beside that folder."""
    pairs = list(_names(table["path"], [PurePosixPath("images")] * len(table)))
    table = table.assign(path=[str(place) for _, place in pairs])
    with new_folder(target) as new:
        _fill(new, pairs, folder, link)
        _write_manifest(table, new / "manifest.csv")


def _fill(
    new: Path, pairs: list[tuple[str, PurePosixPath]], folder: ImageFolder, link: bool
) -> None:
    for parent in {place.parent for _, place in pairs}:
        (new / parent).mkdir(parents=True)
    for path, place in track(pairs, "linking" if link else "copying", len(pairs)):
        source = folder.root.resolve() / path
        if link:
            (new / place).symlink_to(source)
        else:
            shutil.copyfile(source, new / place)


def _names(
    paths: Iterable[str], folders: Iterable[PurePosixPath]
) -> Iterator[tuple[str, PurePosixPath]]:
    """Each image's path and its place; a name that is taken gets a number."""
    taken: set[str] = set()
    for path, folder in zip(paths, folders, strict=True):
        name = PurePosixPath(path)
        place, number = folder / name.name, 1
        while str(place).lower() in taken:  # also where file systems do not tell A from a
            number += 1
            place = place.with_name(f"{name.stem}-{number}{name.suffix}")
        taken.add(str(place).lower())
        yield path, place


def _refuse_label(label: str, split: bool) -> None:
    """A label becomes one folder, which must be found again as a class."""
    plain = label not in ("", ".", "..") and not set(label) & set("/\\\0")
    hidden = label.startswith(".") or label.lower() in IGNORED
    if not plain or hidden or (not split and label.lower() in SPLITS):
        raise DataError(
            f"No class folder can be named {label!r}; change that label in the manifest."
        )
