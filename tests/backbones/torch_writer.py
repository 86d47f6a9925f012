"""Writes .pth files as PyTorch does, in both layouts, with stand-ins for its names."""

from __future__ import annotations

import pickle
import sys
import types
import zipfile
from collections import OrderedDict
from contextlib import contextmanager
from dataclasses import dataclass, field
from io import BytesIO
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np

CLASSES = {"f4": "Float", "f8": "Double", "f2": "Half", "u2": "BFloat16", "i8": "Long", "i4": "Int"}
CLASSES |= {"i2": "Short", "i1": "Char", "u1": "Byte", "b1": "Bool"}


@dataclass(eq=False)
class Storage:
    """A flat array that tensors share; `claimed` lies about its length."""

    flat: np.ndarray
    claimed: int | None = None

    @property
    def kind(self) -> str:
        return CLASSES[self.flat.dtype.str[1:]] + "Storage"


@dataclass(eq=False)
class Tensor:
    """Pickled as torch.Tensor is: a call of _rebuild_tensor_v2, or of what a test wants instead."""

    storage: Storage
    size: tuple[int, ...]
    stride: tuple[int, ...]
    offset: int = 0
    parameter: bool = False

    @classmethod
    def of(cls, array: np.ndarray, **options: Any) -> Tensor:
        array = np.ascontiguousarray(array)
        stride = tuple(step // array.itemsize for step in array.strides)
        return cls(Storage(array.reshape(-1)), array.shape, stride, **options)

    def __reduce__(self) -> Any:
        utils = sys.modules["torch._utils"]
        rebuild = utils._rebuild_tensor_v2
        plain = (rebuild, (self.storage, self.offset, self.size, self.stride, False, OrderedDict()))
        if not self.parameter:
            return plain
        return utils._rebuild_parameter, (Tensor(**{**vars(self), "parameter": False}), True, {})


@dataclass
class _Writer:
    protocol: int
    storages: list[Storage] = field(default_factory=list)

    def dump(self, obj: Any) -> bytes:
        buffer = BytesIO()
        pickler = pickle.Pickler(buffer, self.protocol, fix_imports=False)
        pickler.persistent_id = self.persistent_id  # type: ignore[method-assign]
        pickler.dump(obj)
        return buffer.getvalue()

    def persistent_id(self, obj: Any) -> Any:
        if not isinstance(obj, Storage):
            return None
        if obj not in self.storages:
            self.storages.append(obj)
        key = str(self.storages.index(obj))
        numel = len(obj.flat) if obj.claimed is None else obj.claimed
        return ("storage", getattr(sys.modules["torch"], obj.kind), key, "cpu", numel)


@contextmanager
def fake_torch() -> Any:
    """`torch` and `torch._utils` with the few names that checkpoints mention."""
    torch, utils = types.ModuleType("torch"), types.ModuleType("torch._utils")
    for name in CLASSES.values():
        setattr(torch, f"{name}Storage", type(f"{name}Storage", (), {"__module__": "torch"}))
    for name in ("_rebuild_tensor_v2", "_rebuild_parameter"):
        function = types.FunctionType((lambda *_: None).__code__, {}, name)
        function.__module__, function.__qualname__ = "torch._utils", name
        setattr(utils, name, function)
    torch._utils = utils  # type: ignore[attr-defined]
    with mock.patch.dict(sys.modules, {"torch": torch, "torch._utils": utils}):
        yield


def tensors(state: dict[str, np.ndarray], **options: Any) -> OrderedDict[str, Tensor]:
    """A state dict as torch has it, its `_metadata` attribute included (pickled with BUILD)."""
    result = OrderedDict((key, Tensor.of(array, **options)) for key, array in state.items())
    result._metadata = OrderedDict({"": {"version": 1}})  # type: ignore[attr-defined]
    return result


def save_legacy(path: Path, tree: Any, protocol: int = 2) -> Path:
    """What torch.save wrote before 1.6 (and writes with _use_new_zipfile_serialization=False)."""
    writer = _Writer(protocol)
    with fake_torch():
        body = writer.dump(tree)
    system = {"protocol_version": 1001, "little_endian": True, "type_sizes": {"int": 4}}
    with path.open("wb") as file:
        for part in (0x1950A86A20F9469CFC6C, 1001, system):
            file.write(pickle.dumps(part, 2))
        file.write(body)
        file.write(pickle.dumps([str(i) for i in range(len(writer.storages))], 2))
        for storage in writer.storages:
            file.write(len(storage.flat).to_bytes(8, "little") + storage.flat.tobytes())
    return path


def save_zip(
    path: Path, tree: Any, protocol: int = 2, byteorder: str | None = "little", **options: Any
) -> Path:
    """What torch.save writes since 1.6; `compression` and `pickled` are for hostile files."""
    writer = _Writer(protocol)
    with fake_torch():
        body = options.get("pickled") or writer.dump(tree)
    root = path.stem
    with zipfile.ZipFile(path, "w", options.get("compression", zipfile.ZIP_STORED)) as archive:
        archive.writestr(f"{root}/data.pkl", body)
        if byteorder:
            archive.writestr(f"{root}/byteorder", byteorder)
        for i, storage in enumerate(writer.storages):
            flat = storage.flat.byteswap() if byteorder == "big" else storage.flat
            archive.writestr(f"{root}/data/{i}", flat.tobytes())
        archive.writestr(f"{root}/version", "3\n")
    return path
