"""From a classifier to the predictions table: one row per image."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from functools import partial
from itertools import chain, cycle, islice
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from tlkit.classifier import Classifier
from tlkit.data.images import read_image
from tlkit.data.loader import Datasets, ImageBatches, original_data_error
from tlkit.data.stream import stream_images
from tlkit.data.transforms import Evaluation, TestTimeViews
from tlkit.engines import WORTH, Engines, Run
from tlkit.errors import DataError
from tlkit.evaluation.answers import Answer
from tlkit.evaluation.predictions_table import predictions_table
from tlkit.features import SAMPLE, FrozenFeatures


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
    transform = Evaluation(classifier.size, classifier.resize, classifier.row.preprocess.crop)
    seen = transform(read_image(data, transform.at_least))
    return Answer("", _plain(classifier)(seen[None])[0]), seen


def _plain(classifier: Classifier) -> Run:
    return lambda batch: np.asarray(classifier.model.predict_on_batch(batch.astype(np.float32)))


class Warming:
    """A classifier's forward pass: Keras for a few images, OpenVINO for many.

    Args:
        classifier: a loaded classifier.

    Attributes:
        expected: images there will be at least, as far as is known; those that have been count.
    """

    def __init__(self, classifier: Classifier):
        self.classifier, self.expected = classifier, 0
        self._seen, self._warm = 0, False
        self._run = _plain(classifier)

    def __call__(self, batch: NDArray[np.uint8]) -> NDArray[np.float32]:
        """Probabilities of a batch of pictures, (pictures, classes)."""
        self._seen += len(batch)
        self.expected = max(self.expected, self._seen)
        if self.expected >= WORTH and not self._warm:  # what OpenVINO costs it saves later
            sample = partial(np.copy, batch[:SAMPLE])
            self._run = Engines(self.classifier.model, sample, WORTH).fastest(True)
            self._warm = True
        return self._run(batch)


def answer_files(
    engine: Warming,
    paths: Iterable[Path],
    batch_size: int = 32,
    workers: int | None = None,
    views: int = 1,
) -> Iterator[Answer]:
    """Classify files as they come: a few batches are in memory, whatever their number.

    Args:
        engine: of a loaded classifier; it can go on with more files afterwards.
        paths: any number of files.
        batch_size: pictures per forward pass.
        workers: threads that decode; the number of processors when None.
        views: of each image, whose probabilities are averaged (`TestTimeViews`).

    Yields:
        An answer per file, in order; one that cannot be read has an error.
    """
    classifier = engine.classifier
    crop = classifier.row.preprocess.crop
    transform = TestTimeViews(views, classifier.size, classifier.resize, crop)
    paths = iter(paths)
    first = list(islice(paths, WORTH))
    engine.expected = max(engine.expected, views * len(first))
    under_way: deque[Path] = deque()
    errors: dict[int, str] = {}

    def noted() -> Iterator[Path]:
        for path in chain(first, paths):
            under_way.append(path)
            for _ in range(views):
                yield path

    def note(number: int, error: DataError) -> None:
        errors[number // views] = str(error)

    batch_size = max(1, batch_size // views) * views  # an image's views stay together
    images = stream_images(noted(), transform, cycle(range(views)), batch_size, workers, note)
    for start, batch in images:
        first, end = start // views, (start + len(batch)) // views
        bad = [errors.pop(number, None) for number in range(first, end)]
        good = any(error is None for error in bad)
        p = engine(batch) if good else np.zeros((len(batch), len(classifier.classes)), np.float32)
        for error, seen in zip(bad, p.reshape(len(bad), views, -1), strict=True):
            path = under_way.popleft()
            if error is None:
                yield Answer(str(path), seen.mean(axis=0))
            else:
                yield Answer(str(path), None, error.removeprefix(f"{path}: "))


def averaged(parts: Sequence[Iterator[Answer]], shares: Sequence[float]) -> Iterator[Answer]:
    """The answers of several classifiers to the same files as one.

    Args:
        parts: the answers of each, in the same order.
        shares: of each classifier in the mean of the probabilities; they sum to 1.
    """
    for answers in zip(*parts, strict=True):
        first = answers[0]
        if first.probabilities is None or len(answers) == 1:
            yield first
        else:
            said = np.stack([answer.probabilities for answer in answers])
            yield Answer(first.path, np.average(said, axis=0, weights=shares).astype(np.float32))
