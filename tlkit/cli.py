"""Every command: it parses, calls one function of the library, and prints. Bodies import, so that
help is quick."""

from __future__ import annotations

import logging
import sys
from pathlib import Path
from typing import Annotated, Any

import typer

import tlkit
from tlkit import native_output
from tlkit.errors import TlkitError
from tlkit.interrupts import Terminated

app = typer.Typer(
    help="Fine-tune an image classifier on a folder of pictures, and get a report you can trust.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)
# What Typer raises for a flag that does not exist or does not parse (newer Typers carry Click
# inside).
UsageError: Any = typer.BadParameter.__base__

RunFolder = Annotated[
    Path, typer.Argument(metavar="RUN", help="A run folder, e.g. runs/2026-11-22-101500.")
]


BackboneName = Annotated[str, typer.Argument(metavar="NAME", help="See `tlkit weights list`.")]


def main() -> None:
    """The entry point: an error the user can mend is one line on stderr and exit code 2."""
    try:
        code = app(standalone_mode=False)
    except TlkitError as error:
        _fail(str(error))
    except UsageError as error:
        command = error.ctx.command_path if error.ctx else "tlkit"
        _fail(f"{error.format_message()} See `{command} --help`.")
    except Terminated as stop:
        _fail("Terminated.", code=int(str(stop)))
    except (KeyboardInterrupt, typer.Abort):
        _fail("Interrupted.", code=130)
    sys.exit(code if isinstance(code, int) else 0)


@app.callback(invoke_without_command=True)
def common(
    context: typer.Context,
    verbose: Annotated[
        bool, typer.Option("--verbose", help="Also show what the libraries say.")
    ] = False,
    version: Annotated[bool, typer.Option("--version", help="Show the version and leave.")] = False,
) -> None:
    """Set up what all commands share."""
    if version:
        print(f"tlkit {tlkit.__version__}")
        raise typer.Exit
    if context.invoked_subcommand is None:
        print(context.get_help())
    _show_log(verbose)


@app.command()
def finetune(
    recipe: Annotated[
        Path | None, typer.Argument(metavar="[RECIPE.toml]", help="A recipe; flags override it.")
    ] = None,
    data: Annotated[
        Path | None,
        typer.Option("--data", "--data-dir", help="Folder of class folders, or a CSV manifest."),
    ] = None,
    backbone: Annotated[
        str | None,
        typer.Option(
            "--backbone",
            "--model",
            help="A name of `tlkit backbones`. [default: efficientnet_lite0]",
        ),
    ] = None,
    weights: Annotated[
        str | None, typer.Option(help="imagenet, none, or a file. [default: imagenet]")
    ] = None,
    output: Annotated[Path, typer.Option(help="The folder that holds the runs.")] = Path("runs"),
    name: Annotated[
        str | None, typer.Option(help="The run's name. [default: date and time]")
    ] = None,
    exist_ok: Annotated[
        bool, typer.Option("--exist-ok", help="Write into an existing run of that name.")
    ] = False,
    resume: Annotated[
        bool,
        typer.Option("--resume", help="Go on with the run --name, or the newest unfinished one."),
    ] = False,
    seed: Annotated[
        int | None, typer.Option(help="Of split, shuffling and initial weights. [default: 0]")
    ] = None,
    device: Annotated[str | None, typer.Option(help="auto, cpu or gpu. [default: auto]")] = None,
    workers: Annotated[
        int | None, typer.Option("--workers", "-j", help="Threads that read images.")
    ] = None,
    freeze_epochs: Annotated[
        int | None,
        typer.Option(help="Epochs of the new head on the frozen backbone. [default: 20]"),
    ] = None,
    epochs: Annotated[
        int | None,
        typer.Option(help="Epochs after unfreezing; 0 stops after the four steps. [default: 0]"),
    ] = None,
    unfreeze: Annotated[
        str | None,
        typer.Option(help="last, a number of stages, all, or a stage. [default: last]"),
    ] = None,
    head: Annotated[
        str | None, typer.Option(help="linear, mlp or classifier. [default: linear]")
    ] = None,
    dropout: Annotated[float | None, typer.Option(help="Of the head. [default: 0.2]")] = None,
    head_lr: Annotated[float | None, typer.Option(help="Learning rate of the head phase.")] = None,
    lr: Annotated[
        float | None, typer.Option(help="Learning rate of fine-tuning, or from scratch.")
    ] = None,
    solver: Annotated[
        str | None, typer.Option(help="Of the head: sgd, lbfgs, or auto. [default: auto]")
    ] = None,
    optimizer: Annotated[
        str | None, typer.Option(help="sgd, adam, adamw or rmsprop. [default: adam]")
    ] = None,
    schedule: Annotated[
        str | None, typer.Option(help="constant, cosine or plateau. [default: constant]")
    ] = None,
    batch_size: Annotated[
        int | None, typer.Option("--batch-size", "-b", help="[default: 32]")
    ] = None,
    img_size: Annotated[
        int | None,
        typer.Option("--img-size", "--imgsz", help="Side in pixels. [default: the backbone's]"),
    ] = None,
    resize: Annotated[
        str | None, typer.Option(help="crop, pad or stretch. [default: crop]")
    ] = None,
    augment: Annotated[
        str | None, typer.Option(help="none, light, standard or strong. [default: none]")
    ] = None,
    val_split: Annotated[
        float | None, typer.Option(help="Share held out for validation. [default: 0.2]")
    ] = None,
    test_split: Annotated[
        float | None, typer.Option(help="Share held out for the test. [default: 0]")
    ] = None,
    on_bad_image: Annotated[str | None, typer.Option(help="skip or error. [default: skip]")] = None,
    fixes: Annotated[
        Path | None,
        typer.Option(help="A fixes.csv of the report: path,action,label; drops and relabels."),
    ] = None,
    insight: Annotated[
        bool | None,
        typer.Option(
            "--insight/--no-insight",
            help="Audit the labels, and ask whether more pictures would help. [default: insight]",
        ),
    ] = None,
    class_weights: Annotated[
        str | None, typer.Option(help="none, auto, or a CSV file class,weight. [default: none]")
    ] = None,
    patience: Annotated[
        int | None,
        typer.Option(help="Epochs without improvement before a phase ends. [default: 5]"),
    ] = None,
    views: Annotated[
        int | None,
        typer.Option(help="Augmented views of each image, taking turns over the epochs."),
    ] = None,
    cache_size: Annotated[
        float | None, typer.Option(help="GiB of features kept for later runs. [default: 4]")
    ] = None,
    min_accuracy: Annotated[
        float | None, typer.Option(help="Exit with code 1 below this accuracy.")
    ] = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Check everything, show the plan, train nothing.")
    ] = False,
) -> int:
    """Fine-tune a classifier on a folder of images; writes a model and a report."""
    settings = {
        key: value
        for key, value in locals().items()
        if key not in ("recipe", "output", "name", "exist_ok", "resume", "dry_run")
    }
    from tlkit import pipeline

    if dry_run:
        print(pipeline.dry_run(recipe=recipe, **settings))
        return 0
    run = pipeline.finetune(
        recipe=recipe, output=output, name=name, exist_ok=exist_ok, resume=resume, **settings
    )
    print(pipeline.summary(run))
    return pipeline.exit_code(run)


@app.command()
def evaluate(
    run: RunFolder,
    data: Annotated[
        Path,
        typer.Option("--data", "--data-dir", help="Folder of class folders, or a CSV manifest."),
    ],
) -> None:
    """Score a run's model on other images; writes predictions, metrics and a report into the
    run."""
    from tlkit import inference, pipeline

    print(pipeline.summary(inference.evaluate(run, data)))


@app.command()
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
) -> None:
    """Classify images with a run's model; writes each answer as it comes."""
    from tlkit import inference

    counts = inference.predict_to(run, images, output, form, top_k=top_k, reject_below=reject_below)
    print(f"{counts}{f', in {output}' if output else ''}", file=sys.stderr)


@app.command()
def explain(
    run: RunFolder,
    images: Annotated[list[str], typer.Argument(metavar="IMAGES...", help="Files or folders.")],
    output: Annotated[
        Path | None, typer.Option(help="The page. [default: explain.html in the run]")
    ] = None,
) -> None:
    """Show what the network saw of some images: where it looked, and what each stage made of it."""
    from tlkit import inference

    print(inference.explain(run, images, output))


@app.command()
def compare(
    runs: Annotated[
        list[Path], typer.Argument(metavar="RUN RUN...", help="Run folders, or evaluations.")
    ],
    output: Annotated[
        Path | None, typer.Option(help="The page to write. [default: beside the first run]")
    ] = None,
) -> None:
    """Compare runs on the images that none of them was trained on: leaderboard, test, flips."""
    from tlkit.evaluation.comparison import compare_runs
    from tlkit.report.leaderboard import leaderboard, write_comparison

    comparison = compare_runs(runs)
    print(leaderboard(comparison))
    page = output or runs[0].resolve().parent / "compare.html"
    print(f"report {write_comparison(comparison, page)}")


@app.command()
def inspect(
    data: Annotated[
        Path, typer.Argument(metavar="DIR", help="Folder of class folders, or a CSV manifest.")
    ],
    html: Annotated[
        Path | None, typer.Option("--html", help="Also write a page with the pictures here.")
    ] = None,
    workers: Annotated[
        int | None, typer.Option("--workers", "-j", min=1, help="Threads that read images.")
    ] = None,
) -> None:
    """Find what is wrong with a folder: leaks, copies, bad files, odd pictures; no network."""
    from tlkit.data import lint

    found = lint.inspect(data, workers)
    print(lint.summary(found))
    if html is not None:
        from tlkit.report.inspection import write_inspection

        print(f"page {write_inspection(found, html)}")


@app.command()
def report(run: RunFolder) -> None:
    """Write a run's report.html again, from the files in the run folder."""
    from tlkit.report import render_run
    from tlkit.runs import Run

    print(render_run(Run.open(run)))


@app.command()
def backbones(
    pattern: Annotated[str, typer.Argument(help="Names to show, e.g. 'resnet*'.")] = "*",
    json: Annotated[bool, typer.Option("--json", help="Every fact, as JSON.")] = False,
) -> None:
    """List the backbones: year, size, cost, and whether their weights are here already."""
    from tlkit.backbones import backbones_table
    from tlkit.backbones._listing import as_json, readable

    print((as_json if json else readable)(backbones_table(pattern)))


@app.command()
def summary(
    backbone: Annotated[str, typer.Argument(help="A name of `tlkit backbones`.")],
    input_size: Annotated[
        int | None,
        typer.Option("--input", "--img-size", "--imgsz", min=1, help="Side of the image, pixels."),
    ] = None,
    classes: Annotated[int | None, typer.Option(min=1, help="Outputs of the last layer.")] = None,
    csv: Annotated[bool, typer.Option("--csv", help="Print the table as CSV.")] = False,
) -> None:
    """Show what each layer of a network costs: output, memory, parameters, operations."""
    from tlkit.device import import_keras
    from tlkit.progress import console

    with console.status(f"building {backbone}"):
        import_keras()
        from tlkit.summary import show, summarise

        costs = summarise(backbone, input_size, classes)
    print(costs.table.to_csv(index=False), end="") if csv else show(costs)


weights_app = typer.Typer(
    help="Published weights: list, fetch, import, verify.", no_args_is_help=True
)
app.add_typer(weights_app, name="weights")


@weights_app.command("list")
def weights_list(
    pattern: Annotated[str, typer.Argument(help="Names to show, e.g. 'resnet*'.")] = "*",
) -> None:
    """List where each backbone's weights come from, and whether they are here already."""
    from tlkit.backbones import _weights, list_backbones

    table = _weights.list_weights()
    table = table[table["name"].isin(list_backbones(pattern))]
    print(table[["name", "cached", "bytes", "licence", "sha256", "source"]].to_string(index=False))


@weights_app.command("fetch")
def weights_fetch(name: BackboneName) -> None:
    """Download a backbone's published weights; a broken download goes on where it stopped."""
    from tlkit.backbones import _weights

    print(_weights.fetch(name).path)


@weights_app.command("import")
def weights_import(
    file: Annotated[Path, typer.Argument(help=".safetensors, .pth, .h5, .weights.h5 or .keras.")],
    backbone: Annotated[str, typer.Option("--backbone", "--model", help="What it is for.")],
) -> None:
    """Keep a file as a backbone's weights: `--weights imagenet` then means it."""
    from tlkit.backbones import _weights
    from tlkit.device import import_keras

    import_keras()
    print(_weights.import_file(file, backbone).path)


@weights_app.command("verify")
def weights_verify(
    name: Annotated[str | None, typer.Argument(help="[default: all that are here]")] = None,
) -> None:
    """Compare weights on this machine with their published sha256."""
    from tlkit.backbones import _weights

    table = _weights.list_weights()
    for each in [name] if name else table["name"][table["cached"]]:
        print(f"{each}  {_weights.verify(each).sha256}  sound")


cache_app = typer.Typer(
    help="Features that are kept for later runs: info, clear.", no_args_is_help=True
)
app.add_typer(cache_app, name="cache")


@cache_app.command("info")
def cache_info() -> None:
    """Say where kept features are, how much room they take, and what they are of."""
    from tlkit.feature_cache import FeatureCache

    cache = FeatureCache()
    print(f"{cache.root}  {cache.size() / 2**20:,.1f} MiB")
    if len(table := cache.info()):
        print(table.to_string(index=False, na_rep=""))


@cache_app.command("clear")
def cache_clear() -> None:
    """Delete all kept features and converted networks; later runs compute them again."""
    from tlkit.feature_cache import FeatureCache

    print(f"{FeatureCache().clear() / 2**20:,.1f} MiB freed")


def _fail(message: str, code: int = 2) -> None:
    print(f"tlkit: {' '.join(message.split())}", file=sys.stderr)
    sys.exit(code)


def _show_log(verbose: bool) -> None:
    """Print what tlkit says on stderr as plain lines, and nothing that native libraries say."""
    if not verbose:
        native_output.keep_off_terminal()
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(logging.Formatter("%(message)s"))
    logging.getLogger().addHandler(handler)
    logging.getLogger().setLevel(logging.INFO if verbose else logging.ERROR)
    logging.getLogger("tlkit").setLevel(logging.INFO)


if __name__ == "__main__":
    main()
