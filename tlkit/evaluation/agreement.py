"""Proof that predictions.csv is what model.keras says: a sample of it, through the saved file."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from tlkit.classifier import load_classifier
from tlkit.data.stream import stream_images
from tlkit.data.transforms import Evaluation

log = logging.getLogger(__name__)

SAMPLE = 8
"""Images of each split."""
PROMISED = {"train": 2e-2, "val": 1e-4, "test": 1e-4}
"""Largest difference of any probability: training images may be computed in bfloat16."""


def agreement(model_file: Path, predictions: pd.DataFrame, root: Path) -> dict[str, Any]:
    """How far the probabilities of predictions.csv are from those of the saved model.

    Args:
        model_file: model.keras, which is loaded anew.
        predictions: as in predictions.csv.
        root: folder of the images; those that are gone are left out.

    Returns:
        By split: images (how many were run) and largest_difference (of any probability).
    """
    classifier = load_classifier(model_file)
    columns = [f"p_{name}" for name in classifier.classes]
    here = predictions[[(root / path).is_file() for path in predictions["path"]]]
    if not len(here):
        return {}
    # Evenly spread over each split, so that every class has its share.
    chosen = pd.concat(
        rows.iloc[np.unique(np.linspace(0, len(rows) - 1, SAMPLE).astype(int))]
        for _, rows in here.groupby("split", sort=False)
    )
    pixels = _pixels([root / path for path in chosen["path"]], classifier.view)
    # One batch, so that Keras makes one graph.
    said = classifier.model.predict_on_batch(pixels)
    differences = pd.Series(np.abs(said - chosen[columns].to_numpy()).max(axis=1), chosen.index)
    found = {}
    for split, of_split in differences.groupby(chosen["split"], sort=False):
        largest = float(of_split.max())
        found[str(split)] = {"images": len(of_split), "largest_difference": largest}
        if largest > PROMISED[str(split)]:
            log.warning(
                "predictions of %s differ from model.keras by %.1e, more than the promised %.0e",
                split, largest, PROMISED[str(split)],
            )  # fmt: skip
    return found


def _pixels(paths: Sequence[Path], transform: Evaluation) -> np.ndarray:
    batches = [batch for _, batch in stream_images(paths, transform)]
    return np.concatenate(batches).astype(np.float32)
