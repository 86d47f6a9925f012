"""Features on disk: rows of numbers, found by the bytes of the image they were computed from.

A space is a folder for all rows that one fixed function of the image gives (network, weights,
boundary, transform, precision, view). In it lie shards: ordinary .npy files of records (sha256 of
the image, checksum, row), written whole and renamed into place, never changed afterwards, read
through memory maps. Hence two processes cannot harm each other (the same row computed twice is the
same row), a run that is killed loses at most one shard, and dropping the least recently used shards
bounds the size. A shard that does not match its checksums is deleted, its rows are computed anew.

Kept by hand for want of a library that does this: diskcache and joblib keep one file per large
value and have no memory map, an lmdb file never shrinks.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import logging
import math
import mmap
import os
import shutil
import tempfile
import time
import uuid
import weakref
import zlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from tlkit.atomic import write_atomically, write_text
from tlkit.places import cache_folder

log = logging.getLogger(__name__)

KINDS = ("features", "networks")
SHARD_BYTES = 32 << 20
"""Rows are written in shards of about this size: what a kill can lose, what memory holds."""
DROP_AFTER = 1 << 20
"""Bytes read through a memory map before its pages are given back."""
ABANDONED = 3600.0
"""Age, in seconds, from which a temporary file is taken for the rest of a killed process."""

Compute = Callable[[NDArray[np.intp]], Iterable[tuple[NDArray[np.intp], NDArray[np.float32]]]]


@dataclass(frozen=True)
class Space:
    """What all rows of one folder have in common.

    Attributes:
        facts: everything that decides the numbers; its text is hashed into the folder's name.
        shape: of one row.
        exact: rows are kept in float32; otherwise in float16 where that holds them.
    """

    facts: dict[str, Any]
    shape: tuple[int, ...]
    exact: bool = False

    @property
    def name(self) -> str:
        """The folder's name."""
        return hashlib.sha256(self.description.encode()).hexdigest()[:32]

    @property
    def description(self) -> str:
        """What the folder's space.json says."""
        return json.dumps(
            {**self.facts, "shape": self.shape, "exact": self.exact}, indent=1, sort_keys=True
        )


class Rows:
    """Rows in a given order, read from memory maps when asked for.

    Args:
        shards: the files.
        places: int, (rows, 2): shard and position in it.
        shape: of one row.
    """

    def __init__(self, shards: Sequence[Shard], places: NDArray[np.int32], shape: tuple[int, ...]):
        self.shards, self.places, self.shape = shards, places, shape

    def __len__(self) -> int:
        return len(self.places)

    def __getitem__(self, indices: Any) -> NDArray[np.float32]:
        places = self.places[indices]
        rows = np.empty((len(places), *self.shape), np.float32)
        for number in np.unique(places[:, 0]):
            here = np.flatnonzero(places[:, 0] == number)
            rows[here] = self.shards[number].rows(places[here, 1])
        return rows


class Shard:
    """One .npy file of records, open for reading.

    Raises:
        OSError, ValueError: the file is gone, or is no shard of rows of this shape.
    """

    def __init__(self, path: Path, shape: tuple[int, ...]):
        self.path = path
        with path.open("rb") as file:
            version = np.lib.format.read_magic(file)
            if version != (1, 0):
                raise ValueError(f"{path.name}: .npy version {version}")
            (self.count,), _, dtype = np.lib.format.read_array_header_1_0(file)
            offset = file.tell()
            if dtype not in (record(shape, np.float16), record(shape, np.float32)):
                raise ValueError(f"{path.name}: records of another kind")
            if path.stat().st_size != offset + self.count * dtype.itemsize:
                raise ValueError(f"{path.name}: not {self.count} records long")
            self._map = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
        self._records = np.frombuffer(self._map, dtype, self.count, offset)
        self._read = 0

    def digests(self) -> list[bytes]:
        """The sha256 of each row's image."""
        found = [bytes(digest) for digest in self._records["sha256"]]
        self._give_back(self._records.nbytes)
        return found

    def rows(self, positions: NDArray[np.int32]) -> NDArray[Any]:
        """Rows by position, as they are stored."""
        rows = self._records["row"][positions]
        self._give_back(rows.nbytes)
        return rows

    def intact(self, positions: Iterable[int]) -> bool:
        """Whether the rows are what was written."""
        for position in positions:
            row = self._records[position]
            if checksum(bytes(row["sha256"]), row["row"]) != row["crc32"]:
                return False
            self._give_back(row.nbytes)
        return True

    def _give_back(self, read: int) -> None:
        # Pages of a map count as the process' memory until given back; the system caches the file.
        self._read += read
        if self._read > DROP_AFTER and hasattr(self._map, "madvise"):
            self._map.madvise(mmap.MADV_DONTNEED)
            self._read = 0


class FeatureCache:
    """Features of past runs, bounded in size.

    Args:
        root: tlkit's cache folder; the platform's (TLKIT_CACHE) when None.
        limit: bytes of all kinds of cached files together; 0 keeps nothing after the process.
    """

    def __init__(self, root: Path | None = None, limit: int = 8 << 30):
        self.root = root or cache_folder("features").parent
        self.limit = limit
        self._in_use: set[Path] = set()
        if not limit or not _writable(self.root):
            if limit:
                log.warning("%s cannot be written: features are kept for this run only", self.root)
            self.root, self.limit = Path(tempfile.mkdtemp(prefix="tlkit-")), limit or 8 << 30
            weakref.finalize(self, shutil.rmtree, self.root, ignore_errors=True)

    def rows(self, space: Space, digests: Sequence[bytes], compute: Compute) -> Rows:
        """The rows of these images: found, or computed and kept.

        Args:
            space: what function of the image they are.
            digests: sha256 of each image.
            compute: takes indices of images whose rows are missing, yields (indices, rows) in
                portions of any size.

        Raises:
            OSError: new rows cannot be written.
        """
        folder = self.root / "features" / space.name
        shards, places = self._find(folder, space, digests)
        missing = _first_of_each(digests, np.flatnonzero(places[:, 0] < 0))
        if len(missing):
            folder.mkdir(parents=True, exist_ok=True)
            if not (folder / "space.json").exists():
                write_text(folder / "space.json", space.description)
            for path in _write_shards(folder, space, digests, compute(missing)):
                self._in_use.add(path)
                shards.append(Shard(path, space.shape))
            places = _places(shards, digests)
            self.trim()
        return Rows(shards, places, space.shape)

    def missing(self, space: Space, digests: Sequence[bytes]) -> int:
        """How many rows would have to be computed."""
        _, places = self._find(self.root / "features" / space.name, space, digests)
        return int((places[:, 0] < 0).sum())

    def trim(self) -> None:
        """Delete the least recently used until the limit holds; what this process uses stays."""
        files = sorted(_files(self.root), key=lambda file: file[1].st_mtime)
        excess = sum(stat.st_size for _, stat in files) - self.limit
        for path, stat in files:
            if path.name.startswith("."):  # another process may be writing it
                unused = time.time() - stat.st_mtime > ABANDONED
            else:
                unused = path not in self._in_use and path.suffix in (".npy", ".npz") and excess > 0
            if unused:
                path.unlink(missing_ok=True)
                excess -= stat.st_size

    def clear(self) -> int:
        """Delete all features and networks; the bytes that were freed."""
        freed = 0
        for path, stat in _files(self.root):
            path.unlink(missing_ok=True)
            freed += stat.st_size
        for kind in KINDS:
            for folder in sorted((self.root / kind).glob("**/"), reverse=True):
                with contextlib.suppress(OSError):  # another process writes into it
                    folder.rmdir()
        return freed

    def info(self) -> pd.DataFrame:
        """One row per space: backbone, boundary, precision, view, images, bytes, last_used.

        What is damaged is deleted, as where it is read.
        """
        columns = ["backbone", "boundary", "precision", "view", "images", "bytes", "last_used"]
        rows = []
        for description in sorted((self.root / "features").glob("*/space.json")):
            with contextlib.suppress(OSError, ValueError, LookupError):  # gone, or damaged
                facts = json.loads(description.read_text(encoding="utf-8"))
                shards = list(_open_shards(description.parent, tuple(facts["shape"])))
                stats = [shard.path.stat() for shard in shards]
                last = max((stat.st_mtime for stat in stats), default=None)
                values = {
                    "images": sum(shard.count for shard in shards),
                    "bytes": sum(stat.st_size for stat in stats),
                    "last_used": None if last is None else pd.Timestamp(last, unit="s"),
                }
                rows.append({key: facts.get(key, "") for key in columns[:4]} | values)
        return pd.DataFrame(rows, columns=columns)

    def size(self) -> int:
        """Bytes of all cached features and networks."""
        return sum(stat.st_size for _, stat in _files(self.root))

    def _find(
        self, folder: Path, space: Space, digests: Sequence[bytes]
    ) -> tuple[list[Shard], NDArray[np.int32]]:
        """Open the shards that hold any of the rows, all of them proven intact."""
        shards = list(_open_shards(folder, space.shape))
        for shard in shards:
            with contextlib.suppress(OSError):  # another process made room, or it is not ours
                os.utime(shard.path)
        while True:
            places = _places(shards, digests)
            damaged = [
                shard
                for number, shard in enumerate(shards)
                if not shard.intact(np.unique(places[places[:, 0] == number, 1]))
            ]
            if not damaged:
                break
            for shard in damaged:
                _discard(shard.path, "a checksum does not match")
                shards.remove(shard)
        self._in_use.update(shard.path for shard in shards)
        return shards, places


def record(shape: tuple[int, ...], dtype: Any) -> np.dtype[Any]:
    """The kind of a shard's records."""
    return np.dtype(
        [("sha256", "V32"), ("crc32", "<u4"), ("row", np.dtype(dtype).newbyteorder("<"), shape)]
    )


def checksum(digest: bytes, row: NDArray[Any]) -> int:
    """CRC-32 of a row as stored, together with the image it belongs to."""
    return zlib.crc32(row.tobytes(), zlib.crc32(digest))


def _write_shards(
    folder: Path,
    space: Space,
    digests: Sequence[bytes],
    portions: Iterable[tuple[NDArray[np.intp], NDArray[np.float32]]],
) -> Iterator[Path]:
    """Write computed rows shard by shard; yields each file once it is in place."""
    count = max(1, SHARD_BYTES // (4 * math.prod(space.shape)))
    buffer = np.empty((count, *space.shape), np.float32)
    names: list[bytes] = []

    def write() -> Path:
        rows = buffer[: len(names)]
        kept = rows if space.exact or not fits_float16(rows) else rows.astype(np.float16)
        records = np.empty(len(kept), record(space.shape, kept.dtype))
        records["sha256"] = np.array(names, "V32")
        records["crc32"] = [checksum(name, row) for name, row in zip(names, kept, strict=True)]
        records["row"] = kept
        path = folder / f"{uuid.uuid4().hex}.npy"
        write_atomically(path, lambda temporary: np.save(temporary, records))
        names.clear()
        return path

    for indices, rows in portions:
        for index, row in zip(indices, rows, strict=True):
            buffer[len(names)] = row
            names.append(digests[index])
            if len(names) == count:
                yield write()
    if names:
        yield write()


def fits_float16(rows: NDArray[np.float32]) -> bool:
    """Whether float16, whose range is 6e-8 to 65,504, holds each row to 2**-11 of its largest."""
    largest = np.abs(rows).reshape(len(rows), -1).max(axis=1)
    return bool(np.isfinite(largest).all() and largest.max() < 6e4 and largest.min() > 1e-3)


def _open_shards(folder: Path, shape: tuple[int, ...]) -> Iterator[Shard]:
    """The shards of a space in the order of their names; one that is damaged is deleted."""
    for path in sorted(folder.glob("*.npy")):
        if path.name.startswith("."):
            continue
        try:
            yield Shard(path, shape)
        except FileNotFoundError:  # another process made room
            continue
        except (OSError, ValueError) as error:
            _discard(path, str(error))


def _places(shards: Sequence[Shard], digests: Sequence[bytes]) -> NDArray[np.int32]:
    """Where each image's row is: (images, 2), shard and position; -1 where it is not."""
    wanted = set(digests)
    found: dict[bytes, tuple[int, int]] = {}
    for number, shard in enumerate(shards):
        for position, digest in enumerate(shard.digests()):
            if digest in wanted:
                found.setdefault(digest, (number, position))
    return np.array([found.get(digest, (-1, -1)) for digest in digests], np.int32).reshape(-1, 2)


def _first_of_each(digests: Sequence[bytes], indices: NDArray[np.intp]) -> NDArray[np.intp]:
    """The indices without those of copies: one image, one row."""
    first = {digests[index]: index for index in indices[::-1]}
    return np.array(sorted(first.values()), np.intp)


def _discard(path: Path, why: str) -> None:
    log.warning("damaged features are computed anew (%s: %s)", path.name, why)
    path.unlink(missing_ok=True)


def _files(root: Path) -> Iterator[tuple[Path, os.stat_result]]:
    for kind in KINDS:
        for path in (root / kind).rglob("*"):
            try:
                stat = path.stat()
            except FileNotFoundError:  # another process made room
                continue
            if path.is_file():
                yield path, stat


def _writable(root: Path) -> bool:
    try:
        root.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=root):
            return True
    except OSError:
        return False
