"""Commands about networks: backbones, summary."""

from __future__ import annotations

from typing import Annotated

import typer


def backbones(
    pattern: Annotated[str, typer.Argument(help="Names to show, e.g. 'resnet*'.")] = "*",
    json: Annotated[bool, typer.Option("--json", help="Every fact, as JSON.")] = False,
) -> None:
    """List the backbones.

    Year, size, cost, and whether their weights are here already.
    """
    from tlkit.backbones import backbones_table
    from tlkit.backbones._listing import as_json, readable

    print((as_json if json else readable)(backbones_table(pattern)))


def summary(
    backbone: Annotated[str, typer.Argument(help="A name of `tlkit backbones`.")],
    input_size: Annotated[
        int | None,
        typer.Option("--input", "--img-size", "--imgsz", min=1, help="Side of the image, pixels."),
    ] = None,
    classes: Annotated[int | None, typer.Option(min=1, help="Outputs of the last layer.")] = None,
    csv: Annotated[bool, typer.Option("--csv", help="Print the table as CSV.")] = False,
) -> None:
    """Show what each layer of a network costs.

    Output, memory, parameters and operations.
    """
    from tlkit.device import import_keras
    from tlkit.progress import console

    with console.status(f"building {backbone}"):
        import_keras()
        from tlkit.summary import show, summarise

        costs = summarise(backbone, input_size, classes)
    print(costs.table.to_csv(index=False), end="") if csv else show(costs)
