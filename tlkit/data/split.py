"""Train, validation and test: stratified, seeded, and never a copy of one image on both sides."""

from __future__ import annotations

import math

import numpy as np
import pandas as pd

from tlkit.data.folder import ImageFolder, few
from tlkit.errors import DataError, RecipeError
from tlkit.labels import strata
from tlkit.recipe import DataConfig


def split_samples(
    folder: ImageFolder, config: DataConfig, seed: int, groups: pd.Series | None = None
) -> pd.DataFrame:
    """Give every image its split.

    What the folder says is kept; a validation (test) set is drawn from the training images where
    it has none and `val_split` (`test_split`) is not 0. A share is rounded up, as scikit-learn
    does, and each class gets at least one image on every side. The draw depends on the images'
    contents and the seed, not on names, order or machine.

    Args:
        folder: the scanned images.
        config: val_split and test_split, shares of the images that are not given to val or test.
        seed: of the draw.
        groups: a group for each row of `folder.samples` (same index); images of one group stay
            together. Files with equal bytes when None.

    Returns:
        Columns path, label, split ("train", "val", "test"), sha256; rows as in `folder.samples`.

    Raises:
        DataError: a class has too few images to be on every side; the message says how many it
            needs.
        RecipeError: the shares leave nothing to train on.
    """
    table = folder.samples[["path", "label", "split", "sha256"]].copy()
    table["group"] = table["sha256"] if groups is None else groups
    given = set(table["split"])
    labels = table["label"]
    table["split"] = table["split"].replace("", "train")
    wanted = {"test": config.test_split, "val": config.val_split}
    shares = {part: share for part, share in wanted.items() if share and part not in given}

    if sum(shares.values()) >= 1:
        raise RecipeError(
            f"val_split {config.val_split:g} and test_split {config.test_split:g} leave nothing to"
            " train on; their sum must be below 1."
        )

    sides = ["train", *shares]
    if folder.multi_label:
        table["label"] = strata(labels, table["group"], len(sides))
    rows = table[table["split"] == "train"].sort_values(["sha256", "path"])
    _refuse_small_classes(rows, sides)
    counts = {part: math.ceil(len(rows) * share) for part, share in shares.items()}
    for done, (part, count) in enumerate(counts.items(), start=1):
        held = _hold_out(rows, count, seed, keep=len(sides) - done)
        table.loc[held, "split"] = part
        rows = rows.drop(held)
    _refuse_empty_sides(table, sides)
    table["label"] = labels
    return table[["path", "label", "split", "sha256"]]


def _hold_out(rows: pd.DataFrame, count: int, seed: int, keep: int) -> pd.Index:
    """Draw about `count` rows, stratified by label; exactly as many unless groups are in the way.

    scikit-learn draws single images. Its draw gives each class its number and the order in which
    groups are taken, whole, until the number is reached; with groups of one it is the draw itself.

    Args:
        rows: columns label, group.
        count: rows to draw; at least one per class is.
        seed: of the draw.
        keep: groups of each class that must remain.

    Returns:
        The index of the drawn rows.
    """
    from sklearn.model_selection import StratifiedShuffleSplit

    labels = rows["label"].astype("category")
    classes = len(labels.cat.categories)
    count = min(max(count, classes), len(rows) - keep * classes)
    draw = StratifiedShuffleSplit(n_splits=1, test_size=count, random_state=seed)
    rest, drawn = next(draw.split(np.zeros(len(rows)), labels.cat.codes))
    numbers = labels.iloc[drawn].value_counts()

    in_order = rows.iloc[np.concatenate([drawn, rest])]
    units = in_order.groupby("group", sort=False)["label"].agg(["first", "size"])
    taken: list[object] = []
    for label, own in units.groupby("first", sort=False)["size"]:
        room, spare = max(1, int(numbers[label])), len(own) - keep
        chosen: list[object] = []
        for group, size in own.items():
            if size <= room and len(chosen) < spare:
                chosen.append(group)
                room -= size
        taken += chosen or [own.idxmin()]
    return rows.index[rows["group"].isin(taken)]


def _refuse_small_classes(rows: pd.DataFrame, sides: list[str]) -> None:
    """Each class needs an image, that is a group, for each side."""
    by_class = rows.groupby("label", sort=True)["group"]
    counts = by_class.agg(["size", "nunique"])
    counts = counts[counts["nunique"] < len(sides)]
    if counts.empty:
        return
    label, (images, distinct) = next(counts.iterrows())
    has = f"{images} image{'s' * (images > 1)}"
    if distinct < images:
        has += f" that show {distinct} (the rest are copies)"
    others = tuple(repr(name) for name in counts.index[1:])
    also = f" (too few as well: {few(others)})" if others else ""
    raise DataError(
        f"The class {label!r} has {has} and needs {len(sides)}, one each for {', '.join(sides)}"
        f"{also}: add images, remove the class, or use --val-split 0."
    )


def _refuse_empty_sides(table: pd.DataFrame, sides: list[str]) -> None:
    """Groups that hold several classes can leave a class without images on a side after all."""
    found = pd.crosstab(table["label"], table["split"]).reindex(columns=sides, fill_value=0)
    for label, numbers in found.iterrows():
        for side in sides:
            if numbers[side] == 0:
                raise DataError(
                    f"No image of the class {label!r} is left for {side}: its images are copies of"
                    " another class's; remove the copies that are labelled wrong."
                )
