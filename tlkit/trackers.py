"""Trackers: what other programs record of a training, as Keras callbacks; none unless asked for.

Of a head that is solved instead of trained they are told the iterations as if they were epochs.
"""

from __future__ import annotations

import math
import os
from collections.abc import Callable, Sequence
from typing import Any

import keras

from tlkit.extras import require
from tlkit.recipe import Recipe, Tracker, flat
from tlkit.runs import Run

Watchers = Callable[[str], Sequence[keras.callbacks.Callback]]
"""From a phase's name to callbacks that watch it."""

EXTRAS = {"tensorboard": "tensorboard", "mlflow": "mlflow"}
"""Trackers that need a package, and its name, which is that of tlkit's extra, too."""


def nobody(phase: str) -> Sequence[keras.callbacks.Callback]:
    """No watchers."""
    return ()


def check(names: Sequence[Tracker]) -> None:
    """Find out before the training whether the packages are there.

    Raises:
        MissingPackageError: one is not.
    """
    for name in names:
        if package := EXTRAS.get(name):
            require(package, package, f"--track {name}")


def trackers(run: Run, recipe: Recipe) -> Watchers:
    """The watchers that the recipe asks for; what they write is in the run's folder.

    csv/<phase>.csv grows with every epoch; tensorboard/<phase>/ is a log directory. MLflow writes
    where MLFLOW_TRACKING_URI says, or into mlruns/ beside the runs.
    """
    check(recipe.track)
    mlflow = MlflowRun(run, recipe) if "mlflow" in recipe.track else None

    def watchers(phase: str) -> Sequence[keras.callbacks.Callback]:
        found: list[keras.callbacks.Callback] = []
        if "csv" in recipe.track:
            file = run.folder / "csv" / f"{phase}.csv"
            file.parent.mkdir(exist_ok=True)
            found.append(keras.callbacks.CSVLogger(str(file), append=True))
        if "tensorboard" in recipe.track:
            folder = run.folder / "tensorboard" / phase
            found.append(keras.callbacks.TensorBoard(str(folder), write_graph=False))
        if mlflow is not None:
            found.append(Mlflow(mlflow, phase))
        return found

    return watchers


def tell(
    callbacks: Sequence[keras.callbacks.Callback],
    model: keras.Model,
    rows: Sequence[dict[str, Any]],
) -> None:
    """Let callbacks see rows of the history that no `fit` made, in order."""
    if not callbacks:
        return
    keys = ("loss", "accuracy", "val_loss", "val_accuracy")
    model = keras.Model(model.input, model.output, name=model.name)  # the caller's stays as it is
    model.optimizer = None  # callbacks look for one
    known = keras.callbacks.CallbackList(list(callbacks), model=model, epochs=len(rows), steps=1)
    known.on_train_begin()
    for epoch, row in enumerate(rows):
        known.on_epoch_begin(epoch)
        known.on_epoch_end(epoch, {key: row[key] for key in keys if row[key] is not None})
    known.on_train_end()


class MlflowRun:
    """The run as MLflow knows it; its steps count on over all phases."""

    def __init__(self, run: Run, recipe: Recipe):
        import mlflow

        if "MLFLOW_TRACKING_URI" not in os.environ:
            # Files need no database; MLflow asks to be told that they are meant.
            os.environ.setdefault("MLFLOW_ALLOW_FILE_STORE", "true")
            mlflow.set_tracking_uri((run.folder.resolve().parent / "mlruns").as_uri())
        self.client = mlflow.MlflowClient()
        experiment = self.client.get_experiment_by_name("tlkit")
        number = experiment.experiment_id if experiment else self.client.create_experiment("tlkit")
        self.id = self.client.create_run(number, run_name=run.folder.resolve().name).info.run_id
        for key, value in flat(recipe).items():
            if value is not None:
                self.client.log_param(self.id, key, value)
        self.step = 0


class Mlflow(keras.callbacks.Callback):
    """Tells MLflow the numbers of each epoch.

    MLflow's own Keras callback counts every phase from zero, so that one hides the other, and asks
    for an optimizer, which a solved head has none.
    """

    def __init__(self, run: MlflowRun, phase: str):
        super().__init__()
        self.run, self.phase = run, phase

    def on_train_begin(self, logs: Any = None) -> None:
        """Say which phase it is; a phase that begins again goes on counting."""
        self.run.client.set_tag(self.run.id, "phase", self.phase)

    def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
        """Send what is a number."""
        self.run.step += 1
        for key, value in (logs or {}).items():
            if math.isfinite(value):
                self.run.client.log_metric(self.run.id, key, float(value), step=self.run.step)

    def on_train_end(self, logs: Any = None) -> None:
        """The run is finished, until another phase goes on."""
        self.run.client.set_terminated(self.run.id)
