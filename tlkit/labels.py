"""Several labels of one image, as one text and as numbers.

The labels of an image are one cell of a table, sorted and joined by semicolons ("cat;dog"; "" for
none), so that whatever compares labels as texts asks whether an image's labels are all right.
Classes are independent of each other: the probability of a set of labels is the product of what
each class says, which is the confidence of an answer; its negative logarithm is the loss.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np
import pandas as pd
from numpy.typing import NDArray

SEPARATOR = ";"
THRESHOLD = 0.5
"""A class at least this probable is among the answers."""


def split_labels(cell: str) -> tuple[str, ...]:
    """`"dog; cat"` to `("cat", "dog")`."""
    return tuple(sorted({name for part in cell.split(SEPARATOR) if (name := part.strip())}))


def join_labels(names: Iterable[str]) -> str:
    """`("cat", "dog")` to `"cat;dog"`."""
    return SEPARATOR.join(sorted(names))


def multi_hot(cells: Iterable[str], classes: Sequence[str]) -> NDArray[np.float32]:
    """1 where a cell holds the class, else 0: float32, (cells, classes); others are left out."""
    sets = [set(split_labels(cell)) for cell in cells]
    rows = [[name in own for name in classes] for own in sets]
    return np.array(rows, dtype=np.float32).reshape(len(sets), len(classes))


def answers(probabilities: NDArray[np.floating], classes: Sequence[str]) -> list[str]:
    """The cell that each row of probabilities answers with: (images, classes) to images."""
    return [
        join_labels(name for name, p in zip(classes, row, strict=True) if p >= THRESHOLD)
        for row in probabilities
    ]


def confidence(probabilities: NDArray[np.floating]) -> NDArray[np.float64]:
    """How probable each row's answer is, all of its classes together: (images,)."""
    p = np.asarray(probabilities, dtype=np.float64)
    return np.asarray(np.maximum(p, 1 - p).prod(axis=-1))


def loss(probabilities: NDArray[np.floating], truth: NDArray[np.floating]) -> NDArray[np.float64]:
    """-ln of the probability of the true labels, all classes together: (images,)."""
    p = np.asarray(probabilities, dtype=np.float64)
    said = np.where(truth > 0, p, 1 - p)
    return np.asarray(-np.log(np.maximum(said, np.finfo(np.float32).tiny)).sum(axis=-1))


def strata(cells: pd.Series, groups: pd.Series, least: int) -> pd.Series:
    """One text for each image to draw splits by: its rarest label.

    Each class is then dealt out about evenly. A label that fewer than `least` groups have for their
    rarest cannot be dealt out; such images are put together.

    Args:
        cells: the labels of each image.
        groups: of the same index; images of one group stay together.
        least: sides that each text has to be on.
    """
    names = cells.map(split_labels)
    counts = names.explode().value_counts()
    rarest = names.map(lambda own: min(own, key=lambda n: (counts[n], n)) if own else "")
    # Copies may be labelled differently; they go by their first.
    rarest = rarest.groupby(groups).transform("first")
    for _ in range(2):  # what was put together may be too few as well: with the most frequent then
        distinct = groups.groupby(rarest).nunique()
        few = distinct.index[distinct < least]
        into = "" if "" not in few else str(distinct.idxmax())
        rarest = rarest.where(~rarest.isin(few), into)
    return rarest
