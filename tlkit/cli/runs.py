"""Commands about runs that are there: evaluate, predict, explain, compare, report."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer

RunFolder = Annotated[
    Path, typer.Argument(metavar="RUN", help="A run folder, e.g. runs/2026-11-22-101500.")
]

Views = Annotated[
    int,
    typer.Option(
        help="Average N views of each image: 2 adds its mirror image, up to 10 the corners."
    ),
]


def evaluate(
    run: RunFolder,
    data: Annotated[
        Path,
        typer.Option("--data", "--data-dir", help="Folder of class folders, or a CSV manifest."),
    ],
    tta: Views = 1,
) -> None:
    """Score a run's model on other images.

    Writes predictions, metrics and a report into the run.
    """
    from tlkit import inference, pipeline

    print(pipeline.summary(inference.evaluate(run, data, tta)))


def predict(
    run: RunFolder,
    images: Annotated[
        list[str], typer.Argument(metavar="IMAGES...", help="Files, folders or quoted globs.")
    ],
    form: Annotated[
        str | None,
        typer.Option(
            "--format", help="table, csv or jsonl. [default: what --output ends with, else table]"
        ),
    ] = None,
    output: Annotated[
        Path | None, typer.Option(help="Write the answers to this file instead of the terminal.")
    ] = None,
    top_k: Annotated[
        int | None,
        typer.Option(min=1, help="Show the K most probable classes. [default: all of them]"),
    ] = None,
    reject_below: Annotated[
        float, typer.Option(min=0, max=1, help='Say "don\'t know" below this confidence.')
    ] = 0.0,
    tta: Views = 1,
    ray: Annotated[
        bool,
        typer.Option("--ray", help="On the cluster of RAY_ADDRESS, or on all processors here."),
    ] = False,
) -> None:
    """Classify images with a run's model.

    Writes each answer as it comes.
    """
    from tlkit import inference

    counts = inference.predict_to(
        run, images, output, form, top_k=top_k, reject_below=reject_below, tta=tta, ray=ray
    )
    print(f"{counts}{f', in {output}' if output else ''}", file=sys.stderr)


def explain(
    run: RunFolder,
    images: Annotated[list[str], typer.Argument(metavar="IMAGES...", help="Files or folders.")],
    output: Annotated[
        Path | None, typer.Option(help="The page. [default: explain.html in the run]")
    ] = None,
) -> None:
    """Show what the network saw of some images.

    A page: where it looked (Grad-CAM), and what each stage made of the image.
    """
    from tlkit import inference

    print(inference.explain(run, images, output))


def compare(
    runs: Annotated[
        list[Path], typer.Argument(metavar="RUN RUN...", help="Run folders, or evaluations.")
    ],
    output: Annotated[
        Path | None, typer.Option(help="The page to write. [default: beside the first run]")
    ] = None,
) -> None:
    """Compare runs on images that none was trained on.

    A leaderboard, a paired test, and the images on which they differ.
    """
    from tlkit.evaluation.comparison import compare_runs
    from tlkit.report.leaderboard import leaderboard, write_comparison

    comparison = compare_runs(runs)
    print(leaderboard(comparison))
    page = output or runs[0].resolve().parent / "compare.html"
    print(f"report {write_comparison(comparison, page)}")


def report(run: RunFolder) -> None:
    """Write a run's report.html again.

    From the files in the run folder; the network is not loaded.
    """
    from tlkit.report import render_run
    from tlkit.runs import Run

    print(render_run(Run.open(run)))
