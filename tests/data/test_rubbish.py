"""Thousands of damaged and lying pictures: each is a sample or a row of skipped.csv, and no more
happens."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
from pictures import encode, quadrants
from PIL import Image
from rubbish import BOMB, BY_SIZE, corpus, jpeg, many_scans, png, sources

from tlkit.data.folder import ImageFolder
from tlkit.data.images import LARGE_PIXELS, check_image, read_image
from tlkit.errors import DataError

FILES = 2200

SCAN = """
import json, resource, sys
from tlkit.data.folder import ImageFolder
from tlkit.data.images import read_image

memory = lambda: resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024
before = memory()
folder = ImageFolder(sys.argv[1])
shapes = [read_image(folder.root / path).shape for path in folder.samples["path"]]
wrong = int((folder.samples[["height", "width"]].to_numpy() != [s[:2] for s in shapes]).sum())
print(json.dumps([len(folder.samples), len(folder.skipped), wrong, memory() - before]))
"""


@pytest.mark.parametrize(
    ("files", "seed"), [(FILES, 0), pytest.param(20_000, 1, marks=pytest.mark.load)]
)
def test_every_file_is_a_sample_or_a_row_with_a_reason(
    files: int, seed: int, tmp_path: Path
) -> None:
    """In a process of its own, whose memory can be told."""
    for number, (_, data) in enumerate(corpus(files, seed)):
        file = tmp_path / f"class {number % 2}" / f"{number:05}"
        file.parent.mkdir(exist_ok=True)
        file.write_bytes(data)
    done = subprocess.run(
        [sys.executable, "-c", SCAN, str(tmp_path)], capture_output=True, text=True, timeout=300
    )
    assert done.returncode == 0, done.stderr[-2000:]
    samples, skipped, wrong, megabytes = json.loads(done.stdout)
    print(f"{samples} samples, {skipped} skipped, {megabytes} MB")
    assert samples + skipped == files
    assert min(samples, skipped) > files / 3
    assert wrong == 0, "a sample is not what the scan said"
    assert megabytes < 800


def test_the_corpus_is_the_same_for_one_seed() -> None:
    first, again = dict(corpus(300, seed=4)), dict(corpus(300, seed=4))
    assert first == again
    assert first != dict(corpus(300, seed=5))


def test_the_sources_are_sound() -> None:
    for kind, data in sources().items():
        height, width, _ = read_image(data).shape
        assert check_image(data)[:2] == (width, height), kind


@pytest.mark.parametrize("kind", sorted(BY_SIZE))
def test_a_bomb_of_any_format_is_refused_before_it_is_decoded(
    kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    data = BY_SIZE[kind](BOMB, BOMB)

    def decoded(*_: object) -> None:
        raise AssertionError("decoded")

    monkeypatch.setattr("cv2.imdecode", decoded)
    monkeypatch.setattr("PIL.Image.Image.load", decoded)
    monkeypatch.setattr("PIL.ImageFile.ImageFile.load", decoded)
    for function in (check_image, read_image):
        with pytest.raises(DataError, match=r"too large|damaged WEBP"):
            function(data)


def test_a_large_picture_of_few_bytes_is_a_bomb() -> None:
    for data in (jpeg(13_000, 13_000), BY_SIZE["gif"](13_000, 13_000)):
        with pytest.raises(DataError, match="too large: 13000 x 13000 pixels out of"):
            check_image(data)
    side = int(LARGE_PIXELS**0.5)
    blank = png(side, side, colour=0, pixels=bytes(side * (side + 1)))
    assert check_image(blank)[:2] == (side, side), "blank, but real"


def test_scans_without_end_are_refused() -> None:
    data = many_scans(2_000, side=5_000)
    for function in (check_image, read_image):
        with pytest.raises(DataError, match=r"too many scans: 2,0.. over 25,000,000 pixels"):
            function(data)
    assert check_image(many_scans(100, side=500))[:2] == (500, 500)


def test_right_checksums_do_not_prove_a_png() -> None:
    for pixels in (b"\7" + bytes(6), b""):
        with pytest.raises(DataError, match="PNG"):
            check_image(png(2, 1, pixels=pixels))


def test_broken_exif_turns_a_picture_for_both_or_for_none() -> None:
    """Found by fuzzing: OpenCV, which reads, does not know an orientation that Pillow knows."""
    exif = Image.Exif()
    exif[0x0112], exif[0x010E] = 6, "about"
    data = bytearray(encode(quadrants(64, 59), "JPEG", exif=exif))
    entry = data.index(b"\x01\x0e\x00\x02")
    for length in (b"\0\0\0\6", b"\0\0\xfa\xf9", b"\xff\xff\xff\xff"):
        data[entry + 4 : entry + 8] = length
        info = check_image(bytes(data))
        assert read_image(bytes(data)).shape == (info.height, info.width, 3)


def test_large_pictures_are_decoded_one_at_a_time(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from concurrent.futures import ThreadPoolExecutor

    import cv2

    monkeypatch.setattr("tlkit.data.images.LARGE_PIXELS", 10)
    inside, most, decode = [], [], cv2.imdecode

    def counted(*arguments: object) -> object:
        inside.append(1)
        most.append(len(inside))
        pixels = decode(*arguments)
        inside.pop()
        return pixels

    monkeypatch.setattr(cv2, "imdecode", counted)
    data = sources()["jpeg"]
    with ThreadPoolExecutor(4) as pool:
        assert len({array.shape for array in pool.map(read_image, [data] * 200)}) == 1
    assert max(most) == 1
    assert len(most) == 200


def test_a_folder_of_nothing_but_rubbish_is_one_line(tmp_path: Path) -> None:
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "1.png").write_bytes(png(300, 200))
    with pytest.raises(DataError, match=r"class 'a' can be read; the first, .*1\.png") as error:
        ImageFolder(tmp_path)
    assert "\n" not in str(error.value)
