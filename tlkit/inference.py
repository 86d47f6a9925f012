"""A finished run at work: classify new files, and score it on other labelled images."""

from __future__ import annotations

import contextlib
import logging
import re
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, TextIO, cast, get_args

import numpy as np
import pandas as pd

from tlkit.data.search import find_files
from tlkit.data.transforms import MOST_VIEWS
from tlkit.errors import DataError, RecipeError
from tlkit.evaluation.answers import Answer, Counts, Detail, Format, write_answers
from tlkit.foreign_text import take_any_text
from tlkit.model_file import read_facts
from tlkit.progress import track, working
from tlkit.runs import Run

if TYPE_CHECKING:
    from tlkit.evaluation.answering import Answering

log = logging.getLogger(__name__)


def predict(
    run: Run | Path | str,
    images: str | Path | Sequence[str | Path],
    *,
    top_k: int | None = None,
    reject_below: float = 0.0,
    tta: int = 1,
) -> pd.DataFrame:
    """Classify images with a run's model, all in one table.

    Args:
        run: a finished run, or an ensemble; or its folder.
        images: one or several files, folders that are searched for images, or globs.
        top_k: show this many of the most probable classes; all when None.
        reject_below: an answer less confident than this is "" in `predicted`: it does not know.
        tta: views of each image whose probabilities are averaged, 1 to 10: the image, its mirror
            image, then the corners and theirs.

    Returns:
        One row per file: path, predicted, confidence, error, and p_<class>... or class_1, p_1...;
        a file that cannot be read has an error and no prediction.

    Raises:
        RunError: no finished run.
        DataError: an image that does not exist.
        RecipeError: `tta` out of its range.
    """
    source, files = _opened(run), find_files(images)
    answering = _answering(source, tta)
    answers = answering(files)
    detail = Detail(answering.classes, top_k, reject_below, answering.multi_label)
    return pd.DataFrame(
        [detail.row(answer) for answer in track(answers, "images")], columns=detail.columns
    )


def predict_to(
    run: Run | Path | str,
    images: str | Path | Sequence[str | Path],
    output: Path | None = None,
    form: str | None = None,
    *,
    top_k: int | None = None,
    reject_below: float = 0.0,
    tta: int = 1,
    ray: bool = False,
) -> Counts:
    """Classify any number of images and write each answer as it comes.

    Args:
        run, images, top_k, reject_below, tta: as for `predict`.
        output: the file to write; the terminal when None.
        form: table, csv or jsonl; what the output's name ends with when None, else a table.
        ray: let the workers of a Ray cluster do it; the answers are the same, in the same order.

    Returns:
        How many files there were.

    Raises:
        DataError: an image that does not exist, or an output that cannot be written.
        RecipeError: an unknown format.
    """
    written = _format(form, output)
    source, files = _opened(run), find_files(images)
    with _writable(output) as file:
        if ray:
            answers, facts = _by_ray(source, files, tta)
            classes, several = facts["classes"], facts.get("multi_label", False)
        else:
            answering = _answering(source, tta)
            answers = answering(files)
            classes, several = answering.classes, answering.multi_label
        detail = Detail(classes, top_k, reject_below, several)
        # On a terminal the lines themselves show how far it is.
        shown = answers if file.isatty() else track(answers, "images")
        return write_answers(shown, detail, file, written)


def explain(
    run: Run | Path | str,
    images: str | Path | Sequence[str | Path],
    output: str | Path | None = None,
) -> Path:
    """Show what a run's network saw of some images, as a page.

    Args:
        run: a finished run, or its folder.
        images: one or several files, folders that are searched for images, or globs.
        output: the HTML file; explain.html in the run folder when None.

    Returns:
        The page's path.

    Raises:
        DataError: an image that does not exist or cannot be read.
        RunError: no finished run, or one without a network of its own (`Run.network`).
    """
    from tlkit import device

    source = _opened(run)
    network = source.network
    table = predict(source, images)
    for row in table[table["error"] != ""].to_dict("records"):
        raise DataError(f"{row['path']}: {row['error']}; leave it out.")
    device.import_keras()
    from tlkit.classifier import load_classifier
    from tlkit.evaluation import explain as what
    from tlkit.report.explanation import write_explanation

    classifier = load_classifier(network)
    table["label"] = None
    values = what.explain(classifier, table, Path())
    page = Path(output) if output else source.folder / "explain.html"
    return write_explanation(values, source.folder.resolve().name, page)


def evaluate(run: Run | Path | str, data: str | Path, tta: int = 1) -> Run:
    """Score a finished run's model on other images of the same classes.

    Args:
        run: a finished run, or an ensemble; or its folder.
        data: a folder or a manifest, as for `finetune`; every image in it counts, whatever its
            split. Images that the run was trained on (known by their bytes) are counted in
            metrics["data"]["trained_on"], and a warning says so.
        tta: views of each image whose probabilities are averaged, as for `predict`.

    Returns:
        evaluations/<name of the folder> inside the run (with - for what no run's name may hold, and
        -tta<N> where views are averaged): predictions.csv, metrics.json, report.html.

    Raises:
        DataError: the folder has a class that the model does not know.
    """
    from tlkit import report
    from tlkit.data.folder import ImageFolder
    from tlkit.evaluation.metrics import score
    from tlkit.evaluation.predictions_table import predictions_table

    source = _opened(run)
    several = bool(source.metrics.get("multi_label"))
    folder = ImageFolder(data, min_classes=1, multi_label=several)
    samples = folder.samples.assign(split="test")
    paths = (folder.root / path for path in samples["path"])
    answering = _answering(source, tta)
    answers, classes = answering(paths), answering.classes
    if unknown := sorted(set(folder.classes) - set(classes)):
        raise DataError(
            f"{data} has the class {unknown[0]!r}, which the model does not know; it knows "
            f"{', '.join(classes)}."
        )
    probabilities = []
    for answer in track(answers, "images", len(samples)):
        if answer.probabilities is None:
            raise DataError(f"{answer.path}: {answer.error}; it could be read a moment ago.")
        probabilities.append(answer.probabilities)
    predictions = predictions_table(samples, np.stack(probabilities), classes, several)
    learned_from = source.split.loc[source.split["split"] == "train", "sha256"]
    trained_on = int(samples["sha256"].isin(learned_from).sum())
    if trained_on:
        log.warning(
            "%d of these %d pictures are among those that the run was trained on, so the score is "
            "too good; give pictures that are new to it",
            trained_on,
            len(samples),
        )
    name = _name(Path(data).expanduser().resolve()) + (f"-tta{tta}" if tta > 1 else "")
    target = Run.create(source.folder / "evaluations", name, exist_ok=True)
    target.write_table("split", samples[["path", "label", "split", "sha256"]])
    target.write_table("predictions", predictions)
    target.write_table("skipped", folder.skipped)
    target.write_metrics(
        score(predictions, classes, several)
        | {
            "model": source.metrics["model"],
            "data": {
                "root": str(folder.root),
                "images": len(predictions),
                "trained_on": trained_on,
            },
            "views": tta,
        }
    )
    report.render_run(target)
    return target


def _name(data: Path) -> str:
    """What the evaluation of a folder or a manifest is called: a run's name, whatever it holds."""
    plain = re.sub(r"[^\w.+ -]", "-", data.stem if data.is_file() else data.name)
    return re.sub(r"^[ +]|^\.*$", "-", plain)


def _format(form: str | None, output: Path | None) -> Format:
    """What was asked for, else what the output's name ends with, else a table for people."""
    endings = {".csv": "csv", ".jsonl": "jsonl", ".ndjson": "jsonl", ".txt": "table", "": "table"}
    ending = output.suffix.lower() if output else ""
    if form is None and ending not in endings:
        raise RecipeError(
            f"--output ends with {ending!r}, which tlkit does not write; name it .csv or .jsonl, "
            "or add --format."
        )
    form = form or endings[ending]
    known = get_args(Format)
    if form not in known:
        raise RecipeError(f"--format must be one of {', '.join(known)}; got {form!r}.")
    return cast(Format, form)


def _opened(run: Run | Path | str) -> Run:
    return run if isinstance(run, Run) else Run.open(run)


def _answering(source: Run, tta: int) -> Answering:
    _check_views(tta)
    from tlkit.evaluation.answering import Answering

    with working("loading the model"):
        return Answering(source, tta)


def _by_ray(
    source: Run, files: Iterator[Path], tta: int
) -> tuple[Iterator[Answer], dict[str, Any]]:
    """The answers to come from a cluster, and what there is to know of the network, unloaded."""
    _check_views(tta)
    from tlkit.evaluation.by_ray import answers_by_ray

    facts = read_facts(source.members[0][0].network)
    return answers_by_ray(source, files, tta), facts


def _check_views(tta: int) -> None:
    if not 1 <= tta <= MOST_VIEWS:
        raise RecipeError(f"--tta is a number of views from 1 to {MOST_VIEWS}; got {tta}.")


@contextlib.contextmanager
def _writable(output: Path | None) -> Iterator[TextIO]:
    """The file, or the terminal, ready for any file name there is."""
    if output is None:
        take_any_text(sys.stdout)
        yield sys.stdout
        sys.stdout.flush()
        return
    try:
        file = output.open("w", encoding="utf-8", errors="surrogateescape", newline="")
    except OSError as error:
        raise DataError(
            f"Cannot write {output}: {error.strerror}. Choose another --output."
        ) from None
    with file:
        yield file
