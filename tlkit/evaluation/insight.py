"""What the kept features say about the data: doubtful labels, whether more would help, trivial
rules. Everything here is decided before the classifier is trained and changes nothing in it."""

from __future__ import annotations

import logging
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from tlkit.data.fixes import read_fixes
from tlkit.data.folder import ImageFolder
from tlkit.data.loader import Datasets
from tlkit.evaluation import audit
from tlkit.evaluation.baselines import baselines
from tlkit.evaluation.curve import data_curve
from tlkit.evaluation.probe import LOGISTIC, directions, head_for, out_of_fold
from tlkit.features import FrozenFeatures
from tlkit.labels import multi_hot
from tlkit.recipe import Recipe

log = logging.getLogger(__name__)


def insight(
    features: FrozenFeatures, datasets: Datasets, folder: ImageFolder, recipe: Recipe
) -> dict[str, Any]:
    """The keys audit, curve and baselines of metrics.json; empty where no features are kept.

    Where an image may show several classes, the audit judges each of its classes and there are no
    baselines.

    Args:
        features: of a classifier whose backbone is still frozen.
        datasets: training, validation and test images.
        folder: where they come from.
        recipe: its seed draws, its fixes say whose label someone has confirmed.
    """
    seed, workers = recipe.seed, recipe.workers
    fixes = read_fixes(recipe.data.fixes) if recipe.data.fixes else []
    reviewed = {fix.path for fix in fixes if fix.action in ("keep", "relabel")}
    parts = datasets.parts()
    kept = [features.kept(part) for part in parts]
    found = [rows for rows in kept if rows is not None]
    if len(found) < len(parts):
        log.info("no label audit, data curve and baselines: they need a frozen backbone's features")
        return {}
    samples = pd.concat([part.samples for part in parts])
    facts = folder.samples.set_index("path")[["width", "height", "format"]]
    samples = samples[["path", "label", "split"]].join(facts, on="path")
    labels = _numbers(samples["label"], folder)
    rows = directions(found, seed)
    split = samples["split"].to_numpy(dtype=str)
    places = np.arange(len(samples), dtype=np.int64)
    is_test, train, held_out = split == "test", places[split == "train"], places[split != "train"]
    judged = samples[~is_test]
    p = out_of_fold(rows[~is_test], labels[~is_test], len(folder.classes), seed=seed)
    curve = data_curve(rows, labels, train, held_out, len(folder.classes), seed)
    if folder.multi_label:
        table = audit.doubtful_decisions(judged, labels[~is_test], p, folder.classes)
        return {"audit": audit.facts(table, len(judged)) | {"decisions": p.size}, "curve": curve}
    table = audit.doubtful(judged, p, folder.classes)
    head = head_for(len(judged), labels[~is_test])
    return {
        "audit": audit.facts(table, len(judged), reviewed)
        | ({} if head == LOGISTIC else {"head": head}),
        "curve": curve,
        "baselines": baselines(rows, samples, labels, train, held_out, folder.root, seed, workers),
    }


def _numbers(cells: pd.Series, folder: ImageFolder) -> NDArray[np.int64]:
    """The class number of each image; of several labels (images, classes), 1 where it has one."""
    if folder.multi_label:
        return multi_hot(cells, folder.classes).astype(np.int64)
    place = {name: i for i, name in enumerate(folder.classes)}
    return np.array([place[name] for name in cells], dtype=np.int64)
