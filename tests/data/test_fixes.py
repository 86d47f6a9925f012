"""Fixes are an overlay: drops and relabels arrive in the tables, mistakes are one line."""

import re
from pathlib import Path

import pytest

from tlkit.data.duplicates import group_copies, leaks
from tlkit.data.fixes import apply_fixes, read_fixes
from tlkit.data.folder import ImageFolder
from tlkit.errors import DataError


def write(tmp_path: Path, *lines: str) -> Path:
    file = tmp_path / "fixes.csv"
    file.write_text("\n".join(("path,action,label", *lines)) + "\n", encoding="utf-8")
    return file


def test_drops_and_relabels_without_touching_a_file(pictures: Path, tmp_path: Path) -> None:
    before = {path: path.read_bytes() for path in pictures.rglob("*.jpg")}
    folder = ImageFolder(pictures)
    marks = ("red/00.jpg,drop,", "red/01.jpg,relabel,blue", "red/02.jpg,keep,")
    apply_fixes(folder, write(tmp_path, *marks))
    labels = folder.samples.set_index("path")["label"]
    assert "red/00.jpg" not in labels
    assert (labels["red/01.jpg"], labels["red/02.jpg"]) == ("blue", "red")
    skipped = folder.skipped.set_index("path")["reason"]
    assert skipped.to_dict() == {"red/00.jpg": "dropped by fixes.csv"}
    assert list(folder.samples.index) == list(range(23))
    assert {path: path.read_bytes() for path in pictures.rglob("*.jpg")} == before


@pytest.mark.parametrize(
    ("lines", "message"),
    [
        (["red/99.jpg,drop,"], "'red/99.jpg', which is not in"),
        (["red/00.jpg,relabel,blu"], "the class 'blu', which .* Did you mean 'blue'?"),
        (["red/00.jpg,relabel,"], "line 2: relabel 'red/00.jpg' needs a class"),
        (["red/00.jpg,delete,"], "line 2: action 'delete' is none of keep, relabel, drop"),
        (["red/00.jpg,drop,", "red/00.jpg,keep,"], "line 3: .* two marks that differ"),
        ([f"red/{i:02}.jpg,drop," for i in range(12)], "no training image of the class 'red'"),
    ],
)
def test_a_wrong_mark_is_one_line(
    pictures: Path, tmp_path: Path, lines: list[str], message: str
) -> None:
    with pytest.raises(DataError, match=message) as caught:
        apply_fixes(ImageFolder(pictures), write(tmp_path, *lines))
    assert "\n" not in str(caught.value)


def test_a_file_that_is_no_list_of_fixes(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="Cannot read the fixes"):
        read_fixes(tmp_path / "none.csv")
    (tmp_path / "other.csv").write_text("path,label\n")
    with pytest.raises(DataError, match="lack the column 'action'"):
        read_fixes(tmp_path / "other.csv")
    (tmp_path / "bytes.csv").write_bytes(b"path,action,label\n\xff\xfe,drop,\n")
    with pytest.raises(DataError, match=re.escape("no UTF-8 CSV")):
        read_fixes(tmp_path / "bytes.csv")


def test_names_with_commas_and_quotes_survive(tmp_path: Path) -> None:
    file = write(tmp_path, '"red/a, ""b"".jpg",relabel,"x, y"')
    assert read_fixes(file)[0] == ('red/a, "b".jpg', "relabel", "x, y")


def test_copies_on_both_sides_are_counted(pictures: Path) -> None:
    folder = ImageFolder(pictures)
    groups = group_copies(folder)
    assert groups.nunique() == 24
    groups[5] = groups[4]
    split = folder.samples.assign(split=["train"] * 5 + ["val"] * 19)
    assert leaks(split, groups) == 1
