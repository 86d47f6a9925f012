"""Cross-validation: every image judged by a network that has not seen it, in one report.

The images are dealt into K folds, stratified by class, copies of one image in one fold. K times,
one fold is the test set and the rest is split into training and validation images as in any run,
so that the images that judge a network chose nothing about it. The frozen part of the network is
run once for all folds.
"""

from __future__ import annotations

import copy
import time
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
from scipy import stats

from tlkit import machines, pipeline, report
from tlkit.checkpoint import Checkpoint
from tlkit.errors import DataError, RecipeError, RunError
from tlkit.evaluation.intervals import LEVEL
from tlkit.interrupts import end_on_sigterm
from tlkit.labels import strata
from tlkit.new_folder import new_folder
from tlkit.recipe import Recipe
from tlkit.run_log import log, named_file_errors, run_log
from tlkit.runs import Run

if TYPE_CHECKING:
    from tlkit.data.folder import ImageFolder
    from tlkit.device import Device

MEASURED = ("accuracy", "macro_f1", "balanced_accuracy", "loss")


def cross_validate(
    data: str | Path | None = None,
    folds: int = 5,
    *,
    recipe: str | Path | None = None,
    output: str | Path = "runs",
    name: str | None = None,
    exist_ok: bool = False,
    **settings: Any,
) -> Run:
    """Train `folds` times, each time on all but one part of the images, and judge that part.

    Args:
        data, recipe, output, name, exist_ok, settings: as for `tlkit.finetune`. Of a folder with
            splits of its own, training and validation images are dealt anew; test images are left
            alone.
        folds: how many, 2 or more.

    Returns:
        A run without a model: predictions.csv holds every image once, judged by the network that
        has not seen it (split "test"); metrics.json says under "folds" what each fold reached, and
        their mean with its interval; folds/<number>/ has each fold's split.csv, history.csv and
        predictions.csv.

    Raises:
        TlkitError: what was wrong, what arrived, what to do next; no half-written run is left.
    """
    from tlkit import device
    from tlkit.evaluation.metrics import score

    if folds < 2:
        raise RecipeError(f"--folds is 2 or more, such as 5 or 10; got {folds}.")
    machines.refuse_several("Cross-validation")
    resolved = pipeline.resolve(data, recipe, settings)
    folder, groups = pipeline.find_images(resolved)
    splits = fold_splits(folder, resolved, folds, groups)
    run = Run.create(Path(output), name, exist_ok)
    with named_file_errors(run), run_log(run), end_on_sigterm():
        log.info("%s, in %d folds", pipeline.describe(folder, splits[0]), folds)
        tables, rows = [], []
        with new_folder(run.folder / "folds", RunError) as parts:
            for number, split in enumerate(splits, start=1):
                device.import_keras(backend=resolved.backend)
                on = device.prepare(resolved.device, resolved.seed)
                fold = Run.create(parts, str(number))
                table, row = _train_fold(number, split, resolved, folder, on, fold)
                tables.append(table)
                rows.append(row)
            run.remove_results()  # of an earlier run of this name, now that ours are there
        text = f"# tlkit finetune recipe.toml --folds {folds}\n{resolved.to_toml()}"
        run.write_text(run.recipe_file, text)
        predictions = pd.concat(tables).sort_index()
        judged = splits[0].loc[predictions.index].assign(split="test")
        run.write_table("split", judged)
        run.write_table("skipped", folder.skipped)
        run.write_table("predictions", predictions)
        run.write_metrics(
            score(predictions, folder.classes, folder.multi_label)
            | {"folds": {"rows": rows, **summarise(pd.DataFrame(rows))}}
            | _facts(resolved, folder, judged, rows, str(on))
        )
        report.render_run(run)
    return run


def fold_splits(
    folder: ImageFolder, recipe: Recipe, folds: int, groups: pd.Series
) -> list[pd.DataFrame]:
    """One split per fold: "test" is the fold, "train" and "val" are the rest.

    Args:
        folder: the scanned images; those of a test set of its own are left out.
        recipe: its val_split and seed.
        folds: how many.
        groups: a group for each row of `folder.samples`; images of one group share a fold.

    Raises:
        DataError: a class has too few different images to be in every fold.
    """
    from sklearn.model_selection import StratifiedGroupKFold

    from tlkit.data.split import split_samples

    # The deal depends on contents and seed, not on names or order, as a split does.
    samples = folder.samples[folder.samples["split"] != "test"].sort_values(["sha256", "path"])
    owners = groups.loc[samples.index]
    texts = samples["label"]
    if folder.multi_label:
        texts = strata(texts, owners, folds)
    for label, own in owners.groupby(texts):
        if own.nunique() < folds:
            raise DataError(
                f"The class {label!r} has {own.nunique()} different images and needs one for each "
                f"of the {folds} folds; add images, or take fewer --folds."
            )
    config = recipe.data.model_copy(update={"test_split": 0.0})
    deal = StratifiedGroupKFold(folds, shuffle=True, random_state=recipe.seed)
    splits = []
    for _, held_out in deal.split(np.zeros(len(samples)), texts, owners):
        part = copy.copy(folder)
        part.samples = samples.assign(split="").sort_index()
        part.samples.loc[samples.index[held_out], "split"] = "test"
        splits.append(split_samples(part, config, recipe.seed, groups.loc[part.samples.index]))
    return splits


def _train_fold(
    number: int, split: pd.DataFrame, recipe: Recipe, folder: ImageFolder, on: Device, fold: Run
) -> tuple[pd.DataFrame, dict[str, Any]]:
    """Train without one fold: the predictions for it, and what it reached."""
    from tlkit import trainer
    from tlkit.evaluation.metrics import score
    from tlkit.evaluation.predictions import predict_calibrated

    start = time.perf_counter()
    with Checkpoint.start(fold, recipe.to_toml(), resumable=False) as checkpoint:
        classifier, datasets, features = pipeline.assemble(recipe, folder.classes, split, on)
        trainer.check(recipe.train, classifier, datasets)
        history = trainer.fit(classifier, datasets, recipe.train, features, on, checkpoint)
    predictions, calibration = predict_calibrated(features, datasets, on.count)
    for name, table in (("split", split), ("history", history), ("predictions", predictions)):
        fold.write_table(name, table)
    table = predictions[predictions["split"] == "test"]
    scores = score(table, folder.classes, folder.multi_label)["splits"]["test"]
    row = {
        "fold": number,
        "trained_on": int((split["split"] == "train").sum()),
        **{key: scores[key] for key in ("images", "correct", "accuracy_interval", *MEASURED)},
        "temperature": calibration.temperature,
        "seconds": round(time.perf_counter() - start, 3),
    }
    log.info("fold %d: accuracy %.3f on %d images", number, row["accuracy"], row["images"])
    return table, row


def summarise(rows: pd.DataFrame) -> dict[str, Any]:
    """The mean over the folds, their standard deviation and the 95 % interval of the mean.

    The trainings share most of their images, so the plain interval of a mean would be too narrow:
    its variance is corrected by the share of test to training images [Nadeau & Bengio 2003,
    section 3, equation 9].

    Args:
        rows: one per fold, with the columns `MEASURED`.
    """
    found: dict[str, Any] = {}
    count = len(rows)
    for key in MEASURED:
        mean, deviation = float(rows[key].mean()), float(rows[key].std(ddof=1))
        spread = deviation * np.sqrt(1 / count + 1 / (count - 1))
        half = float(stats.t.ppf((1 + LEVEL) / 2, count - 1) * spread)
        most = np.inf if key == "loss" else 1.0
        interval = [max(0.0, mean - half), float(min(most, mean + half))]
        found[key] = {"mean": mean, "deviation": deviation, "interval": interval}
    return found


def _facts(
    recipe: Recipe, folder: ImageFolder, split: pd.DataFrame, rows: list[dict[str, Any]], on: str
) -> dict[str, Any]:
    """What metrics.json says of a cross-validation besides its scores."""
    from tlkit.passport import data_facts, versions

    return {
        "created": datetime.now().astimezone().isoformat(timespec="seconds"),
        "model": {"backbone": recipe.backbone, "input_size": recipe.data.img_size},
        "data": data_facts(folder, split),
        "timings": {"train": round(sum(row["seconds"] for row in rows), 3)},
        "versions": versions(),
        "device": on,
    }
