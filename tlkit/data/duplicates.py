"""The same picture twice: found by a perceptual hash, believed only when the pixels agree.

Candidates are pairs whose 63-bit hashes (the signs of the low frequencies of a 32 x 32 cosine
transform [Zauner 2010, section 3.2.1]) differ in few bits. A hash alone calls two drawings or two
digits the same, so each pair is looked at again: the thumbnails must agree in their shapes, in
their fine detail and in their colours. Found are copies that were scaled, compressed anew, made
brighter or mirrored; not found are crops by more than a few percent and other colours.

ImageHash computes such hashes too, one picture at a time, and stops there; here all pictures are
hashed in one transform, and neither the search nor the second look would come from it.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path
from typing import NamedTuple

import cv2
import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy.fft import dctn
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

from tlkit.data.folder import ImageFolder
from tlkit.data.images import read_image
from tlkit.data.parallel import ordered_map
from tlkit.errors import DataError
from tlkit.progress import progress_bar

SIDE, COLOURS = 32, 8
MOST_BITS = 10
"""Bits in which the hashes of a pair may differ to be worth a second look."""
SHAPES, DETAIL = 0.98, 0.9
"""Least correlation of the grey thumbnails, and of what a blur takes from them."""
SMALL, SHAPES_SMALL = 64, 0.995
"""Below this side, pixels, a picture has little to be told by, and more agreement is asked for:
two handwritten ones of 28 x 28 pixels reach 0.991."""
COLOUR_GAP = 12.0
"""Largest mean difference of the colours on an 8 x 8 grid, 0-255, after the mean brightness."""
LEAST_CONTRAST = 8.0
"""Standard deviation of the grey thumbnail, 0-255, below which a picture shows nothing to
compare."""
WINDOW, MOST_CLOSE, MOST_COPIES = 2000, 64, 1
"""Neighbours in a bucket that are compared, and candidates kept per picture and band, before and
after the outlines are: the bound for folders of thousands of equal pictures."""
_CHUNK = 32


class Looks(NamedTuple):
    """What each picture looks like, in little: the rows are those of the samples.

    Attributes:
        grey: uint8, (images, 32, 32).
        colour: uint8, (images, 8, 8, 3), RGB.
        side: int, (images,), the short side in pixels.
    """

    grey: NDArray[np.uint8]
    colour: NDArray[np.uint8]
    side: NDArray[np.int64]


def look(picture: NDArray[np.uint8]) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
    """The grey and the coloured thumbnail of one picture, uint8 (height, width, 3)."""
    small = cv2.resize(picture, (SIDE, SIDE), interpolation=cv2.INTER_AREA)
    grey = cv2.cvtColor(small, cv2.COLOR_RGB2GRAY)
    colour = cv2.resize(small, (COLOURS, COLOURS), interpolation=cv2.INTER_AREA)
    return grey, colour  # type: ignore[return-value]


def look_at(root: Path, samples: pd.DataFrame, workers: int | None = None) -> Looks:
    """Read every picture once more, as small as its format allows (JPEGs at an eighth).

    Args:
        root: the folder that paths are relative to.
        samples: columns path, width, height.
        workers: threads that decode; the number of processors when None.
    """
    paths = samples["path"].tolist()
    grey = np.zeros((len(paths), SIDE, SIDE), np.uint8)
    colour = np.zeros((len(paths), COLOURS, COLOURS, 3), np.uint8)

    def fill(start: int) -> None:
        for place in range(start, min(start + _CHUNK, len(paths))):
            try:
                grey[place], colour[place] = look(read_image(root / paths[place], SIDE))
            except DataError:  # gone since the scan, or damaged within: it stays black, like none
                continue

    starts = range(0, len(paths), _CHUNK)
    with progress_bar() as bar:
        task = bar.add_task("Looking for copies", total=len(paths))
        for start, _ in zip(starts, ordered_map(fill, starts, workers), strict=True):
            bar.update(task, completed=min(start + _CHUNK, len(paths)))
    side = samples[["width", "height"]].min(axis=1).to_numpy(dtype=np.int64)
    return Looks(grey, colour, side)


def duplicate_groups(samples: pd.DataFrame, looks: Looks) -> pd.Series:
    """A number for each picture, the same for all copies of one; alone, it has its own.

    Args:
        samples: the column sha256; its index is the result's.
        looks: of the same rows.
    """
    same = pd.Series(np.arange(len(samples))).groupby(samples["sha256"].to_numpy()).transform("min")
    pairs = np.concatenate([near_pairs(looks), np.stack([same, np.arange(len(samples))], axis=1)])
    links = coo_array((np.ones(len(pairs)), (pairs[:, 0], pairs[:, 1])), (len(samples),) * 2)
    _, groups = connected_components(links, directed=False)
    return pd.Series(groups, index=samples.index, name="group")


def group_copies(folder: ImageFolder, workers: int | None = None) -> pd.Series:
    """A group for each row of `folder.samples`, to be kept on one side of a split.

    Below 64 pixels only equal files are copies: pictures of that size are many, seldom copied, and
    reading them all again would cost more than training on them.
    """
    samples = folder.samples
    groups = samples.groupby("sha256").ngroup()
    large = samples[samples[["width", "height"]].min(axis=1) >= SMALL]
    if len(large):
        near = duplicate_groups(large, look_at(folder.root, large, workers))
        groups.loc[large.index] = len(samples) + near
    return groups


def leaks(split: pd.DataFrame, groups: pd.Series) -> int:
    """How many pictures lie on several sides of a split.

    Args:
        split: the column split.
        groups: of the same rows, as `group_copies` returns.
    """
    return int((split.groupby(groups)["split"].nunique() > 1).sum())


def near_pairs(looks: Looks) -> NDArray[np.int64]:
    """Pairs of rows that show the same picture: int, (pairs, 2), the smaller row first.

    The time grows little faster than the number of pictures: only hashes that share a band of bits
    are compared, within `WINDOW` neighbours of each other. Where thousands of pictures are one and
    the same, each is paired with some of the others, which is enough to find the group.
    """
    rows = np.flatnonzero(looks.grey.reshape(len(looks.grey), -1).std(axis=1) >= LEAST_CONTRAST)
    if len(rows) < 2:
        return np.empty((0, 2), np.int64)
    n = len(rows)
    first, second = _close(np.concatenate(_hashes(looks.grey[rows])), _outlines(looks.grey[rows]))
    first, second = np.minimum(first, second), np.maximum(first, second)
    # Of a pair's four combinations two say the same twice, and a picture is no copy of itself.
    use = (first < n) & (second % n != first)
    first, second = first[use], second[use]
    sure = _agree(looks, rows[first], rows[second % n], flip=second >= n)
    found = np.stack([rows[first[sure]], rows[second[sure] % n]], axis=1)
    found.sort(axis=1)
    return np.unique(found, axis=0).astype(np.int64)


def _hashes(grey: NDArray[np.uint8]) -> tuple[NDArray[np.uint64], NDArray[np.uint64]]:
    """The hash of each thumbnail, and of its mirror image (its odd waves change sign)."""
    weights = np.uint64(1) << np.arange(63, dtype=np.uint64)
    upright = np.empty(len(grey), np.uint64)
    mirrored = np.empty(len(grey), np.uint64)
    signs = np.where(np.arange(8) % 2, -1.0, 1.0).astype(np.float32)
    for start in range(0, len(grey), 4096):
        part = slice(start, start + 4096)
        waves = dctn(grey[part].astype(np.float32), axes=(1, 2), norm="ortho")[:, :8, :8]
        for found, low in ((upright, waves), (mirrored, waves * signs)):
            low = low.reshape(len(low), 64)[:, 1:]
            bits = low > np.median(low, axis=1, keepdims=True)
            found[part] = (bits * weights).sum(axis=1)
    return upright, mirrored


def _outlines(grey: NDArray[np.uint8]) -> NDArray[np.float32]:
    """Each thumbnail, and its mirror image, in 8 x 8 pixels of mean 0 and length 1."""
    coarse = grey.reshape(-1, 8, 4, 8, 4).mean(axis=(2, 4), dtype=np.float32)
    coarse = np.concatenate([coarse, coarse[:, :, ::-1]]).reshape(-1, 64)
    coarse -= coarse.mean(axis=1, keepdims=True)
    return coarse / np.maximum(np.linalg.norm(coarse, axis=1, keepdims=True), 1e-6)


def _close(
    hashes: NDArray[np.uint64], outlines: NDArray[np.float32]
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Pairs whose hashes differ in up to MOST_BITS bits and whose outlines agree.

    Hashes that differ in at most 7 of 64 bits share one of eight bands (at most 3 bits and one of
    four beyond 100,000 pictures): only those with an equal band are compared.
    """
    width = 8 if len(hashes) <= 200_000 else 16
    found = [np.empty((2, 0), np.int64)]
    for shift in range(0, 64, width):
        key = (hashes >> np.uint64(shift)) & np.uint64((1 << width) - 1)
        order = np.lexsort((hashes, key))
        inner = hashes[order]
        starts = np.append(np.unique(key[order], return_index=True)[1], len(order))
        for start, end in pairwise(starts):
            for row in range(start, end - 1, 256):
                stop = min(end, row + 256 + WINDOW)
                apart = np.bitwise_count(inner[row : min(row + 256, end), None] ^ inner[row:stop])
                i, j = _closest(apart)
                a, b = outlines[order[row + i]], outlines[order[row + j]]
                alike = np.einsum("ij,ij->i", a, b) >= SHAPES
                i, j = _thin(i[alike], j[alike], 256 * MOST_COPIES)
                found.append(order[np.stack([row + i, row + j])])
    both = np.unique(np.sort(np.concatenate(found, axis=1), axis=0), axis=1)
    return both[0], both[1]


def _closest(apart: NDArray[np.uint8]) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
    """The places right of the diagonal with the fewest bits apart, at most MOST_CLOSE a row."""
    most = MOST_CLOSE * len(apart)
    rows, columns = map(np.arange, apart.shape)
    apart[columns <= rows[:, None]] = 255
    bits = np.cumsum(np.bincount(apart.ravel(), minlength=256)[: MOST_BITS + 1])
    reach = int(np.searchsorted(bits, most, side="right")) - 1
    i, j = np.nonzero(apart <= max(0, reach))
    return _thin(i, j, most)


def _thin(
    i: NDArray[np.intp], j: NDArray[np.intp], most: int
) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
    """About `most` of the pairs at equal steps, and all of direct neighbours, who keep a group
    whole."""
    keep = (np.arange(len(i)) % (1 + len(i) // most) == 0) | (j - i == 1)
    return i[keep], j[keep]


def _agree(
    looks: Looks, first: NDArray[np.int64], second: NDArray[np.int64], flip: NDArray[np.bool_]
) -> NDArray[np.bool_]:
    """Whether the thumbnails of each pair agree in shape, detail and colour."""
    least = np.where(
        np.minimum(looks.side[first], looks.side[second]) < SMALL, SHAPES_SMALL, SHAPES
    )
    agree = np.zeros(len(first), bool)
    for start in range(0, len(first), 2048):
        part = slice(start, start + 2048)
        turned = flip[part, None, None]
        a, b = looks.grey[first[part]], looks.grey[second[part]]
        b = np.where(turned, b[:, :, ::-1], b)
        alike = np.flatnonzero(_correlation(a, b) >= least[part])
        if not len(alike):
            continue
        a, b, turned = a[alike], b[alike], turned[alike, :, :, None]
        colours = [looks.colour[rows[part][alike]].astype(np.float32) for rows in (first, second)]
        colours[1] = np.where(turned, colours[1][:, :, ::-1], colours[1])
        gap = colours[0] - colours[1]
        gap = np.abs(gap - gap.mean(axis=(1, 2, 3), keepdims=True)).mean(axis=(1, 2, 3))
        fine = _correlation(_detail(a), _detail(b)) >= DETAIL
        agree[start + alike] = fine & (gap <= COLOUR_GAP)
    return agree


def _detail(grey: NDArray[np.uint8]) -> NDArray[np.float32]:
    """What a 3 x 3 blur takes away."""
    exact = grey.astype(np.float32)
    return np.stack([image - cv2.blur(image, (3, 3)) for image in exact])


def _correlation(a: NDArray[np.generic], b: NDArray[np.generic]) -> NDArray[np.float32]:
    """Pearson's, pair by pair, of (pairs, height, width)."""
    x, y = (v.reshape(len(v), -1).astype(np.float32) for v in (a, b))
    x, y = x - x.mean(axis=1, keepdims=True), y - y.mean(axis=1, keepdims=True)
    size = np.sqrt((x * x).sum(axis=1) * (y * y).sum(axis=1))
    return (x * y).sum(axis=1) / np.maximum(size, 1e-6)


def members(groups: pd.Series) -> list[Sequence[int]]:
    """The rows of each group of two or more, in order."""
    positions = pd.Series(np.arange(len(groups))).groupby(groups.to_numpy()).agg(list)
    return [rows for rows in positions if len(rows) > 1]
