"""What training minimises, and what an image of each class counts in it."""

from __future__ import annotations

import keras
import numpy as np
import pandas as pd

from tlkit.errors import DataError
from tlkit.foreign_text import from_cell
from tlkit.recipe import TrainConfig


def make_loss(config: TrainConfig, multi_label: bool = False) -> keras.losses.Loss:
    """Cross-entropy, or focal loss (Lin et al. 2017), on class probabilities.

    Args:
        config: its label smoothing and focal gamma.
        multi_label: whether every class is a question of its own.
    """
    smoothing = config.label_smoothing or 0.0
    if multi_label:
        if config.focal_gamma is None:
            return keras.losses.BinaryCrossentropy(label_smoothing=smoothing)
        return keras.losses.BinaryFocalCrossentropy(
            gamma=config.focal_gamma, label_smoothing=smoothing
        )
    if config.focal_gamma is None:
        return keras.losses.CategoricalCrossentropy(label_smoothing=smoothing)
    # alpha would weigh all classes alike: that is for class weights to say.
    return keras.losses.CategoricalFocalCrossentropy(
        alpha=1.0, gamma=config.focal_gamma, label_smoothing=smoothing
    )


def make_metric(multi_label: bool = False) -> keras.metrics.Metric:
    """The accuracy of an epoch: of images, or of each class on its own."""
    kind = keras.metrics.BinaryAccuracy if multi_label else keras.metrics.CategoricalAccuracy
    return kind(name="accuracy")


def penalise_kernels(model: keras.Model, l2: float) -> None:
    """Add `l2 * sum(kernel ** 2)` of every kernel that trains to the model's loss.

    The penalty hangs on the variable, so that no layer needs to be built for it, and the saved
    model knows nothing of it.
    """
    for weight in model.trainable_weights:
        if weight.name.endswith("kernel"):
            weight.regularizer = keras.regularizers.L2(l2)


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
