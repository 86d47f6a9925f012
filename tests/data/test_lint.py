"""What `tlkit inspect` finds in a folder with one fault of each kind, and in a sound one."""

import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageFilter

from tlkit.data import lint
from tlkit.report.inspection import write_inspection

CLIPART = Path(__file__).parents[2] / "sample_data" / "clipart"


@pytest.fixture(scope="module")
def faulty(tmp_path_factory: pytest.TempPathFactory) -> lint.Inspection:
    root = tmp_path_factory.mktemp("faulty")
    for label in ("bird", "vehicle"):
        pictures = sorted((CLIPART / label).glob("*.jpg"))[:34]
        for i, picture in enumerate(pictures):
            target = root / ("train" if i < 26 else "val") / label / picture.name
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(picture, target)
    first, second, third, fourth = sorted((root / "train/bird").iterdir())[:4]
    image = Image.open(first)
    image.resize((image.width * 2 // 3, image.height * 2 // 3)).save(root / "val/bird/small.png")
    shutil.copy(second, root / "train/vehicle/same.jpg")
    Image.open(third).transpose(Image.Transpose.FLIP_LEFT_RIGHT).save(root / "train/bird/flip.jpg")
    Image.open(fourth).filter(ImageFilter.GaussianBlur(9)).save(root / "train/bird/blurred.jpg")
    noise = np.random.default_rng(0).integers(0, 40, (200, 200, 3), np.uint8)
    Image.fromarray(noise).save(root / "train/bird/dark.png")
    Image.fromarray(noise + 215).save(root / "train/bird/bright.png")
    Image.new("RGB", (200, 200), "red").save(root / "train/bird/blank.png")
    Image.open(first).resize((40, 40)).rotate(90).save(root / "train/bird/tiny.png")
    Image.fromarray(np.tile(noise * 6, (1, 4, 1))).save(root / "train/bird/wide.png")
    (root / "train/bird/broken.jpg").write_bytes(first.read_bytes()[:900])
    return lint.inspect(root)


def test_names_a_leak_a_contradiction_and_a_copy(faulty: lint.Inspection) -> None:
    assert [(g.splits, g.exact) for g in faulty.leaks] == [(["train", "val"], False)]
    assert faulty.leaks[0].paths[1] == "val/bird/small.png"
    assert [(g.labels, g.exact) for g in faulty.contradictions] == [(["bird", "vehicle"], True)]
    assert len(faulty.copies) == 3
    assert "train/bird/flip.jpg" in faulty.copies[2].paths


@pytest.mark.parametrize("problem", ["blank", "blurred", "bright", "dark", "tiny"])
def test_names_the_odd_picture(problem: str, faulty: lint.Inspection) -> None:
    found = faulty.odd[faulty.odd["problem"] == problem]["path"]
    assert any(Path(path).stem == problem for path in found)
    assert len(found) <= 4


def test_names_the_wide_picture(faulty: lint.Inspection) -> None:
    row = faulty.odd.set_index("path").loc["train/bird/wide.png"]
    assert row["problem"] == "shape"
    assert "800 x 200" in row["detail"]


def test_summary_says_the_worst_first(faulty: lint.Inspection) -> None:
    lines = lint.summary(faulty).splitlines()
    assert "LEAK" in lines[1]
    assert any("several classes" in line for line in lines)
    assert "  train/bird/broken.jpg: truncated JPEG" in lines


def test_page_shows_each_picture_once_named(faulty: lint.Inspection, tmp_path: Path) -> None:
    page = write_inspection(faulty, tmp_path / "new" / "page.html").read_text("utf-8")
    for path in ("val/bird/small.png", "train/bird/dark.png", "train/bird/broken.jpg"):
        assert path in page
    assert "http" not in page.replace("http-equiv", "")


def test_markup_in_names_is_text(tmp_path: Path) -> None:
    folder = tmp_path / "<script>alert(1)<"
    for i, picture in enumerate(sorted((CLIPART / "bird").glob("*.jpg"))[:3]):
        folder.mkdir(exist_ok=True)
        shutil.copy(picture, folder / f"{i}.jpg")
    page = write_inspection(lint.inspect(tmp_path), tmp_path / "page.html").read_text("utf-8")
    assert "<script" not in page
    assert "&lt;script&gt;alert(1)&lt;" in page


def test_class_balance(tmp_path: Path) -> None:
    for label, count in (("a", 3), ("b", 21)):
        (tmp_path / label).mkdir()
        for i, picture in enumerate(sorted((CLIPART / "bird").glob("*.jpg"))[:count]):
            Image.open(picture).rotate(ord(label)).save(tmp_path / label / f"{i}.jpg")
    assert lint.inspect(tmp_path).uneven == "fewer than 20 training images: a"


def test_inspect_loads_no_network() -> None:
    code = (
        "import sys; sys.argv = ['tlkit', 'inspect', sys.argv[1]]\n"
        "import tlkit.cli\n"
        "try: tlkit.cli.main()\n"
        "except SystemExit as stop: assert not stop.code\n"
        "assert not {'tensorflow', 'keras', 'sklearn'} & set(sys.modules)"
    )
    command = [sys.executable, "-c", code, str(CLIPART)]
    assert (
        b"166 images of 4 classes"
        in subprocess.run(command, capture_output=True, check=True).stdout
    )
