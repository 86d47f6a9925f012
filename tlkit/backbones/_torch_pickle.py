"""Unpickle a PyTorch checkpoint without running anything that is in it.

A pickle is a program for a small stack machine, which may call whatever function it names.
`Unpickler` runs that program with nothing to call: a global is accepted only by name, from the
short list of those that rebuild tensors, and stays a name; the calls that a checkpoint needs are
spelled out here. Python's own unpickler with a restricted `find_class` would not do: its C memo
grows to whatever index a file names (five bytes can ask for 64 GB).
"""

from __future__ import annotations

import pickletools
from dataclasses import dataclass
from typing import IO, Any, BinaryIO, TypeVar, cast

import numpy as np

T = TypeVar("T")

# A ResNet-152's checkpoint takes about 40,000 operations; each can cost some 100 bytes of memory.
MAX_OPERATIONS = 2_000_000

# numpy knows no bfloat16, and no storage class holds uint16: "<u2" stands for bfloat16.
BFLOAT16 = np.dtype("<u2")
STORAGES: dict[str, np.dtype[Any]] = {
    "torch.FloatStorage": np.dtype("<f4"),
    "torch.DoubleStorage": np.dtype("<f8"),
    "torch.HalfStorage": np.dtype("<f2"),
    "torch.BFloat16Storage": BFLOAT16,
    "torch.LongStorage": np.dtype("<i8"),
    "torch.IntStorage": np.dtype("<i4"),
    "torch.ShortStorage": np.dtype("<i2"),
    "torch.CharStorage": np.dtype("i1"),
    "torch.ByteStorage": np.dtype("u1"),
    "torch.BoolStorage": np.dtype("?"),
}
ORDERED_DICT = "collections.OrderedDict"
TENSOR = ("torch._utils._rebuild_tensor", "torch._utils._rebuild_tensor_v2")
PARAMETER = "torch._utils._rebuild_parameter"
ALLOWED = frozenset({*STORAGES, *TENSOR, ORDERED_DICT, PARAMETER})

# Literals as every protocol spells them; pickletools decodes them.
LITERALS = frozenset(
    {"INT", "LONG", "LONG1", "LONG4", "BININT", "BININT1", "BININT2", "FLOAT", "BINFLOAT"}
    | {"STRING", "BINSTRING", "SHORT_BINSTRING", "BINBYTES", "SHORT_BINBYTES", "BINBYTES8"}
    | {"UNICODE", "BINUNICODE", "SHORT_BINUNICODE", "BINUNICODE8"}
)


class MalformedError(ValueError):
    """The file is not what it claims to be; the message is a fragment that follows its path."""


@dataclass(frozen=True)
class Global:
    """A function or class that the pickle names. It is never imported."""

    name: str


@dataclass(frozen=True)
class Storage:
    """A flat run of numbers that one or more tensors look into."""

    key: str
    dtype: np.dtype[Any]
    numel: int


@dataclass(frozen=True)
class Tensor:
    """A view of a storage, counted in elements, as the pickle has it: still unchecked."""

    storage: Storage
    offset: int
    size: tuple[int, ...]
    stride: tuple[int, ...]


class Clipped:
    """A file that never reads past its end, so that a lying length cannot ask for gigabytes."""

    def __init__(self, file: BinaryIO, size: int) -> None:
        self._file, self._size = file, size

    def tell(self) -> int:
        """The position in the file underneath."""
        return self._file.tell()

    def read(self, size: int) -> bytes:
        """At most `size` bytes, and never more than are left."""
        left = max(0, self._size - self._file.tell())
        return self._file.read(min(size, left))

    def readline(self) -> bytes:
        """One line; no line of a text pickle is longer than 64 KB."""
        return self._file.readline(1 << 16)


class Unpickler:
    """Runs one pickle: builds dicts, lists, tuples, scalars and `Tensor`s; calls nothing.

    Attributes:
        storages: what the pickle said of each storage, by its key.
    """

    def __init__(self) -> None:
        self.storages: dict[str, Storage] = {}

    def load(self, file: Clipped) -> Any:
        """What the pickle builds; the file is left just behind it.

        Raises:
            MalformedError: it names or calls what no state dict needs.
            ValueError, LookupError, TypeError: it is no well-formed pickle.
        """
        stack: list[Any] = []
        marks: list[list[Any]] = []  # the stacks below each MARK
        memo: dict[int, Any] = {}
        argument: Any
        for count, (opcode, argument, _) in enumerate(pickletools.genops(cast(IO[bytes], file))):
            if count >= MAX_OPERATIONS:
                raise MalformedError(f"its pickle has more than {MAX_OPERATIONS:,} operations.")
            match opcode.name:
                case "PROTO" | "FRAME" | "STOP":
                    pass  # genops ends after STOP
                case name if name in LITERALS:
                    stack.append(argument)
                case "BINPUT" | "LONG_BINPUT" | "PUT":
                    memo[argument] = stack[-1]
                case "MEMOIZE":
                    memo[len(memo)] = stack[-1]
                case "BINGET" | "LONG_BINGET" | "GET":
                    stack.append(memo[argument])
                case "NONE":
                    stack.append(None)
                case "NEWTRUE" | "NEWFALSE":
                    stack.append(opcode.name == "NEWTRUE")
                case "EMPTY_TUPLE":
                    stack.append(())
                case "EMPTY_LIST":
                    stack.append([])
                case "EMPTY_DICT":
                    stack.append({})
                case "MARK":
                    marks.append(stack)
                    stack = []
                case "TUPLE":
                    items, stack = stack, marks.pop()
                    stack.append(tuple(items))
                case "LIST":
                    items, stack = stack, marks.pop()
                    stack.append(items)
                case "DICT":
                    items, stack = stack, marks.pop()
                    stack.append(_dict(items))
                case "TUPLE1" | "TUPLE2" | "TUPLE3":
                    items = [stack.pop() for _ in range(int(opcode.name[-1]))]
                    stack.append(tuple(reversed(items)))
                case "APPEND":
                    item = stack.pop()
                    typed(stack[-1], list).append(item)
                case "APPENDS":
                    items, stack = stack, marks.pop()
                    typed(stack[-1], list).extend(items)
                case "SETITEM":
                    value, key = stack.pop(), stack.pop()
                    typed(stack[-1], dict).update(_dict([key, value]))
                case "SETITEMS":
                    items, stack = stack, marks.pop()
                    typed(stack[-1], dict).update(_dict(items))
                case "GLOBAL":
                    stack.append(_find_global(*argument.split(" ", 1)))
                case "STACK_GLOBAL":
                    name, module = typed(stack.pop(), str), typed(stack.pop(), str)
                    stack.append(_find_global(module, name))
                case "INST":  # names a global and calls it
                    called = _find_global(*argument.split(" ", 1))
                    raise MalformedError(f"refused: it calls {called.name}; nothing in it was run.")
                case "BINPERSID":
                    stack.append(self._find_storage(typed(stack.pop(), tuple)))
                case "REDUCE":
                    arguments, function = typed(stack.pop(), tuple), typed(stack.pop(), Global)
                    stack.append(_call(function.name, arguments))
                case "BUILD":  # sets a state dict's attribute `_metadata`, which nobody needs
                    stack.pop()
                    typed(stack[-1], dict)
                case name:  # NEWOBJ, OBJ, EXT1, PERSID, sets, buffers ...
                    raise MalformedError(
                        f"refused: its pickle uses the operation {name}, which no state dict needs;"
                        " nothing in it was run."
                    )
        return stack.pop()

    def _find_storage(self, persistent_id: tuple[Any, ...]) -> Storage:
        """("storage", class, key, device, number of elements[, view]) stands for a storage."""
        kind, storage_type, key, _, numel, *view = persistent_id
        if kind != "storage" or view not in ([], [None]):
            raise MalformedError("it points to something that is no plain storage.")
        dtype = STORAGES[typed(storage_type, Global).name]
        storage = Storage(typed(key, str), dtype, typed(numel, int))
        if numel < 0 or self.storages.setdefault(key, storage) != storage:
            raise MalformedError(f"its storage {key[:40]!r} is described in two ways.")
        return storage


def typed(value: Any, kind: type[T]) -> T:
    """`value`, when it is exactly of the type `kind`; TypeError otherwise."""
    if type(value) is not kind:
        raise TypeError(f"{type(value).__name__} instead of {kind.__name__}")
    return value


def _dict(items: list[Any]) -> dict[Any, Any]:
    """A dict of alternating keys and values."""
    for key in items[::2]:
        # Scalars only: hashing a tuple that is nested a million deep would overflow the C stack.
        if type(key) not in (str, int, float, bool, bytes, type(None)):
            raise TypeError(f"{type(key).__name__} as a key")
    return dict(zip(items[::2], items[1::2], strict=True))


def _find_global(module: str, name: str) -> Global:
    full = f"{module}.{name}"
    if full in ALLOWED:
        return Global(full)
    whole = module.startswith(("torch.nn", "torchvision", "timm", "__main__", "__torch__"))
    raise MalformedError(
        f"refused: it names the global {full[:100]!r}, and a checkpoint may only rebuild tensors;"
        f" nothing in it was run.{' Save the model.state_dict() instead.' if whole else ''}"
    )


def _call(function: str, arguments: tuple[Any, ...]) -> dict[Any, Any] | Tensor:
    """What the few functions that a checkpoint needs would return."""
    if function == ORDERED_DICT:
        pairs = typed(arguments[0], list) if arguments else []  # Python 2: [[key, value], ...]
        return _dict([item for pair in pairs for item in typed(pair, list)])
    if function == PARAMETER:
        return typed(arguments[0], Tensor)
    if function in TENSOR:
        storage, offset, size, stride = arguments[:4]
        for number in (offset, *typed(size, tuple), *typed(stride, tuple)):
            if typed(number, int) < 0:
                raise MalformedError("a tensor's offset, size or stride is negative.")
        return Tensor(typed(storage, Storage), offset, size, stride)
    raise MalformedError(f"refused: it calls {function}; nothing in it was run.")
