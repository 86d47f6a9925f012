"""The phases: the new head on a frozen backbone, then fine-tuning; or everything from scratch.

Each phase sets what trains, compiles anew (Keras reads `trainable` when it compiles), and runs
Keras' own `fit` with Keras' own callbacks; the few callbacks here only watch.
"""

from __future__ import annotations

import contextlib
import logging
import math
import signal
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import keras
import numpy as np
import pandas as pd

from tlkit import freezing, training_state
from tlkit.checkpoint import Checkpoint
from tlkit.classifier import Classifier
from tlkit.data.loader import Datasets, original_data_error
from tlkit.device import Device
from tlkit.errors import DataError, TrainingError
from tlkit.features import FeatureBatches, FrozenFeatures
from tlkit.interrupts import at_safe_points, safe_point
from tlkit.memory import with_smaller_batches
from tlkit.progress import progress_bar
from tlkit.recipe import HEAD_EPOCHS, RATES, TrainConfig
from tlkit.solver import solve
from tlkit.training_state import SaveEpochs, State

log = logging.getLogger(__name__)

LARGEST_TO_SOLVE = 64 << 20
"""Bytes of features up to which `auto` solves the head; many images need no solver to be exact."""
HISTORY = ["phase", "epoch", "loss", "accuracy", "val_loss", "val_accuracy", "lr", "seconds"]


@dataclass(frozen=True)
class Phase:
    """One call of `fit`: what trains, for how long, at which rate."""

    name: str
    epochs: int
    lr: float
    unfreeze: str | None = None


def plan(config: TrainConfig, pretrained: bool) -> list[Phase]:
    """The phases of a resolved recipe, in order."""
    if not pretrained:
        return [Phase("scratch", config.epochs or 0, config.lr or 0.0)]
    phases = []
    epochs = HEAD_EPOCHS if config.freeze_epochs is None else config.freeze_epochs
    if epochs:
        phases.append(Phase("head", epochs, config.head_lr or RATES[config.optimizer][0]))
    if config.epochs:
        phases.append(Phase("fine-tune", config.epochs, config.lr or 0.0, config.unfreeze))
    return phases


def check(config: TrainConfig, classifier: Classifier, datasets: Datasets) -> None:
    """Find out before the first epoch what would stop a later phase.

    Raises:
        RecipeError: no such stage to unfreeze.
        DataError: the file of class weights cannot be used.
    """
    if config.unfreeze is not None:
        freezing.chosen(classifier.model, classifier.row, config.unfreeze)
    class_weights(config.class_weights, classifier.classes, datasets.train.labels)


def fit(
    classifier: Classifier,
    datasets: Datasets,
    config: TrainConfig,
    features: FrozenFeatures,
    device: Device,
    checkpoint: Checkpoint,
) -> pd.DataFrame:
    """Train through all phases; the classifier holds the best epoch's weights afterwards.

    Ctrl-C ends the current epoch and skips what is left; the caller goes on to evaluate and report.
    What the checkpoint holds is not trained again: finished phases, and epochs of the next one.

    Args:
        classifier: fresh from `build_classifier`.
        datasets: training and validation batches.
        config: a resolved recipe's [train].
        features: of the same classifier and datasets.
        device: from `device.prepare`.
        checkpoint: takes the state after epochs and phases.

    Returns:
        The history: one row per epoch with the columns of `HISTORY`; seconds are wall time.

    Raises:
        TrainingError: the loss is not a number from the first epoch on.
        DeviceError: its memory is too small for any batch.
    """
    weights = class_weights(config.class_weights, classifier.classes, datasets.train.labels)
    saved = checkpoint.training()
    rows: list[dict[str, Any]] = saved[1]["history"] if saved else []
    done: list[str] = saved[1]["done"] if saved else []
    with stop_on_ctrl_c() as stop:
        for phase in plan(config, classifier.weights is not None):
            if phase.unfreeze is not None:
                freezing.unfreeze(classifier.model, classifier.row, phase.unfreeze)
            if phase.name in done or stop.asked:
                continue
            start = saved or training_state.take(classifier, datasets, rows)
            saved = None

            def run(phase: Phase = phase, start: State = start) -> None:
                training_state.put_back(start, classifier, datasets)
                rows[:] = start[1]["history"]
                begun = start if start[1].get("phase") == phase.name else None
                saving = SaveEpochs(checkpoint, phase.name, done, classifier, datasets, rows, begun)
                _run_phase(phase, classifier, config, features, device, weights, rows, stop, saving)

            with_smaller_batches(datasets, device.count, run)
            if not stop.asked:
                done.append(phase.name)
                arrays, facts = training_state.take(classifier, datasets, rows)
                checkpoint.keep_training(arrays, facts | {"done": list(done)}, now=True)
    if saved is not None:
        training_state.put_back(saved, classifier, datasets)
    return pd.DataFrame(rows, columns=HISTORY)


def _run_phase(
    phase: Phase,
    classifier: Classifier,
    config: TrainConfig,
    features: FrozenFeatures,
    device: Device,
    weights: dict[int, float] | None,
    rows: list[dict[str, Any]],
    stop: StopRequest,
    saving: SaveEpochs,
) -> None:
    if phase.name == "head" and _solve_head(classifier, config, features, weights, rows):
        return
    with device.scope():
        cut = features.cut()
        steps = phase.epochs * len(cut.train)
        cut.model.compile(
            optimizer=make_optimizer(
                config.optimizer, make_schedule(config.schedule, phase.lr, steps)
            ),
            loss=keras.losses.CategoricalCrossentropy(),
            metrics=[keras.metrics.CategoricalAccuracy(name="accuracy")],
            # XLA pays on a GPU; on a CPU it is several times slower for depthwise convolutions.
            jit_compile=device.kind == "gpu",
        )
    trainable = sum(math.prod(weight.shape) for weight in classifier.model.trainable_weights)
    log.info(
        "%s: %s parameters train for up to %d epochs at a rate of %g",
        phase.name,
        f"{trainable:,}",
        phase.epochs,
        phase.lr,
    )
    watched = "val_loss" if cut.val is not None else "loss"
    best = keras.callbacks.EarlyStopping(
        watched, patience=config.patience, restore_best_weights=True
    )
    callbacks: list[keras.callbacks.Callback] = [
        EpochLog(phase, rows),
        keras.callbacks.TerminateOnNaN(),
        stop,
        best,
    ]
    if config.schedule == "plateau":
        callbacks.append(
            keras.callbacks.ReduceLROnPlateau(
                watched, factor=0.3, patience=max(1, config.patience // 2)
            )
        )
    saving.follow(cut, [callback for callback in callbacks if callback is not stop])
    callbacks.append(saving)
    with original_data_error(cut.train, cut.val), at_safe_points():
        cut.model.fit(
            cut.train,
            validation_data=cut.val,
            epochs=phase.epochs,
            initial_epoch=saving.initial_epoch,
            callbacks=callbacks,
            class_weight=weights,
            shuffle=False,  # the batches shuffle themselves, from the recipe's seed
            verbose=0,
        )
    losses = [row["loss"] for row in rows if row["phase"] == phase.name]
    if not all(map(math.isfinite, losses)):
        rate = "--head-lr" if phase.name == "head" else "--lr"
        if len(losses) == 1:
            raise TrainingError(
                f"The loss became {losses[-1]} in the first epoch of phase {phase.name!r} at a "
                f"rate of {phase.lr:g}; "
                f"try a tenth of it with {rate}."
            )
        log.warning(
            "the loss became %s: stopped, and the best epoch is kept; try a lower %s",
            losses[-1],
            rate,
        )


def _solve_head(
    classifier: Classifier,
    config: TrainConfig,
    features: FrozenFeatures,
    weights: dict[int, float] | None,
    rows: list[dict[str, Any]],
) -> bool:
    """Solve the head where the recipe and the images allow it; False where it has to be trained."""
    if config.solver == "sgd":
        return False
    cut, start = features.cut(), time.perf_counter()
    if not isinstance(cut.train, FeatureBatches):
        if config.solver == "lbfgs":
            raise TrainingError(
                "--solver lbfgs needs the features of all images, which are not kept here (log.txt "
                "says why); raise --cache-size, or take --solver sgd."
            )
        return False
    size = 4 * math.prod(cut.model.input_shape[1:]) * len(cut.train.samples) * len(cut.train.views)
    if config.solver == "auto" and size > LARGEST_TO_SOLVE:
        log.info("head: %d MiB of features are many, so it trains in batches", size >> 20)
        return False
    images, val = cut.train.images, None
    if isinstance(cut.val, FeatureBatches):
        val = cut.val.views[0][:], cut.val.images.labels
    views = [view[:] for view in cut.train.views]
    head = solve(views, images.labels, len(classifier.classes), weights, val, images.seed)
    classifier.model.get_layer("head_logits").set_weights([head.kernel, head.bias])
    seconds = (time.perf_counter() - start) / len(head.curve)
    for point in head.curve:
        numbers = (point.loss, point.accuracy, point.val_loss, point.val_accuracy, 0.0, seconds)
        row = dict(zip(HISTORY, ("head", point.iteration, *numbers), strict=True))
        rows.append({key: None if value != value else value for key, value in row.items()})
    log.info(
        "head: solved by L-BFGS in %d iterations, C = %g by cross-validation: loss %.4f%s",
        head.curve[-1].iteration,
        head.strength,
        head.curve[-1].loss,
        f"  val_loss {point.val_loss:.4f}  val_accuracy {point.val_accuracy:.3f}" if val else "",
    )
    return True


def make_optimizer(name: str, rate: Any) -> keras.optimizers.Optimizer:
    """A Keras optimizer; SGD with Nesterov momentum 0.9, the rest as Keras sets them."""
    if name == "sgd":
        return keras.optimizers.SGD(rate, momentum=0.9, nesterov=True)
    kinds = {
        "adam": keras.optimizers.Adam,
        "adamw": keras.optimizers.AdamW,
        "rmsprop": keras.optimizers.RMSprop,
    }
    return kinds[name](rate)


def make_schedule(name: str, rate: float, steps: int) -> Any:
    """The rate itself (constant, and plateau, which a callback lowers) or a Keras schedule over
    `steps`."""
    if name == "cosine":
        return keras.optimizers.schedules.CosineDecay(rate, steps)
    return rate


def class_weights(
    setting: str, classes: tuple[str, ...], labels: np.ndarray
) -> dict[int, float] | None:
    """Class index to weight: None, inverse frequency ("auto"), or from a CSV file with
    class,weight.

    Raises:
        DataError: the file cannot be read, or does not give every class a positive weight.
    """
    if setting == "none":
        return None
    if setting == "auto":
        from sklearn.utils.class_weight import compute_class_weight

        present = np.unique(labels)
        return dict(
            zip(
                present.tolist(),
                compute_class_weight("balanced", classes=present, y=labels).tolist(),
                strict=True,
            )
        )
    try:
        table = (
            pd.read_csv(setting, dtype={"class": str}, keep_default_na=False)
            .set_index("class")["weight"]
            .astype(float)
        )
    except (OSError, KeyError, ValueError) as error:
        raise DataError(
            f"Cannot read class weights from {setting}: {error}. It needs the columns class,weight."
        ) from None
    missing = [name for name in classes if name not in table.index or not table[name] > 0]
    if missing:
        raise DataError(
            f"{setting} gives no positive weight for {missing[0]!r}; every class needs one."
        )
    return {index: float(table[name]) for index, name in enumerate(classes)}


class EpochLog(keras.callbacks.Callback):
    """Appends a row per epoch to the history, and shows how far the phase is."""

    def __init__(self, phase: Phase, rows: list[dict[str, Any]]):
        super().__init__()
        self.phase, self.rows = phase, rows

    def on_train_begin(self, logs: Any = None) -> None:
        """Open the bar."""
        self._stack = contextlib.ExitStack()
        self._bar = self._stack.enter_context(progress_bar())
        self._task = self._bar.add_task(
            self.phase.name, total=self.phase.epochs * self.params["steps"]
        )

    def on_epoch_begin(self, epoch: int, logs: Any = None) -> None:
        """Start the clock."""
        self._start = time.perf_counter()

    def on_train_batch_end(self, batch: int, logs: Any = None) -> None:
        """Move the bar."""
        self._bar.advance(self._task)

    def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
        """Keep the epoch's numbers."""
        row = {
            "phase": self.phase.name,
            "epoch": epoch + 1,
            **{key: float(value) for key, value in (logs or {}).items()},
        }
        row["lr"] = float(keras.ops.convert_to_numpy(self.model.optimizer.learning_rate))
        row["seconds"] = round(time.perf_counter() - self._start, 3)
        self.rows.append({key: row.get(key) for key in HISTORY})
        line = f"loss {row['loss']:.4f}  accuracy {row['accuracy']:.3f}"
        if "val_loss" in row:
            line += f"  val_loss {row['val_loss']:.4f}  val_accuracy {row['val_accuracy']:.3f}"
        log.info("%s %d/%d  %s", self.phase.name, epoch + 1, self.phase.epochs, line)

    def on_train_end(self, logs: Any = None) -> None:
        """Close the bar."""
        self._stack.close()


@dataclass
class StopRequest(keras.callbacks.Callback):
    """Ends training after the current batch once `asked` is set."""

    asked: bool = field(default=False)

    def __post_init__(self) -> None:
        super().__init__()

    def on_train_batch_end(self, batch: int, logs: Any = None) -> None:
        """Tell Keras to stop: it evaluates the epoch so far and leaves `fit`."""
        safe_point()
        if self.asked:
            self.model.stop_training = True


@contextlib.contextmanager
def stop_on_ctrl_c() -> Iterator[StopRequest]:
    """Inside, the first Ctrl-C asks for a clean end and the second one ends at once."""
    stop = StopRequest()
    if threading.current_thread() is not threading.main_thread():
        yield stop
        return

    def ask(signum: int, frame: Any) -> None:
        stop.asked = True
        signal.signal(signal.SIGINT, signal.default_int_handler)
        log.warning(
            "stopping after this epoch, then evaluating and writing the report (Ctrl-C again ends "
            "at once)"
        )

    previous = signal.signal(signal.SIGINT, ask)
    try:
        yield stop
    finally:
        signal.signal(signal.SIGINT, previous)
