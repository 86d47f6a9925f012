"""A run's networks at work on any number of files."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from itertools import chain, cycle, islice, tee
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

import numpy as np
from numpy.typing import NDArray

from tlkit import device
from tlkit.backbones import get_backbone
from tlkit.data.stream import stream_images
from tlkit.data.transforms import TestTimeViews
from tlkit.engines import SAMPLE, WORTH, Engines, proven
from tlkit.errors import DataError
from tlkit.evaluation.answers import Answer
from tlkit.model_file import read_facts
from tlkit.recipe import Resize
from tlkit.runs import Run

if TYPE_CHECKING:
    from tlkit.classifier import Classifier


class Answering:
    """The networks behind a run: its own, or those of an ensemble's members.

    Args:
        source: a finished run, or an ensemble.
        tta: views of each image whose probabilities are averaged.

    Raises:
        RunError: a model file is missing, damaged, or none that tlkit wrote.
    """

    def __init__(self, source: Run, tta: int = 1):
        self.tta = tta
        self.shares = [share for _, share in source.members]
        self._networks = [SavedNetwork(member.network) for member, _ in source.members]
        self.classes: tuple[str, ...] = self._networks[0].classes
        self.multi_label: bool = self._networks[0].multi_label

    def __call__(self, files: Iterator[Path], workers: int | None = None) -> Iterator[Answer]:
        """An answer per file, in order; a few batches are in memory.

        Args:
            files: any number of them.
            workers: threads that decode; the number of processors when None.
        """
        # The members go hand in hand, so that a few batches wait for the others, not all files.
        parts = [
            answer_files(network, own, workers=workers, views=self.tta)
            for network, own in zip(self._networks, tee(files, len(self._networks)), strict=True)
        ]
        return averaged(parts, self.shares)


class Network(Protocol):
    """A network that answers pictures: their probabilities, and which pictures it takes."""

    classes: tuple[str, ...]
    size: int
    resize: Resize
    crop: float
    expected: int

    def __call__(self, batch: NDArray[np.uint8]) -> NDArray[np.float32]:
        """Probabilities of a batch of pictures."""
        ...


class SavedNetwork:
    """A model file's forward pass.

    Where OpenVINO has proven itself on this very file before, it answers, and neither TensorFlow
    nor Keras is imported. Otherwise Keras answers a few images; for many, OpenVINO proves itself
    and is kept for the next time.

    Args:
        model_file: a run's model.keras.

    Attributes:
        classes: names in the order of the probabilities.
        multi_label: whether each class has a probability of its own.
        size, resize, crop: which pictures it takes (`data.transforms.Evaluation`).
        expected: images there will be at least, as far as is known; those that have been count.

    Raises:
        RunError: the file is damaged, or none that tlkit wrote.
    """

    def __init__(self, model_file: Path):
        facts = read_facts(model_file)
        self.classes: tuple[str, ...] = tuple(facts["classes"])
        self.multi_label: bool = facts.get("multi_label", False)
        self.size: int = facts["img_size"]
        self.resize: Resize = facts["resize"]
        self.crop: float = get_backbone(facts["backbone"]).preprocess.crop
        self.expected = self._seen = 0
        self._file = model_file
        self._unproven: Classifier | None = None
        run = proven(model_file)
        if run is None:
            self._unproven = _loaded(model_file)
            run = self._unproven.answer
        self._run = run

    def __call__(self, batch: NDArray[np.uint8]) -> NDArray[np.float32]:
        """Probabilities of a batch of pictures: float32, (pictures, classes)."""
        self._seen += len(batch)
        self.expected = max(self.expected, self._seen)
        if self._unproven is not None and self.expected >= WORTH:  # its cost is saved later
            sample = batch[:SAMPLE].copy()
            engines = Engines(
                self._unproven.model, lambda: sample, self.expected, on_cpu=device.on_cpu()
            )
            self._run, self._unproven = engines.fastest(True), None
            engines.keep(self._file)
        return self._run(batch)


def _loaded(model_file: Path) -> Classifier:
    device.import_keras()
    from tlkit.classifier import load_classifier

    return load_classifier(model_file)


def answer_files(
    network: Network,
    paths: Iterable[Path],
    batch_size: int = 32,
    workers: int | None = None,
    views: int = 1,
) -> Iterator[Answer]:
    """Classify files as they come: a few batches are in memory, whatever their number.

    Args:
        network: it can go on with more files afterwards.
        paths: any number of files.
        batch_size: pictures per forward pass.
        workers: threads that decode; the number of processors when None.
        views: of each image, whose probabilities are averaged (`TestTimeViews`).

    Yields:
        An answer per file, in order; one that cannot be read has an error.
    """
    transform = TestTimeViews(views, network.size, network.resize, network.crop)
    paths = iter(paths)
    first = list(islice(paths, WORTH))
    network.expected = max(network.expected, views * len(first))
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
        first_image, end = start // views, (start + len(batch)) // views
        bad = [errors.pop(number, None) for number in range(first_image, end)]
        good = any(error is None for error in bad)
        p = network(batch) if good else np.zeros((len(batch), len(network.classes)), np.float32)
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
