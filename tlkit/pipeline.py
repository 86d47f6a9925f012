"""READ FIRST: the whole program, from a folder of images to a run folder with a model and a
report."""

from __future__ import annotations

import logging
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pandas as pd

from tlkit import machines
from tlkit.atomic import write_atomically
from tlkit.backbones import get_backbone
from tlkit.checkpoint import Checkpoint
from tlkit.errors import RecipeError
from tlkit.interrupts import end_on_sigterm
from tlkit.labels import SEPARATOR
from tlkit.passport import passport, steps_taken
from tlkit.progress import working
from tlkit.recipe import Recipe, flat, load_recipe
from tlkit.run_log import named_file_errors, run_log
from tlkit.runs import Run

if TYPE_CHECKING:
    from tlkit.classifier import Classifier
    from tlkit.data.folder import ImageFolder
    from tlkit.data.loader import Datasets
    from tlkit.device import Device
    from tlkit.features import FrozenFeatures

log = logging.getLogger(__name__)


def finetune(
    data: str | Path | None = None,
    *,
    recipe: str | Path | None = None,
    output: str | Path = "runs",
    name: str | None = None,
    exist_ok: bool = False,
    resume: bool = False,
    **settings: Any,
) -> Run:
    """Fine-tune a classifier on a folder of images and write the run folder.

    Args:
        data: a folder of class folders, a folder of train/val/test folders, or a CSV manifest.
        recipe: a TOML file; the defaults when None.
        output: the folder that holds the runs.
        name: the run's name; the date and time when None.
        exist_ok: write into an existing run of that name.
        resume: go on with the run `name`, or with the newest unfinished one, where it was stopped;
            a finished run is returned as it is, and one that never began begins.
        settings: any recipe key by its last part, as on the command line (`tlkit finetune --help`
            lists them): backbone="vgg11_bn", epochs=5.

    Returns:
        The run: `run.metrics`, `run.predictions`, `run.model`, `run.report`. Of several processes
        that train together (`tlkit.machines`) only process 0 returns, the others end.

    Raises:
        TlkitError: what was wrong, what arrived, what to do next; no half-written run is left.
    """
    if resume and machines.launched():
        raise RecipeError(
            "--resume is for one process, and this one was started as one of several; go on on one "
            "machine, or begin anew without --resume."
        )
    checkpoint = Checkpoint.find(Path(output), name) if resume else None
    if checkpoint is not None:
        with checkpoint.released_on_error():
            resolved = same_recipe(checkpoint.recipe_file, data, recipe, settings)
        log.info("going on with %s", checkpoint.run.folder)
    elif resume and (finished := Run.finished(Path(output), name)):
        log.info("%s is finished already: other settings need another --name", finished.folder)
        return finished
    elif resume and data is None and recipe is None:
        which = f"run {name}" if name else "run"
        raise RecipeError(
            f"No unfinished {which} in {output} to go on with; begin one with --data FOLDER."
        )
    else:
        resolved = resolve(data, recipe, settings)
        if resolved.backend == "jax":
            machines.join()
        with machines.together(), machines.agreed():
            new = Run.create(machines.folder(Path(output)), name, exist_ok)
        with named_file_errors(new):
            checkpoint = Checkpoint.start(new, resolved.to_toml())
    run = checkpoint.run
    with named_file_errors(run), run_log(run), checkpoint, end_on_sigterm(), machines.together():
        run_recipe(resolved, run, checkpoint)
    return run


def resolve(data: str | Path | None, recipe: str | Path | None, settings: dict[str, Any]) -> Recipe:
    """The recipe with the settings applied and every default filled in."""
    wanted = load_recipe(Path(recipe) if recipe else None, data=data, **settings)
    if wanted.data.root is None:
        raise RecipeError(
            "No images given; name their folder with --data FOLDER (class folders inside)."
        )
    return resolve_recipe(wanted)


def resolve_recipe(recipe: Recipe) -> Recipe:
    """The recipe with every default filled in that hangs on its backbone or on another setting."""
    row = get_backbone(recipe.backbone)
    return recipe.resolve(row.input_size, row.own_top, row.aux is not None)


def same_recipe(
    file: Path, data: str | Path | None, recipe: str | Path | None, settings: dict[str, Any]
) -> Recipe:
    """The recipe of a run that goes on; what is asked for now may repeat it, not change it.

    Raises:
        RecipeError: something that is asked for now differs; it is named.
    """
    begun = load_recipe(file)
    if recipe is None and data is None:
        asked = load_recipe(file, **settings)
    else:
        asked = resolve(data, recipe, settings)
    now = flat(asked)
    for key, was in flat(begun).items():
        if was != now[key] and key != "workers":
            raise RecipeError(
                f"--resume goes on with {key} = {was!r}, but {now[key]!r} is asked for now; give "
                "the same settings or none, or start another run with another --name."
            )
    return asked


def run_recipe(recipe: Recipe, run: Run, checkpoint: Checkpoint) -> None:
    """The data flow, top to bottom: each step takes plain values and returns plain values.

    A step that the checkpoint has seen finished is not repeated.
    """
    from tlkit.data.folder import ImageFolder

    clock = Clock(checkpoint.seconds)
    if checkpoint.finished("save"):
        write_the_report(run, clock)
        return
    with clock("scan"):
        if checkpoint.finished("scan"):
            folder = ImageFolder.from_json(checkpoint.scan_file.read_text(encoding="utf-8"))
            split = run.split
        else:
            folder, split = scan(recipe)
    log.info("%s", describe(folder, split))
    with clock("import"), working("loading Keras"):
        from tlkit import device

        device.import_keras(backend=recipe.backend)
        from tlkit import trainer
        from tlkit.evaluation.agreement import agreement
        from tlkit.evaluation.explain import explain, worth_explaining
        from tlkit.evaluation.insight import insight
        from tlkit.evaluation.metrics import score
        from tlkit.evaluation.predictions import predict_calibrated
        from tlkit.trackers import nobody, trackers

        on = device.prepare(recipe.device, recipe.seed)
        if on.processes > 1:
            machines.check_same(split.to_csv())
    with clock("build"):
        classifier, datasets, features = assemble(recipe, folder.classes, split, on)
    for step in classifier.steps:
        log.info("%s", step)
    trainer.check(recipe.train, classifier, datasets)
    watchers = trackers(run, recipe) if machines.first() else nobody

    if not checkpoint.finished("scan"):
        checkpoint.finish("check")
        run.remove_results()
        run.write_text(run.recipe_file, recipe.to_toml())
        run.write_table("split", split)
        run.write_table("skipped", folder.skipped)
        run.write_text(checkpoint.scan_file, folder.to_json())
        checkpoint.finish("scan")
    with clock("insight"):
        if not checkpoint.finished("insight"):
            known = insight(features, datasets, folder, recipe) if recipe.insight else {}
            checkpoint.finish("insight", known=known)
        known = checkpoint.facts("insight")["known"]
    with clock("train"):
        history = trainer.fit(
            classifier, datasets, recipe.train, features, on, checkpoint, watchers
        )
    machines.leave()  # from here on process 0 is alone
    run.write_table("history", history)
    with clock("evaluate"):
        if not checkpoint.finished("evaluate"):
            predictions, calibration = predict_calibrated(features, datasets, on.count)
            metrics = score(predictions, folder.classes, folder.multi_label)
            metrics |= {"calibration": calibration.facts()}
            run.write_table("predictions", predictions)
            checkpoint.finish("evaluate", metrics=metrics, temperature=calibration.temperature)
        evaluated = checkpoint.facts("evaluate")
    classifier = classifier.with_temperature(evaluated["temperature"])
    with clock("save"):
        write_atomically(run.model_file, classifier.save)
    with clock("prove"), working("reading the saved model back"):
        proof = {"agreement": agreement(run.model_file, run.predictions, folder.root)}
    classifier.steps = steps_taken(classifier, history, recipe.train.unfreeze)
    facts = passport(recipe, classifier, folder, split, clock.seconds, str(on))
    run.write_metrics(evaluated["metrics"] | known | proof | facts)
    with clock("explain"):
        chosen = worth_explaining(run.predictions)
        chosen = chosen[[(folder.root / path).is_file() for path in chosen["path"]]]
        run.write_explanations(explain(classifier, chosen, folder.root))
    checkpoint.finish("save")
    write_the_report(run, clock)


def assemble(
    recipe: Recipe, classes: Sequence[str], split: pd.DataFrame, on: Device
) -> tuple[Classifier, Datasets, FrozenFeatures]:
    """What a training needs: a new classifier, its batches, and the outputs of its frozen part."""
    from tlkit.auxiliary import with_auxiliary
    from tlkit.classifier import build_classifier
    from tlkit.data.loader import make_datasets
    from tlkit.feature_cache import FeatureCache
    from tlkit.features import FrozenFeatures

    with on.scope():
        classifier = build_classifier(
            recipe.backbone,
            classes,
            recipe.head,
            weights=recipe.weights,
            img_size=recipe.data.img_size,
            resize=recipe.data.resize,
            normalise=recipe.data.normalise,
            drop_path=recipe.drop_path,
            multi_label=recipe.data.multi_label,
        )
        if recipe.train.auxiliary:
            classifier.auxiliary = with_auxiliary(classifier)
    datasets = make_datasets(split, recipe, classifier.row, on.count)
    cache = FeatureCache(limit=int(recipe.cache_size * 2**30))
    views = recipe.train.views or 1
    features = FrozenFeatures(classifier, datasets, cache, views, on.kind == "cpu")
    return classifier, datasets, features


def write_the_report(run: Run, clock: Clock) -> None:
    """The last step; it reads nothing but the run's files and the images."""
    from tlkit import report

    with clock("report"):
        report.write_report(run, run.predictions, run.metrics, run.history)


def scan(recipe: Recipe) -> tuple[ImageFolder, pd.DataFrame]:
    """Which images there are, with the fixes laid over them, and the split of each; copies of one
    image stay on one side."""
    from tlkit.data.duplicates import leaks
    from tlkit.data.split import split_samples

    folder, groups = find_images(recipe)
    if alike := alike_names(folder.classes):
        log.warning("the classes %s differ only in capitals or spaces: are they one?", alike)
    lists = [name for name in folder.classes if SEPARATOR in name]
    if lists and folder.layout == "manifest" and not folder.multi_label:
        log.warning("%r is taken as one class; if it is a list, add --multi-label", lists[0])
    split = split_samples(folder, recipe.data, recipe.seed, groups)
    if found := leaks(split, groups):
        log.warning(
            "%d pictures are on both sides of the given split, so the score is too good: "
            "`tlkit inspect` shows them",
            found,
        )
    return folder, split


def find_images(recipe: Recipe) -> tuple[ImageFolder, pd.Series]:
    """Which images there are, with the fixes laid over them, and a number for each that copies of
    one image share."""
    from tlkit.data.duplicates import group_copies
    from tlkit.data.fixes import apply_fixes
    from tlkit.data.folder import ImageFolder

    assert recipe.data.root is not None
    folder = ImageFolder(
        recipe.data.root,
        recipe.data.on_bad_image,
        recipe.workers,
        multi_label=recipe.data.multi_label,
    )
    if recipe.data.fixes is not None:
        apply_fixes(folder, recipe.data.fixes)
    return folder, group_copies(folder, recipe.workers)


def describe(folder: ImageFolder, split: pd.DataFrame) -> str:
    """One line on the images: how many, of which classes, in which splits, and how many were
    skipped."""
    from tlkit.data.folder import few

    counts = split["split"].value_counts()
    parts = ", ".join(
        f"{counts[part]} {part}" for part in ("train", "val", "test") if part in counts
    )
    line = f"{len(split)} images of {len(folder.classes)} classes: {parts}"
    for part in ("val", "test"):
        shown = {
            name
            for label in split.loc[split["split"] == part, "label"].unique()
            for name in folder.names(label)
        }
        if part in counts and (missing := set(folder.classes) - shown):
            line += f"; no {part} image of {few(tuple(sorted(missing)))}"
    if skipped := len(folder.skipped):
        reasons = folder.skipped["reason"].value_counts()
        why = few(tuple(f"{reason} ({number})" for reason, number in reasons.items()))
        line += f"; skipped {skipped} file{'s' * (skipped > 1)}: {why}"
    if folder.empty_classes:
        line += f"; empty: {few(folder.empty_classes)}"
    return line


def alike_names(classes: Sequence[str]) -> str:
    """Classes that most people would take for one: "Cat" and "cat ", as text."""
    plain = [" ".join(name.casefold().split()) for name in classes]
    return ", ".join(
        repr(name) for name, one in zip(classes, plain, strict=True) if plain.count(one) > 1
    )


class Clock:
    """Wall time of named steps: `with clock("scan"): ...`."""

    def __init__(self, seconds: dict[str, float]):
        self.seconds = seconds

    @contextmanager
    def __call__(self, step: str) -> Iterator[None]:
        """Add the time spent inside to `step`."""
        start = time.perf_counter()
        yield
        self.seconds[step] = self.seconds.get(step, 0.0) + time.perf_counter() - start


def summary(run: Run) -> str:
    """What the terminal shows at the end, in five lines; the last is what would help most."""
    from tlkit.report import words

    return words.summary(run.metrics, run.predictions, run.history_if_any(), str(run.report))


def exit_code(run: Run) -> int:
    """1 when the recipe asked for a higher accuracy than the run reached, else 0."""
    least = load_recipe(run.recipe_file).train.min_accuracy
    accuracy = run.metrics["accuracy"]
    if least is None or accuracy >= least:
        return 0
    log.error("accuracy %.4g is below --min-accuracy %g", accuracy, least)
    return 1


def dry_run(
    data: str | Path | None = None, *, recipe: str | Path | None = None, **settings: Any
) -> str:
    """Check recipe and images as `finetune` would, and say what it would do; nothing is written.

    Returns:
        The resolved recipe as TOML, after a comment that describes the images.
    """
    resolved = resolve(data, recipe, settings)
    folder, split = scan(resolved)
    return f"# {describe(folder, split)}\n{resolved.to_toml()}"
