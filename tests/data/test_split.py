from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pandas as pd
import pytest
from pictures import fill
from sklearn.model_selection import train_test_split

from tlkit.data.folder import ImageFolder
from tlkit.data.split import split_samples
from tlkit.errors import DataError, RecipeError
from tlkit.recipe import DataConfig


def samples(counts: dict[str, int], split: str = "", start: int = 0) -> pd.DataFrame:
    """A folder's table without the folder: one distinct image per row."""
    labels = [label for label, count in counts.items() for _ in range(count)]
    numbers = range(start, start + len(labels))
    return pd.DataFrame(
        {
            "path": [f"{label}/{n:05}.jpg" for label, n in zip(labels, numbers, strict=True)],
            "label": labels,
            "split": split,
            "sha256": [f"{n * 2654435761 % 2**32:064x}" for n in numbers],
        }
    )


def split(table: pd.DataFrame, seed: int = 0, groups: Any = None, **config: float) -> pd.DataFrame:
    folder = cast(ImageFolder, SimpleNamespace(samples=table, multi_label=False))
    return split_samples(folder, DataConfig(**config), seed, groups)


def counts(table: pd.DataFrame) -> dict[str, int]:
    return table["split"].value_counts().to_dict()


def test_the_table(tmp_path: Path) -> None:
    folder = ImageFolder(fill(tmp_path, {"cat": 4, "dog": 6}))
    table = split_samples(folder, DataConfig(val_split=0.2), seed=0)
    assert list(table) == ["path", "label", "split", "sha256"]
    pd.testing.assert_frame_equal(
        table.drop(columns="split"), folder.samples[["path", "label", "sha256"]]
    )
    assert counts(table) == {"train": 8, "val": 2}


@pytest.mark.parametrize("share", [0.05, 0.1, 0.2, 0.35])
def test_without_copies_it_is_scikit_learns_stratified_draw(share: float) -> None:
    table = samples({"a": 90, "b": 37, "c": 61})
    ordered = table.sort_values("sha256")
    _, held = train_test_split(ordered, test_size=share, stratify=ordered["label"], random_state=5)
    ours = split(table, seed=5, val_split=share)
    assert set(ours.index[ours["split"] == "val"]) == set(held.index)


def test_it_depends_on_seed_and_contents_alone() -> None:
    table = samples({"a": 50, "b": 50})
    first = split(table, val_split=0.2).set_index("sha256")["split"]
    shuffled = table.sample(frac=1, random_state=1)
    shuffled["path"] = [f"other/{n}.png" for n in range(len(table))]
    again = split(shuffled, val_split=0.2).set_index("sha256")["split"]
    pd.testing.assert_series_equal(first, again.loc[first.index])
    assert not split(table, seed=1, val_split=0.2)["split"].equals(
        split(table, val_split=0.2)["split"]
    )


def test_given_sets_are_kept() -> None:
    table = pd.concat(
        [
            samples({"a": 20, "b": 20}, "train"),
            samples({"a": 3}, "val", start=100),
            samples({"b": 4}, "test", start=200),
        ],
        ignore_index=True,
    )
    kept = split(table, val_split=0.5, test_split=0.3)
    assert kept["split"].equals(table["split"])
    no_val = split(table[table["split"] != "val"], val_split=0.1)
    assert counts(no_val) == {"train": 36, "val": 4, "test": 4}
    assert (no_val.loc[no_val["split"] == "test", "label"] == "b").all()


def test_validation_and_test_are_shares_of_the_whole() -> None:
    table = split(samples({"a": 60, "b": 40}), val_split=0.2, test_split=0.1)
    assert counts(table) == {"train": 70, "val": 20, "test": 10}
    assert counts(split(samples({"a": 60, "b": 40}), val_split=0.0)) == {"train": 100}


def test_rare_classes_are_on_every_side() -> None:
    rare = {"common": 300, **{f"rare{n}": 3 for n in range(20)}}
    table = split(samples(rare), val_split=0.05, test_split=0.05)
    assert (pd.crosstab(table["label"], table["split"]) >= 1).all(axis=None)
    many = split(samples({f"c{n:04}": 3 for n in range(2000)}), val_split=0.1)
    assert counts(many) == {"train": 4000, "val": 2000}
    two = split(samples({"a": 2, "b": 2}), val_split=0.9)
    assert counts(two) == {"train": 2, "val": 2}


def test_a_class_with_too_few_images_is_named() -> None:
    message = "class 'fox' has 1 image and needs 2, one each for train, val: .*--val-split 0"
    with pytest.raises(DataError, match=message):
        split(samples({"cat": 9, "fox": 1}), val_split=0.2)
    with pytest.raises(DataError, match="class 'fox' has 2 images and needs 3"):
        split(samples({"cat": 9, "fox": 2}), val_split=0.2, test_split=0.1)
    with pytest.raises(
        DataError, match=r"class 'ant' has 1 .*\(too few as well: 'bee', 'fox'\): add"
    ):
        split(samples({"ant": 1, "bee": 1, "cat": 9, "fox": 1}), val_split=0.2)
    assert counts(split(samples({"cat": 9, "fox": 1}), val_split=0.0)) == {"train": 10}
    table = samples({"cat": 9, "fox": 3})
    table.loc[9:, "sha256"] = "f" * 64
    with pytest.raises(DataError, match=r"'fox' has 3 images that show 1 \(the rest are copies\)"):
        split(table, val_split=0.2)


def test_shares_that_leave_nothing() -> None:
    with pytest.raises(RecipeError, match="leave nothing to train on"):
        split(samples({"a": 9, "b": 9}), val_split=0.5, test_split=0.5)


def test_copies_stay_on_one_side(tmp_path: Path) -> None:
    fill(tmp_path, {"cat": 20, "dog": 20})
    for number in range(6):
        for name in ("cat/copy", "cat/again"):
            (tmp_path / f"{name}{number}.jpg").write_bytes(
                (tmp_path / f"cat/{number:03}.jpg").read_bytes()
            )
    for seed in range(10):
        table = split_samples(ImageFolder(tmp_path), DataConfig(val_split=0.25), seed)
        assert (table.groupby("sha256")["split"].nunique() == 1).all()
        assert abs(counts(table)["val"] - 13) <= 1


def test_groups_stay_on_one_side_and_the_size_is_kept() -> None:
    table = samples({"a": 60, "b": 60})
    groups = pd.Series([f"g{n // 4}" if n < 40 else f"s{n}" for n in range(120)], index=table.index)
    for seed in range(10):
        drawn = split(table, seed=seed, groups=groups, val_split=0.2)
        assert (drawn["split"].groupby(groups).nunique() == 1).all()
        assert counts(drawn)["val"] == 24
        assert drawn.groupby(["label", "split"]).size()["a", "val"] == 12
    sides = [split(table, seed=s, groups=groups, val_split=0.2)["split"][0] for s in range(30)]
    assert {"train", "val"} == set(sides)  # a group is not bound to one side


def test_a_class_made_of_another_classs_copies() -> None:
    table = samples({"cat": 100, "dog": 2})
    table.loc[100:, "sha256"] = table.loc[[3, 4], "sha256"].to_list()
    with pytest.raises(
        DataError, match=r"No image of the class 'dog' is left for (train|val): its"
    ):
        split(table, val_split=0.05)


def test_the_documents_own_split(cats_dogs: Path) -> None:
    table = split_samples(ImageFolder(cats_dogs), DataConfig(val_split=0.1), seed=0)
    assert counts(table) == {"train": 476, "val": 53, "test": 12}
    held = table[table["split"] == "val"]["label"].value_counts()
    assert held.to_dict() == {"Cat": 27, "Dog": 26}
