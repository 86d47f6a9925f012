"""Commands that make image folders: data fetch, data split, data from-csv."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

app = typer.Typer(
    help="Make image folders: fetch, split, lay out a CSV.",
    no_args_is_help=True,
)

Link = Annotated[bool, typer.Option("--link", help="Links to the images instead of copies.")]


@app.command()
def fetch(
    name: Annotated[str, typer.Argument(help="mnist, fashion_mnist, cifar10 or cifar100.")],
    folder: Annotated[Path, typer.Argument(metavar="DIR", help="A new folder.")],
) -> None:
    """Download a small data set and write it as train/ and test/ folders of PNG files."""
    from tlkit.data.fetch import fetch as fetch_dataset
    from tlkit.device import import_keras

    import_keras()
    print(fetch_dataset(name, folder))


@app.command()
def split(
    data: Annotated[
        Path, typer.Argument(metavar="DIR", help="Folder of class folders, or a CSV manifest.")
    ],
    output: Annotated[
        Path | None,
        typer.Option(help="A .csv above the images, or a new folder. [default: DIR-split.csv]"),
    ] = None,
    val_split: Annotated[
        float, typer.Option(min=0, max=0.999, help="Share held out for validation.")
    ] = 0.2,
    test_split: Annotated[
        float, typer.Option(min=0, max=0.999, help="Share held out for the test.")
    ] = 0.0,
    seed: Annotated[int, typer.Option(help="Of the draw.")] = 0,
    link: Link = False,
    multi_label: Annotated[
        bool, typer.Option("--multi-label", help="A label of the manifest is a list such as a;b.")
    ] = False,
) -> None:
    """Split a folder as finetune does, into a manifest or another folder; DIR stays as it is."""
    from tlkit.data import arrange

    written, table = arrange.split(
        data,
        output,
        val_split=val_split,
        test_split=test_split,
        seed=seed,
        link=link,
        multi_label=multi_label,
    )
    counts = table["split"].value_counts()
    print(
        ", ".join(f"{part} {counts[part]:,}" for part in ("train", "val", "test") if part in counts)
    )
    print(written)


@app.command("from-csv")
def from_csv(
    manifest: Annotated[Path, typer.Argument(metavar="CSV", help="path,label[,split]")],
    output: Annotated[Path, typer.Argument(metavar="DIR", help="A new folder.")],
    link: Link = False,
    multi_label: Annotated[
        bool,
        typer.Option(
            "--multi-label", help="A label is a list such as a;b: images/ and a manifest.csv."
        ),
    ] = False,
) -> None:
    """Lay out the images of a manifest as class folders, elsewhere."""
    from tlkit.data import arrange

    folder = arrange.from_csv(manifest, output, link=link, multi_label=multi_label)
    print(f"{len(folder.samples):,} images, {len(folder.skipped):,} skipped\n{output}")
