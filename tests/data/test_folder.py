import hashlib
import os
from pathlib import Path

import pandas as pd
import pytest
from pictures import encode, fill, noise, quadrants

from tlkit.data import folder as folder_module
from tlkit.data.folder import ImageFolder, data_root
from tlkit.data.images import read_image
from tlkit.errors import DataError


def snapshot(root: Path) -> dict[str, tuple[int, int]]:
    return {str(p): (p.stat().st_mtime_ns, p.stat().st_size) for p in root.rglob("*")}


def reasons(folder: ImageFolder) -> dict[str, str]:
    return dict(zip(folder.skipped["path"], folder.skipped["reason"], strict=True))


def test_class_folders(tmp_path: Path) -> None:
    fill(tmp_path, {"cat": 3, "dog": 2})
    (tmp_path / "dog" / "wide.png").write_bytes(encode(quadrants(64, 48), "PNG"))
    before = snapshot(tmp_path)
    folder = ImageFolder(tmp_path)
    assert snapshot(tmp_path) == before
    assert (folder.layout, folder.root) == ("classes", tmp_path)
    assert folder.classes == ("cat", "dog")
    assert folder.empty_classes == ()
    columns = ["path", "label", "split", "sha256", "width", "height", "format"]
    assert list(folder.samples) == columns
    assert len(folder.samples) == 6
    content = (tmp_path / "dog" / "wide.png").read_bytes()
    assert folder.samples.iloc[5].to_dict() == {
        "path": "dog/wide.png",
        "label": "dog",
        "split": "",
        "sha256": hashlib.sha256(content).hexdigest(),
        "width": 64,
        "height": 48,
        "format": "PNG",
    }
    assert folder.skipped.empty
    assert list(folder.skipped) == ["path", "reason"]


@pytest.mark.parametrize("val", ["val", "valid", "validation", "Validation"])
def test_split_folders(val: str, tmp_path: Path) -> None:
    fill(tmp_path / "train", {"cat": 2, "dog": 2})
    fill(tmp_path / val, {"cat": 1}, seed=50)
    fill(tmp_path / "test", {"dog": 1}, seed=60)
    fill(tmp_path / "extra", {"fox": 1}, seed=70)
    (tmp_path / "README.md").write_text("about")
    (tmp_path / "train" / "notes.txt").write_text("about")
    folder = ImageFolder(str(tmp_path))
    assert folder.layout == "splits"
    assert folder.split_folders == {"train": "train", "val": val, "test": "test"}
    assert folder.classes == ("cat", "dog")
    counts = folder.samples["split"].value_counts().to_dict()
    assert counts == {"train": 4, "val": 1, "test": 1}
    assert reasons(folder) == {
        "README.md": "not in a class folder",
        "extra": "a folder beside train; not used",
        "train/notes.txt": "not in a class folder",
    }


def test_classes_may_be_called_like_splits(tmp_path: Path) -> None:
    folder = ImageFolder(fill(tmp_path, {"train": 1, "car": 1, "test": 1}))
    assert folder.layout == "classes"
    assert folder.classes == ("car", "test", "train")


def test_manifest(tmp_path: Path) -> None:
    fill(tmp_path, {"a": 3, "b": 1})
    (tmp_path / "list.csv").write_text(
        "path,label,split\na/000.jpg,cat,\na/001.jpg,dog,train\nb/000.jpg,dog,test\n"
        "gone.jpg,dog,\na,dog,\n"
    )
    folder = ImageFolder(tmp_path / "list.csv")
    assert (folder.layout, folder.root) == ("manifest", tmp_path)
    assert data_root(tmp_path / "list.csv") == data_root(tmp_path) == tmp_path
    rows = folder.samples[["path", "label", "split"]].to_numpy().tolist()
    assert rows == [
        ["a/000.jpg", "cat", ""],
        ["a/001.jpg", "dog", "train"],
        ["b/000.jpg", "dog", "test"],
    ]
    assert reasons(folder) == {"a": "is a directory", "gone.jpg": "no such file or directory"}


def test_what_lies_below_a_class_belongs_to_it_and_leftovers_do_not(tmp_path: Path) -> None:
    fill(
        tmp_path, {"cat": 1, "dog": 1, "cat/2023/may": 1, "__MACOSX": 1, ".git": 1, "dog/.cache": 1}
    )
    for name in ("Thumbs.db", "desktop.ini", ".DS_Store", "._000.jpg"):
        (tmp_path / "cat" / name).write_bytes(b"\0\1\2")
    folder = ImageFolder(tmp_path)
    assert folder.classes == ("cat", "dog")
    assert list(folder.samples["path"]) == ["cat/000.jpg", "cat/2023/may/000.jpg", "dog/000.jpg"]
    assert folder.skipped.empty


def test_every_unusable_file_is_a_row_with_a_reason(tmp_path: Path) -> None:
    fill(tmp_path, {"cat": 1, "dog": 1})
    cat = tmp_path / "cat"
    (cat / "empty.jpg").write_bytes(b"")
    (cat / "text.jpg").write_text("not a picture")
    (cat / "notes.txt").write_text("notes")
    (cat / "short.jpg").write_bytes(noise(9)[:-300])
    (cat / "link.jpg").symlink_to(cat / "nowhere.jpg")
    os.mkfifo(cat / "pipe.jpg")
    Path(os.fsdecode(os.fsencode(cat) + b"/\xff.jpg")).write_bytes(noise(10))
    folder = ImageFolder(tmp_path)
    assert len(folder.samples) == 2
    assert reasons(folder) == {
        "cat/empty.jpg": "empty file",
        "cat/link.jpg": "a broken link, or no regular file",
        "cat/notes.txt": "not an image",
        "cat/pipe.jpg": "a broken link, or no regular file",
        "cat/short.jpg": "truncated JPEG",
        "cat/text.jpg": "not an image",
        "cat/�.jpg": "the name is not UTF-8; rename it",
    }


def test_pipes_and_devices_are_never_opened(tmp_path: Path) -> None:
    """Neither where a manifest lists them, nor where they are asked about: that would not end."""
    fill(tmp_path, {"a": 2, "b": 1})
    os.mkfifo(tmp_path / "a" / "pipe.jpg")
    (tmp_path / "a" / "zero.jpg").symlink_to("/dev/zero")
    rows = ["a/000.jpg,a", "b/000.jpg,b", "a/pipe.jpg,a", "a/zero.jpg,a"]
    (tmp_path / "list.csv").write_text("\n".join(["path,label", *rows]))
    folder = ImageFolder(tmp_path / "list.csv")
    assert reasons(folder) == dict.fromkeys(
        ["a/pipe.jpg", "a/zero.jpg"], "a pipe or a device, no regular file"
    )
    for name in ("pipe.jpg", "zero.jpg"):
        with pytest.raises(DataError, match="a pipe or a device"):
            read_image(tmp_path / "a" / name)


def test_a_folder_that_changes_while_it_is_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fill(tmp_path, {"cat": 4, "dog": 3, "dog/old": 2})
    cat, dog, scandir = tmp_path / "cat", tmp_path / "dog", os.scandir
    look = folder_module.check_file

    def change(path: Path) -> None:
        """Somebody tidies up once the files are listed."""
        if path == cat / "000.jpg":
            (cat / "001.jpg").unlink()
            (cat / "002.jpg").write_bytes(noise(90)[:200])
            (cat / "003.jpg").rename(cat / "004.jpg")
            (cat / "new.jpg").write_bytes(noise(91))
            (dog / "000.jpg").write_bytes(noise(92))
        look(path)

    def listed(path: Path) -> object:
        if str(path).endswith("old") and Path(path).exists():
            Path(path).rename(tmp_path / ".gone")
        return scandir(path)

    monkeypatch.setattr(folder_module, "check_file", change)
    monkeypatch.setattr(os, "scandir", listed)
    folder = ImageFolder(tmp_path, workers=1)
    gone = "no such file or directory"
    assert reasons(folder) == {
        "cat/001.jpg": gone,
        "cat/002.jpg": "truncated JPEG",
        "cat/003.jpg": gone,
        "dog/old": f"folder: {gone}",
    }
    assert list(folder.samples["path"]) == [
        *("cat/000.jpg", "dog/000.jpg", "dog/001.jpg", "dog/002.jpg")
    ]
    assert folder.samples["sha256"][1] == hashlib.sha256(noise(92)).hexdigest(), "as it was read"


def test_files_that_may_not_be_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fill(tmp_path, {"cat": 2, "dog": 1, "dog/private": 1})
    real_open, real_scandir = Path.open, os.scandir

    def open_(self: Path, *args, **kwargs):
        if self.name == "001.jpg":
            raise PermissionError(13, "Permission denied")
        return real_open(self, *args, **kwargs)

    def scandir(path):
        if Path(path).name == "private":
            raise PermissionError(13, "Permission denied")
        return real_scandir(path)

    monkeypatch.setattr(Path, "open", open_)
    monkeypatch.setattr(os, "scandir", scandir)
    assert reasons(ImageFolder(tmp_path)) == {
        "cat/001.jpg": "permission denied",
        "dog/private": "folder: permission denied",
    }


def test_a_huge_file_is_not_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fill(tmp_path, {"cat": 1, "dog": 1})
    monkeypatch.setattr("tlkit.data.images.MAX_BYTES", 10_000)
    with (tmp_path / "cat" / "film.jpg").open("wb") as file:
        file.write(noise(1))
        file.truncate(20_000)
    assert "too large: 20,000 bytes" in reasons(ImageFolder(tmp_path))["cat/film.jpg"]


def test_links_in_circles(tmp_path: Path) -> None:
    fill(tmp_path, {"cat": 1, "dog": 1})
    (tmp_path / "cat" / "again").symlink_to(tmp_path / "cat", target_is_directory=True)
    (tmp_path / "dog" / "up").symlink_to(tmp_path, target_is_directory=True)
    (tmp_path / "dog" / "twice").symlink_to(tmp_path / "cat", target_is_directory=True)
    folder = ImageFolder(tmp_path)
    assert list(folder.samples["path"]) == ["cat/000.jpg", "dog/000.jpg", "dog/twice/000.jpg"]


def test_links_that_lead_to_themselves(tmp_path: Path) -> None:
    fill(tmp_path, {"cat": 1, "dog": 1})
    for name, target in (("self", "self"), ("x", "y"), ("y", "x")):
        (tmp_path / "cat" / name).symlink_to(target)
        (tmp_path / name).symlink_to(target)
    folder = ImageFolder(tmp_path)
    broken = "a broken link, or no regular file"
    assert reasons(folder) == {
        **dict.fromkeys(["self", "x", "y"], "not in a class folder"),
        **dict.fromkeys(["cat/self", "cat/x", "cat/y"], broken),
    }
    for name in ("self", "cat/x"):
        with pytest.raises(DataError, match="too many levels of symbolic links"):
            read_image(tmp_path / name)


def test_linked_class_folders_are_followed(tmp_path: Path) -> None:
    fill(tmp_path / "elsewhere", {"cats": 2, "dogs": 1})
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "cat").symlink_to(tmp_path / "elsewhere" / "cats")
    (tmp_path / "data" / "dog").symlink_to(tmp_path / "elsewhere" / "dogs")
    assert len(ImageFolder(tmp_path / "data").samples) == 3


def test_empty_classes_are_named(tmp_path: Path) -> None:
    fill(tmp_path, {"cat": 1, "dog": 1, "fox": 0, "annotations": 0})
    (tmp_path / "annotations" / "1.xml").write_text("<a/>")
    folder = ImageFolder(tmp_path)
    assert folder.classes == ("cat", "dog")
    assert folder.empty_classes == ("annotations", "fox")
    assert reasons(folder) == {"annotations/1.xml": "not an image"}


def test_order_and_result_do_not_depend_on_workers(tmp_path: Path) -> None:
    fill(tmp_path, {"b": 30, "a": 30, "c": 3})
    (tmp_path / "c" / "bad.jpg").write_bytes(b"")
    one = ImageFolder(tmp_path, workers=1)
    for workers in (2, 5):
        many = ImageFolder(tmp_path, workers=workers)
        pd.testing.assert_frame_equal(one.samples, many.samples)
        pd.testing.assert_frame_equal(one.skipped, many.skipped)
    assert list(one.samples["path"]) == sorted(one.samples["path"])


def test_hostile_and_foreign_names(tmp_path: Path) -> None:
    names = [
        "<script>alert(1)</script>".replace("/", "∕"),
        '"; DROP',
        "고양이",
        "قطة",
        "🐈",
        "x" * 200,
    ]
    fill(tmp_path, dict.fromkeys(names, 1))
    (tmp_path / "🐈" / "a,b\n=1+1.png").write_bytes(encode(quadrants(), "PNG"))
    folder = ImageFolder(tmp_path)
    assert set(folder.classes) == set(names)
    folder.samples.to_csv(tmp_path / "t.csv", index=False)
    back = pd.read_csv(tmp_path / "t.csv", dtype={"split": str}, keep_default_na=False)
    assert list(back["path"]) == list(folder.samples["path"])


def expect(message: str, *args, **kwargs) -> None:
    with pytest.raises(DataError, match=message) as caught:
        ImageFolder(*args, **kwargs)
    assert "\n" not in str(caught.value)


def test_folders_that_cannot_be_used(tmp_path: Path) -> None:
    expect("No such folder: .*nowhere", tmp_path / "nowhere")
    (tmp_path / "cat.jpg").write_bytes(noise(1))
    expect("cat.jpg is a file; give a folder", tmp_path / "cat.jpg")
    for name, says in (
        ("a.zip", "unpack it first, then give"),
        ("a.xlsx", "save the table as CSV"),
    ):
        (tmp_path / name).write_bytes(b"PK")
        expect(says, tmp_path / name)
        (tmp_path / name).unlink()
    expect(
        "holds no class folders, but 1 files directly in it; make one folder per class", tmp_path
    )
    (tmp_path / "fox").mkdir()
    expect("has no images at all .empty: fox.; at least 2 classes", tmp_path)
    fill(tmp_path, {"cat": 2})
    expect("has only the class 'cat' .empty: fox.; at least 2 classes", tmp_path)
    assert ImageFolder(tmp_path, min_classes=1).classes == ("cat",)


def test_one_folder_too_high(tmp_path: Path) -> None:
    fill(tmp_path / "pets", {"cat": 1, "dog": 1})
    expect("Did you mean .*pets", tmp_path)


def test_splits_that_do_not_fit(tmp_path: Path) -> None:
    fill(tmp_path / "test", {"cat": 1, "fox": 1})
    expect("holds test but no train folder", tmp_path)
    fill(tmp_path / "train", {"cat": 1, "dog": 1})
    expect("test/fox/000.jpg is of the class 'fox', .* training has cat, dog", tmp_path)
    fill(tmp_path / "train", {"fox": 1})
    fill(tmp_path / "val", {"cat": 1})
    fill(tmp_path / "valid", {"cat": 1})
    expect("both val and valid; keep one", tmp_path)


def test_splits_by_another_name_are_not_taken_for_classes(tmp_path: Path) -> None:
    for name in ("seg_train", "seg_test"):
        fill(tmp_path / "seg" / name, {"cat": 1, "dog": 1})
    expect("holds seg_test, seg_train, .* look like splits .* Call them train, val and test",
           tmp_path / "seg")  # fmt: skip
    fill(tmp_path / "pairs", {"train": 1, "test": 1})
    assert ImageFolder(tmp_path / "pairs").classes == ("test", "train"), "pictures lie in them"
    for name in ("Training", "Testing"):
        fill(tmp_path / "mri" / name, {"glioma": 1, "none": 1})
    assert ImageFolder(tmp_path / "mri").split_folders == {"test": "Testing", "train": "Training"}


def test_a_class_of_bad_images_is_no_empty_class(tmp_path: Path) -> None:
    fill(tmp_path, {"cat": 2, "dog": 2, "fox": 0})
    (tmp_path / "fox" / "1.jpg").write_bytes(b"")
    (tmp_path / "fox" / "2.jpg").write_text("text")
    expect("No training image of the class 'fox' .* .*fox/1.jpg: empty file", tmp_path)


def test_bad_images_can_be_an_error(tmp_path: Path) -> None:
    fill(tmp_path, {"cat": 2, "dog": 2})
    (tmp_path / "cat" / "notes.txt").write_text("beside the pictures, and no picture")
    assert len(ImageFolder(tmp_path, on_bad_image="error").samples) == 4
    (tmp_path / "dog" / "text.jpg").write_text("meant to be one")
    expect("dog/text.jpg: not an image. Mend or remove it", tmp_path, "error")


def test_the_documents_own_set(cats_dogs: Path) -> None:
    folder = ImageFolder(cats_dogs)
    assert folder.classes == ("Cat", "Dog")
    assert folder.samples["split"].value_counts().to_dict() == {"train": 529, "test": 12}
    assert folder.samples["format"].value_counts().to_dict() == {"JPEG": 536, "BMP": 5}
    assert folder.skipped.empty
