"""`tlkit finetune`: every recipe key as a flag."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from tlkit.errors import RecipeError

# Headings of the help, in its order.
IMAGES = "Images"
NETWORK = "Network"
PHASES = "The four steps, and fine-tuning"
DESCENT = "Gradient descent"
RUN = "The run"
MACHINE = "The machine"


def finetune(
    recipe: Annotated[
        Path | None, typer.Argument(metavar="[RECIPE.toml]", help="A recipe; flags override it.")
    ] = None,
    data: Annotated[
        Path | None,
        typer.Option(
            "--data",
            "--data-dir",
            help="Folder of class folders, or a CSV manifest.",
            rich_help_panel=IMAGES,
        ),
    ] = None,
    val_split: Annotated[
        float | None,
        typer.Option(help="Share held out for validation. [default: 0.2]", rich_help_panel=IMAGES),
    ] = None,
    test_split: Annotated[
        float | None,
        typer.Option(help="Share held out for the test. [default: 0]", rich_help_panel=IMAGES),
    ] = None,
    img_size: Annotated[
        int | None,
        typer.Option(
            "--img-size",
            "--imgsz",
            help="Side in pixels. [default: the backbone's]",
            rich_help_panel=IMAGES,
        ),
    ] = None,
    resize: Annotated[
        str | None,
        typer.Option(help="crop, pad or stretch. [default: crop]", rich_help_panel=IMAGES),
    ] = None,
    augment: Annotated[
        str | None,
        typer.Option(
            help='none, light, standard, strong, or steps such as "rotate 20, shift 0.2, flip" '
            "(also flip-vertical, random-crop, pad-crop, colour-pca, randaugment). [default: none]",
            rich_help_panel=IMAGES,
        ),
    ] = None,
    views: Annotated[
        int | None,
        typer.Option(
            help="Augmented views of each image, taking turns over the epochs.",
            rich_help_panel=IMAGES,
        ),
    ] = None,
    normalise: Annotated[
        str | None,
        typer.Option(help="backbone or per-image. [default: backbone]", rich_help_panel=IMAGES),
    ] = None,
    on_bad_image: Annotated[
        str | None, typer.Option(help="skip or error. [default: skip]", rich_help_panel=IMAGES)
    ] = None,
    multi_label: Annotated[
        bool | None,
        typer.Option(
            "--multi-label",
            help="Images of several classes: a manifest's labels a;b.",
            rich_help_panel=IMAGES,
        ),
    ] = None,
    fixes: Annotated[
        Path | None,
        typer.Option(
            help="A fixes.csv of the report: path,action,label; drops and relabels.",
            rich_help_panel=IMAGES,
        ),
    ] = None,
    backbone: Annotated[
        str | None,
        typer.Option(
            "--backbone",
            "--model",
            help="A name of `tlkit backbones`. [default: efficientnet_lite0]",
            rich_help_panel=NETWORK,
        ),
    ] = None,
    weights: Annotated[
        str | None,
        typer.Option(
            help="imagenet, none, or a file. [default: imagenet]", rich_help_panel=NETWORK
        ),
    ] = None,
    head: Annotated[
        str | None,
        typer.Option(help="linear, mlp or classifier. [default: linear]", rich_help_panel=NETWORK),
    ] = None,
    hidden: Annotated[
        int | None,
        typer.Option(help="Units of the mlp head. [default: 256]", rich_help_panel=NETWORK),
    ] = None,
    dropout: Annotated[
        float | None, typer.Option(help="Of the head. [default: 0.2]", rich_help_panel=NETWORK)
    ] = None,
    drop_path: Annotated[
        float | None,
        typer.Option(
            help="Stochastic depth: chance to skip the last block.", rich_help_panel=NETWORK
        ),
    ] = None,
    auxiliary: Annotated[
        bool | None,
        typer.Option(
            "--auxiliary/--no-auxiliary",
            help="Auxiliary classifiers, from scratch. [default: where the network has any]",
            rich_help_panel=NETWORK,
        ),
    ] = None,
    freeze_epochs: Annotated[
        int | None,
        typer.Option(
            help="Epochs of the new head on the frozen backbone. [default: 20]",
            rich_help_panel=PHASES,
        ),
    ] = None,
    solver: Annotated[
        str | None,
        typer.Option(
            help="Of the head: sgd, lbfgs, or auto. [default: auto]", rich_help_panel=PHASES
        ),
    ] = None,
    head_lr: Annotated[
        float | None, typer.Option(help="Learning rate of the head phase.", rich_help_panel=PHASES)
    ] = None,
    epochs: Annotated[
        int | None,
        typer.Option(
            help="Epochs after unfreezing; 0 stops after the four steps. [default: 0]",
            rich_help_panel=PHASES,
        ),
    ] = None,
    unfreeze: Annotated[
        str | None,
        typer.Option(
            help="last, a number of stages, all, or a stage. [default: last]",
            rich_help_panel=PHASES,
        ),
    ] = None,
    lr: Annotated[
        float | None,
        typer.Option(help="Learning rate of fine-tuning, or from scratch.", rich_help_panel=PHASES),
    ] = None,
    gradual: Annotated[
        bool | None,
        typer.Option(
            "--gradual", help="Unfreeze stage by stage, --epochs with each.", rich_help_panel=PHASES
        ),
    ] = None,
    layer_decay: Annotated[
        float | None,
        typer.Option(
            help="Rate of a stage relative to the one after it, e.g. 0.5.", rich_help_panel=PHASES
        ),
    ] = None,
    batch_size: Annotated[
        int | None, typer.Option("--batch-size", "-b", help="[default: 32]", rich_help_panel=PHASES)
    ] = None,
    patience: Annotated[
        int | None,
        typer.Option(
            help="Epochs without improvement before a phase ends. [default: 5]",
            rich_help_panel=PHASES,
        ),
    ] = None,
    optimizer: Annotated[
        str | None,
        typer.Option(
            help="sgd, adam, adamw, rmsprop or lion. [default: adam]", rich_help_panel=DESCENT
        ),
    ] = None,
    momentum: Annotated[
        float | None,
        typer.Option(help="Of sgd or rmsprop. [default: 0.9 for sgd]", rich_help_panel=DESCENT),
    ] = None,
    nesterov: Annotated[
        bool | None,
        typer.Option(
            "--nesterov/--no-nesterov", help="Of sgd. [default: nesterov]", rich_help_panel=DESCENT
        ),
    ] = None,
    weight_decay: Annotated[
        float | None,
        typer.Option(help="Decoupled, of kernels, times the rate.", rich_help_panel=DESCENT),
    ] = None,
    l2: Annotated[
        float | None, typer.Option("--l2", help="L2 penalty on kernels.", rich_help_panel=DESCENT)
    ] = None,
    clip_norm: Annotated[
        float | None, typer.Option(help="Longest gradient.", rich_help_panel=DESCENT)
    ] = None,
    accumulate: Annotated[
        int | None,
        typer.Option(help="Batches whose gradients make one step.", rich_help_panel=DESCENT),
    ] = None,
    ema: Annotated[
        float | None,
        typer.Option(
            help="Momentum of a moving average of the weights, e.g. 0.99.", rich_help_panel=DESCENT
        ),
    ] = None,
    schedule: Annotated[
        str | None,
        typer.Option(
            help="constant, step, exponential, polynomial, cosine, one-cycle or plateau. "
            "[default: constant]",
            rich_help_panel=DESCENT,
        ),
    ] = None,
    warmup: Annotated[
        int | None,
        typer.Option(help="Epochs in which the rate rises from 0.", rich_help_panel=DESCENT),
    ] = None,
    decay_epochs: Annotated[
        str | None,
        typer.Option(
            help="Of step, exponential, plateau: 10, or after 10,15.", rich_help_panel=DESCENT
        ),
    ] = None,
    decay_rate: Annotated[
        str | None,
        typer.Option(
            help="What the rate is multiplied by then: 0.1, or 0.1,0.5.", rich_help_panel=DESCENT
        ),
    ] = None,
    end_lr: Annotated[
        float | None, typer.Option(help="Of polynomial: the last rate.", rich_help_panel=DESCENT)
    ] = None,
    power: Annotated[
        float | None, typer.Option(help="Of polynomial. [default: 1]", rich_help_panel=DESCENT)
    ] = None,
    label_smoothing: Annotated[
        float | None,
        typer.Option(help="Share of each label spread over all classes.", rich_help_panel=DESCENT),
    ] = None,
    focal_gamma: Annotated[
        float | None,
        typer.Option(help="Focal loss with this gamma, e.g. 2.", rich_help_panel=DESCENT),
    ] = None,
    mixup: Annotated[
        float | None, typer.Option(help="MixUp with this alpha, e.g. 0.2.", rich_help_panel=DESCENT)
    ] = None,
    cutmix: Annotated[
        float | None, typer.Option(help="CutMix with this alpha, e.g. 1.", rich_help_panel=DESCENT)
    ] = None,
    class_weights: Annotated[
        str | None,
        typer.Option(
            help="none, auto, or a CSV file class,weight. [default: none]", rich_help_panel=DESCENT
        ),
    ] = None,
    output: Annotated[
        Path, typer.Option(help="The folder that holds the runs.", rich_help_panel=RUN)
    ] = Path("runs"),
    name: Annotated[
        str | None,
        typer.Option(help="The run's name. [default: date and time]", rich_help_panel=RUN),
    ] = None,
    exist_ok: Annotated[
        bool,
        typer.Option(
            "--exist-ok", help="Write into an existing run of that name.", rich_help_panel=RUN
        ),
    ] = False,
    resume: Annotated[
        bool,
        typer.Option(
            "--resume",
            help="Go on with the run --name, or the newest unfinished one.",
            rich_help_panel=RUN,
        ),
    ] = False,
    dry_run: Annotated[
        bool,
        typer.Option(
            "--dry-run", help="Check everything, show the plan, train nothing.", rich_help_panel=RUN
        ),
    ] = False,
    folds: Annotated[
        int | None,
        typer.Option(
            help="Cross-validate: K trainings, each judged on the part it has not seen.",
            rich_help_panel=RUN,
        ),
    ] = None,
    seed: Annotated[
        int | None,
        typer.Option(
            help="Of split, shuffling and initial weights. [default: 0]", rich_help_panel=RUN
        ),
    ] = None,
    insight: Annotated[
        bool | None,
        typer.Option(
            "--insight/--no-insight",
            help="Audit the labels, and ask whether more pictures would help. [default: insight]",
            rich_help_panel=RUN,
        ),
    ] = None,
    min_accuracy: Annotated[
        float | None,
        typer.Option(help="Exit with code 1 below this accuracy.", rich_help_panel=RUN),
    ] = None,
    track: Annotated[
        list[str] | None,
        typer.Option(
            help="Also record every epoch: csv, tensorboard or mlflow; may be repeated.",
            rich_help_panel=RUN,
        ),
    ] = None,
    device: Annotated[
        str | None, typer.Option(help="auto, cpu or gpu. [default: auto]", rich_help_panel=MACHINE)
    ] = None,
    precision: Annotated[
        str | None,
        typer.Option(
            help="Of training in batches: float32, bfloat16 or float16. [default: float16 on a "
            "GPU, float32 on a CPU]",
            rich_help_panel=MACHINE,
        ),
    ] = None,
    backend: Annotated[
        str | None,
        typer.Option(
            help="tensorflow or jax; jax for several machines. [default: tensorflow]",
            rich_help_panel=MACHINE,
        ),
    ] = None,
    workers: Annotated[
        int | None,
        typer.Option("--workers", "-j", help="Threads that read images.", rich_help_panel=MACHINE),
    ] = None,
    cache_size: Annotated[
        float | None,
        typer.Option(
            help="GiB of features kept for later runs. [default: 4]", rich_help_panel=MACHINE
        ),
    ] = None,
) -> int:
    """Fine-tune a classifier on a folder of images.

    `tlkit finetune --data ./photos` writes a run folder with the model and report.html. Without
    further flags the head alone is trained, on a frozen backbone.
    """
    settings = {
        key: value
        for key, value in locals().items()
        if key not in ("recipe", "output", "name", "exist_ok", "resume", "folds", "dry_run")
    }
    from tlkit import pipeline

    if dry_run:
        print(pipeline.dry_run(recipe=recipe, **settings))
        return 0
    if folds is not None:
        from tlkit.experiments.folds import cross_validate
        from tlkit.report.experiments import folds_table

        if resume:
            raise RecipeError("--folds begins anew and has no --resume; leave one of them out.")
        run = cross_validate(
            folds=folds, recipe=recipe, output=output, name=name, exist_ok=exist_ok, **settings
        )
        print(folds_table(run.metrics["folds"]))
    else:
        run = pipeline.finetune(
            recipe=recipe, output=output, name=name, exist_ok=exist_ok, resume=resume, **settings
        )
    print(pipeline.summary(run))
    return pipeline.exit_code(run)
