"""Small pictures and folders of them."""

import io
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

Picture = NDArray[np.uint8]


def quadrants(width: int = 64, height: int = 48) -> Picture:
    """A picture whose four corners tell every orientation: red, green, blue, yellow."""
    picture = np.zeros((height, width, 3), np.uint8)
    picture[: height // 2, : width // 2] = (220, 30, 30)
    picture[: height // 2, width // 2 :] = (30, 200, 30)
    picture[height // 2 :, : width // 2] = (30, 30, 210)
    picture[height // 2 :, width // 2 :] = (230, 220, 40)
    return picture


def encode(picture: Picture | Image.Image, kind: str, **options: object) -> bytes:
    """The bytes of `picture` in Pillow's format `kind`."""
    image = picture if isinstance(picture, Image.Image) else Image.fromarray(picture)
    file = io.BytesIO()
    image.save(file, kind, **options)
    return file.getvalue()


def noise(seed: int, side: int = 24) -> bytes:
    """A small JPEG that no other seed gives."""
    values = np.random.default_rng(seed).integers(0, 256, (side, side, 3), dtype=np.uint8)
    return encode(values, "JPEG", quality=90)


def fill(folder: Path, counts: dict[str, int], seed: int = 0) -> Path:
    """Write `counts` class folders of distinct pictures into `folder`."""
    for name, count in counts.items():
        (folder / name).mkdir(parents=True, exist_ok=True)
        for number in range(count):
            seed += 1
            (folder / name / f"{number:03}.jpg").write_bytes(noise(seed))
    return folder
