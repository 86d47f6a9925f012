"""The registry as a table: what `tlkit backbones` prints."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from tlkit.backbones._registry import get_backbone, list_backbones
from tlkit.errors import BackboneError

if TYPE_CHECKING:
    import pandas as pd


def backbones_table(pattern: str = "*") -> pd.DataFrame:
    """What the registry knows, without importing Keras.

    Args:
        pattern: a part of names, or a shell pattern such as "vgg*_bn".

    Returns:
        One row per backbone: name, year, parameters, macs (both with its own top), input_size
        (pixels), channels, classes, weights (their source, "none" when it has none), here (whether
        they are on this machine), licence (of the weights), paper.

    Raises:
        BackboneError: no name matches.
    """
    import pandas as pd

    from tlkit.backbones._weights import list_weights

    names = list_backbones(pattern)
    if not names:
        part = pattern.strip("*?")
        hint = f"try {part!r}." if list_backbones(part) else "`tlkit backbones` lists all."
        raise BackboneError(f"No backbone matches {pattern!r}; {hint}")
    places = list_weights().set_index("name")
    rows = []
    for row in map(get_backbone, names):
        place = places.loc[row.name] if row.name in places.index else None
        rows.append(
            {
                "name": row.name,
                "year": row.year,
                "parameters": row.parameters,
                "macs": row.macs,
                "input_size": row.input_size,
                "channels": row.channels,
                "classes": row.classes,
                "weights": "none" if place is None else place["source"],
                "here": place is not None and bool(place["cached"]),
                "licence": "" if place is None else place["licence"],
                "paper": row.paper,
            }
        )
    return pd.DataFrame(rows)


def as_json(table: pd.DataFrame) -> str:
    """The table of `backbones_table` as a JSON list of objects."""
    return json.dumps(table.to_dict("records"), ensure_ascii=False, indent=2)


def readable(table: pd.DataFrame) -> str:
    """The table of `backbones_table` as aligned text, counts in millions and billions."""
    cells = [("name", "year", "parameters", "MACs", "input", "here", "weights")]
    for row in table.to_dict("records"):
        side = row["input_size"]
        cells.append(
            (
                row["name"],
                str(row["year"]),
                _short(row["parameters"]),
                _short(row["macs"]),
                f"{side}x{side}x{row['channels']}",
                "here" if row["here"] else "",
                row["weights"].replace("https://", ""),
            )
        )
    widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
    numbers = {1, 2, 3}  # aligned right
    lines = (
        "  ".join(
            cell.rjust(width) if i in numbers else cell.ljust(width)
            for i, (cell, width) in enumerate(zip(row, widths, strict=True))
        ).rstrip()
        for row in cells
    )
    return "\n".join(lines)


def _short(number: int) -> str:
    """1_234_567 as 1.2 M."""
    for unit, size in (("G", 10**9), ("M", 10**6), ("k", 10**3)):
        if number >= size:
            return f"{number / size:.1f} {unit}"
    return str(number)
