"""Which labels are doubtful: each image judged by heads that have not seen it.

Confident learning [Northcutt, Jiang & Chuang 2021, sections 3.1 and 3.2] in the few lines that are
needed here: an image is doubtful when another class is more probable than its own and its own is
less probable than is usual in that class. It is very doubtful when, besides, the other class is at
least as probable as is usual among the images labelled so. The most doubtful come first, by the
margin between the two. Where an image may show several classes, each class of each image is such a
question of its own, with two answers: with it, or without.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

MOST_LISTED = 200


def doubtful(
    samples: pd.DataFrame, probabilities: NDArray[np.float64], classes: Sequence[str]
) -> pd.DataFrame:
    """The images whose label is doubtful, the most doubtful first.

    Args:
        samples: columns path, split, label.
        probabilities: out of fold, float64, (images, classes).
        classes: in the order of the probabilities' columns.

    Returns:
        Columns path, split, label, suggested, p_label, p_suggested, very (bool).
    """
    place = {name: i for i, name in enumerate(classes)}
    label = samples["label"].map(place).to_numpy(dtype=int)
    rows = np.arange(len(samples))
    usual = np.array(
        [
            probabilities[label == c, c].mean() if (label == c).any() else 1.0
            for c in range(len(classes))
        ]
    )
    other = probabilities.argmax(axis=1)
    own, best = probabilities[rows, label], probabilities[rows, other]
    table = pd.DataFrame(
        {
            "path": samples["path"].to_numpy(),
            "split": samples["split"].to_numpy(),
            "label": samples["label"].to_numpy(),
            "suggested": np.asarray(classes, dtype=object)[other],
            "p_label": own,
            "p_suggested": best,
            "very": best >= usual[other],
        }
    )
    table = table[(other != label) & (own < usual[label])]
    return _most_doubtful_first(table)


def doubtful_decisions(
    samples: pd.DataFrame,
    labelled: NDArray[np.int64],
    probabilities: NDArray[np.float64],
    classes: Sequence[str],
) -> pd.DataFrame:
    """The decisions that are doubtful, where an image may show several classes.

    Args:
        samples: columns path, split.
        labelled: (images, classes), 1 where an image is labelled with a class, else 0.
        probabilities: that it shows the class, out of fold, float64, (images, classes).
        classes: in the order of the columns.

    Returns:
        Columns path, split, class, labelled (bool: with the class, or without), p_label (of what
        the label says), p_suggested (of the other answer), very (bool).
    """
    answers = ("without", "with")
    tables = []
    for c, name in enumerate(classes):
        cells = samples[["path", "split"]].assign(label=np.take(answers, labelled[:, c]))
        both = np.stack([1 - probabilities[:, c], probabilities[:, c]], axis=1)
        found = doubtful(cells, both, answers)
        found.insert(2, "class", name)
        found.insert(3, "labelled", found["label"] == "with")
        tables.append(found.drop(columns=["label", "suggested"]))
    return _most_doubtful_first(pd.concat(tables, ignore_index=True))


def _most_doubtful_first(table: pd.DataFrame) -> pd.DataFrame:
    margin = table["p_suggested"] - table["p_label"]
    order = pd.DataFrame({"very": ~table["very"], "margin": -margin, "path": table["path"]})
    return table.loc[order.sort_values(["very", "margin", "path"]).index]


def facts(
    table: pd.DataFrame, images: int, reviewed: Collection[str] = (), most: int = MOST_LISTED
) -> dict[str, Any]:
    """As metrics.json holds it.

    Args:
        table: as `doubtful` or `doubtful_decisions` returns.
        images: how many were judged.
        reviewed: paths whose label someone confirmed; they are not listed again.
        most: rows that are listed; `doubtful` and `very_doubtful` count all.
    """
    table = table[~table["path"].isin(list(reviewed))]
    listed = table.head(most).round({"p_label": 4, "p_suggested": 4})
    rows = [{str(key): value for key, value in row.items()} for row in listed.to_dict("records")]
    return {
        "images": images,
        "doubtful": len(table),
        "very_doubtful": int(table["very"].sum()),
        "list": rows,
    }
