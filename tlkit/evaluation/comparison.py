"""Which run is better: all runs on the same images, in pairs, and only where the data can tell.

Runs are compared on images that every run evaluated and none trained on; an image is known by its
bytes, so renamed or moved data sets still match.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from scipy.sparse import csr_array
from scipy.stats import binomtest

from tlkit.errors import DataError
from tlkit.evaluation import intervals
from tlkit.evaluation.metrics import score
from tlkit.labels import multi_hot, split_labels
from tlkit.runs import Run

# A difference that chance alone shows less often than this is called one.
SIGNIFICANCE = 0.05


@dataclass(frozen=True)
class Pair:
    """Two runs on the same images.

    Attributes:
        first, second: their names; the first is the better one on the leaderboard.
        images: images both answered.
        only_first, only_second: images that only this one got right.
        p_value: how often chance would part them at least so unevenly: McNemar's exact test on the
            images that flipped [McNemar 1947], times the number of pairs still in question [Holm
            1979].
        difference, difference_interval: accuracy of the first minus the second's, 95 % bootstrap.
        f1_difference, f1_interval: the same for macro-F1.
    """

    first: str
    second: str
    images: int
    only_first: int
    only_second: int
    p_value: float
    difference: float
    difference_interval: list[float]
    f1_difference: float
    f1_interval: list[float]

    @property
    def distinguishable(self) -> bool:
        """Whether one is better beyond chance."""
        return self.p_value < SIGNIFICANCE


@dataclass(frozen=True)
class Comparison:
    """Runs on common images.

    Attributes:
        names: of the runs, the best first.
        rows: the leaderboard: name, folder, backbone, parameters, seconds and `scores` as in
            metrics.json; in the order of `names`.
        images: one row per common image: sha256, path, label, split, and predicted / confidence of
            each run as (part, name) columns.
        pairs: every two runs, in the order of `names`.
        split: "test", or "val" where the runs share no test images.
        remarks: what was left out, and why.
        root: the folder that `images`' paths are relative to, if known.
    """

    names: list[str]
    rows: list[dict[str, Any]]
    images: pd.DataFrame
    pairs: list[Pair]
    split: str
    remarks: list[str]
    root: Path | None

    def against_best(self) -> list[Pair]:
        """The best run against each of the others."""
        return self.pairs[: len(self.names) - 1]

    def flipped(self, pair: Pair) -> tuple[pd.DataFrame, pd.DataFrame]:
        """The images that only the first, and only the second of a pair got right.

        Columns path, label, and predicted / confidence of both as first, first_confidence, second,
        second_confidence; the most confident mistakes first.
        """
        table = self.images[["path", "label"]].copy()
        for part, name in (("first", pair.first), ("second", pair.second)):
            table[part] = self.images[f"predicted {name}"]
            table[f"{part}_confidence"] = self.images[f"confidence {name}"]
        right = {part: table[part] == table["label"] for part in ("first", "second")}
        sides = []
        for winner, loser in (("first", "second"), ("second", "first")):
            rows = table[right[winner] & ~right[loser]]
            sides.append(rows.sort_values([f"{loser}_confidence", "path"], ascending=[False, True]))
        return sides[0], sides[1]


def compare_runs(folders: Sequence[Path | str]) -> Comparison:
    """Put two or more runs side by side.

    Args:
        folders: of finished runs, or of their evaluations on other images.

    Raises:
        DataError: fewer than two runs, or no image that all evaluated and none trained on.
        RunError: a folder is not a finished run.
    """
    if len({Path(folder).resolve() for folder in folders}) < max(2, len(folders)):
        raise DataError("Name two or more different runs to compare.")
    runs = [_open(folder) for folder in folders]
    named = dict(zip(_names(runs), runs, strict=True))
    remarks: list[str] = []
    tables = {name: _answers(run) for name, run in named.items()}
    split, common = _common(tables, {n: _trained_on(r) for n, r in named.items()}, remarks)
    tables = {name: table.loc[common] for name, table in tables.items()}
    classes = {name: run.metrics["classes"] for name, run in named.items()}
    several = {bool(run.metrics.get("multi_label")) for run in runs}
    if len(several) > 1:
        raise DataError("Some runs give an image one label and others several: not comparable.")
    multi_label = several.pop()
    tables = _comparable(tables, classes, remarks, multi_label)
    rows = sorted((_row(name, named[name], table) for name, table in tables.items()), key=_rank)
    names = [row["name"] for row in rows]
    first = tables[names[0]]
    images = first[["path", "label", "split"]].copy()
    for name in names:
        for part in ("predicted", "confidence"):
            images[f"{part} {name}"] = tables[name][part]
    root = named[names[0]].metrics.get("data", {}).get("root")
    pairs = _holm([_pair(images, *two, multi_label) for two in combinations(names, 2)])
    return Comparison(
        names, rows, images.reset_index(), pairs, split, remarks, Path(root) if root else None
    )


def _open(folder: Path | str) -> Run:
    """A run, or an evaluation inside one, which has no recipe of its own."""
    run = Run(folder)
    return run if _is_evaluation(run) else Run.open(folder)


def _is_evaluation(run: Run) -> bool:
    return run.folder.resolve().parent.name == "evaluations"


def _names(runs: Sequence[Run]) -> list[str]:
    """The folders' names, or as much of their paths as tells them apart."""
    paths = [run.folder.resolve().parts for run in runs]
    for length in range(1, max(map(len, paths)) + 1):
        names = ["/".join(parts[-length:]) for parts in paths]
        if len(set(names)) == len(names):
            return names
    return [str(run.folder) for run in runs]


def _answers(run: Run) -> pd.DataFrame:
    """The predictions of the images that were held out, by sha256; copies count once."""
    table = run.predictions.merge(run.split[["path", "sha256"]], on="path")
    held_out = table[table["split"] != "train"].sort_values(["sha256", "path"])
    return held_out.drop_duplicates("sha256").set_index("sha256")


def _trained_on(run: Run) -> set[str]:
    source = Run(run.folder.resolve().parent.parent) if _is_evaluation(run) else run
    split = source.split
    return set(split.loc[split["split"] == "train", "sha256"])


def _common(
    tables: dict[str, pd.DataFrame], trained: dict[str, set[str]], remarks: list[str]
) -> tuple[str, list[str]]:
    """The images to compare on, as sha256, and whether they are test or validation images."""
    held_out = {name: set(table.index) for name, table in tables.items()}
    for name, seen in trained.items():
        leaked = len(seen & set().union(*held_out.values()))
        if leaked:
            remarks.append(
                f"{_images(leaked)} held out elsewhere, but {name} learned from: left out."
            )
    if remarks:
        remarks.append("The runs split the images differently; one --seed gives them one split.")
    common = set.intersection(*held_out.values()).difference(*trained.values())
    if not common:
        raise DataError(
            "The runs share no image that all evaluated and none trained on; score them on the "
            "same images with `tlkit evaluate RUN --data DIR` and compare RUN/evaluations/DIR."
        )
    in_test = {s for s in common if all(t.at[s, "split"] == "test" for t in tables.values())}
    if in_test and in_test != common:
        remarks.append(
            f"{_images(len(common - in_test))} of validation left out: it chose when training "
            "stopped, and there is a test set."
        )
    return ("test" if in_test else "val"), sorted(in_test or common)


def _comparable(
    tables: dict[str, pd.DataFrame],
    classes: dict[str, list[str]],
    remarks: list[str],
    multi_label: bool,
) -> dict[str, pd.DataFrame]:
    """Leave out what a run cannot get right: classes it does not know, labels not agreed on."""
    labels = pd.DataFrame({name: table["label"] for name, table in tables.items()})
    agreed = labels.nunique(axis=1) == 1
    known = set.intersection(*(set(names) for names in classes.values()))
    if multi_label:
        possible = labels.map(lambda cell: set(split_labels(cell)) <= known).all(axis=1)
    else:
        possible = labels.isin(known).all(axis=1)
    for rows, why in (
        (~agreed, "labelled differently in the runs"),
        (agreed & ~possible, "of a class that not every run knows"),
    ):
        if rows.any():
            remarks.append(f"{_images(int(rows.sum()))} {why}: left out.")
    keep = agreed & possible
    if not keep.any():
        raise DataError("The runs agree on the label of no common image; there is nothing right.")
    return {name: table[keep] for name, table in tables.items()}


def _images(count: int) -> str:
    return f"{count:,} image{'s' * (count != 1)}"


def _row(name: str, run: Run, table: pd.DataFrame) -> dict[str, Any]:
    metrics = run.metrics
    several = bool(metrics.get("multi_label"))
    scores = score(table.assign(split="test"), metrics["classes"], several)["splits"]["test"]
    model = metrics.get("model", {})
    return {
        "name": name,
        "folder": str(run.folder),
        "backbone": model.get("backbone"),
        "parameters": model.get("parameters"),
        "seconds": metrics.get("timings", {}).get("train"),
        "scores": scores,
    }


def _rank(row: dict[str, Any]) -> tuple[float, float, float]:
    scores = row["scores"]
    return -scores["accuracy"], -scores["macro_f1"], scores["loss"]


def _pair(images: pd.DataFrame, first: str, second: str, multi_label: bool) -> Pair:
    answers = [images[f"predicted {name}"] for name in (first, second)]
    right = [answer == images["label"] for answer in answers]
    only_first, only_second = int((right[0] & ~right[1]).sum()), int((right[1] & ~right[0]).sum())
    flips = only_first + only_second
    # Images with the same label and the same two answers are drawn as one cell.
    said = sorted({*images["label"], *answers[0], *answers[1]})
    columns = [
        pd.Categorical(column, said).codes.astype(int) for column in (images["label"], *answers)
    ]
    cells, counts = np.unique(np.stack(columns), axis=1, return_counts=True)
    drawn = intervals.resample(counts)
    hits = [_images_in(drawn, cells[0] == answer) / len(images) for answer in cells[1:]]
    hot = _classes_of(said, multi_label)
    label, *answered = (hot[places] for places in cells)
    f1, observed = (
        [intervals.macro(intervals.class_scores(label, answer, w)[1]) for answer in answered]
        for w in (drawn, counts[None])
    )
    return Pair(
        first=first,
        second=second,
        images=len(images),
        only_first=only_first,
        only_second=only_second,
        p_value=float(binomtest(only_first, flips).pvalue) if flips else 1.0,
        difference=(only_first - only_second) / len(images),
        difference_interval=_difference_interval(hits[0] - hits[1], len(images)),
        f1_difference=float(observed[0][0] - observed[1][0]),
        f1_interval=_difference_interval(f1[0] - f1[1], len(images)),
    )


def _classes_of(said: list[str], multi_label: bool) -> csr_array:
    """1 for each class of what was said: (things said, classes)."""
    if not multi_label:
        return intervals.one_hot(np.arange(len(said)), len(said))
    return csr_array(multi_hot(said, sorted({n for cell in said for n in split_labels(cell)})))


def _images_in(drawn: np.ndarray, where: np.ndarray) -> np.ndarray:
    """How many images of each resampled data set lie in the cells `where`: (resamples,)."""
    return drawn[:, where].sum(axis=1)


def _difference_interval(samples: np.ndarray, images: int) -> list[float]:
    """The bootstrap's 95 %; where nothing flipped, as many flips as so few images could hide."""
    low, high = intervals.percentiles(samples)
    if high - low > 1e-9:
        return [low, high]
    hidden = intervals.share_interval(0.0, images)[1]
    return [low - hidden, high + hidden]


def _holm(pairs: list[Pair]) -> list[Pair]:
    """Adjust the p-values for testing many pairs at once [Holm 1979]."""
    order = np.argsort([pair.p_value for pair in pairs], kind="stable")
    adjusted = dict[int, float]()
    largest = 0.0
    for rank, index in enumerate(order):
        largest = max(largest, min(1.0, pairs[index].p_value * (len(pairs) - rank)))
        adjusted[int(index)] = largest
    return [replace(pair, p_value=adjusted[i]) for i, pair in enumerate(pairs)]
