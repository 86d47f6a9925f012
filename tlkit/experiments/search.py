"""Hyper-parameter search: Optuna draws recipes from the ranges of a [search] table.

All trials are judged on the same validation images by the mean loss of the calibrated
probabilities, which tells apart recipes that name the same images correctly. The frozen part of a
network is run once for all trials that share it. Trials live in a database in the search's folder,
so a search that was stopped goes on.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pandas as pd

from tlkit import machines, pipeline
from tlkit.checkpoint import Checkpoint
from tlkit.errors import RecipeError, RunError, TlkitError
from tlkit.experiments.search_space import Space, read_space, suggest
from tlkit.extras import require
from tlkit.interrupts import end_on_sigterm
from tlkit.recipe import Recipe, make_recipe, set_key
from tlkit.run_log import log, named_file_errors, run_log
from tlkit.runs import Run

if TYPE_CHECKING:
    import optuna

    from tlkit.data.folder import ImageFolder

LEAST_TO_PRUNE = 5
"""Finished trials that a trial is compared with before it may be cut short."""


@dataclass(frozen=True)
class Search:
    """What a search found.

    Attributes:
        folder: search.db, trials.csv, best.toml, report.html, log.txt.
        trials: one row per trial, the best first: trial, state ("complete", "pruned", "failed"),
            loss, accuracy, seconds and a column per key; those that did not finish come last.
        space: the keys that varied.
        images: how many validation images judged.
        pictures: of what, for the report.
    """

    folder: Path
    trials: pd.DataFrame
    space: Space
    images: int
    pictures: str

    @property
    def best(self) -> Path:
        """The recipe of the best trial, whole."""
        return self.folder / "best.toml"


def search(
    recipe: str | Path,
    data: str | Path | None = None,
    trials: int = 20,
    *,
    output: str | Path = "runs",
    name: str | None = None,
    exist_ok: bool = False,
    resume: bool = False,
    **settings: Any,
) -> Search:
    """Try recipes and keep the best.

    Args:
        recipe: a TOML file with a [search] table.
        data, output, name, exist_ok, settings: as for `tlkit.finetune`.
        trials: how many, those of the search that goes on included.
        resume: go on with the search `name`.

    Raises:
        TlkitError: what was wrong, what arrived, what to do next.
    """
    require("optuna", "search", "A search")
    if trials < 1:
        raise RecipeError(f"--trials is 1 or more; got {trials}.")
    machines.refuse_several("A search")
    values, space = read_space(Path(recipe))
    base = make_recipe(values, Path(recipe), data=data, **settings)  # what varies comes on top
    if base.data.root is None:
        raise RecipeError("No images given; name their folder with --data FOLDER.")
    folder, split = pipeline.scan(base)
    if "val" not in set(split["split"]):
        raise RecipeError(
            "A search judges its trials on validation images, and there are none; leave some to "
            "them with --val-split 0.2."
        )
    run = _folder(Path(output), name, exist_ok, resume)
    with named_file_errors(run), run_log(run), end_on_sigterm():
        log.info("%s; %d keys vary", pipeline.describe(folder, split), len(space))
        study = _study(run, base, space, resume)
        objective = Objective(base, space, folder, split)
        ended = [trial for trial in study.trials if trial.state.is_finished()]
        if len(ended) < trials:
            study.optimize(objective, n_trials=trials - len(ended), catch=(TlkitError,))
        if objective.failure and not any(trial.value is not None for trial in study.trials):
            raise RunError(f"No recipe of the search can be trained: {objective.failure}")
        found = _result(study, run, base, space, split, folder)
        from tlkit.report.search import write_search

        write_search(found.trials, sorted(space), found.images, found.pictures, run.report)
    return found


class Objective:
    """One trial: a recipe drawn, trained, and judged on the validation images.

    Attributes:
        failure: the last error of a recipe that cannot be trained.
    """

    def __init__(self, base: Recipe, space: Space, folder: ImageFolder, split: pd.DataFrame):
        self.base, self.space, self.folder, self.split = base, space, folder, split
        self.failure: TlkitError | None = None

    def __call__(self, trial: optuna.Trial) -> float:
        """The loss on the validation images."""
        drawn = suggest(self.space, trial)
        start = time.perf_counter()
        try:
            loss, accuracy = self._train(drawn, trial)
        except TlkitError as error:
            self.failure = error
            log.warning("trial %d failed: %s", trial.number, error)
            raise
        finally:
            trial.set_user_attr("seconds", round(time.perf_counter() - start, 3))
        trial.set_user_attr("accuracy", accuracy)
        log.info("trial %d: loss %.4f  accuracy %.3f  %s", trial.number, loss, accuracy, drawn)
        return loss

    def _train(self, drawn: dict[str, Any], trial: optuna.Trial) -> tuple[float, float]:
        import optuna

        from tlkit import device

        recipe = with_values(self.base, drawn)
        device.import_keras(backend=recipe.backend)
        import keras

        from tlkit import trainer
        from tlkit.evaluation.predictions import predict_calibrated
        from tlkit.experiments.pruning import Pruning

        keras.utils.clear_session()  # of the trial before; graphs would pile up
        on = device.prepare(recipe.device, recipe.seed)
        pruning = Pruning(trial)

        def watchers(phase: str) -> Sequence[keras.callbacks.Callback]:
            return [pruning]

        with Checkpoint.temporary(recipe.to_toml()) as checkpoint:
            parts = pipeline.assemble(recipe, self.folder.classes, self.split, on)
            classifier, datasets, features = parts
            trainer.check(recipe.train, classifier, datasets)
            trainer.fit(classifier, datasets, recipe.train, features, on, checkpoint, watchers)
        if pruning.pruned:
            log.info("trial %d pruned after %d epochs", trial.number, pruning.epochs)
            raise optuna.TrialPruned
        assert datasets.val is not None
        val = [datasets.val]
        predictions, calibration = predict_calibrated(features, datasets, on.count, val)
        assert calibration.loss_after is not None
        right = predictions["label"] == predictions["predicted"]
        return calibration.loss_after, float(right.mean())


def with_values(base: Recipe, drawn: dict[str, Any]) -> Recipe:
    """The recipe with some keys set, resolved.

    Args:
        base: not resolved, as the user wrote it.
        drawn: keys with their tables ("train.lr"), and values.

    Raises:
        RecipeError: a value does not fit, or has no effect beside another.
    """
    values = base.model_dump(mode="json", exclude_unset=True, exclude_none=True)
    for key, value in drawn.items():
        set_key(values, key, value)
    return pipeline.resolve_recipe(make_recipe(values))


def _folder(output: Path, name: str | None, exist_ok: bool, resume: bool) -> Run:
    if not resume:
        run = Run.create(output, name, exist_ok)
        for rest in ("search.db", "trials.csv", "best.toml"):
            (run.folder / rest).unlink(missing_ok=True)
        return run
    if name is None or not (output / name / "search.db").is_file():
        raise RunError(
            f"There is no search to go on with in {output / (name or 'NAME')}; name one with "
            "--name, or leave --resume out."
        )
    return Run(output / name)


def _study(run: Run, base: Recipe, space: Space, resume: bool) -> optuna.Study:
    import optuna

    optuna.logging.set_verbosity(optuna.logging.ERROR)  # failed trials are told of here
    about = {
        "recipe": base.model_dump(mode="json", exclude={"workers", "cache_size"}),
        "space": {key: repr(what) for key, what in space.items()},
    }
    study = optuna.create_study(
        storage=f"sqlite:///{run.folder / 'search.db'}",
        study_name="tlkit",
        sampler=optuna.samplers.TPESampler(seed=base.seed),
        pruner=optuna.pruners.MedianPruner(n_startup_trials=LEAST_TO_PRUNE, n_warmup_steps=1),
        load_if_exists=resume,
    )
    known = study.user_attrs.get("about")
    if known is not None and known != about:
        raise RecipeError(
            f"The search in {run.folder} began with another recipe, other ranges or other data; "
            "give the same ones, or start another with another --name."
        )
    study.set_user_attr("about", about)
    return study


def _result(
    study: optuna.Study,
    run: Run,
    base: Recipe,
    space: Space,
    split: pd.DataFrame,
    folder: ImageFolder,
) -> Search:
    """Write trials.csv and best.toml."""
    states = {"COMPLETE": "complete", "PRUNED": "pruned", "FAIL": "failed"}
    rows = [
        {
            "trial": trial.number,
            "state": states[trial.state.name],
            "loss": trial.value if trial.state.name == "COMPLETE" else None,
            "accuracy": trial.user_attrs.get("accuracy"),
            "seconds": trial.user_attrs.get("seconds"),
            **trial.params,
        }
        for trial in study.trials
        if trial.state.name in states
    ]
    table = pd.DataFrame(rows).sort_values(["loss", "trial"], na_position="last")
    run.write_table("trials", table)
    if table["loss"].notna().any():
        best = study.best_trial
        text = (
            f"# trial {best.number} of {len(rows)}: validation loss {best.value:.4f}, accuracy "
            f"{best.user_attrs['accuracy']:.3f}\n{with_values(base, best.params).to_toml()}"
        )
        run.write_text(run.folder / "best.toml", text)
    images = int((split["split"] == "val").sum())
    return Search(run.folder, table.reset_index(drop=True), space, images, folder.root.name)
