"""What a killed run needs to go on: the folder checkpoint/ inside the run, gone when the run is
finished.

    recipe.toml     what was asked for, written before anything else happens
    scan.json       which images and classes there are, so that they are not read again
    stages.json     finished stages with what later ones need of them, and the seconds of each
    training.npz    the state after an epoch or a phase (tlkit.training_state says what is in it)
    lock            held by the process that works on the run, which a kill releases

Every file is written whole and renamed into place, so that a kill at any moment leaves the last
good state. A stage that is not finished is repeated from its beginning, training from its last
saved epoch.
"""

from __future__ import annotations

import contextlib
import json
import logging
import tempfile
import time
import zipfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Self

import filelock
import numpy as np
from numpy.typing import NDArray

from tlkit.atomic import write_atomically, write_text
from tlkit.errors import RunError
from tlkit.runs import Run

log = logging.getLogger(__name__)

Arrays = dict[str, NDArray[Any]]

SHARE_OF_TIME = 1 / 30
"""Saving training states may take this share of the training time; states in between wait in
memory."""


class Checkpoint:
    """The resumable state of one run, owned by this process until it is left as a context.

    Args:
        run: the run; its folder exists.

    Attributes:
        seconds: of each stage so far, over all processes that worked on the run.
        resumable: whether the run can go on from what is kept; else nothing is, however it ends.

    Raises:
        RunError: another process works on this run.
    """

    def __init__(self, run: Run):
        self.run = run
        self.folder = run.folder / "checkpoint"
        self.folder.mkdir(exist_ok=True)
        self._lock = filelock.FileLock(self.folder / "lock")
        try:
            self._lock.acquire(timeout=0)
        except filelock.Timeout:
            raise RunError(
                f"Another process works on the run {run.folder}; wait for it, or choose another "
                "--name."
            ) from None
        self.resumable = True
        self._pending: tuple[Arrays, dict[str, Any]] | None = None
        self._next_save = 0.0
        self._stages: dict[str, Any] = {}
        self.seconds: dict[str, float] = {}
        with contextlib.suppress(OSError, ValueError):
            state = json.loads(self._stages_file.read_text(encoding="utf-8"))
            self._stages, self.seconds = state["stages"], state["seconds"]

    @classmethod
    def start(cls, run: Run, recipe: str, resumable: bool = True) -> Checkpoint:
        """Begin anew in the run's folder, whatever was there before.

        Args:
            run: a run from `Run.create`.
            recipe: the resolved recipe, as TOML.
            resumable: False for a training that is a part of an experiment.
        """
        checkpoint = cls(run)
        checkpoint.resumable = resumable
        checkpoint._stages, checkpoint.seconds = {}, {}
        for file in checkpoint.folder.iterdir():
            if file.name != "lock":
                file.unlink()
        try:
            write_text(checkpoint.recipe_file, recipe)
        except OSError:
            checkpoint.remove()
            run.remove_if_empty()
            raise
        return checkpoint

    @classmethod
    @contextlib.contextmanager
    def temporary(cls, recipe: str) -> Iterator[Checkpoint]:
        """That of a training of which nothing stays, in a folder that goes with it.

        Args:
            recipe: the resolved recipe, as TOML.
        """
        with (
            tempfile.TemporaryDirectory(prefix="tlkit-") as folder,
            cls.start(Run(folder), recipe, resumable=False) as checkpoint,
        ):
            yield checkpoint

    @classmethod
    def find(cls, output: Path, name: str | None) -> Checkpoint | None:
        """The run to go on with: `output/name`, or the newest unfinished run of `output`.

        Returns:
            None where there is no such unfinished run.

        Raises:
            RunError: another process works on the run `name`.
        """
        if name is not None:
            run = Run(output / name)
            return cls._reopen(run) if _is_unfinished(run) else None
        runs = [Run(folder.parent) for folder in output.glob("*/checkpoint")]
        for run in sorted(filter(_is_unfinished, runs), key=_started, reverse=True):
            with contextlib.suppress(RunError):  # one that is being worked on
                return cls._reopen(run)
        return None

    @classmethod
    def _reopen(cls, run: Run) -> Checkpoint:
        checkpoint = cls(run)
        for folder in (run.folder, checkpoint.folder):  # what a killed process was writing
            for rest in folder.glob(".?*-*"):
                if rest.is_file():
                    rest.unlink()
        return checkpoint

    @property
    def recipe_file(self) -> Path:
        """What was asked for."""
        return self.folder / "recipe.toml"

    @property
    def scan_file(self) -> Path:
        """Which images there are."""
        return self.folder / "scan.json"

    @property
    def _stages_file(self) -> Path:
        return self.folder / "stages.json"

    @property
    def _training_file(self) -> Path:
        return self.folder / "training.npz"

    def finished(self, stage: str) -> bool:
        """Whether a stage need not be done again."""
        return stage in self._stages

    def facts(self, stage: str) -> dict[str, Any]:
        """What `finish` was told about a finished stage."""
        return self._stages[stage]

    def finish(self, stage: str, **facts: Any) -> None:
        """Never do this stage again; its files are complete.

        Args:
            stage: its name.
            facts: what later stages need of it, plain enough for JSON.
        """
        self._stages[stage] = facts
        text = json.dumps({"stages": self._stages, "seconds": self.seconds})
        write_text(self._stages_file, text)

    def keep_training(self, arrays: Arrays, facts: Mapping[str, Any], now: bool = False) -> None:
        """Keep the state of training; on disk at once if `now`, else when it costs little time.

        Args:
            arrays: by name; taken over, not copied.
            facts: plain enough for JSON.
            now: do not wait, a phase has ended.
        """
        self._pending = arrays, dict(facts)
        if now or time.monotonic() >= self._next_save:
            self.flush()

    def flush(self) -> None:
        """Write the newest state of training that is not on disk yet."""
        if self._pending is None:
            return
        start = time.monotonic()
        arrays, facts = self._pending
        arrays = {**arrays, "facts": np.frombuffer(json.dumps(facts).encode(), np.uint8)}
        write_atomically(self._training_file, lambda path: _write_arrays(path, arrays))
        self._pending = None
        end = time.monotonic()
        self._next_save = end + (end - start) / SHARE_OF_TIME

    def training(self) -> tuple[Arrays, dict[str, Any]] | None:
        """The last state of training that was saved; None when there is none.

        Raises:
            RunError: the file is damaged.
        """
        try:
            with np.load(self._training_file, allow_pickle=False) as file:
                arrays = {name: file[name] for name in file.files}
            return arrays, json.loads(arrays.pop("facts").tobytes())
        except FileNotFoundError:
            return None
        except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile) as error:
            raise RunError(
                f"{self._training_file} is damaged ({error}); remove it to train from the "
                "beginning."
            ) from None

    def remove(self) -> None:
        """The run is finished: nothing is left but its artefacts."""
        self._pending = None
        # While the recipe is here the run can go on, so it goes last.
        for file in (self._training_file, self.scan_file, self._stages_file, self.recipe_file):
            file.unlink(missing_ok=True)
        self._lock.release()
        (self.folder / "lock").unlink(missing_ok=True)
        with contextlib.suppress(OSError):  # another process looks at it this moment
            self.folder.rmdir()

    @contextlib.contextmanager
    def released_on_error(self) -> Iterator[None]:
        """Let other processes work on the run if this one cannot."""
        try:
            yield
        except BaseException:
            self._lock.release()
            raise

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, *rest: object) -> None:
        """The run is finished, has failed before it had anything, or can go on later.

        Whoever is terminated before it had anything can go on, too: nothing was wrong with it.
        """
        finished, early = kind is None, not self.finished("check")
        failed = kind is not None and issubclass(kind, Exception | KeyboardInterrupt)
        if finished or (failed and early) or not self.resumable:
            self.remove()
            return
        try:
            self.flush()
        except OSError as error:  # a full disk, perhaps the reason to leave
            log.warning("the newest epochs could not be saved: %s", error.strerror or error)
        finally:
            self._lock.release()
        log.warning(
            "what is done is kept; go on with `tlkit finetune --resume --output %s --name %s`",
            self.run.folder.parent,
            self.run.folder.name,
        )


def _is_unfinished(run: Run) -> bool:
    return (run.folder / "checkpoint" / "recipe.toml").is_file()


def _started(run: Run) -> float:
    return (run.folder / "checkpoint" / "recipe.toml").stat().st_mtime


def _write_arrays(path: Path, arrays: Arrays) -> None:
    """A .npz file; not by np.savez, whose own arguments are taken for names of arrays."""
    with zipfile.ZipFile(path, "w", allowZip64=True) as archive:
        for name, array in arrays.items():
            with archive.open(f"{name}.npy", "w", force_zip64=True) as file:
                np.lib.format.write_array(file, array, allow_pickle=False)
