import itertools
from pathlib import Path

import pytest

from tlkit.data import search
from tlkit.data.search import find_files
from tlkit.errors import DataError


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    for name in (
        "b/2.jpg",
        "b/1.jpg",
        "a/3.png",
        "c.jpg",
        ".hidden/x.jpg",
        "b/.y.jpg",
        "Thumbs.db",
    ):
        file = tmp_path / "photos" / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.touch()
    return tmp_path / "photos"


def names(found, root: Path) -> list[str]:
    return [path.relative_to(root).as_posix() for path in found]


def test_files_folders_and_globs_in_the_order_given(photos: Path) -> None:
    found = find_files([photos / "c.jpg", photos, str(photos / "**/*.png")])
    assert names(found, photos) == ["c.jpg", "c.jpg", "a/3.png", "b/1.jpg", "b/2.jpg", "a/3.png"]
    assert sorted(names(find_files([f"{photos}/?"]), photos)) == ["a/3.png", "b/1.jpg", "b/2.jpg"]


def test_a_name_with_glob_characters_that_exists_is_itself(photos: Path) -> None:
    (photos / "[1]*.jpg").touch()
    assert names(find_files([photos / "[1]*.jpg"]), photos) == ["[1]*.jpg"]


@pytest.mark.parametrize("name", ["nothing.jpg", "*.tiff"])
def test_a_name_that_stands_for_nothing_is_named_before_anything_is_read(
    photos: Path, name: str
) -> None:
    with pytest.raises(DataError, match=name.replace("*", r"\*")):
        find_files([photos, photos / name])


def test_an_empty_folder_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="No files in"):
        find_files([tmp_path])


def test_links_in_circles_end(photos: Path) -> None:
    (photos / "a" / "again").symlink_to(photos)
    assert len(list(find_files([photos]))) == 4


def test_one_folder_is_read_at_a_time(photos: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    read: list[str] = []
    original = Path.iterdir

    def watched(folder: Path):
        read.append(folder.name)
        return original(folder)

    monkeypatch.setattr(search.Path, "iterdir", watched)
    found = find_files([photos])
    assert names(itertools.islice(found, 2), photos) == ["c.jpg", "a/3.png"]
    assert read == ["photos", "a"]
