"""`tlkit weights`: published weights on this machine."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

BackboneName = Annotated[str, typer.Argument(metavar="NAME", help="See `tlkit weights list`.")]


app = typer.Typer(help="Published weights: list, fetch, import, verify.", no_args_is_help=True)


@app.command("list")
def list_(
    pattern: Annotated[str, typer.Argument(help="Names to show, e.g. 'resnet*'.")] = "*",
) -> None:
    """List where each backbone's weights come from, and whether they are here already."""
    from tlkit.backbones import _weights, list_backbones
    from tlkit.errors import WeightsError

    table = _weights.list_weights()
    table = table[table["name"].isin(list_backbones(pattern))]
    if table.empty:
        raise WeightsError(
            f"Nobody has published weights for {pattern!r}; `tlkit backbones` shows what there is."
        )
    print(table[["name", "cached", "bytes", "licence", "sha256", "source"]].to_string(index=False))


@app.command("fetch")
def fetch(name: BackboneName) -> None:
    """Download a backbone's published weights; a broken download goes on where it stopped."""
    from tlkit.backbones import _weights

    print(_weights.fetch(name).path)


@app.command("import")
def import_(
    file: Annotated[Path, typer.Argument(help=".safetensors, .pth, .h5, .weights.h5 or .keras.")],
    backbone: Annotated[str, typer.Option("--backbone", "--model", help="What it is for.")],
) -> None:
    """Keep a file as a backbone's weights: `--weights imagenet` then means it."""
    from tlkit.backbones import _weights
    from tlkit.device import import_keras

    import_keras()
    print(_weights.import_file(file, backbone).path)


@app.command("verify")
def verify(
    name: Annotated[str | None, typer.Argument(help="[default: all that are here]")] = None,
) -> None:
    """Compare weights on this machine with their published sha256."""
    from tlkit.backbones import _weights

    table = _weights.list_weights()
    for each in [name] if name else table["name"][table["cached"]]:
        print(f"{each}  {_weights.verify(each).sha256}  sound")
