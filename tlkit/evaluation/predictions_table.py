"""The table of predictions.csv, from images and their probabilities. No network here."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd

from tlkit import labels


def predictions_table(
    samples: pd.DataFrame,
    probabilities: np.ndarray,
    classes: Sequence[str],
    multi_label: bool = False,
) -> pd.DataFrame:
    """Join images with their probabilities.

    Args:
        samples: columns path, split, label.
        probabilities: float32, (images, classes).
        classes: in the order of the probabilities' columns.
        multi_label: whether a label is a list such as `a;b`.

    Returns:
        The table of predictions.csv, with the index of `samples`; loss is -ln of the label's
        probability; with `multi_label` it and the confidence are those of all classes together.
    """
    judge = _several if multi_label else _one
    predicted, confidence, loss = judge(samples["label"], probabilities, classes)
    table = pd.DataFrame(
        {
            "path": samples["path"],
            "split": samples["split"],
            "label": samples["label"],
            "predicted": predicted,
            "confidence": confidence,
            "loss": loss,
        },
        index=samples.index,
    )
    columns = pd.DataFrame(
        probabilities, columns=[f"p_{name}" for name in classes], index=samples.index
    )
    return pd.concat([table, columns], axis=1)


def _one(
    cells: pd.Series, probabilities: np.ndarray, classes: Sequence[str]
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """What is predicted, how surely, and the loss, where an image has one label."""
    index = {name: i for i, name in enumerate(classes)}
    truth = cells.map(index).to_numpy()
    winner = probabilities.argmax(axis=1)
    rows = np.arange(len(cells))
    # The smallest float32 keeps the loss of a probability that underflowed to zero finite.
    loss = -np.log(
        np.maximum(probabilities[rows, truth].astype(np.float64), np.finfo(np.float32).tiny)
    )
    return np.asarray(classes, dtype=object)[winner], probabilities[rows, winner], loss


def _several(
    cells: pd.Series, probabilities: np.ndarray, classes: Sequence[str]
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The same where an image has any number of labels."""
    predicted = np.asarray(labels.answers(probabilities, classes), dtype=object)
    loss = labels.loss(probabilities, labels.multi_hot(cells, classes))
    return predicted, labels.confidence(probabilities), loss
