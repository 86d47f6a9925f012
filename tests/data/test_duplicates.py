"""Copies are found whatever was done to them; different drawings and digits are never copies."""

import itertools
import time
from pathlib import Path

import cv2
import numpy as np
import pandas as pd
import pytest

from tlkit.data import duplicates
from tlkit.data.duplicates import Looks, duplicate_groups, look, members, near_pairs
from tlkit.data.folder import ImageFolder
from tlkit.data.images import read_image

CLIPART = Path(__file__).parents[2] / "sample_data" / "clipart"


def as_looks(pictures: list[np.ndarray]) -> Looks:
    grey, colour = zip(*[look(np.ascontiguousarray(p)) for p in pictures], strict=True)
    return Looks(np.stack(grey), np.stack(colour), np.array([min(p.shape[:2]) for p in pictures]))


def jpeg(picture: np.ndarray, quality: int) -> np.ndarray:
    return cv2.imdecode(cv2.imencode(".jpg", picture, [cv2.IMWRITE_JPEG_QUALITY, quality])[1], 1)


COPIES = {
    "compressed": lambda p: jpeg(p, 30),
    "half": lambda p: cv2.resize(p, None, fx=0.5, fy=0.5, interpolation=cv2.INTER_AREA),
    "larger": lambda p: cv2.resize(p, None, fx=1.5, fy=1.5, interpolation=cv2.INTER_CUBIC),
    "lighter": lambda p: (255 * (p / 255) ** 0.8).astype(np.uint8),
    "mirrored": lambda p: p[:, ::-1],
}


@pytest.fixture(scope="module")
def drawings() -> list[np.ndarray]:
    pictures = [read_image(path) for path in sorted(CLIPART.rglob("*.jpg"))[::10]]
    return [picture for picture in pictures if min(picture.shape[:2]) >= 128]


@pytest.mark.parametrize("name", COPIES)
def test_finds_a_changed_copy_of_every_drawing(name: str, drawings: list[np.ndarray]) -> None:
    n = len(drawings)
    found = near_pairs(as_looks(drawings + [COPIES[name](p) for p in drawings]))
    assert found.tolist() == [[i, i + n] for i in range(n)]


def test_no_two_drawings_of_the_sample_are_copies() -> None:
    folder = ImageFolder(CLIPART)
    looks = duplicates.look_at(folder.root, folder.samples)
    assert members(duplicate_groups(folder.samples, looks)) == []


def test_another_colour_is_another_picture(drawings: list[np.ndarray]) -> None:
    pixels = np.random.default_rng(0).integers(0, 255, (12, 12), np.uint8)
    grey = cv2.resize(pixels, (96, 96), interpolation=cv2.INTER_CUBIC)
    red, blue = np.stack([grey, grey // 3, grey // 3], 2), np.stack([grey // 3, grey // 3, grey], 2)
    assert near_pairs(as_looks([red, red, blue])).tolist() == [[0, 1]]


def stroke(rng: np.random.Generator) -> np.ndarray:
    """A digit 1 of 28 x 28 pixels, as people write it."""
    picture = np.zeros((28, 28, 3), np.uint8)
    x, lean = rng.uniform(13, 15), rng.uniform(-3, 3)
    ends = [(round((x + lean) * 8), 4 * 8), (round((x - lean) * 8), 24 * 8)]
    cv2.line(picture, *ends, (255, 255, 255), int(rng.integers(2, 4)), cv2.LINE_AA, 3)
    return picture


def test_two_written_ones_are_not_copies_but_the_same_one_brightened_is() -> None:
    rng = np.random.default_rng(1)
    ones = [cv2.GaussianBlur(stroke(rng), (3, 3), 0) + rng.integers(0, 30, (28, 28, 3), np.uint8)
            for _ in range(150)]  # fmt: skip
    brighter = np.clip(ones[0].astype(int) * 0.9 + 20, 0, 255).astype(np.uint8)
    assert near_pairs(as_looks([*ones, brighter])).tolist() == [[0, 150]]


def test_pictures_that_show_nothing_are_not_compared() -> None:
    assert (
        len(near_pairs(as_looks([np.full((80, 80, 3), tone, np.uint8) for tone in (0, 9, 9)]))) == 0
    )


def patterns(n: int) -> np.ndarray:
    coarse = np.random.default_rng(0).integers(0, 255, (n, 8, 8), np.uint8)
    return np.stack([cv2.resize(p, (32, 32), interpolation=cv2.INTER_CUBIC) for p in coarse])


def test_finds_all_copies_among_many_pictures_in_little_time() -> None:
    n = 8000
    grey = patterns(n)
    grey[n // 2 :: 4] = grey[: n // 2 : 4]
    looks = Looks(grey, np.zeros((n, 8, 8, 3), np.uint8), np.full(n, 200))
    start = time.perf_counter()
    found = near_pairs(looks)
    assert found.tolist() == [[i, i + n // 2] for i in range(0, n // 2, 4)]
    assert time.perf_counter() - start < 20  # takes about 1 s


def test_thousands_of_equal_pictures_are_one_group() -> None:
    n = 1500
    noise = np.random.default_rng(0).normal(0, 2, (n, 32, 32))
    grey = np.clip(patterns(1) + noise, 0, 255).astype(np.uint8)
    looks = Looks(grey, np.zeros((n, 8, 8, 3), np.uint8), np.full(n, 200))
    samples = pd.DataFrame({"sha256": [f"{i:064x}" for i in range(n)]})
    assert duplicate_groups(samples, looks).nunique() == 1


def test_groups_join_exact_copies_and_chains() -> None:
    a, b = (p for p in patterns(2))
    tall = np.stack([a, a, b, b])
    looks = Looks(tall, np.zeros((4, 8, 8, 3), np.uint8), np.full(4, 200))
    samples = pd.DataFrame({"sha256": ["1", "2", "3", "3"]}, index=[7, 8, 9, 10])
    groups = duplicate_groups(samples, looks)
    assert list(groups.index) == [7, 8, 9, 10]
    assert [list(rows) for rows in members(groups)] == [[0, 1], [2, 3]]
    assert all(g in range(4) for g in itertools.chain(groups))
