"""From a classifier to the predictions table: one row per image."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator
from functools import partial
from itertools import repeat
from pathlib import Path

import numpy as np
import pandas as pd

from tlkit.classifier import Classifier
from tlkit.data.loader import Datasets, ImageBatches, original_data_error
from tlkit.data.stream import stream_images
from tlkit.data.transforms import Evaluation
from tlkit.engines import WORTH, Engines, Run
from tlkit.errors import DataError
from tlkit.evaluation.answers import Answer
from tlkit.evaluation.predictions_table import predictions_table
from tlkit.features import FrozenFeatures


def predict(features: FrozenFeatures, datasets: Datasets) -> pd.DataFrame:
    """The predictions for every image of every split, each under the evaluation transform.

    Returns:
        Columns path, split, label, predicted, confidence, loss, p_<class>...; rows in the order of
        split.csv.
    """
    parts = [
        part for part in (datasets.train_eval, datasets.val, datasets.test) if part is not None
    ]
    tables = []
    for part in parts:
        model, batches = features.for_prediction(part)
        with original_data_error(batches):
            probabilities = model.predict(batches, verbose=0)[: len(part.samples)]
        tables.append(predictions_table(part.samples, probabilities, features.classifier.classes))
    return pd.concat(tables).sort_index()


def predict_images(classifier: Classifier, images: ImageBatches) -> pd.DataFrame:
    """The predictions for one table of images, by the whole model; columns as for `predict`."""
    with original_data_error(images):
        probabilities = classifier.model.predict(images, verbose=0)
    return predictions_table(images.samples, probabilities, classifier.classes)


def _plain(classifier: Classifier) -> Run:
    return lambda batch: np.asarray(classifier.model.predict_on_batch(batch.astype(np.float32)))


def answer_files(
    classifier: Classifier,
    paths: Iterable[Path],
    batch_size: int = 32,
    workers: int | None = None,
) -> Iterator[Answer]:
    """Classify files as they come: a few batches are in memory, whatever their number.

    Args:
        classifier: a loaded classifier.
        paths: any number of files.
        batch_size: images per forward pass.
        workers: threads that decode; the number of processors when None.

    Yields:
        An answer per file, in order; one that cannot be read has an error.
    """
    crop = classifier.row.preprocess.crop
    transform = Evaluation(classifier.size, classifier.resize, crop)
    under_way: deque[Path] = deque()
    errors: dict[int, str] = {}

    def noted() -> Iterator[Path]:
        for path in paths:
            under_way.append(path)
            yield path

    def note(number: int, error: DataError) -> None:
        errors[number] = str(error)

    images = stream_images(noted(), transform, repeat(0), batch_size, workers, note)
    run = _plain(classifier)
    for start, batch in images:
        if start + len(batch) >= WORTH > start:  # there are many: what OpenVINO costs it now saves
            sample = batch[:8]
            run = Engines(classifier.model, partial(np.copy, sample), WORTH).fastest(True)
        bad = [errors.pop(number, None) for number in range(start, start + len(batch))]
        good = any(error is None for error in bad)
        p = run(batch) if good else batch
        for error, probabilities in zip(bad, p, strict=True):
            path = under_way.popleft()
            if error is None:
                yield Answer(str(path), probabilities)
            else:
                yield Answer(str(path), None, error.removeprefix(f"{path}: "))
