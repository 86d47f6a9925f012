"""An ensemble: the mean of several runs' probabilities, as a run folder of its own.

What the winners of ImageNet did every year, up to the six networks of 2016: several networks make
different mistakes, and their mean makes fewer.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import asdict
from datetime import datetime
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import tomli_w

from tlkit import report
from tlkit.errors import RecipeError, RunError
from tlkit.evaluation.comparison import compare_runs
from tlkit.evaluation.metrics import score
from tlkit.evaluation.predictions_table import predictions_table
from tlkit.run_log import named_file_errors
from tlkit.runs import Run


def ensemble(
    runs: Sequence[Run | Path | str],
    weights: Sequence[float] | None = None,
    *,
    output: str | Path = "runs",
    name: str | None = None,
    exist_ok: bool = False,
) -> Run:
    """Average the probabilities of finished runs; no image is read but for the report's pictures.

    Args:
        runs: two or more, of the same classes and the same split.
        weights: of each run in the mean, positive; all alike when None.
        output: the folder that holds the runs.
        name: the ensemble's; the date and time when None.
        exist_ok: write into an existing run of that name.

    Returns:
        A run with predictions.csv, split.csv, metrics.json, report.html and ensemble.toml, which
        `evaluate`, `predict` and `compare_runs` take like any other.

    Raises:
        RunError: runs of other classes or splits; a run that did not finish, or that the ensemble
            would be written over.
        RecipeError: weights that do not fit.
    """
    members = [run if isinstance(run, Run) else Run.open(run) for run in runs]
    shares = _shares(weights, len(members))
    split = _one_split(members)
    classes = list(members[0].metrics["classes"])
    several = bool(members[0].metrics.get("multi_label"))
    tables = [member.predictions for member in members]
    predictions = average(tables, shares, classes, several)
    singles = compare_runs([member.folder for member in members])
    best = Path(singles.rows[0]["folder"])

    _refuse_member(members, Path(output) / (name or ""))
    run = Run.create(Path(output), name, exist_ok)
    with named_file_errors(run):
        run.remove_results()
        paths = [
            os.path.relpath(member.folder.resolve(), run.folder.resolve()) for member in members
        ]
        text = tomli_w.dumps({"runs": [Path(p).as_posix() for p in paths], "shares": shares})
        run.write_text(run.ensemble_file, text)
        run.write_table("split", split)
        run.write_table("skipped", members[0].skipped)
        run.write_table("predictions", predictions)
        facts = {row["folder"]: row for row in singles.rows}
        rows = [_member(facts[str(m.folder)], s) for m, s in zip(members, shares, strict=True)]
        metrics = score(predictions, classes, several) | _passport(members, rows)
        run.write_metrics(metrics)
        against = compare_runs([run.folder, best])
        pair = against.pairs[0]
        metrics["ensemble"] |= {
            "best": singles.names[0],
            "is_first": against.rows[0]["folder"] == str(run.folder),
            "against_best": asdict(pair) | {"distinguishable": pair.distinguishable},
        }
        run.write_metrics(metrics)
        report.render_run(run)
    return run


def average(
    tables: Sequence[pd.DataFrame],
    shares: Sequence[float],
    classes: Sequence[str],
    multi_label: bool = False,
) -> pd.DataFrame:
    """The weighted mean of the probabilities of several tables of predictions, image by image.

    Args:
        tables: as in predictions.csv, of the same paths in any order.
        shares: of each table; they sum to 1.
        classes: in the order of the probabilities' columns.
        multi_label: whether a label is a list such as `a;b`.

    Returns:
        A table of the same form, in the order of the first.
    """
    columns = [f"p_{name}" for name in classes]
    samples = tables[0][["path", "split", "label"]]
    said = [table.set_index("path").loc[samples["path"], columns].to_numpy() for table in tables]
    mean = np.average(said, axis=0, weights=shares)
    return predictions_table(samples, mean.astype(np.float32), classes, multi_label)


def parse_weights(text: str | None) -> list[float] | None:
    """`"2,1,1"` as numbers.

    Raises:
        RecipeError: it is no list of numbers.
    """
    try:
        return [float(part) for part in text.split(",")] if text else None
    except ValueError:
        raise RecipeError(
            f"--weights is a number for each run, such as 2,1,1; got {text!r}."
        ) from None


def _shares(weights: Sequence[float] | None, runs: int) -> list[float]:
    if runs < 2:
        raise RunError("An ensemble needs two runs or more: `tlkit ensemble RUN RUN`.")
    weights = list(weights) if weights is not None else [1.0] * runs
    if len(weights) != runs or not all(0 < weight < np.inf for weight in weights):
        raise RecipeError(
            f"--weights needs a positive number for each of the {runs} runs, such as "
            f"{','.join(['1'] * runs)}; got {','.join(f'{weight:g}' for weight in weights)}."
        )
    return [float(weight / sum(weights)) for weight in weights]


def _refuse_member(members: Sequence[Run], folder: Path) -> None:
    """An ensemble written over one of its runs, or of theirs, would average itself."""
    behind = [own for member in members for own, _ in member.members]
    for run in (*members, *behind):
        if run.folder.resolve() == folder.resolve():
            raise RunError(f"{folder} is one of the runs to average; choose another --name.")


def _one_split(members: Sequence[Run]) -> pd.DataFrame:
    """The split that all runs share."""
    first, *others = members
    classes, split = first.metrics["classes"], first.split
    rows = set(split.itertuples(index=False, name=None))
    for other in others:
        if other.metrics["classes"] != classes or (
            bool(other.metrics.get("multi_label")) != bool(first.metrics.get("multi_label"))
        ):
            raise RunError(
                f"{other.folder} knows the classes {_few(other.metrics['classes'])}, but "
                f"{first.folder} {_few(classes)}: an ensemble needs runs of the same classes."
            )
        differing = len(rows ^ set(other.split.itertuples(index=False, name=None)))
        if differing:
            raise RunError(
                f"{other.folder} and {first.folder} differ in {differing} rows of split.csv: an "
                "ensemble needs runs of one split; train them on the same --data with the same "
                "--seed, --val-split and --test-split."
            )
    return split


def _member(row: dict[str, Any], share: float) -> dict[str, Any]:
    keys = ("images", "correct", "accuracy", "accuracy_interval", "macro_f1")
    return {
        "name": row["name"],
        "share": share,
        "backbone": row["backbone"],
        **{key: row["scores"][key] for key in keys},
    }


def _passport(members: Sequence[Run], rows: list[dict[str, Any]]) -> dict[str, Any]:
    """What metrics.json says of an ensemble besides its scores."""
    known = [member.metrics for member in members]
    counts = [metrics.get("model", {}).get("parameters") for metrics in known]
    names = ", ".join(dict.fromkeys(str(row["backbone"]) for row in rows))
    return {
        "created": datetime.now().astimezone().isoformat(timespec="seconds"),
        "model": {
            "backbone": f"the mean of {len(rows)} runs ({names})",
            "parameters": sum(counts) if None not in counts else None,
        },
        "data": known[0].get("data", {}),
        "ensemble": {"members": rows},
    }


def _few(names: Sequence[str], most: int = 5) -> str:
    shown = ", ".join(names[:most])
    return shown if len(names) <= most else f"{shown} and {len(names) - most} more"
