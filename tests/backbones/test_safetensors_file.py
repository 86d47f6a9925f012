"""safetensors files that lie: about lengths, offsets, shapes and types."""

import contextlib
import json
import random
import resource
import struct
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import save_file

from tlkit.backbones._weights import load_state_dict
from tlkit.errors import WeightsError


def described(header: Any, data: bytes = bytes(16), length: int | None = None) -> bytes:
    """A file of this header, which may claim another length."""
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    return struct.pack("<Q", len(text) if length is None else length) + text + data


def tensor(dtype: Any = "F32", shape: Any = (4,), start: Any = 0, end: Any = 16) -> dict[str, Any]:
    return {"w": {"dtype": dtype, "shape": shape, "data_offsets": [start, end]}}


def test_the_layout_is_right() -> None:
    assert described(tensor())[8:].startswith(b'{"w"')


LIES = {
    "header of 8 EiB": described(tensor(), length=2**63),
    "header of all there is": described(tensor(), length=2**64 - 1),
    "header of 4 GB": described(tensor(), length=2**32),
    "header too short": described(tensor(), length=5),
    "end behind the file": described(tensor(shape=(8,), end=32)),
    "end before the start": described(tensor(start=16, end=0)),
    "negative": described(tensor(start=-16, end=0)),
    "a hole": described(tensor(shape=(3,), start=4, end=16)),
    "a shape that is not there": described(tensor(shape=(5,))),
    "a shape that overflows": described(tensor(shape=(2**33, 2**33))),
    "a shape of 4 TB of nothing": described(tensor(shape=(2**40,))),
    "a negative shape": described(tensor(shape=(-4,))),
    "an unknown type": described(tensor(dtype="F33")),
    "a type numpy has not": described(tensor(dtype="F8_E4M3FNUZ", shape=(16,))),
    "a type of no name": described(tensor(dtype=None)),
    "overlapping": described(tensor() | {"v": tensor()["w"]}),
    "no object": described([1, 2]),
    "no JSON": described(b"{{{{"),
    "deep": described(b"[" * 100_000),
    "metadata that is a tensor": described({"__metadata__": tensor()["w"]}),
    "an offset too many": described({"w": tensor()["w"] | {"data_offsets": [0, 8, 16]}}),
    "bytes behind the last": described(tensor(), data=bytes(64)),
}


@pytest.mark.parametrize("lie", LIES)
def test_lies_are_refused_by_the_files_name(lie: str, tmp_path: Path) -> None:
    path = tmp_path / "net.safetensors"
    path.write_bytes(LIES[lie])
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with pytest.raises(WeightsError, match=r"net\.safetensors") as error:
        load_state_dict(path)
    assert "\n" not in str(error.value)
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 50_000  # kilobytes


def test_damaged_headers_never_crash(tmp_path: Path) -> None:
    path = tmp_path / "net.safetensors"
    names = {f"layer{i}.weight": np.ones((i + 1, 3), np.float32) for i in range(6)}
    save_file(names, path)
    sound, dice, read = path.read_bytes(), random.Random(0), 0
    head = 8 + int.from_bytes(sound[:8], "little")
    for _ in range(1500):
        changed = bytearray(sound)
        for _ in range(dice.randrange(1, 4)):
            changed[dice.randrange(head)] = dice.choice(b'0129,:[]{}"-e\xff\0')
        path.write_bytes(changed[: dice.choice((None, None, dice.randrange(len(changed))))])
        with contextlib.suppress(WeightsError):
            load_state_dict(path)
            read += 1
    assert read < 1000
