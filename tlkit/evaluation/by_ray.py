"""Answers from many machines: Ray Data hands out files to workers, each with the run's networks.

The files go out in blocks, the answers come back in the order of the files, a few blocks at a time.
A block whose worker dies is given to another one; its answers are taken when it is whole, so that
none is lost and none comes twice.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from tlkit.evaluation.answers import Answer
from tlkit.extras import require
from tlkit.runs import Run

if TYPE_CHECKING:
    import pyarrow as pa

BLOCK = 512
"""Files that go to a worker at once."""
PROCESSORS = 2
"""Of each worker on CPUs: what decodes waits for the disk, what computes for what decodes."""


class Worker:
    """What runs on a worker: a block of files in, a block of answers out.

    Args:
        folder: of the run, which every machine sees under this path.
        start: the folder that relative files are relative to.
        tta: views of each image.
    """

    def __init__(self, folder: str, start: str, tta: int):
        from tlkit.evaluation.answering import Answering

        self.start = Path(start)
        self.answering = Answering(Run.open(folder), tta)

    def __call__(self, block: dict[str, NDArray[Any]]) -> dict[str, Any]:
        """Answer the files of a block.

        Args:
            block: `path`, the files' names as bytes.

        Returns:
            The same, with `probabilities`, float32, (files, classes), and `error`, "" where there
            is none.
        """
        files = (self.start / os.fsdecode(path) for path in block["path"])
        answers = list(self.answering(files, PROCESSORS))
        none = np.zeros(len(self.answering.classes), np.float32)
        return {
            "path": block["path"],
            "probabilities": np.stack(
                [none if a.probabilities is None else a.probabilities for a in answers]
            ),
            "error": [os.fsencode(answer.error) for answer in answers],
        }


def answers_by_ray(source: Run, files: Iterator[Path], tta: int = 1) -> Iterator[Answer]:
    """Classify files on the workers of a Ray cluster, in the files' order.

    The cluster is that of RAY_ADDRESS, or this machine alone.

    Args:
        source: a finished run, or an ensemble; every machine sees its folder under the same path.
        files: any number of them; every machine sees them under the same path.
        tta: views of each image whose probabilities are averaged.

    Raises:
        MissingPackageError: Ray is not installed.
    """
    ray = require("ray", "ray", "Predicting on several machines")
    require("ray.data", "ray", "Predicting on several machines")
    if not ray.is_initialized():
        ray.init(log_to_driver=False, logging_level=logging.ERROR, include_dashboard=False)
    context = ray.data.DataContext.get_current()
    context.execution_options.preserve_order = True
    context.enable_progress_bars = False
    # The names live in Ray's store, which moves to disk when it is full.
    blocks = [ray.put(block) for block in _blocks(files)]
    gpus = int(ray.cluster_resources().get("GPU", 0))
    processors = int(ray.cluster_resources().get("CPU", 1))
    most = gpus or max(1, processors // PROCESSORS)
    answered = ray.data.from_arrow_refs(blocks).map_batches(
        Worker,
        fn_constructor_args=(str(source.folder.resolve()), str(Path.cwd()), tta),
        batch_size=None,
        batch_format="numpy",
        concurrency=(1, min(most, len(blocks))),
        num_gpus=1 if gpus else None,
        num_cpus=None if gpus else min(PROCESSORS, processors),
    )
    for block in answered.iter_batches(batch_size=None, batch_format="numpy"):
        rows = zip(block["path"], block["probabilities"], block["error"], strict=True)
        for path, probabilities, error in rows:
            known = None if error else np.asarray(probabilities, np.float32)
            yield Answer(os.fsdecode(path), known, os.fsdecode(error))


def _blocks(files: Iterator[Path]) -> Iterator[pa.Table]:
    """The names of the files, `BLOCK` at a time; as bytes, since not every name is Unicode."""
    import pyarrow as pa

    while names := [os.fsencode(path) for path in islice(files, BLOCK)]:
        yield pa.table({"path": pa.array(names, pa.binary())})
