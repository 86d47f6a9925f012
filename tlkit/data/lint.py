"""What is wrong with a folder of pictures, before any network sees it. No Keras here.

One pass reads every picture at about the size that a network sees: copies (`duplicates.py`), and
pictures that are dark, bright, blank, blurred, tiny or of an odd shape, each against what is usual
in this folder. Nothing is written.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pandas as pd
from numpy.typing import NDArray

from tlkit.data.duplicates import COLOURS, SIDE, Looks, duplicate_groups, look, members
from tlkit.data.folder import ImageFolder
from tlkit.data.images import read_image
from tlkit.data.parallel import ordered_map
from tlkit.errors import DataError
from tlkit.foreign_text import printable
from tlkit.progress import progress_bar

SEEN = 160
"""Short side, pixels, at which pictures are judged: about what a network makes of them."""
DARK, BRIGHT, BLANK = 80, 175, 4.0
"""Grey, 0-255: a dark picture's brightest hundredth is below the first, a bright one's darkest
above the second, a blank one's standard deviation below the third."""
BLUR_DEVIATIONS, BLUR_SHARE = 4.0, 0.2
"""A blurred picture's sharpness lies this many deviations below the folder's, and below this share
of its median."""
ODD = 2.0
"""A picture is of odd shape when it is twice as wide, or as tall, as most of the folder, and its
long side is more than twice the short one."""
TINY = 0.25
"""Of the folder's usual short side."""
FEW, UNEVEN = 20, 3.0
"""Pictures that a class should have; how many times the smallest class the largest may be."""
_CHUNK = 16


@dataclass(frozen=True)
class Copies:
    """Files that show one picture.

    Attributes:
        paths: the files.
        exact: whether they are the same byte by byte.
        splits, labels: the splits and classes they lie in, sorted.
    """

    paths: list[str]
    exact: bool
    splits: list[str]
    labels: list[str]


@dataclass(frozen=True)
class Inspection:
    """Everything `tlkit inspect` found.

    Attributes:
        root: the folder that paths are relative to.
        counts: images of each class (rows) in each split (columns; "all" where there is none).
        size: the median width and height, pixels.
        skipped: path, reason.
        empty_classes: class folders without a picture.
        copies: the most serious first: across splits, across classes, then by number.
        odd: path, label, problem ("dark", "bright", "blank", "blurred", "tiny", "shape"), detail.
    """

    root: Path
    counts: pd.DataFrame
    size: tuple[int, int]
    skipped: pd.DataFrame
    empty_classes: tuple[str, ...]
    copies: list[Copies]
    odd: pd.DataFrame

    @property
    def leaks(self) -> list[Copies]:
        """Pictures that lie on both sides of a split: what is tested was seen in training."""
        return [group for group in self.copies if len(group.splits) > 1]

    @property
    def contradictions(self) -> list[Copies]:
        """Pictures that lie in several classes: all but one of the labels are wrong."""
        return [group for group in self.copies if len(group.labels) > 1]

    @property
    def uneven(self) -> str | None:
        """A sentence on classes that are too small, or too unlike in number."""
        train = self.counts[self.counts.columns[0]]
        if train.min() < FEW:
            few = [str(name) for name in train[train < FEW].index]
            shown = ", ".join(few[:5]) + (f" and {len(few) - 5} more" if len(few) > 5 else "")
            return f"fewer than {FEW} training images: {shown}"
        if train.max() > UNEVEN * train.min():
            return (
                f"{train.idxmax()} has {train.max() / train.min():.1f} times the images of "
                f"{train.idxmin()}: consider --class-weights auto"
            )
        return None


def inspect(data: Path | str, workers: int | None = None) -> Inspection:
    """Look at every picture of a folder or manifest.

    Args:
        data: as for `ImageFolder`; one class is enough.
        workers: threads that decode; the number of processors when None.

    Raises:
        DataError: there are no pictures.
    """
    folder = ImageFolder(data, workers=workers, min_classes=1)
    samples = folder.samples
    looks, light = _look_at_all(folder, workers)
    groups = duplicate_groups(samples, looks)
    copies = [_copies(samples.iloc[list(rows)]) for rows in members(groups)]
    copies.sort(key=lambda g: (len(g.splits) == 1, len(g.labels) == 1, -len(g.paths), g.paths[0]))
    named = samples.assign(split=samples["split"].replace("", "all"))
    order = [part for part in ("train", "all", "val", "test") if (named["split"] == part).any()]
    counts = pd.crosstab(named["label"], named["split"]).reindex(
        index=list(folder.classes), columns=order, fill_value=0
    )
    width, height = (int(samples[side].median()) for side in ("width", "height"))
    odd = pd.DataFrame(sorted(_odd(samples, light)), columns=["path", "label", "problem", "detail"])
    return Inspection(
        folder.root, counts, (width, height), folder.skipped, folder.empty_classes, copies, odd
    )


def _copies(rows: pd.DataFrame) -> Copies:
    return Copies(
        paths=rows["path"].tolist(),
        exact=rows["sha256"].nunique() == 1,
        splits=sorted(set(rows["split"]) - {""}),
        labels=sorted(set(rows["label"])),
    )


def _one(what: str) -> str:
    """The same words for a single thing."""
    singular = {"pictures LEAK": "picture LEAKS", "pictures lie": "picture lies"}
    plural = next((words for words in singular if what.startswith(words)), None)
    if plural:
        return what.replace(plural, singular[plural], 1)
    return what.replace("copies", "copy", 1).replace("files", "file").replace("images", "image")


def _look_at_all(folder: ImageFolder, workers: int | None) -> tuple[Looks, pd.DataFrame]:
    """Thumbnails, and a table of low, high, contrast (grey, 0-255) and sharpness; NaN where a
    picture cannot be read any more."""
    samples = folder.samples
    paths = samples["path"].tolist()
    grey = np.zeros((len(paths), SIDE, SIDE), np.uint8)
    colour = np.zeros((len(paths), COLOURS, COLOURS, 3), np.uint8)
    light = np.full((len(paths), 4), np.nan)
    threads = cv2.getNumThreads()

    def fill(start: int) -> None:
        for place in range(start, min(start + _CHUNK, len(paths))):
            try:
                picture = read_image(folder.root / paths[place], SEEN)
            except DataError:
                continue
            grey[place], colour[place] = look(picture)
            light[place] = _light(picture)

    cv2.setNumThreads(1)  # OpenCV's own threads would compete with these
    try:
        with progress_bar() as bar:
            task = bar.add_task("Inspecting images", total=len(paths))
            for _ in ordered_map(fill, range(0, len(paths), _CHUNK), workers):
                bar.advance(task, _CHUNK)
    finally:
        cv2.setNumThreads(threads)
    side = samples[["width", "height"]].min(axis=1).to_numpy(dtype=np.int64)
    columns = ["low", "high", "contrast", "sharpness"]
    return Looks(grey, colour, side), pd.DataFrame(light, samples.index, columns)


def _light(picture: NDArray[np.uint8]) -> tuple[float, float, float, float]:
    """The darkest and brightest hundredth, the contrast, and the sharpness of one picture.

    Sharpness is the energy of the Laplacian [Pech-Pacheco et al. 2000] over that of the picture, so
    that little contrast alone does not look like blur.
    """
    scale = SEEN / min(picture.shape[:2])
    if scale < 1:
        height, width = (max(1, round(side * scale)) for side in picture.shape[:2])
        picture = cv2.resize(picture, (width, height), interpolation=cv2.INTER_AREA)  # type: ignore[assignment]
    grey = cv2.cvtColor(picture, cv2.COLOR_RGB2GRAY)
    share = np.cumsum(cv2.calcHist([grey], [0], None, [256], [0, 256]).ravel()) / grey.size
    low, high = np.searchsorted(share, [0.01, 0.99])
    contrast = float(grey.std())
    sharpness = float(cv2.Laplacian(grey, cv2.CV_32F).var()) / max(contrast**2, 1.0)
    return float(low), float(high), contrast, sharpness


def _odd(samples: pd.DataFrame, light: pd.DataFrame) -> Iterator[tuple[Any, ...]]:
    """Rows of the table `odd`."""
    short = samples[["width", "height"]].min(axis=1)
    shape = pd.Series(np.log(samples["width"] / samples["height"]))
    blank = light["contrast"] < BLANK
    dark = ~blank & (light["high"] < DARK)
    bright = ~blank & (light["low"] > BRIGHT)
    sharpness = pd.Series(np.log(light["sharpness"].clip(lower=1e-6)))
    middle = sharpness.median()
    # 1.4826 times the median absolute deviation estimates the standard deviation.
    spread = 1.4826 * (sharpness - middle).abs().median()
    least = min(middle - BLUR_DEVIATIONS * spread, middle + np.log(BLUR_SHARE))
    usual = np.exp(shape.median())
    most = "about square" if 0.95 < usual < 1.05 else f"{usual:.2g} times as wide as tall"
    odd = (shape - shape.median()).abs() > np.log(ODD)
    for problem, rows, detail in (
        ("blank", blank, "shows one tone"),
        ("dark", dark, "hardly anything in it is lit"),
        ("bright", bright, "hardly anything in it is dark"),
        ("blurred", ~blank & ~dark & (sharpness < least), "far less sharp than the others"),
        ("tiny", short < TINY * short.median(), ""),
        ("shape", odd & (shape.abs() > np.log(ODD)), ""),
    ):
        for row in samples[rows.to_numpy()].itertuples():
            size = f"{row.width} x {row.height} pixels"
            if problem == "tiny":
                detail = f"{size}, most are {short.median():.0f} or more on the short side"
            elif problem == "shape":
                detail = f"{size}, most are {most}"
            yield row.path, row.label, problem, detail


def summary(found: Inspection, examples: int = 3) -> str:
    """What the terminal shows: a line for each kind of finding, the most serious first."""
    per_class = found.counts.sum(axis=1)
    lines = [
        f"{per_class.sum()} images of {len(per_class)} classes ({per_class.min()} to "
        f"{per_class.max()} each), typically {found.size[0]} x {found.size[1]} pixels"
    ]

    def tell(what: str, items: list[str]) -> None:
        if items:
            lines.append(f"{len(items)} {what}" if len(items) > 1 else f"1 {_one(what)}")
            lines.extend(f"  {item}" for item in items[:examples])
            if len(items) > examples:
                lines.append(f"  and {len(items) - examples} more")

    def name(group: Copies) -> str:
        more = f" and {len(group.paths) - 2} more" if len(group.paths) > 2 else ""
        return f"{group.paths[0]} = {group.paths[1]}{more}"

    tell(
        "pictures LEAK across splits: what is tested was seen in training",
        [f"{name(group)} ({', '.join(group.splits)})" for group in found.leaks],
    )
    tell(
        "pictures lie in several classes: all but one label are wrong",
        [f"{name(group)} ({', '.join(group.labels)})" for group in found.contradictions],
    )
    rest = [group for group in found.copies if len(group.splits) < 2 and len(group.labels) < 2]
    tell("exact copies within a class", [name(group) for group in rest if group.exact])
    tell("near copies within a class", [name(group) for group in rest if not group.exact])
    tell("files skipped", [f"{row.path}: {row.reason}" for row in found.skipped.itertuples()])
    for problem, rows in found.odd.groupby("problem", sort=True):
        what = {"shape": "of odd shape"}.get(str(problem), str(problem))
        tell(f"images {what}", [f"{row.path}: {row.detail}" for row in rows.itertuples()])
    if found.empty_classes:
        lines.append(f"empty classes: {', '.join(found.empty_classes)}")
    if found.uneven:
        lines.append(found.uneven)
    if len(lines) == 1:
        lines.append("nothing to mend")
    return "\n".join(map(printable, lines))
