"""Answers to pictures without a label: one at a time, as rows, lines of a table, or JSON."""

from __future__ import annotations

import csv
import json
import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Literal, TextIO

import numpy as np

from tlkit import labels
from tlkit.foreign_text import printable, takes_unicode, to_cell

Format = Literal["table", "csv", "jsonl"]
DONT_KNOW = "don't know"
NOTHING = "(none)"
NO_ANSWER = {"confidence": ""}


@dataclass(frozen=True)
class Answer:
    """What the classifier says about one file.

    Args:
        path: as the user gave it, or as it was found.
        probabilities: float32, (classes,); None where the file cannot be read.
        error: why not, or "".
    """

    path: str
    probabilities: np.ndarray | None
    error: str = ""


@dataclass(frozen=True)
class Detail:
    """How much of an answer is shown.

    Args:
        classes: names, in the order of the probabilities.
        top_k: the most probable classes to show; None shows every class where there is room.
        reject_below: an answer less confident than this is "don't know".
        multi_label: whether an answer is a list such as `a;b`, which may be empty; the confidence
            is that of all classes together then.
    """

    classes: Sequence[str]
    top_k: int | None = None
    reject_below: float = 0.0
    multi_label: bool = False

    @property
    def columns(self) -> list[str]:
        """The columns of a table of `row`s."""
        first = ["path", "predicted", "confidence", "error"]
        if self.top_k is None:
            return first + [f"p_{name}" for name in self.classes]
        return first + [f"{part}_{i}" for i in range(1, self.top_k + 1) for part in ("class", "p")]

    def best(self, answer: Answer) -> list[tuple[str, float]]:
        """The most probable classes (all of them without `top_k`) with their probabilities."""
        if answer.probabilities is None:
            return []
        order = np.argsort(-answer.probabilities, kind="stable")[: self.top_k]
        return [(self.classes[i], float(answer.probabilities[i])) for i in order]

    def says(self, answer: Answer) -> tuple[str | None, float]:
        """What is predicted, None for "don't know", and the confidence."""
        p = answer.probabilities
        if p is None:
            return None, math.nan
        if self.multi_label:
            said, sure = labels.answers(p[None], self.classes)[0], float(labels.confidence(p))
        else:
            said, sure = self.classes[int(p.argmax())], float(p.max())
        return said if sure >= self.reject_below else None, sure

    def row(self, answer: Answer) -> dict[str, Any]:
        """One row: "" for what is predicted when the answer is "don't know" or there is none."""
        best = self.best(answer)
        values: dict[str, Any] = {"path": answer.path, "predicted": "", "confidence": math.nan}
        values["error"] = answer.error
        if not best:
            return values
        said, values["confidence"] = self.says(answer)
        values["predicted"] = said or ""
        if self.top_k is None:
            return values | {f"p_{name}": p for name, p in best}
        for i, (name, p) in enumerate(best, start=1):
            values |= {f"class_{i}": name, f"p_{i}": p}
        return values

    def record(self, answer: Answer) -> dict[str, Any]:
        """One answer as JSON has it: null for what is not known."""
        row, best = self.row(answer), self.best(answer)
        record: dict[str, Any] = {
            "path": answer.path,
            "predicted": self.says(answer)[0],
            "confidence": row["confidence"] if best else None,
            "error": answer.error or None,
        }
        if self.top_k is None:
            record["probabilities"] = dict(best) or None
        else:
            record["top"] = [{"class": name, "probability": p} for name, p in best]
        return record


@dataclass(frozen=True)
class Counts:
    """How many files there were, how many answers were "don't know", how many files were bad."""

    files: int
    rejected: int
    errors: int

    def __str__(self) -> str:
        parts = [f"{self.files:,} file{'s' * (self.files != 1)}"]
        if self.rejected:
            parts.append(f"{self.rejected:,} {DONT_KNOW}")
        if self.errors:
            parts.append(f"{self.errors:,} could not be read")
        return ", ".join(parts)


def write_answers(answers: Iterable[Answer], detail: Detail, file: TextIO, form: Format) -> Counts:
    """Write each answer as it comes; nothing is kept.

    Args:
        answers: from `answer_files`.
        detail: how much of each.
        file: open for text; its errors handler must accept file names that are not Unicode.
        form: "table" for people, "csv" with the columns of `Detail`, "jsonl" one object per line.

    Returns:
        How many there were.
    """
    write = {"table": _table, "csv": _csv, "jsonl": _jsonl}[form](detail, file)
    files = rejected = errors = 0
    for answer in answers:
        write(answer)
        files += 1
        errors += answer.probabilities is None
        rejected += answer.probabilities is not None and detail.says(answer)[0] is None
    return Counts(files, rejected, errors)


def _csv(detail: Detail, file: TextIO) -> Callable[[Answer], None]:
    writers = [
        csv.DictWriter(file, detail.columns, restval="", lineterminator="\n", quoting=quoting)
        # A bare carriage return ends the line for many readers: quoted where there is one.
        for quoting in (csv.QUOTE_MINIMAL, csv.QUOTE_ALL)
    ]
    writers["\r" in "".join(detail.columns)].writeheader()

    def write(answer: Answer) -> None:
        row = detail.row(answer)
        cells = {
            key: f"{value:.9g}" if isinstance(value, float) else to_cell(value)
            for key, value in row.items()
        }
        writer = writers["\r" in "".join(cells.values())]
        writer.writerow(cells if answer.probabilities is not None else cells | NO_ANSWER)

    return write


def _jsonl(detail: Detail, file: TextIO) -> Callable[[Answer], None]:
    def write(answer: Answer) -> None:
        record = detail.record(answer)
        # A lone surrogate (a file name that is not UTF-8) stays an escape, which JSON allows.
        text = json.dumps(record, ensure_ascii=not takes_unicode(file))
        file.write(text.encode("utf-8", "backslashreplace").decode("utf-8") + "\n")

    return write


def _table(detail: Detail, file: TextIO) -> Callable[[Answer], None]:
    width = min(max(len(DONT_KNOW), *(len(name) for name in detail.classes)), 32)
    file.write(f"{'confidence':<10}  {'predicted':<{width}}  file\n")

    def write(answer: Answer) -> None:
        best, path = detail.best(answer), printable(answer.path)
        if not best:
            file.write(f"{'':<10}  {'':<{width}}  {path}  ({printable(answer.error)})\n")
            return
        said, confidence = detail.says(answer)
        name = DONT_KNOW if said is None else said or NOTHING
        line = f"{_percent(confidence):>10}  {printable(name):<{width}}  {path}"
        skip = 0 if said is None or detail.multi_label else 1  # it stands there already
        rest = best[skip:] if detail.top_k else []
        if rest:
            line += "  (" + ", ".join(f"{printable(n)} {_percent(p)}" for n, p in rest) + ")"
        file.write(line + "\n")

    return write


def _percent(share: float) -> str:
    """Rounded down, so that nearly certain never becomes certain."""
    if 0 < share < 0.001:
        return "<0.1 %"
    return f"{math.floor(share * 1000) / 10:.1f} %"
