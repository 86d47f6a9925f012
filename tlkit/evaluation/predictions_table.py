"""The table of predictions.csv, from images and their probabilities. No network here."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd


def predictions_table(
    samples: pd.DataFrame, probabilities: np.ndarray, classes: Sequence[str]
) -> pd.DataFrame:
    """Join images with their probabilities.

    Args:
        samples: columns path, split, label.
        probabilities: float32, (images, classes).
        classes: in the order of the probabilities' columns.

    Returns:
        The table of predictions.csv, with the index of `samples`; loss is -ln of the label's
        probability.
    """
    index = {name: i for i, name in enumerate(classes)}
    truth = samples["label"].map(index).to_numpy()
    winner = probabilities.argmax(axis=1)
    rows = np.arange(len(samples))
    # The smallest float32 keeps the loss of a probability that underflowed to zero finite.
    loss = -np.log(
        np.maximum(probabilities[rows, truth].astype(np.float64), np.finfo(np.float32).tiny)
    )
    table = pd.DataFrame(
        {
            "path": samples["path"],
            "split": samples["split"],
            "label": samples["label"],
            "predicted": np.asarray(classes, dtype=object)[winner],
            "confidence": probabilities[rows, winner],
            "loss": loss,
        },
        index=samples.index,
    )
    columns = pd.DataFrame(
        probabilities, columns=[f"p_{name}" for name in classes], index=samples.index
    )
    return pd.concat([table, columns], axis=1)
