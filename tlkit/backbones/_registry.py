"""The backbone registry: one row per variant.

The rows stand in `_rows_*.py`, what a row is in `_row.py`. Nothing here imports Keras, so that
`tlkit backbones` answers at once.
"""

from __future__ import annotations

import fnmatch
from collections.abc import Iterable

from tlkit.backbones import (
    _rows_applications,
    _rows_branched,
    _rows_published,
    _rows_residual,
    _rows_sequential,
)
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

TABLES = (
    _rows_sequential.ROWS,
    _rows_published.ROWS,
    _rows_branched.ROWS,
    _rows_residual.ROWS,
    _rows_applications.ROWS,
)
BACKBONES: dict[str, Backbone] = {row.name: row for rows in TABLES for row in rows}


def get_backbone(name: str) -> Backbone:
    """The row called `name`; capitals, dashes and underscores may differ (`ResNet50V2.keras`).

    Raises:
        BackboneError: there is none; it names the nearest.
    """
    if name in BACKBONES:
        return BACKBONES[name]
    alike = [known for known in BACKBONES if _plain(known) == _plain(name)]
    if len(alike) == 1:
        return BACKBONES[alike[0]]
    raise BackboneError(
        f"Unknown backbone {name!r}.{did_you_mean(name, BACKBONES)} `tlkit backbones` lists all."
    )


def _plain(name: str) -> str:
    return name.lower().replace("_", "").replace("-", "")


def list_backbones(pattern: str = "*") -> list[str]:
    """Names in the registry's order that match a shell pattern ("vgg*_bn"), or, where it has no
    wildcard, that it is a part of ("ResNet50" as in `get_backbone`)."""
    if not set(pattern) & set("*?["):
        return [name for name in BACKBONES if _plain(pattern) in _plain(name)]
    return [name for name in BACKBONES if fnmatch.fnmatchcase(name, pattern)]


def stage_of(row: Backbone, names: Iterable[str]) -> dict[str, str]:
    """The stage of each layer by its name; input, preprocessing, top and head have none."""
    stages = set(row.stages)
    places = ((name, name.partition("_")[0]) for name in names)
    return {name: stage for name, stage in places if stage in stages}
