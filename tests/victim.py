"""A short run of a small network that tests kill, starve and plant faults in."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np

import tlkit
from tests.conftest import make_pictures
from tests.forked import Forks
from tlkit.runs import Run


class Victim:
    """A short run of a small network, with both phases, and how it ends if nobody kills it."""

    def __init__(self, folder: Path, forks: Forks):
        self.forks, self.runs = forks, folder / "runs"
        pictures = make_pictures(folder / "pictures", per_class=12, size=(40, 36))
        weights = folder / "lenet.weights.h5"
        tlkit.build_backbone("lenet5_modern", weights=None).save_weights(weights)
        self.settings: dict[str, Any] = {
            "data": str(pictures), "backbone": "lenet5_modern", "weights": str(weights),
            "freeze_epochs": 2, "epochs": 2, "unfreeze": "1", "batch_size": 8, "augment": "light",
            "schedule": "cosine", "output": str(self.runs), "resume": True,
        }  # fmt: skip
        code, self.seconds = self.forks.run(self.settings | {"name": "whole"})
        assert code == 0
        self.predictions = self.file("whole", "predictions.csv")

    def run(self, name: str, settings: dict[str, Any] = {}, **end: Any) -> int:  # noqa: B006
        """Start the run `name`, or go on with it; the exit code."""
        return self.forks.run(self.settings | settings | {"name": name}, **end)[0]

    def file(self, name: str, file: str) -> bytes:
        """The bytes of a run's file."""
        return (self.runs / name / file).read_bytes()

    def log(self, name: str) -> str:
        """What the run has said so far."""
        file = self.runs / name / "log.txt"
        return file.read_text() if file.is_file() else ""

    def finished(self, name: str) -> set[str]:
        """Stages and phases that a killed run had finished."""
        folder = self.runs / name / "checkpoint"
        found: set[str] = set()
        if (folder / "stages.json").is_file():
            found |= set(json.loads((folder / "stages.json").read_text())["stages"])
        if (folder / "training.npz").is_file():
            with np.load(folder / "training.npz") as file:
                found |= set(json.loads(file["facts"].tobytes())["done"])
        return found

    def check_end(self, name: str, finished: set[str], before: str) -> None:
        """The run went on to the same bytes, repeated nothing and left nothing behind."""
        new = self.log(name).removeprefix(before)
        said = {"scan": "reading images", "head": "head 1/2", "fine-tune": "fine-tune 1/2"}
        for stage in finished & set(said):
            assert said[stage] not in new, f"{stage} was repeated"
        assert "save" not in finished or "1  take" not in new
        assert self.file(name, "predictions.csv") == self.predictions
        names = {path.name for path in (self.runs / name).iterdir()}
        assert names == {path.name for path in (self.runs / "whole").iterdir()}
        history = Run(self.runs / name).history
        assert history["epoch"].tolist() == [1, 2, 1, 2]
