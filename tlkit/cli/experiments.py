"""Commands that take several runs or several trainings to answer one question: ensemble."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

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
    """Average the probabilities of runs; writes their mean's predictions and report as a run."""
    from tlkit import pipeline
    from tlkit.experiments import ensemble as experiment
    from tlkit.report.experiments import ensemble_verdict

    parsed = experiment.parse_weights(weights)
    run = experiment.ensemble(runs, parsed, output=output, name=name, exist_ok=exist_ok)
    print(pipeline.summary(run))
    print(ensemble_verdict(run.metrics["ensemble"]))
