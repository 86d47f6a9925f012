"""The goldens: what torchvision's and timm's networks answer with weights that numpy can draw.

Each JSON file was written with torch. It holds a network's state-dict keys and shapes, and its
logits for weights and images that are drawn by the rule below; those of `*_real` are for real
weights.
"""

from __future__ import annotations

import json
import zlib
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np

FOLDER = Path(__file__).parent
NAMES = sorted(p.stem for p in FOLDER.glob("*.json") if not p.stem.endswith("_real"))
REAL_NAMES = sorted(p.stem for p in FOLDER.glob("*_real.json"))


@cache
def golden(name: str) -> dict[str, Any]:
    return json.loads((FOLDER / f"{name}.json").read_text(encoding="utf-8"))


def row_name(name: str, rows: Mapping[str, Any]) -> str:
    """The registry's name: as it is, or without the prefix that timm puts before it."""
    names = (name.removesuffix("_real"), name.removeprefix("tf_"), name.removeprefix("legacy_"))
    return next((n for n in names if n in rows), name)


def draw_state(name: str) -> dict[str, np.ndarray]:
    """The synthetic checkpoint: one generator for each key, so that the order does not matter."""
    facts = golden(name)
    return {key: _draw(key, tuple(s), facts["gain"]) for key, s in facts["state_dict"].items()}


def draw_images(size: int) -> np.ndarray:
    """Two images of noise, float32 (2, size, size, 3), as the goldens' networks saw them."""
    images = np.random.default_rng(0).normal(size=(2, 3, size, size)).astype(np.float32)
    return images.transpose(0, 2, 3, 1)


def _draw(key: str, shape: tuple[int, ...], gain: float) -> np.ndarray:
    generator = np.random.default_rng(zlib.crc32(key.encode()))
    if key.endswith("running_mean"):
        values = generator.normal(0, 0.1, shape)
    elif key.endswith("running_var"):
        values = generator.uniform(0.5, 1.5, shape)
    elif len(shape) >= 2:  # kernels: He's deviation, and the model's gain on convolutions
        values = generator.normal(0, np.sqrt(2 / np.prod(shape[1:])), shape)
        if len(shape) == 4:
            values *= gain
    elif key.endswith(".bias"):
        values = generator.normal(0, 0.1, shape)
    else:
        values = generator.uniform(0.5, 1.5, shape)
    return values.astype(np.float32)
