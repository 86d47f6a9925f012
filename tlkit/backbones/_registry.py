"""The backbone registry: one row per variant.

The rows stand in `_rows_*.py`, what a row is in `_row.py`. Nothing here imports Keras, so that
`tlkit backbones` answers at once.
"""

from __future__ import annotations

import fnmatch
from collections.abc import Iterable

from tlkit.backbones import _rows_published
from tlkit.backbones._row import (
    CAFFE,
    IMAGENET,
    INCEPTION,
    LITE,
    RAW,
    UNIT,
    Backbone,
    Preprocess,
    Weights,
    load,
)
from tlkit.errors import BackboneError, did_you_mean

__all__ = [
    "BACKBONES",
    "CAFFE",
    "IMAGENET",
    "INCEPTION",
    "LITE",
    "RAW",
    "UNIT",
    "Backbone",
    "Preprocess",
    "Weights",
    "get_backbone",
    "list_backbones",
    "load",
    "stage_of",
]

BACKBONES: dict[str, Backbone] = {row.name: row for row in _rows_published.ROWS}


def get_backbone(name: str) -> Backbone:
    """The row called `name`; BackboneError, with the nearest name, when there is none."""
    if name not in BACKBONES:
        raise BackboneError(
            f"Unknown backbone {name!r}.{did_you_mean(name, BACKBONES)} "
            "`tlkit backbones` lists all."
        )
    return BACKBONES[name]


def list_backbones(pattern: str = "*") -> list[str]:
    """Names that match a shell pattern, in the registry's order."""
    return [name for name in BACKBONES if fnmatch.fnmatchcase(name, pattern)]


def stage_of(row: Backbone, names: Iterable[str]) -> dict[str, str]:
    """The stage of each layer by its name; input, preprocessing, top and head have none."""
    stages = set(row.stages)
    places = ((name, name.partition("_")[0]) for name in names)
    return {name: stage for name, stage in places if stage in stages}
