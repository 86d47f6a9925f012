"""The run folder: the only place that spells the file names inside a run. Every write is atomic."""

from __future__ import annotations

import csv
import json
import re
import shutil
import tomllib
from datetime import datetime
from pathlib import Path
from typing import Any

import pandas as pd

from tlkit.atomic import write_atomically, write_text
from tlkit.errors import RunError
from tlkit.foreign_text import from_cell, to_cell
from tlkit.model_file import read_facts

# Where pyarrow is installed pandas keeps text in it, and it takes no name that is not Unicode.
pd.set_option("mode.string_storage", "python")

TEXTS = ("path", "label", "predicted", "split", "sha256", "reason")
"""Columns that hold text in any of a run's tables."""


def write_csv(file: Path, table: pd.DataFrame) -> None:
    """Write a table for people and spreadsheets: floats with 9 significant digits, so float32
    survives, and no text that a spreadsheet would run."""
    safe = table.assign(**{c: table[c].map(to_cell) for c in TEXTS if c in table})
    form: dict[str, Any] = {"index": False, "float_format": "%.9g", "lineterminator": "\n"}
    # A bare carriage return ends the line for many readers, and the csv module leaves it bare.
    texts = [safe[c] for c in TEXTS if c in safe]
    if any("\r" in "".join(part) for part in (*texts, map(str, safe))):
        form["quoting"] = csv.QUOTE_NONNUMERIC
    write_atomically(file, lambda path: safe.to_csv(path, **form))


class Run:
    """A run folder; tables are pandas DataFrames, metrics a plain dict.

    Args:
        folder: the run's folder, which exists.
    """

    def __init__(self, folder: Path | str):
        self.folder = Path(folder)

    def __repr__(self) -> str:
        return f"Run({str(self.folder)!r})"

    @classmethod
    def create(cls, output: Path, name: str | None = None, exist_ok: bool = False) -> Run:
        """Make `output/name` (the date and time when no name is given).

        Raises:
            RunError: the name is taken and `exist_ok` is false, is not a plain folder name, or the
                folder cannot be made.
        """
        if name is not None and (not re.fullmatch(r"[\w.-][\w .+-]*", name) or set(name) <= {"."}):
            raise RunError(f"A run's name is a plain folder name, got {name!r}; try --name my-run.")
        base = name or datetime.now().strftime("%Y-%m-%d-%H%M%S")
        try:
            output.mkdir(parents=True, exist_ok=True)
            for attempt in range(1, 1000):
                folder = output / (base if attempt == 1 else f"{base}-{attempt}")
                try:
                    folder.mkdir(exist_ok=exist_ok and name is not None)
                except FileExistsError:
                    if name is not None:
                        break
                else:
                    return cls(folder)
        except OSError as error:
            raise RunError(
                f"Cannot make a run folder in {output}: {error.strerror}. Choose another place "
                "with --output."
            ) from None
        raise RunError(f"The run {folder} exists already; choose another --name or add --exist-ok.")

    @classmethod
    def open(cls, folder: Path | str) -> Run:
        """The run in `folder`; RunError when it is not one."""
        run = cls(folder)
        if not run.recipe_file.is_file() and not run.ensemble_file.is_file():
            raise RunError(_why_no_run(run.folder))
        return run

    @classmethod
    def finished(cls, output: Path, name: str | None) -> Run | None:
        """The finished run `output/name`; None where there is none."""
        run = cls(output / (name or ""))
        return run if name and run.report.is_file() and run.recipe_file.is_file() else None

    def remove_if_empty(self) -> None:
        """Leave no trace of a run that failed before it wrote anything but its log."""
        if {path.name for path in self.folder.iterdir()} <= {self.log_file.name}:
            self.log_file.unlink(missing_ok=True)
            self.folder.rmdir()

    def remove_results(self) -> None:
        """Take away what an earlier run of this name made: half of it would be mixed with ours.

        An ensemble's file would even answer in our place, and what was exported, explained or
        evaluated was another network.
        """
        names = ("history.csv", "predictions.csv", "metrics.json", "explanations.json")
        files = (self.model_file, self.ensemble_file, self.report, self.folder / "explain.html")
        for file in (*files, *(self.folder / name for name in names)):
            file.unlink(missing_ok=True)
        for name in ("csv", "tensorboard", "folds", "evaluations", self.exports.name):
            shutil.rmtree(self.folder / name, ignore_errors=True)

    @property
    def exports(self) -> Path:
        """exports/: the model in other formats, a folder for each."""
        return self.folder / "exports"

    @property
    def recipe_file(self) -> Path:
        """recipe.toml: the fully resolved recipe."""
        return self.folder / "recipe.toml"

    @property
    def model_file(self) -> Path:
        """model.keras: raw 0-255 RGB in, class probabilities out."""
        return self.folder / "model.keras"

    @property
    def ensemble_file(self) -> Path:
        """ensemble.toml: the runs whose probabilities are averaged; only an ensemble has it."""
        return self.folder / "ensemble.toml"

    @property
    def members(self) -> list[tuple[Run, float]]:
        """The runs with a network of their own behind this one, and the share of each: itself, but
        for an ensemble.

        Raises:
            RunError: a run of the ensemble is gone.
        """
        if not self.ensemble_file.is_file():
            return [(self, 1.0)]
        facts = tomllib.loads(self.ensemble_file.read_text(encoding="utf-8"))
        found = []
        for path, share in zip(facts["runs"], facts["shares"], strict=True):
            member = Run.open(self.folder / path)
            found += [(run, share * part) for run, part in member.members]
        return found

    @property
    def network(self) -> Path:
        """model.keras, for whoever needs a network of this run's own.

        Raises:
            RunError: it has none: an ensemble, a cross-validation, or a run that did not finish.
        """
        if self.ensemble_file.is_file():
            members = ", ".join(str(member.folder.resolve()) for member, _ in self.members)
            raise RunError(
                f"{self.folder} is an ensemble and has no network of its own; name one of its "
                f"runs: {members}."
            )
        if (self.folder / "folds").is_dir():
            raise RunError(
                f"{self.folder} is a cross-validation, of which no network is kept; train one with "
                f"`tlkit finetune {self.recipe_file}`."
            )
        return self._present(self.model_file)

    @property
    def report(self) -> Path:
        """report.html: one file, opens offline."""
        return self.folder / "report.html"

    @property
    def log_file(self) -> Path:
        """log.txt: what the run said, in full."""
        return self.folder / "log.txt"

    @property
    def split(self) -> pd.DataFrame:
        """split.csv: path, label, split, sha256."""
        return self._read("split")

    @property
    def skipped(self) -> pd.DataFrame:
        """skipped.csv: path, reason."""
        return self._read("skipped")

    @property
    def history(self) -> pd.DataFrame:
        """history.csv: phase, epoch, loss, accuracy, val_loss, val_accuracy, lr, seconds."""
        return self._read("history")

    def history_if_any(self) -> pd.DataFrame:
        """The history; empty for an evaluation on other images, which has none."""
        return self.history if (self.folder / "history.csv").is_file() else pd.DataFrame()

    @property
    def predictions(self) -> pd.DataFrame:
        """predictions.csv: one row per image of every split."""
        return self._read("predictions")

    @property
    def metrics(self) -> dict[str, Any]:
        """metrics.json as a dict."""
        file = self._present(self.folder / "metrics.json")
        return json.loads(file.read_text(encoding="utf-8"))

    @property
    def explanations(self) -> dict[str, Any] | None:
        """What the network saw of some pictures, for the report; None where nobody asked."""
        file = self.folder / "explanations.json"
        return json.loads(file.read_text(encoding="utf-8")) if file.is_file() else None

    @property
    def model(self) -> Any:
        """The fine-tuned keras.Model.

        Raises:
            RunError: as `network`, or the file asks for more than a network.
        """
        file = self.network
        read_facts(file)
        import keras

        return keras.saving.load_model(file)

    def write_table(self, name: str, table: pd.DataFrame) -> None:
        """Write `table` as name.csv."""
        write_csv(self.folder / f"{name}.csv", table)

    def write_metrics(self, metrics: dict[str, Any]) -> None:
        """Write metrics.json."""
        text = json.dumps(metrics, indent=2, ensure_ascii=False, allow_nan=False) + "\n"
        write_text(self.folder / "metrics.json", text)

    def write_explanations(self, explanations: dict[str, Any]) -> None:
        """Write explanations.json."""
        self.write_text(self.folder / "explanations.json", json.dumps(explanations))

    def write_text(self, path: Path, text: str) -> None:
        """Write a text file of the run (recipe.toml, report.html)."""
        write_text(path, text)

    def _present(self, file: Path) -> Path:
        """`file`, which only a finished run has; RunError where it is missing."""
        if not file.is_file():
            raise RunError(
                f"{file} is missing: the run did not finish. Run `tlkit finetune` again."
            )
        return file

    def _read(self, name: str) -> pd.DataFrame:
        file = self._present(self.folder / f"{name}.csv")
        # Class names such as "NA" or "007" are text, never missing values or numbers.
        table = pd.read_csv(
            file,
            dtype=dict.fromkeys(TEXTS, str),
            keep_default_na=False,
            na_values={"val_loss": [""]},
            lineterminator="\n",
        )
        return table.assign(**{c: table[c].map(from_cell) for c in TEXTS if c in table})


def _why_no_run(folder: Path) -> str:
    """What is there instead of a run, and which run may have been meant."""

    def is_run(path: Path) -> bool:
        return Run(path).recipe_file.is_file() or Run(path).ensemble_file.is_file()

    if folder.is_file():
        meant = f" Did you mean {folder.parent}?" if is_run(folder.parent) else ""
        return f"{folder} is a file; a run is a folder.{meant}"
    if not folder.exists():
        inside = Path("runs") / folder
        hint = f"Did you mean {inside}?" if is_run(inside) else "`tlkit finetune` makes one."
        return f"No such run folder: {folder}. {hint}"
    if (folder / "checkpoint").is_dir():
        return (
            f"The run {folder} has not got far enough to be used; go on with `tlkit finetune "
            f"--resume --output {folder.parent} --name {folder.name}`."
        )
    if inner := sorted({file.parent for file in folder.glob("*/*.toml") if is_run(file.parent)}):
        return (
            f"{folder} is not a run folder, but holds {len(inner)}: name one, such as {inner[-1]}."
        )
    return f"{folder} is not a run folder: it holds no recipe.toml. `tlkit finetune` makes one."
