"""A finished run at work: classify new files, and score it on other labelled images."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TextIO, cast, get_args

import pandas as pd

from tlkit.data.search import find_files
from tlkit.errors import DataError, RecipeError
from tlkit.evaluation.answers import Answer, Counts, Detail, Format, write_answers
from tlkit.progress import track
from tlkit.runs import Run


def predict(
    run: Run | Path,
    images: Sequence[str | Path],
    *,
    top_k: int | None = None,
    reject_below: float = 0.0,
) -> pd.DataFrame:
    """Classify images with a run's model, all in one table.

    Args:
        run: a finished run.
        images: files, folders that are searched for images, or globs.
        top_k: show this many of the most probable classes; all when None.
        reject_below: an answer less confident than this is "" in `predicted`: it does not know.

    Returns:
        One row per file: path, predicted, confidence, error, and p_<class>... or class_1, p_1...;
        a file that cannot be read has an error and no prediction.
    """
    model_file, files = _opened(run).model_file, find_files(images)
    answers, classes = _answers(model_file, files)
    detail = Detail(classes, top_k, reject_below)
    return pd.DataFrame(
        [detail.row(answer) for answer in track(answers, "images")], columns=detail.columns
    )


def predict_to(
    run: Run | Path,
    images: Sequence[str | Path],
    output: Path | None = None,
    form: str | None = None,
    *,
    top_k: int | None = None,
    reject_below: float = 0.0,
) -> Counts:
    """Classify any number of images and write each answer as it comes.

    Args:
        run, images, top_k, reject_below: as for `predict`.
        output: the file to write; the terminal when None.
        form: table, csv or jsonl; what the output's name ends with when None, else a table.

    Returns:
        How many files there were.

    Raises:
        DataError: an image that does not exist, or an output that cannot be written.
        RecipeError: an unknown format.
    """
    written = _format(form, output)
    model_file, files = _opened(run).model_file, find_files(images)
    with _writable(output) as file:
        answers, classes = _answers(model_file, files)
        # On a terminal the lines themselves show how far it is.
        shown = answers if file.isatty() else track(answers, "images")
        return write_answers(shown, Detail(classes, top_k, reject_below), file, written)


def explain(
    run: Run | Path, images: Sequence[str | Path], output: str | Path | None = None
) -> Path:
    """Show what a run's network saw of some images, as a page.

    Args:
        run: a finished run.
        images: files, folders that are searched for images, or globs.
        output: the HTML file; explain.html in the run folder when None.

    Returns:
        The page's path.

    Raises:
        DataError: an image that does not exist or cannot be read.
    """
    from tlkit import device

    source = _opened(run)
    table = predict(source, images)
    if (bad := table["error"] != "").any():
        raise DataError(f"{table['error'][bad].iloc[0]}; leave it out.")
    device.import_keras()
    from tlkit.classifier import load_classifier
    from tlkit.evaluation import explain as what
    from tlkit.report.explanation import write_explanation

    values = what.explain(load_classifier(source.model_file), table.assign(label=""), Path())
    page = Path(output) if output else source.folder / "explain.html"
    return write_explanation(values, source.folder.resolve().name, page)


def evaluate(run: Run | Path, data: str | Path) -> Run:
    """Score a finished run's model on other images of the same classes.

    Args:
        run: a finished run.
        data: a folder or a manifest, as for `finetune`; every image in it counts, whatever its
        split.

    Returns:
        evaluations/<name of the folder> inside the run: predictions.csv, metrics.json, report.html.

    Raises:
        DataError: the folder has a class that the model does not know.
    """
    from tlkit import device, report
    from tlkit.data.folder import ImageFolder
    from tlkit.evaluation.metrics import score

    device.import_keras()
    from tlkit.classifier import load_classifier
    from tlkit.data.loader import ImageBatches
    from tlkit.evaluation.predictions import predict_images

    source = _opened(run)
    folder = ImageFolder(data, min_classes=1)
    classifier = load_classifier(source.model_file)
    unknown = sorted(set(folder.classes) - set(classifier.classes))
    if unknown:
        raise DataError(
            f"{data} has the class {unknown[0]!r}, which the model does not know; it knows "
            f"{', '.join(classifier.classes)}."
        )
    samples = folder.samples.assign(split="test")
    images = ImageBatches.for_evaluation(samples, folder.root, classifier)
    predictions = predict_images(classifier, images)
    name = Path(data).resolve().stem or "images"
    target = Run.create(source.folder / "evaluations", name, exist_ok=True)
    target.write_table("split", samples[["path", "label", "split", "sha256"]])
    target.write_table("predictions", predictions)
    target.write_table("skipped", folder.skipped)
    target.write_metrics(
        score(predictions, classifier.classes)
        | {
            "model": source.metrics["model"],
            "data": {"root": str(folder.root), "images": len(predictions)},
        }
    )
    report.render_run(target)
    return target


def _format(form: str | None, output: Path | None) -> Format:
    """What was asked for, else what the output's name ends with, else a table for people."""
    endings = {".csv": "csv", ".jsonl": "jsonl", ".ndjson": "jsonl"}
    form = form or endings.get(output.suffix.lower() if output else "", "table")
    known = get_args(Format)
    if form not in known:
        raise RecipeError(f"--format must be one of {', '.join(known)}; got {form!r}.")
    return cast(Format, form)


def _opened(run: Run | Path) -> Run:
    return run if isinstance(run, Run) else Run.open(run)


def _answers(model_file: Path, files: Iterator[Path]) -> tuple[Iterator[Answer], tuple[str, ...]]:
    """The answers to come, and the classes they are about."""
    from tlkit import device

    device.import_keras()
    from tlkit.classifier import load_classifier
    from tlkit.evaluation.predictions import answer_files

    classifier = load_classifier(model_file)
    return answer_files(classifier, files), classifier.classes


@contextlib.contextmanager
def _writable(output: Path | None) -> Iterator[TextIO]:
    """The file, or the terminal, ready for any file name there is."""
    if output is None:
        with contextlib.suppress(AttributeError):  # a captured stream has no such method
            sys.stdout.reconfigure(errors="surrogateescape")  # type: ignore[union-attr]
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
