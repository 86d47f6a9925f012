"""Read PyTorch checkpoints without PyTorch, and without running anything that is in them.

Two layouts exist: the legacy one (five pickles in a row, then the raw storages) and, since PyTorch
1.6, a zip archive (`data.pkl`, and one uncompressed member `data/<key>` for each storage). What a
file says of sizes, offsets and strides is checked against the bytes that are really there.
"""

from __future__ import annotations

import io
import math
import struct
import zipfile
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from tlkit.backbones._torch_pickle import (
    BFLOAT16,
    Clipped,
    MalformedError,
    Storage,
    Tensor,
    Unpickler,
    typed,
)
from tlkit.errors import WeightsError

LEGACY_START = b"\x80\x02\x8a\nl\xfc\x9cF\xf9 j\xa8P\x19."  # the pickled magic number
LEGACY_VERSION = 1001
ZIP_START = b"PK\x03\x04"

# Where training scripts put the state dict when they save more than that.
WRAPPERS = ("state_dict", "model_state_dict", "model_state", "model", "net", "network")

Arrays = dict[str, np.ndarray]


def read_torch_file(path: str | Path) -> Arrays:
    """The state dict of a .pth / .pt / .bin file, as read-only numpy arrays.

    Args:
        path: a file in the legacy or the zip layout. A training checkpoint that keeps its state
            dict under a key such as "state_dict" is looked into.

    Returns:
        Arrays by key, in the file's order and PyTorch's layout; bfloat16 arrives as float32.

    Raises:
        WeightsError: the file names a global other than those that rebuild tensors, its numbers
            point outside its bytes, or it is truncated or no PyTorch file.
    """
    path = Path(path)
    try:
        with path.open("rb") as file:
            read = _read_zip if file.read(4) == ZIP_START else _read_legacy
            file.seek(0)
            tree, storages = read(file, path.stat().st_size)
        tensors = _find_state_dict(tree)
        return {key: _as_array(key, tensor, storages) for key, tensor in tensors.items()}
    except MalformedError as error:
        raise WeightsError(f"Cannot read the weights file {path}: {error}") from error
    except OSError as error:
        reason = error.strerror or error
        raise WeightsError(f"Cannot open the weights file {path}: {reason}.") from error
    except (
        *(ValueError, LookupError, TypeError, OverflowError, struct.error),
        *(zipfile.BadZipFile, EOFError, NotImplementedError, RuntimeError, MemoryError),
    ) as error:
        raise WeightsError(
            f"Cannot read the weights file {path}: it is truncated, damaged or no PyTorch file"
            f" ({type(error).__name__}). Fetch or save it again."
        ) from error


def _read_legacy(file: BinaryIO, size: int) -> tuple[Any, Arrays]:
    """Magic number, version, system, tree, storage keys; then the length and numbers of each."""
    if file.read(len(LEGACY_START)) != LEGACY_START:
        raise MalformedError("it is no PyTorch file (neither the legacy nor the zip layout).")
    source = Clipped(file, size)
    if Unpickler().load(source) != LEGACY_VERSION:
        raise MalformedError("it is in an unknown version of the legacy layout.")
    Unpickler().load(source)  # the writer's byte order; storages are little-endian all the same
    unpickler = Unpickler()
    tree = unpickler.load(source)
    storages: Arrays = {}
    for key in typed(Unpickler().load(source), list):
        storage = unpickler.storages[typed(key, str)]
        written = int.from_bytes(file.read(8), "little")
        if written != storage.numel or key in storages:
            raise MalformedError(f"its storage {key[:40]!r} is described in two ways.")
        storages[key] = _as_flat(source.read(written * storage.dtype.itemsize), storage)
    return tree, storages


def _read_zip(file: BinaryIO, size: int) -> tuple[Any, Arrays]:
    """`<root>/data.pkl`, `<root>/byteorder` (since 2.1), `<root>/data/<key>`."""
    with zipfile.ZipFile(file) as archive:
        names = archive.namelist()
        roots = [name.removesuffix("data.pkl") for name in names if name.endswith("/data.pkl")]
        if len(roots) != 1:
            raise MalformedError("this zip archive is no PyTorch file: it holds no data.pkl.")
        left = size  # nothing is compressed, so that all members fit into the file's own size

        def read_member(name: str) -> bytes:
            nonlocal left
            info = archive.getinfo(roots[0] + name)
            left -= info.file_size
            if info.compress_type != zipfile.ZIP_STORED or left < 0:
                raise MalformedError(
                    f"its member {name[:40]!r} is compressed or larger than the file,"
                    " which PyTorch never writes."
                )
            return archive.read(info)

        big = f"{roots[0]}byteorder" in names and read_member("byteorder") == b"big"
        pickled = read_member("data.pkl")
        unpickler = Unpickler()
        tree = unpickler.load(Clipped(io.BytesIO(pickled), len(pickled)))
        storages = {
            key: _as_flat(read_member(f"data/{key}"), storage, big)
            for key, storage in unpickler.storages.items()
        }
    return tree, storages


def _as_flat(data: bytes, storage: Storage, big_endian: bool = False) -> np.ndarray:
    """The numbers of a storage; bfloat16, the upper half of a float32, is widened to that."""
    if len(data) != storage.numel * storage.dtype.itemsize:
        raise MalformedError(
            f"its storage {storage.key[:40]!r} should hold {storage.numel:,} numbers of"
            f" {storage.dtype.itemsize} bytes, but {len(data):,} bytes are there."
            " Fetch or save it again."
        )
    flat = np.frombuffer(data, storage.dtype.newbyteorder(">") if big_endian else storage.dtype)
    if storage.dtype != BFLOAT16:
        return flat
    return (flat.astype(np.uint32) << 16).view(np.float32)


def _find_state_dict(tree: Any) -> dict[str, Tensor]:
    """The tensors of a state dict, or of the one that a training checkpoint wraps."""
    found = type(tree).__name__
    for _ in range(3):
        if not isinstance(tree, dict):
            break
        found = ", ".join(key[:40] if isinstance(key, str) else "?" for key in list(tree)[:5])
        wrapped = [tree[key] for key in WRAPPERS if isinstance(tree.get(key), dict)]
        if not wrapped:
            tensors = {key: value for key, value in tree.items() if isinstance(value, Tensor)}
            if tensors and all(isinstance(key, str) for key in tensors):
                return tensors
            break
        tree = wrapped[0]
    raise MalformedError(
        f"it holds no state dict (it holds: {found!r}). Save model.state_dict() with torch.save."
    )


def _as_array(key: str, tensor: Tensor, storages: Arrays) -> np.ndarray:
    """The view that a tensor describes, once no element of it lies outside its storage."""
    flat = storages[tensor.storage.key]
    numel = math.prod(tensor.size)
    if numel == 0:
        return np.zeros(tensor.size, flat.dtype)
    # PyTorch does not define the stride of an axis of length 1.
    steps = [0 if n == 1 else step for n, step in zip(tensor.size, tensor.stride, strict=True)]
    last = tensor.offset + sum((n - 1) * step for n, step in zip(tensor.size, steps, strict=True))
    # A view with more elements than its storage overlaps itself: bytes that unfold into gigabytes.
    if last >= flat.size or numel > flat.size:
        raise MalformedError(
            f"its tensor {key[:80]!r} of {numel:,} numbers points outside its storage of"
            f" {flat.size:,} numbers."
        )
    strides = [step * flat.itemsize for step in steps]
    start = flat[tensor.offset :]
    return np.lib.stride_tricks.as_strided(start, tensor.size, strides, writeable=False)
