import builtins
import contextlib
import os
import pickle
import resource
import subprocess
import sys
import zipfile
from collections import OrderedDict
from functools import partial
from pathlib import Path

import numpy as np
import pytest
from torch_writer import Storage, Tensor, save_legacy, save_zip, tensors

from tlkit.backbones import _torch_pickle
from tlkit.backbones._torch_file import read_torch_file
from tlkit.errors import WeightsError

LAYOUTS = pytest.mark.parametrize("save", [save_legacy, save_zip])
MAGIC = b"".join(pickle.dumps(part, 2) for part in (0x1950A86A20F9469CFC6C, 1001, {}))


def state() -> dict[str, np.ndarray]:
    rng = np.random.default_rng(0)
    return {
        "conv.weight": rng.normal(size=(4, 3, 3, 3)).astype(np.float32),
        "bn.running_mean": rng.normal(size=4).astype(np.float64),
        "bn.num_batches_tracked": np.array(7, np.int64),
        "fc.weight": rng.normal(size=(2, 4)).astype(np.float16),
        "empty": np.zeros((0, 3), np.float32),
    }


def refusal(path: Path) -> str:
    with pytest.raises(WeightsError) as error:
        read_torch_file(path)
    message = str(error.value)
    assert "\n" not in message
    assert path.name in message
    return message


@LAYOUTS
@pytest.mark.parametrize("protocol", [2, 3, 4, 5])
def test_reads_what_torch_writes(save, protocol, tmp_path):
    loaded = read_torch_file(save(tmp_path / "net.pth", tensors(state()), protocol))
    assert list(loaded) == list(state())
    for key, array in state().items():
        np.testing.assert_array_equal(loaded[key], array)
        assert loaded[key].dtype == array.dtype


@LAYOUTS
def test_parameters_and_training_checkpoints(save, tmp_path):
    tree = {"epoch": 3, "optimizer": {"lr": 0.1}, "state_dict": tensors(state(), parameter=True)}
    loaded = read_torch_file(save(tmp_path / "net.pth", tree))
    np.testing.assert_array_equal(loaded["conv.weight"], state()["conv.weight"])


@LAYOUTS
def test_views_share_a_storage(save, tmp_path):
    storage = Storage(np.arange(12, dtype=np.float32))
    tree = OrderedDict(
        all=Tensor(storage, (3, 4), (4, 1)),
        transposed=Tensor(storage, (4, 3), (1, 4)),
        row=Tensor(storage, (1, 4), (2**62, 1), offset=8),  # the stride of a lone row means nothing
    )
    loaded = read_torch_file(save(tmp_path / "net.pth", tree))
    whole = np.arange(12, dtype=np.float32).reshape(3, 4)
    np.testing.assert_array_equal(loaded["all"], whole)
    np.testing.assert_array_equal(loaded["transposed"], whole.T)
    np.testing.assert_array_equal(loaded["row"], whole[2:])


@LAYOUTS
def test_bfloat16_becomes_float32(save, tmp_path):
    numbers = np.array([1.0, -2.5, 3e38, 0.0078125], np.float32)
    upper = (numbers.view(np.uint32) >> 16).astype(np.uint16)
    loaded = read_torch_file(save(tmp_path / "net.pth", tensors({"w": upper})))["w"]
    assert loaded.dtype == np.float32
    np.testing.assert_allclose(loaded, numbers, rtol=2**-7)


def test_byte_order_of_the_zip(tmp_path):
    for order in ("big", "little", None):
        loaded = read_torch_file(save_zip(tmp_path / "n.pth", tensors(state()), byteorder=order))
        np.testing.assert_array_equal(loaded["conv.weight"], state()["conv.weight"])


# --- hostile files: nothing runs, and the message names what was asked for ---


class Call:
    """Pickles as a call of anything."""

    def __init__(self, function, *arguments):
        self.call = function, arguments

    def __reduce__(self):
        return self.call


@LAYOUTS
@pytest.mark.parametrize(
    ("call", "named"),
    [
        (partial(Call, os.system), f"{os.system.__module__}.system"),
        (partial(Call, os.mkdir), f"{os.mkdir.__module__}.mkdir"),
        (partial(Call, subprocess.check_call), "subprocess.check_call"),
        (partial(Call, builtins.eval), "builtins.eval"),
        (partial(Call, builtins.getattr, OrderedDict), "builtins.getattr"),
        (partial(Call, pickle.loads), "_pickle.loads"),
        (partial(Call, partial), "functools.partial"),
    ],
)
@pytest.mark.parametrize("protocol", [0, 2, 4])
def test_calls_are_refused_by_name(save, call, named, protocol, tmp_path):
    proof = tmp_path / "proof"
    argument = f"touch {proof}" if "system" in named else str(proof)
    path = save(tmp_path / "net.pth", OrderedDict(w=call(argument)), protocol)
    message = refusal(path)
    assert named in message
    assert not proof.exists()


TENSOR = b"ctorch._utils\n_rebuild_tensor_v2\n"
ORDERED_DICT = b"ccollections\nOrderedDict\n"


@pytest.mark.parametrize(
    ("pickled", "named"),
    [
        (b"\x80\x02cos\nsystem\n.", "os.system"),
        (b"\x80\x04\x8c\x02os\x8c\x06system\x93.", "os.system"),  # STACK_GLOBAL
        (b"\x80\x04\x8c\x0bcollections\x8c\x14OrderedDict.__init__\x93.", "OrderedDict.__init__"),
        (b"(S'touch x'\nios\nsystem\n.", "os.system"),  # INST
        (b"(icollections\nOrderedDict\n.", "OrderedDict"),
        (b"\x80\x02" + ORDERED_DICT + b")\x81.", "NEWOBJ"),
        (b"\x80\x04" + ORDERED_DICT + b")}\x92.", "NEWOBJ_EX"),
        (b"\x80\x02(" + ORDERED_DICT + b"o.", "OBJ"),
        (b"\x80\x02\x82\x01.", "EXT1"),
        (b"\x80\x02\x83\x01\x00.", "EXT2"),
        (b"\x80\x02\x84\x01\x00\x00\x00.", "EXT4"),
        (b"P0\n.", "PERSID"),
        (b"\x80\x05\x97.", "NEXT_BUFFER"),
        (b"\x80\x04\x8f.", "EMPTY_SET"),
        (b"\x80\x02ctorch\nFloatStorage\nK\x05\x85R.", "torch.FloatStorage"),
        (b"\x80\x02ctorch.storage\n_load_from_bytes\n.", "torch.storage._load_from_bytes"),
        (b"\x80\x02ctorch.nn.modules.linear\nLinear\n.", "state_dict()"),
        (b"\x80\x02(X\x06\x00\x00\x00moduleK\x01K\x01K\x01K\x01tQ.", "no plain storage"),
    ],
)
def test_hostile_operations(pickled, named, tmp_path):
    legacy = tmp_path / "legacy.pth"
    legacy.write_bytes(MAGIC + pickled)
    assert named in refusal(legacy)
    assert named in refusal(save_zip(tmp_path / "zip.pth", None, pickled=pickled))


@pytest.mark.parametrize(
    "pickled",
    [
        b"\x80\x02" + ORDERED_DICT + b"K\x05\x85R.",  # OrderedDict(5)
        b"\x80\x02" + TENSOR + b")R.",  # no arguments
        b"\x80\x02" + TENSOR + b"(K\x01K\x02K\x03))K\x00NtR.",  # no storage
        b"\x80\x02K\x05K\x06b.",  # BUILD on a number
        b"\x80\x02K\x05)R.",  # a call of a number
        b"\x80\x02}]K\x01s.",  # a list as a key
        b"\x80\x02h\x05.",  # nothing in the memo
        b"\x80\x020.",  # POP of nothing
        b"\x80\x02\x85.",  # TUPLE1 of nothing
        b"\x80\x02t.",  # no mark
        b"\x80\x02.",  # nothing on the stack
        b"\x80\x02}.",  # no tensor
        b"\x80\x02(" * 100_000,
        b"\x80\x02)" + b"\x85" * 100_000 + b".",  # a tuple a hundred thousand deep
        b"\x80\x02}(" + b")" + b"\x85" * 100_000 + b"K\x01u.",  # the same as a key of a dict
        b"\x80\x02X\xff\xff\xff\x7fabc.",  # a string of 2 GB that is not there
        b"\x80\x04\x8d\xff\xff\xff\xff\xff\xff\xff\x7fabc.",
        b"\x80\x02\x8b\xff\xff\xff\x7f.",  # LONG4 of 2 GB
        b"\x80\x02NI" + b"9" * 70_000 + b"\n.",
        b"",
    ],
)
def test_malformed_pickles(pickled, tmp_path):
    path = tmp_path / "net.pth"
    path.write_bytes(MAGIC + pickled)
    refusal(path)


def test_attributes_of_a_dict_are_dropped(tmp_path):
    storage = Tensor.of(np.ones(2, np.float32))
    tree = OrderedDict(w=storage)
    tree.get = tree.__class__  # BUILD would set it
    loaded = read_torch_file(save_zip(tmp_path / "net.pth", tree))
    np.testing.assert_array_equal(loaded["w"], [1, 1])


def test_a_giant_memo_index_costs_nothing(tmp_path):
    path = tmp_path / "net.pth"
    path.write_bytes(MAGIC + b"\x80\x02Nr\xff\xff\xff\xff.")
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    refusal(path)
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 50_000  # kilobytes


def test_too_many_operations(tmp_path, monkeypatch):
    monkeypatch.setattr(_torch_pickle, "MAX_OPERATIONS", 1000)
    path = tmp_path / "net.pth"
    path.write_bytes(MAGIC + b"\x80\x02" + b"}" * 2000 + b".")
    assert "more than 1,000 operations" in refusal(path)


# --- numbers that lie ---


@LAYOUTS
@pytest.mark.parametrize(
    "tensor",
    [
        lambda s: Tensor(s, (13,), (1,)),
        lambda s: Tensor(s, (3, 4), (4, 2)),
        lambda s: Tensor(s, (4,), (1,), offset=9),
        lambda s: Tensor(s, (), (), offset=12),
        lambda s: Tensor(s, (2,), (2**62,)),
        lambda s: Tensor(s, (10**12,), (0,)),  # unfolds 48 bytes into 4 TB
        lambda s: Tensor(s, (4,), (1,), offset=-1),
        lambda s: Tensor(s, (4,), (-1,), offset=4),
        lambda s: Tensor(s, (-4,), (1,)),
        lambda s: Tensor(s, (4,), (1, 1)),
        lambda s: Tensor(s, (True,), (1,)),
        lambda s: Tensor(s, (4.0,), (1,)),
    ],
)
def test_tensors_outside_their_storage(save, tensor, tmp_path):
    refusal(save(tmp_path / "net.pth", OrderedDict(w=tensor(Storage(np.zeros(12, np.float32))))))


@LAYOUTS
@pytest.mark.parametrize("claimed", [0, 11, 13, 2**62, -1])
def test_storages_that_lie_about_their_length(save, claimed, tmp_path):
    storage = Storage(np.zeros(12, np.float32), claimed)
    refusal(save(tmp_path / "net.pth", OrderedDict(w=Tensor(storage, (1,), (1,)))))


def test_compressed_members_are_refused(tmp_path):
    bomb = tensors({"w": np.zeros(1_000_000, np.float32)})
    path = save_zip(tmp_path / "net.pth", bomb, compression=zipfile.ZIP_DEFLATED)
    assert "compressed" in refusal(path)


@LAYOUTS
def test_truncated_anywhere(save, tmp_path):
    data = save(tmp_path / "whole.pth", tensors(state())).read_bytes()
    path = tmp_path / "part.pth"
    for length in range(0, len(data) - 1, 13):
        path.write_bytes(data[:length])
        refusal(path)


@LAYOUTS
def test_flipped_bytes_never_crash(save, tmp_path):
    data = save(tmp_path / "whole.pth", tensors(state())).read_bytes()
    rng = np.random.default_rng(1)
    path = tmp_path / "flipped.pth"
    for _ in range(400):
        flipped = bytearray(data)
        for place in rng.integers(len(data), size=rng.integers(1, 5)):
            flipped[place] = rng.integers(256)
        path.write_bytes(flipped)
        with contextlib.suppress(WeightsError):
            read_torch_file(path)


@pytest.mark.parametrize(
    "content", [b"", b"\0", b"PK\x03\x04garbage", b"not a checkpoint", b"\x89HDF\r\n\x1a\n"]
)
def test_other_files(content, tmp_path):
    path = tmp_path / "net.pth"
    path.write_bytes(content)
    refusal(path)


def test_missing_file_and_other_zips(tmp_path):
    refusal(tmp_path / "absent.pth")
    path = tmp_path / "other.pth"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("readme.txt", "hello")
    assert "data.pkl" in refusal(path)


def test_a_pickle_without_a_state_dict_says_what_it_holds(tmp_path):
    message = refusal(save_zip(tmp_path / "net.pth", {"epoch": 1, "history": [1, 2]}))
    assert "epoch, history" in message


def test_reading_imports_neither_torch_nor_keras(tmp_path):
    path = save_zip(tmp_path / "net.pth", tensors(state()))
    code = (
        "import sys; from tlkit.backbones._torch_file import read_torch_file;"
        f"read_torch_file({str(path)!r});"
        "assert not {'torch', 'keras', 'tensorflow'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
