"""Commands that take a model elsewhere: export, serve."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from tlkit.cli.runs import RunFolder


def export(
    run: RunFolder,
    form: Annotated[
        str, typer.Option("--format", help="keras, saved_model, onnx, openvino or litert.")
    ],
    int8: Annotated[
        bool,
        typer.Option("--int8", help="Quantise, calibrated on training images: openvino, litert."),
    ] = False,
    output: Annotated[
        Path | None, typer.Option(help="The folder to write. [default: exports/FORMAT in the run]")
    ] = None,
    data: Annotated[
        Path | None,
        typer.Option("--data", "--data-dir", help="Where the run's images are now, if they moved."),
    ] = None,
) -> None:
    """Write a run's model for another runtime, with proof.

    The file is run there on the validation images and must answer as Keras does.
    """
    from tlkit.export import export_run

    print(export_run(run, form, int8=int8, output=output, data=data))


def serve(
    run: RunFolder,
    host: Annotated[
        str, typer.Option(help="Where to listen; 0.0.0.0 lets other machines in.")
    ] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=0, max=65535, help="0 takes a free one.")] = 8000,
    reject_below: Annotated[
        float, typer.Option(min=0, max=1, help='Say "don\'t know" below this confidence.')
    ] = 0.0,
    max_upload: Annotated[float, typer.Option(min=0.001, help="MiB of one picture.")] = 20.0,
) -> None:
    """Serve a page to try a run's model with your pictures.

    And a JSON endpoint for programs.
    """
    from tlkit.serve import serve as serve_run

    serve_run(run, host, port, reject_below=reject_below, most_bytes=int(max_upload * 2**20))
