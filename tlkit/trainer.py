"""The phases: the new head on a frozen backbone, then fine-tuning; or everything from scratch.

Each phase sets what trains, compiles anew (Keras reads `trainable` when it compiles), and runs
Keras' own `fit` with Keras' own callbacks; the few callbacks here only watch.
"""

from __future__ import annotations

import contextlib
import logging
import math
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import keras
import pandas as pd

from tlkit import freezing, machines, training_state
from tlkit.callbacks import HISTORY, AveragedWeights, EpochLog, StopRequest, stop_on_ctrl_c
from tlkit.checkpoint import Checkpoint
from tlkit.classifier import Classifier
from tlkit.complexity import trainable_parameters
from tlkit.data.loader import Datasets, original_data_error
from tlkit.data.mixing import MixedBatches
from tlkit.device import Device
from tlkit.errors import RecipeError, TrainingError
from tlkit.features import Cut, FeatureBatches, FrozenFeatures
from tlkit.interrupts import at_safe_points
from tlkit.losses import class_weights, make_loss, make_metric, penalise_kernels
from tlkit.memory import with_smaller_batches
from tlkit.optimizers import make_optimizer, make_schedule
from tlkit.precision import computing_in
from tlkit.recipe import TrainConfig
from tlkit.resolution import HEAD_EPOCHS, RATES
from tlkit.solver import solve, solve_each
from tlkit.trackers import Watchers, nobody, tell
from tlkit.training_state import SaveEpochs, State

log = logging.getLogger(__name__)

LARGEST_TO_SOLVE = 64 << 20
"""Bytes of features up to which `auto` solves the head; many images need no solver to be exact."""
MOST_TO_SOLVE = 2_000_000_000
"""Numbers of features times classes up to which `auto` solves the head: each of its
iterations costs that much, and cross-validation takes hundreds of them; this many, a minute."""


@dataclass(frozen=True)
class Phase:
    """One call of `fit`: what trains, for how long, at which rate."""

    name: str
    epochs: int
    lr: float
    unfreeze: str | None = None


def plan(config: TrainConfig, pretrained: bool, stages: Sequence[str] = ()) -> list[Phase]:
    """The phases of a resolved recipe, in order.

    Args:
        config: of a resolved recipe.
        pretrained: whether the backbone starts from trained weights.
        stages: what fine-tuning trains, input to output; gradual unfreezing goes through them.
    """
    if not pretrained:
        return [Phase("scratch", config.epochs or 0, config.lr or 0.0)]
    phases = []
    epochs = HEAD_EPOCHS if config.freeze_epochs is None else config.freeze_epochs
    if epochs:
        phases.append(Phase("head", epochs, config.head_lr or RATES[config.optimizer][0]))
    if config.epochs:
        tune = Phase("fine-tune", config.epochs, config.lr or 0.0, config.unfreeze)
        phases += [
            replace(tune, name=f"fine-tune {stage}", unfreeze=stage)
            for stage in (reversed(stages) if config.gradual else ())
        ] or [tune]
    return phases


def check(config: TrainConfig, classifier: Classifier, datasets: Datasets) -> None:
    """Find out before the first epoch what would stop a later phase.

    Raises:
        RecipeError: no such stage to unfreeze, or what Keras cannot do on several devices.
        DataError: the file of class weights cannot be used.
    """
    if machines.place()[1] > 1 and (config.mixup is not None or config.cutmix is not None):
        raise RecipeError(
            "train.mixup and train.cutmix mix the images of a batch, which several processes read "
            "in parts; leave them out, or train in one process."
        )
    if config.accumulate is not None and datasets.train.devices > 1:
        raise RecipeError(
            f"train.accumulate = {config.accumulate} is for one device, and there are "
            f"{datasets.train.devices}: Keras cannot accumulate gradients over several. Leave it "
            "out, or choose one device (--device cpu, or CUDA_VISIBLE_DEVICES=0)."
        )
    _stages(config, classifier)
    class_weights(config.class_weights, classifier.classes, datasets.train.labels)


def _stages(config: TrainConfig, classifier: Classifier) -> list[str]:
    """The stages that fine-tuning trains, input to output."""
    if config.unfreeze is None:
        return []
    trained = freezing.chosen(classifier.model, classifier.row, config.unfreeze)
    stages = freezing.stages_of(classifier.model, classifier.row)
    return [stage for stage in stages if stage in trained]


def fit(
    classifier: Classifier,
    datasets: Datasets,
    config: TrainConfig,
    features: FrozenFeatures,
    device: Device,
    checkpoint: Checkpoint,
    watchers: Watchers = nobody,
) -> pd.DataFrame:
    """Train through all phases; the classifier holds the best epoch's weights afterwards.

    Ctrl-C ends the current epoch and skips what is left; the caller goes on to evaluate and report.
    Where the checkpoint is not resumable, it is a KeyboardInterrupt at the end of the batch.
    What the checkpoint holds is not trained again: finished phases, and epochs of the next one.

    Args:
        classifier: fresh from `build_classifier`.
        datasets: training and validation batches.
        config: a resolved recipe's [train].
        features: of the same classifier and datasets.
        device: from `device.prepare`.
        checkpoint: takes the state after epochs and phases.
        watchers: more callbacks for each phase.

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
    alone = device.processes == 1  # of several, none may stop or choose a batch size by itself
    # A part of an experiment that ended early must not count, so Ctrl-C ends all of it.
    ask = stop_on_ctrl_c(gently=checkpoint.resumable)
    with ask if alone else contextlib.nullcontext(StopRequest()) as stop:
        for phase in plan(config, classifier.weights is not None, _stages(config, classifier)):
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
                _run_phase(
                    phase, classifier, datasets, config, features, device, weights, rows, stop,
                    saving, watchers(phase.name),
                )  # fmt: skip

            if alone:
                with_smaller_batches(datasets, device.count, run)
            else:
                run()
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
    datasets: Datasets,
    config: TrainConfig,
    features: FrozenFeatures,
    device: Device,
    weights: dict[int, float] | None,
    rows: list[dict[str, Any]],
    stop: StopRequest,
    saving: SaveEpochs,
    watching: Sequence[keras.callbacks.Callback],
) -> None:
    if phase.name == "head" and _solve_head(classifier, config, features, weights, rows):
        tell(watching, classifier.model, rows)
        return
    with device.scope():
        cut = _cut(classifier, datasets, config, features)
    trainable = trainable_parameters(cut.model)
    precision = device.precision if config.precision == "auto" else config.precision
    log.info(
        "%s: %s parameters train%s for up to %d epochs at a rate of %g, in %s",
        phase.name,
        f"{trainable:,}",
        ", auxiliary classifiers included," if classifier.auxiliary is not None else "",
        phase.epochs,
        phase.lr,
        precision,
    )
    with (
        device.sharing(cut.model, (datasets.train, datasets.val)),
        computing_in(cut.model, precision),
    ):
        with device.scope():
            rate = _compile(cut, phase, classifier, config, device)
        watched = "val_loss" if cut.val is not None else "loss"
        epoch_log = EpochLog(phase.name, phase.epochs, rows, rate)
        callbacks: list[keras.callbacks.Callback] = [
            *([AveragedWeights()] if config.ema is not None else []),
            epoch_log,
            keras.callbacks.TerminateOnNaN(),
            stop,
            keras.callbacks.EarlyStopping(
                watched, patience=config.patience, restore_best_weights=True
            ),
        ]
        if config.schedule == "plateau":
            callbacks.append(
                keras.callbacks.ReduceLROnPlateau(
                    watched, factor=config.decay_rate, patience=config.decay_epochs
                )
            )
        saving.follow(cut, [callback for callback in callbacks if callback is not stop])
        callbacks += [*watching, saving]
        with (
            contextlib.closing(epoch_log),
            original_data_error(datasets.train, cut.val),
            at_safe_points(),
        ):
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


def _cut(
    classifier: Classifier, datasets: Datasets, config: TrainConfig, features: FrozenFeatures
) -> Cut:
    """The model and the batches of a phase that trains by gradient descent."""
    mixes = config.mixup is not None or config.cutmix is not None
    if classifier.auxiliary is None and not mixes:
        return features.cut()
    if not mixes:
        return Cut(classifier.trained, datasets.train, datasets.val)
    if classifier.weights is not None:
        log.info("every batch mixes other images, so each epoch runs the whole network on them")
    mixed = MixedBatches(datasets.train, config.mixup, config.cutmix)
    return Cut(classifier.trained, mixed, datasets.val)


def _compile(
    cut: Cut, phase: Phase, classifier: Classifier, config: TrainConfig, device: Device
) -> Any:
    """Make the phase's model ready to train; its learning rate, or the schedule of it."""
    if config.l2 is not None:
        penalise_kernels(cut.model, config.l2)
    updates = len(cut.train) / (config.accumulate or 1)
    rate = make_schedule(config, phase.lr, phase.epochs, updates)
    factors = None
    if config.layer_decay is not None and phase.unfreeze is not None:
        factors = freezing.rate_factors(classifier.model, classifier.row, config.layer_decay)
    cut.model.compile(
        optimizer=make_optimizer(config, rate, factors),
        loss=make_loss(config, classifier.multi_label),
        metrics=[make_metric(classifier.multi_label)],
        # XLA pays on a GPU; on a CPU it is several times slower for TensorFlow's depthwise
        # convolutions. JAX has nothing else.
        jit_compile=device.kind == "gpu" or keras.backend.backend() == "jax",
    )
    # With several devices the optimizer's variables must be made inside the strategy.
    cut.model.optimizer.build(cut.model.trainable_variables)
    return rate


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
    classes = len(classifier.classes)
    if config.solver == "auto" and size > LARGEST_TO_SOLVE:
        log.info("head: %d MiB of features are many, so it trains in batches", size >> 20)
        return False
    if config.solver == "auto" and size // 4 * classes > MOST_TO_SOLVE:
        log.info(
            "head: %d classes on %.3g MiB of features would take the solver minutes, so it trains "
            "in batches (--solver lbfgs solves it all the same)",
            classes,
            size / (1 << 20),
        )
        return False
    images, several = cut.train.images, classifier.multi_label
    val: Any = None
    views = [view[:] for view in cut.train.views]
    if isinstance(cut.val, FeatureBatches):
        shown = cut.val.images
        val = cut.val.views[0][:], shown.multi_hot if several else shown.labels
    if several:
        head = solve_each(views, images.multi_hot, val, images.seed)
    else:
        head = solve(views, images.labels, classes, weights, val, images.seed)
    classifier.model.get_layer("head_logits").set_weights([head.kernel, head.bias])
    seconds = (time.perf_counter() - start) / len(head.curve)
    for point in head.curve:
        numbers = (point.loss, point.accuracy, point.val_loss, point.val_accuracy, 0.0, seconds)
        row = dict(zip(HISTORY, ("head", point.iteration, *numbers), strict=True))
        rows.append({key: None if value != value else value for key, value in row.items()})
    last = head.curve[-1]
    log.info(
        "head: solved by L-BFGS in %d iterations, C = %g by cross-validation: loss %.4f%s",
        last.iteration,
        head.strength,
        last.loss,
        f"  val_loss {last.val_loss:.4f}  val_accuracy {last.val_accuracy:.3f}" if val else "",
    )
    return True
