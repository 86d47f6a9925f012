"""From a classifier to the predictions table: one row per image."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from tlkit.classifier import Classifier
from tlkit.data.images import read_image
from tlkit.data.loader import Datasets, ImageBatches, original_data_error
from tlkit.evaluation.answers import Answer
from tlkit.evaluation.predictions_table import predictions_table
from tlkit.evaluation.temperature import Temperature, fit_temperature
from tlkit.features import FrozenFeatures
from tlkit.interrupts import at_safe_points
from tlkit.memory import with_smaller_batches


def predict(
    features: FrozenFeatures, datasets: Datasets, parts: Sequence[ImageBatches] = ()
) -> pd.DataFrame:
    """The predictions for every image of every split, each under the evaluation transform.

    Args:
        features: of the classifier and the same datasets.
        datasets: training, validation and test images.
        parts: of the datasets, if not all are wanted.

    Returns:
        Columns path, split, label, predicted, confidence, loss, p_<class>...; rows in the order of
        split.csv.
    """
    tables = []
    for part in parts or datasets.parts():
        model, batches = features.for_prediction(part)
        with original_data_error(batches):
            probabilities = model.predict(batches, verbose=0)[: len(part.samples)]
        classes, several = features.classifier.classes, features.classifier.multi_label
        tables.append(predictions_table(part.samples, probabilities, classes, several))
    return pd.concat(tables).sort_index()


def predict_calibrated(
    features: FrozenFeatures,
    datasets: Datasets,
    devices: int = 1,
    parts: Sequence[ImageBatches] = (),
) -> tuple[pd.DataFrame, Temperature]:
    """The predictions at the temperature that fits the validation images.

    Args:
        features, datasets, parts: as for `predict`.
        devices: how many share a batch; batches are halved while their memory is too small.

    Returns:
        The table of `predict`, calibrated, and what calibrated it.

    Raises:
        DeviceError: the memory is too small for any batch.
    """
    with at_safe_points():
        table = with_smaller_batches(datasets, devices, lambda: predict(features, datasets, parts))
    classes, several = features.classifier.classes, features.classifier.multi_label
    calibration = fit_temperature(table, classes, several)
    return calibration.apply(table, classes, several), calibration


def answer_picture(classifier: Classifier, data: bytes) -> tuple[Answer, NDArray[np.uint8]]:
    """Classify one picture that is in memory.

    Args:
        classifier: a loaded classifier.
        data: the bytes of an image file.

    Returns:
        The answer, with an empty path, and the picture as the network takes it: uint8, (size,
        size, 3).

    Raises:
        DataError: it cannot be read; the message is the reason.
    """
    seen = classifier.view(read_image(data, classifier.view.at_least))
    return Answer("", classifier.answer(seen[None])[0]), seen
