"""Splits and manifests on disk; the folder they come from is never touched."""

from __future__ import annotations

from pathlib import Path

import pandas as pd
import pytest

from tests.conftest import make_pictures
from tlkit.data import arrange
from tlkit.data.folder import ImageFolder
from tlkit.data.split import split_samples
from tlkit.errors import DataError
from tlkit.recipe import DataConfig


@pytest.fixture
def source(tmp_path: Path) -> Path:
    """Twelve pictures of each of two classes; the test ends with the folder as it was."""
    return make_pictures(tmp_path / "data" / "colours")


def state(folder: Path) -> list[tuple[str, int, int]]:
    """Every path below, with its size and time of change."""
    found = [(path, path.lstat()) for path in sorted(folder.rglob("*"))]
    return [(str(path), status.st_size, status.st_mtime_ns) for path, status in found]


def test_a_split_is_a_manifest_beside_the_folder(source: Path) -> None:
    before = state(source)
    target, table = arrange.split(source, test_split=0.25, seed=3)
    assert target == source.parent / "colours-split.csv"
    assert state(source) == before
    folder = ImageFolder(target)
    config = DataConfig(val_split=0.2, test_split=0.25)
    known = split_samples(ImageFolder(source), config, 3)
    assert folder.samples["split"].tolist() == known["split"].tolist() == table["split"].tolist()
    assert set(known["split"]) == {"train", "val", "test"}
    assert folder.samples["path"].tolist() == [f"colours/{path}" for path in known["path"]]
    with pytest.raises(DataError, match="exists already"):
        arrange.split(source)


@pytest.mark.parametrize("link", [False, True])
def test_a_split_is_a_folder_elsewhere(source: Path, tmp_path: Path, link: bool) -> None:
    before = state(source)
    target, table = arrange.split(source, tmp_path / "out" / "split", link=link)
    assert state(source) == before
    folder = ImageFolder(target)
    assert folder.layout == "splits"
    assert sorted(folder.samples["sha256"]) == sorted(table["sha256"])
    assert folder.samples["split"].value_counts().to_dict() == {"train": 19, "val": 5}
    assert (target / "train" / "red").is_dir()
    assert all(path.is_symlink() == link for path in target.rglob("*.jpg"))


def test_a_split_goes_nowhere_it_could_harm(source: Path, tmp_path: Path) -> None:
    before = state(source)
    for output in (source / "train", source, source / "red" / "x"):
        with pytest.raises(DataError, match=r"left as it is|exists already"):
            arrange.split(source, output)
    with pytest.raises(DataError, match=r"above its images.*colours-split\.csv"):
        arrange.split(source, tmp_path / "other" / "split.csv")
    assert state(source) == before


def write_manifest(source: Path, rows: list[tuple[str, ...]]) -> Path:
    """A manifest beside the class folders."""
    columns = ["path", "label", "split"][: len(rows[0])]
    pd.DataFrame(rows, columns=columns).to_csv(source / "list.csv", index=False)
    return source / "list.csv"


def test_several_labels_of_an_image_stay_together(source: Path, tmp_path: Path) -> None:
    pictures = sorted(source.rglob("*.jpg"))
    labels = ["red", "blue;red", ""]
    rows = [
        (path.relative_to(source).as_posix(), labels[number % 3])
        for number, path in enumerate(pictures)
    ]
    manifest = write_manifest(source, rows)
    target, table = arrange.split(manifest, multi_label=True)
    folder = ImageFolder(target, multi_label=True)
    assert folder.classes == ("blue", "red")
    assert dict(zip(folder.samples["path"], folder.samples["label"], strict=True)) == dict(rows)
    assert table["split"].value_counts().to_dict() == {"train": 19, "val": 5}
    assert set(table.loc[table["split"] == "val", "label"]) == set(labels)
    with pytest.raises(DataError, match=r"no one class folder"):
        arrange.split(manifest, tmp_path / "out", multi_label=True)


def test_a_manifest_becomes_class_folders(source: Path, tmp_path: Path) -> None:
    (source / "bad.jpg").write_bytes(b"no picture")
    manifest = write_manifest(
        source,
        [("red/00.jpg", "warm"), ("blue/00.jpg", "cold"), ("blue/01.jpg", "warm"),
         ("red/01.jpg", "warm"), ("bad.jpg", "warm")],
    )  # fmt: skip
    folder = arrange.from_csv(manifest, tmp_path / "out")
    assert len(folder.skipped) == 1
    names = sorted(path.relative_to(tmp_path / "out").as_posix()
                   for path in (tmp_path / "out").rglob("*.jpg"))  # fmt: skip
    assert names == ["cold/00.jpg", "warm/00.jpg", "warm/01-2.jpg", "warm/01.jpg"]
    assert sorted(ImageFolder(tmp_path / "out").samples["sha256"]) == sorted(
        folder.samples["sha256"]
    )


@pytest.mark.parametrize("link", [False, True])
def test_images_of_several_labels_lie_beside_their_manifest(
    source: Path, tmp_path: Path, link: bool
) -> None:
    (source / "bad.jpg").write_bytes(b"no picture")
    rows = [("red/00.jpg", "cold", "val"), ("blue/00.jpg", "", ""), ("bad.jpg", "cold", ""),
            ("blue/01.jpg", "cold; a/b;=1+1", "training")]  # fmt: skip
    out = tmp_path / "out"
    folder = arrange.from_csv(write_manifest(source, rows), out, link=link, multi_label=True)
    assert len(folder.skipped) == 1
    assert sorted(path.relative_to(out).as_posix() for path in out.rglob("*.*")) == [
        "images/00-2.jpg", "images/00.jpg", "images/01.jpg", "manifest.csv",
    ]  # fmt: skip
    laid_out = ImageFolder(out / "manifest.csv", min_classes=1, multi_label=True)
    assert laid_out.classes == ("=1+1", "a/b", "cold")
    told = ["sha256", "label", "split"]
    assert sorted(laid_out.samples[told].to_numpy().tolist()) == sorted(
        folder.samples[told].replace({"split": {"": "train"}}).to_numpy().tolist()
    )
    assert (out / "images" / "01.jpg").is_symlink() == link
    with pytest.raises(DataError, match="exists already"):
        arrange.from_csv(source / "list.csv", out, multi_label=True)


def test_a_label_that_looks_like_a_list_gets_a_hint(
    source: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    rows = [("red/00.jpg", "a;b"), ("red/01.jpg", "b")]
    arrange.from_csv(write_manifest(source, rows), tmp_path / "out")
    assert (tmp_path / "out" / "a;b" / "00.jpg").is_file()
    assert "1 images have a label with a semicolon, such as 'a;b'" in caplog.text
    assert "--multi-label" in caplog.text


def test_a_manifest_with_splits_keeps_them(source: Path, tmp_path: Path) -> None:
    rows = [("red/00.jpg", "a", "train"), ("red/01.jpg", "b", ""), ("red/02.jpg", "a", "valid")]
    arrange.from_csv(write_manifest(source, rows), tmp_path / "out", link=True)
    found = ImageFolder(tmp_path / "out").samples
    assert found["split"].tolist() == ["train", "train", "val"]
    linked = tmp_path / "out" / "val" / "a" / "02.jpg"
    assert linked.samefile(source / "red" / "02.jpg")


@pytest.mark.parametrize("label", ["../up", "a/b", "a\\b", "..", ".hidden", "train", "__MACOSX"])
def test_a_label_that_is_no_folder_name_is_refused(
    source: Path, tmp_path: Path, label: str
) -> None:
    manifest = write_manifest(source, [("red/00.jpg", label), ("red/01.jpg", "fine")])
    with pytest.raises(DataError, match="No class folder can be named"):
        arrange.from_csv(manifest, tmp_path / "out")
    assert not (tmp_path / "out").exists()
    assert not (tmp_path / "up").exists()


def test_the_split_of_a_linked_folder_lies_beside_the_link(source: Path, tmp_path: Path) -> None:
    (tmp_path / "work").mkdir()
    link = tmp_path / "work" / "pets"
    link.symlink_to(source, target_is_directory=True)
    target, table = arrange.split(link)
    assert target == tmp_path / "work" / "pets-split.csv"
    assert ImageFolder(target).samples["path"].tolist() == [f"pets/{p}" for p in table["path"]]
    assert not source.with_name(f"{source.name}-split.csv").exists()
