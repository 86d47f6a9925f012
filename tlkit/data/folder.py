"""Which images and which classes a folder holds: scanned once, nothing written, no pixel kept.

    root/<class>/*                                       layout "classes"
    root/{train,val,test}/<class>/*                      layout "splits"
    manifest.csv with the columns path,label[,split]     layout "manifest"

Whatever lies below a class's folder belongs to the class, at any depth. Hidden files and folders,
and what operating systems leave behind, are passed over; every other file becomes a sample or a row
of `skipped`.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Literal, NamedTuple

import pandas as pd

from tlkit.data.images import check_file, check_image, looks_like_image
from tlkit.data.manifest import SPLITS, Entry, read_manifest
from tlkit.data.parallel import ordered_map
from tlkit.errors import DataError
from tlkit.labels import split_labels
from tlkit.progress import progress_bar

Layout = Literal["classes", "splits", "manifest"]

IGNORED = {"__macosx", "thumbs.db", "desktop.ini", "@eadir", "$recycle.bin"}
_SUFFIXES = {
    *(".jpg", ".jpeg", ".jpe", ".jfif", ".png", ".bmp", ".gif", ".webp", ".tif", ".tiff"),
    *(".avif", ".heic", ".heif", ".ppm", ".pgm", ".pbm"),
}
_CHUNK = 16  # files per task: large enough that handing out tasks costs nothing


class _Sample(NamedTuple):
    path: str
    label: str
    split: str
    sha256: str
    width: int
    height: int
    format: str


class _Skipped(NamedTuple):
    path: str
    reason: str


class ImageFolder:
    """The images and classes of a folder or a manifest.

    Args:
        root: a folder of class folders, a folder of train/val/test folders, or a CSV manifest.
        on_bad_image: "skip" lists an unreadable picture in `skipped`, "error" raises.
        workers: threads that read; the number of processors when None.
        min_classes: fewer classes are an error.
        multi_label: whether an image may have several labels, or none; needs a manifest.

    Attributes:
        root: the folder that paths are relative to.
        layout: "classes", "splits" or "manifest".
        split_folders: for "splits", our name to the folder's: {"train": "train", "val": "valid"}.
        classes: names, sorted.
        samples: one row per image, sorted by path: path, label, split ("" where the folder does not
            say), sha256 of the file, width, height (upright), format.
        skipped: path, reason.
        empty_classes: class folders without any picture, sorted.

    Raises:
        DataError: there is nothing to learn from; the message says what to do.
    """

    def __init__(
        self,
        root: Path | str,
        on_bad_image: Literal["skip", "error"] = "skip",
        workers: int | None = None,
        min_classes: int = 2,
        multi_label: bool = False,
    ):
        source = Path(root).expanduser()
        self.root = data_root(source)
        self.layout: Layout = "classes"
        self.multi_label = multi_label
        self.split_folders: dict[str, str] = {}
        self._class_folders: set[str] = set()
        skipped: list[_Skipped] = []
        if source.is_file():
            self.layout = "manifest"
            entries = read_manifest(_manifest(source), multi_label)
        elif multi_label:
            raise DataError(
                f"{source} is no CSV manifest, which --multi-label needs: rows path,label with "
                "labels such as cat;dog."
            )
        else:
            entries = self._list(skipped)

        samples = []
        for entry, outcome in _scan(self.root, entries, workers):
            if isinstance(outcome, _Sample):
                samples.append(outcome)
            else:
                skipped.append(outcome)
                if on_bad_image == "error" and self._is_bad(entry, outcome):
                    raise DataError(
                        f"{self.root / entry.path}: {outcome.reason}."
                        " Mend or remove it, or skip it with --on-bad-image skip."
                    )
        self.samples = pd.DataFrame(sorted(samples), columns=list(_Sample._fields))
        self.skipped = pd.DataFrame(sorted(skipped), columns=list(_Skipped._fields))

        training = {
            name
            for sample in samples
            if sample.split in ("", "train")
            for name in self.names(sample.label)
        }
        self.classes = tuple(sorted(training))
        self.empty_classes = tuple(sorted(self._class_folders - {s.label for s in samples}))
        self._refuse_lost_classes(entries)
        self._refuse_unknown_classes(samples)
        self._refuse_too_few_classes(source, min_classes)

    def names(self, label: str) -> tuple[str, ...]:
        """The classes that a sample's label stands for."""
        return split_labels(label) if self.multi_label else (label,)

    def to_json(self) -> str:
        """All that was found, so that `from_json` gives this folder again without reading it."""
        facts = vars(self) | {
            "root": str(self.root),
            "_class_folders": sorted(self._class_folders),
            "samples": self.samples.to_dict("list"),
            "skipped": self.skipped.to_dict("list"),
        }
        return json.dumps(facts, ensure_ascii=False)

    @classmethod
    def from_json(cls, text: str) -> ImageFolder:
        """What `to_json` described."""
        facts = json.loads(text)
        folder = cls.__new__(cls)
        vars(folder).update(
            facts,
            root=Path(facts["root"]),
            classes=tuple(facts["classes"]),
            empty_classes=tuple(facts["empty_classes"]),
            _class_folders=set(facts["_class_folders"]),
            samples=pd.DataFrame(facts["samples"], columns=list(_Sample._fields)),
            skipped=pd.DataFrame(facts["skipped"], columns=list(_Skipped._fields)),
        )
        return folder

    def _list(self, skipped: list[_Skipped]) -> list[Entry]:
        """The files of all class folders; sets layout, split folders and class folders."""
        folders, files = _children(self.root)
        if not folders:
            lying = f", but {len(files)} files directly in it" if files else ""
            raise DataError(
                f"{self.root} holds no class folders{lying}; make one folder per class,"
                f" such as {self.root / 'cat' / '1.jpg'}."
            )
        parts: dict[str, str] = {}
        for name in folders:
            part = SPLITS.get(name.lower())
            if part and part in parts:
                raise DataError(
                    f"{self.root} holds both {parts[part]} and {name}; keep one of them."
                )
            if part:
                parts[part] = name
        nested = {part for part, name in parts.items() if _children(self.root / name)[0]}
        if "train" not in nested:
            if nested and set(parts.values()) == set(folders):
                given = ", ".join(parts.values())
                raise DataError(
                    f"{self.root} holds {given} but no train folder with class folders in it;"
                    f" add one, or name {self.root / parts[min(nested)]} itself."
                )
            self._refuse_splits_as_classes(folders)
            return self._list_classes("", "", skipped)
        self.layout, self.split_folders = "splits", parts
        skipped += [_Skipped(name, "not in a class folder") for name in files]
        skipped += [
            _Skipped(name, f"a folder beside {parts['train']}; not used")
            for name in folders
            if name not in parts.values()
        ]
        return [
            entry
            for part, name in parts.items()
            for entry in self._list_classes(name, part, skipped)
        ]

    def _refuse_splits_as_classes(self, folders: list[str]) -> None:
        """seg_train/forest and seg_test/forest are no classes "seg_train" and "seg_test"."""
        like = [name for name in folders if re.search("train|test|valid", name.lower())]
        training = [name for name in like if "train" in name.lower()]
        if len(like) < 2 or not training or len(like) < len(folders):
            return
        inside = [_children(self.root / name) for name in like]
        if all(classes and not files for classes, files in inside):
            raise DataError(
                f"{self.root} holds {few(tuple(like))}, with folders inside: they look like splits "
                "and would be taken as classes. Call them train, val and test."
            )

    def _list_classes(self, base: str, split: str, skipped: list[_Skipped]) -> list[Entry]:
        prefix = f"{base}/" if base else ""
        folders, files = _children(self.root / base)
        skipped += [_Skipped(prefix + name, "not in a class folder") for name in files]
        if split in ("", "train"):
            self._class_folders.update(folders)
        return [
            Entry(path, label, split)
            for label in folders
            for path in _walk(self.root, prefix + label, skipped)
        ]

    def _is_bad(self, entry: Entry, outcome: _Skipped) -> bool:
        """Whether a skipped file was meant to be a picture, unlike notes that lie beside some."""
        named = Path(entry.path).suffix.lower() in _SUFFIXES
        return outcome.reason != "not an image" or named or self.layout == "manifest"

    def _refuse_lost_classes(self, entries: list[Entry]) -> None:
        """A class whose pictures are all bad is a fault of the data, not an empty class."""
        reasons = dict(zip(self.skipped["path"], self.skipped["reason"], strict=True))
        for entry in sorted(entries):
            lost = next((n for n in self.names(entry.label) if n not in self.classes), None)
            if entry.split not in ("", "train") or lost is None:
                continue
            outcome = _Skipped(entry.path, reasons.get(entry.path, ""))
            if self._is_bad(entry, outcome):
                raise DataError(
                    f"No training image of the class {lost!r} can be read; the first,"
                    f" {self.root / entry.path}: {outcome.reason}. Mend or remove them."
                )

    def _refuse_unknown_classes(self, samples: list[_Sample]) -> None:
        for sample in samples:
            unknown = next((n for n in self.names(sample.label) if n not in self.classes), None)
            if unknown is not None:
                raise DataError(
                    f"{self.root / sample.path} is of the class {unknown!r}, which has no"
                    f" training images; training has {few(self.classes)}. Rename or remove it."
                )

    def _refuse_too_few_classes(self, source: Path, min_classes: int) -> None:
        if len(self.classes) >= min_classes:
            return
        found = f"only the class {self.classes[0]!r}" if self.classes else "no images at all"
        empty = f" (empty: {few(self.empty_classes)})" if self.empty_classes else ""
        inner = self.root / min(self._class_folders, default="")
        wrapped = len(self._class_folders) == 1 and _children(inner)[0]
        hint = f" Did you mean {inner}?" if wrapped else ""
        raise DataError(
            f"{source} has {found}{empty}; at least {min_classes} classes with images are needed,"
            f" one folder per class.{hint}"
        )


def data_root(source: Path) -> Path:
    """The folder that samples' paths are relative to: `source`, or the one a manifest is in."""
    return source.parent if source.is_file() else source


def _manifest(source: Path) -> Path:
    ending = source.suffix.lower()
    if ending != ".csv":
        what = {
            **dict.fromkeys(
                (".zip", ".gz", ".tgz", ".tar", ".7z", ".rar"), "unpack it first, then"
            ),
            **dict.fromkeys((".xlsx", ".xls", ".ods", ".tsv"), "save the table as CSV, or"),
        }.get(ending, "")
        raise DataError(
            f"{source} is a file; {what}{' ' * bool(what)}give a folder of class folders, or a "
            "manifest that ends in .csv."
        )
    return source


def few(names: tuple[str, ...]) -> str:
    """The first five names, and how many more there are."""
    return ", ".join(names[:5]) + (f" and {len(names) - 5} more" if len(names) > 5 else "")


def _children(folder: Path) -> tuple[list[str], list[str]]:
    """The names of folders and of all else in `folder`, sorted, without what is passed over."""
    folders: list[str] = []
    files: list[str] = []
    try:
        with os.scandir(folder) as entries:
            for entry in entries:
                if entry.name.startswith(".") or entry.name.lower() in IGNORED:
                    continue
                (folders if _is(entry.is_dir) else files).append(entry.name)
    except FileNotFoundError:
        raise DataError(
            f"No such folder: {folder}. Give a folder of class folders, or a CSV manifest."
        ) from None
    except OSError as error:
        raise DataError(f"Cannot read {folder}: {error.strerror or error}.") from None
    return sorted(folders), sorted(files)


def _walk(root: Path, base: str, skipped: list[_Skipped]) -> Iterator[str]:
    """Paths, relative to `root`, of the files below `base`; each real folder is visited once."""
    visited = {_identity(parent) for parent in (root / base).absolute().parents}
    waiting = [base]
    while waiting:
        folder = waiting.pop()
        try:
            identity = _identity(root / folder)
            if identity in visited:  # links may lead in circles
                continue
            visited.add(identity)
            with os.scandir(root / folder) as found:
                entries = sorted(found, key=lambda entry: entry.name)
        except OSError as error:
            skipped.append(_Skipped(_printable(folder), f"folder: {_plain(error)}"))
            continue
        for entry in entries:
            path = f"{folder}/{entry.name}"
            if entry.name.startswith(".") or entry.name.lower() in IGNORED:
                continue
            if _printable(path) != path:
                skipped.append(_Skipped(_printable(path), "the name is not UTF-8; rename it"))
            elif _is(entry.is_dir):
                waiting.append(path)
            elif _is(entry.is_file):
                yield path
            else:
                skipped.append(_Skipped(path, "a broken link, or no regular file"))


def _is(kind: Callable[[], bool]) -> bool:
    """False for a link that leads to itself, of which the system says neither."""
    try:
        return kind()
    except OSError:
        return False


def _identity(folder: Path) -> tuple[int, int]:
    status = folder.stat()
    return status.st_dev, status.st_ino


def _scan(
    root: Path, entries: list[Entry], workers: int | None
) -> Iterator[tuple[Entry, _Sample | _Skipped]]:
    """Read, hash and check every file, in the order of `entries`."""

    def examine(chunk: list[Entry]) -> list[_Sample | _Skipped]:
        return [_examine(root, entry) for entry in chunk]

    chunks = [entries[start : start + _CHUNK] for start in range(0, len(entries), _CHUNK)]
    with progress_bar() as bar:
        task = bar.add_task("Reading images", total=len(entries))
        for chunk, outcomes in zip(chunks, ordered_map(examine, chunks, workers), strict=True):
            bar.advance(task, len(chunk))
            yield from zip(chunk, outcomes, strict=True)


def _examine(root: Path, entry: Entry) -> _Sample | _Skipped:
    try:
        check_file(root / entry.path)
        with (root / entry.path).open("rb") as file:
            head = file.read(64)
            if head and not looks_like_image(head):
                return _Skipped(entry.path, "not an image")
            data = head + file.read()
        info = check_image(data)
    except DataError as error:
        return _Skipped(entry.path, str(error))
    except OSError as error:
        return _Skipped(entry.path, _plain(error))
    except ValueError:  # a NUL in a manifest's path
        return _Skipped(entry.path, "no valid file name")
    return _Sample(*entry, hashlib.sha256(data).hexdigest(), *info)


def _plain(error: OSError) -> str:
    return (error.strerror or str(error)).lower()


def _printable(name: str) -> str:
    """The name with bytes that are not UTF-8 replaced, so that tables can hold it."""
    return name.encode("utf-8", "surrogateescape").decode("utf-8", "replace")
