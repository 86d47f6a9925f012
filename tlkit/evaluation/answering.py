"""A run's networks, loaded once, that answer any number of files."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import tee
from pathlib import Path

from tlkit import device
from tlkit.evaluation.answers import Answer
from tlkit.runs import Run


class Answering:
    """The networks behind a run: its own, or those of an ensemble's members.

    Args:
        source: a finished run, or an ensemble.
        tta: views of each image whose probabilities are averaged.
    """

    def __init__(self, source: Run, tta: int = 1):
        device.import_keras()
        from tlkit.classifier import load_classifier
        from tlkit.evaluation.predictions import Warming

        members = source.members
        self.tta = tta
        self.shares = [share for _, share in members]
        self.classifiers = [load_classifier(member.model_file) for member, _ in members]
        self.classifier = self.classifiers[0]
        self._engines = [Warming(classifier) for classifier in self.classifiers]

    def __call__(self, files: Iterator[Path], workers: int | None = None) -> Iterator[Answer]:
        """An answer per file, in order; a few batches are in memory.

        Args:
            files: any number of them.
            workers: threads that decode; the number of processors when None.
        """
        from tlkit.evaluation.predictions import answer_files, averaged

        # The members go hand in hand, so that a few batches wait for the others, not all files.
        parts = [
            answer_files(engine, own, workers=workers, views=self.tta)
            for engine, own in zip(self._engines, tee(files, len(self._engines)), strict=True)
        ]
        return averaged(parts, self.shares)
