"""Commands that answer a question by several runs or trainings: ensemble, lr-find, search."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

Data = Annotated[
    Path | None,
    typer.Option("--data", "--data-dir", help="Folder of class folders, or a CSV manifest."),
]
Output = Annotated[Path, typer.Option(help="The folder that holds the runs.")]
Name = Annotated[str | None, typer.Option(help="The run's name. [default: date and time]")]
ExistOk = Annotated[
    bool, typer.Option("--exist-ok", help="Write into an existing run of that name.")
]


def ensemble(
    runs: Annotated[
        list[Path], typer.Argument(metavar="RUN RUN...", help="Run folders of one split.")
    ],
    weights: Annotated[
        str | None,
        typer.Option(help="Of each run in the mean, such as 2,1,1. [default: all alike]"),
    ] = None,
    output: Output = Path("runs"),
    name: Name = None,
    exist_ok: ExistOk = False,
) -> None:
    """Average the probabilities of several runs.

    Writes predictions and a report of their mean, as a run of its own.
    """
    from tlkit import pipeline
    from tlkit.experiments import ensemble as experiment
    from tlkit.report.experiments import ensemble_verdict

    parsed = experiment.parse_weights(weights)
    run = experiment.ensemble(runs, parsed, output=output, name=name, exist_ok=exist_ok)
    print(pipeline.summary(run))
    print(ensemble_verdict(run.metrics["ensemble"]))


def lr_find(
    recipe: Annotated[
        Path | None, typer.Argument(metavar="[RECIPE.toml]", help="A recipe; flags override it.")
    ] = None,
    data: Data = None,
    phase: Annotated[
        str | None,
        typer.Option(help="head or fine-tune. [default: fine-tune if the recipe has any]"),
    ] = None,
    low: Annotated[float, typer.Option(help="The first rate.")] = 1e-6,
    high: Annotated[float, typer.Option(help="The last rate.")] = 10.0,
    steps: Annotated[int, typer.Option(help="Batches.")] = 100,
    backbone: Annotated[
        str | None, typer.Option("--backbone", "--model", help="A name of `tlkit backbones`.")
    ] = None,
    weights: Annotated[str | None, typer.Option(help="imagenet, none, or a file.")] = None,
    optimizer: Annotated[str | None, typer.Option(help="As for finetune.")] = None,
    batch_size: Annotated[int | None, typer.Option("--batch-size", "-b")] = None,
    img_size: Annotated[
        int | None, typer.Option("--img-size", "--imgsz", help="Side in pixels.")
    ] = None,
    augment: Annotated[str | None, typer.Option(help="As for finetune.")] = None,
    seed: Annotated[int | None, typer.Option(help="Of split, shuffling and weights.")] = None,
    device: Annotated[str | None, typer.Option(help="auto, cpu or gpu.")] = None,
    output: Annotated[Path, typer.Option(help="The page to write.")] = Path("lr-find.html"),
) -> None:
    """Find a learning rate: one short training while it rises.

    Writes a page with the plot.
    """
    settings = {
        key: value
        for key, value in locals().items()
        if key not in ("recipe", "data", "phase", "low", "high", "steps", "output")
    }
    from tlkit.experiments.lr_find import find_rate
    from tlkit.report.rates import advice, write_rates

    curve = find_rate(data, recipe=recipe, phase=phase, low=low, high=high, steps=steps, **settings)
    print(advice(curve))
    print(f"page {write_rates(curve, output)}")


def search(
    recipe: Annotated[
        Path, typer.Argument(metavar="RECIPE.toml", help="A recipe with a [search] table.")
    ],
    data: Data = None,
    trials: Annotated[int, typer.Option(help="Recipes to try, earlier ones included.")] = 20,
    output: Output = Path("runs"),
    name: Name = None,
    exist_ok: ExistOk = False,
    resume: Annotated[bool, typer.Option("--resume", help="Go on with the search --name.")] = False,
    backbone: Annotated[
        str | None, typer.Option("--backbone", "--model", help="A name of `tlkit backbones`.")
    ] = None,
    seed: Annotated[int | None, typer.Option(help="Of split, weights and search.")] = None,
    device: Annotated[str | None, typer.Option(help="auto, cpu or gpu.")] = None,
    workers: Annotated[
        int | None, typer.Option("--workers", "-j", help="Threads that read images.")
    ] = None,
) -> None:
    """Try recipes from the ranges of a [search] table.

    Writes the best one and a leaderboard.
    """
    from tlkit.experiments import search as experiment
    from tlkit.report.search import trials_table

    found = experiment.search(
        recipe, data, trials, output=output, name=name, exist_ok=exist_ok, resume=resume,
        backbone=backbone, seed=seed, device=device, workers=workers,
    )  # fmt: skip
    print(trials_table(found.trials, sorted(found.space)))
    print(f"report {found.folder / 'report.html'}")
    print(f"train the best: tlkit finetune {found.best}")
