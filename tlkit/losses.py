"""What training minimises, and what an image of each class counts in it."""

from __future__ import annotations

import numpy as np
import pandas as pd

from tlkit.errors import DataError
from tlkit.foreign_text import from_cell


def class_weights(
    setting: str, classes: tuple[str, ...], labels: np.ndarray
) -> dict[int, float] | None:
    """Class index to weight: None, inverse frequency ("auto"), or from a CSV file with
    class,weight.

    Raises:
        DataError: the file cannot be read, or does not give every class a positive weight.
    """
    if setting == "none":
        return None
    if setting == "auto":
        from sklearn.utils.class_weight import compute_class_weight

        present = np.unique(labels)
        return dict(
            zip(
                present.tolist(),
                compute_class_weight("balanced", classes=present, y=labels).tolist(),
                strict=True,
            )
        )
    try:
        table = (
            pd.read_csv(setting, dtype={"class": str}, keep_default_na=False)
            .set_index("class")["weight"]
            .astype(float)
            .rename(from_cell)
        )
    except (OSError, KeyError, ValueError) as error:
        raise DataError(
            f"Cannot read class weights from {setting}: {error}. It needs the columns class,weight."
        ) from None
    if twice := table.index[table.index.duplicated()].tolist():
        raise DataError(f"{setting} has two rows for {twice[0]!r}; keep one.")
    missing = [name for name in classes if not 0 < table.get(name, 0) < np.inf]
    if missing:
        raise DataError(
            f"{setting} gives no positive weight for {missing[0]!r}; every class needs one."
        )
    return {index: float(table[name]) for index, name in enumerate(classes)}
