"""Data sets as folders, without a network: the arrays are made up, the failures are real ones."""

from __future__ import annotations

import functools
import importlib
from pathlib import Path
from typing import Any
from urllib.error import URLError

import cv2
import keras
import numpy as np
import pytest

from tlkit.data.fetch import CLASSES, fetch
from tlkit.data.folder import ImageFolder
from tlkit.errors import DataError


def arrays(name: str) -> Any:
    """Two parts of random pictures, shaped as `load_data` gives them."""
    rng = np.random.default_rng(0)
    colour = name.startswith("cifar")

    def part(count: int) -> tuple[np.ndarray, np.ndarray]:
        shape = (count, 32, 32, 3) if colour else (count, 28, 28)
        labels = np.arange(count) % len(CLASSES[name])
        return rng.integers(0, 256, shape, np.uint8), labels[:, None] if colour else labels

    return part(300), part(200)


@pytest.mark.parametrize("name", list(CLASSES))
def test_a_data_set_becomes_folders(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    train, test = arrays(name)
    monkeypatch.setattr(getattr(keras.datasets, name), "load_data", lambda: (train, test))
    made = fetch(name, tmp_path / "new" / name)
    folder = ImageFolder(made)
    assert folder.layout == "splits"
    assert folder.classes == tuple(sorted(CLASSES[name]))
    assert folder.samples["split"].value_counts().to_dict() == {"train": 300, "test": 200}
    assert not len(folder.skipped)
    label = CLASSES[name][7]
    written = cv2.imread(str(made / "test" / label / "00007.png"), cv2.IMREAD_UNCHANGED)
    expected = test[0][7]
    np.testing.assert_array_equal(written, expected[..., ::-1] if expected.ndim == 3 else expected)


def test_the_lists_are_whole() -> None:
    assert {name: len(set(classes)) for name, classes in CLASSES.items()} == {
        "mnist": 10, "fashion_mnist": 10, "cifar10": 10, "cifar100": 100,
    }  # fmt: skip
    assert list(CLASSES["cifar100"]) == sorted(CLASSES["cifar100"])


def test_without_a_network_it_is_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    module = importlib.import_module("keras.src.datasets.mnist")
    get_file = functools.partial(module.get_file, cache_dir=str(tmp_path / "cache"))
    monkeypatch.setattr(module, "get_file", get_file)

    def offline(*args: object) -> None:
        raise URLError(OSError(101, "Network is unreachable"))

    monkeypatch.setattr("keras.src.utils.file_utils.urlretrieve", offline)
    with pytest.raises(DataError, match=r"Cannot fetch mnist: .*unreachable.*copied from another"):
        fetch("mnist", tmp_path / "mnist")
    assert not (tmp_path / "mnist").exists()


def test_what_cannot_be_written_leaves_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(keras.datasets.mnist, "load_data", lambda: arrays("mnist"))
    with pytest.raises(DataError, match="Did you mean 'mnist'"):
        fetch("mnists", tmp_path / "mnist")
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "a.txt").write_text("mine")
    with pytest.raises(DataError, match="exists already"):
        fetch("mnist", tmp_path / "mine")
    with pytest.raises(DataError, match="exists already"):
        fetch("mnist", tmp_path / "mine" / "a.txt")
    with monkeypatch.context() as patch:
        patch.setattr("tlkit.data.fetch._png", lambda picture: no_space())
        with pytest.raises(DataError, match="No space left"):
            fetch("mnist", tmp_path / "deep" / "mnist")
    assert [path.name for path in tmp_path.iterdir()] == ["mine"]


def no_space() -> bytes:
    """A full disk."""
    raise OSError(28, "No space left on device")
