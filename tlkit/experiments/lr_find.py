"""The learning-rate range test: one short training while the rate rises from batch to batch."""

from __future__ import annotations

import contextlib
import logging
import math
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal

import numpy as np

from tlkit import machines, pipeline
from tlkit.checkpoint import Checkpoint
from tlkit.errors import RecipeError, TrainingError
from tlkit.evaluation.rates import RateCurve
from tlkit.interrupts import end_on_sigterm
from tlkit.recipe import Recipe, TrainConfig
from tlkit.resolution import RATES

Phase = Literal["head", "fine-tune", "scratch"]
LOW, HIGH, STEPS = 1e-6, 10.0, 100
"""The rates that are tried, and how many."""


def find_rate(
    data: str | Path | None = None,
    *,
    recipe: str | Path | None = None,
    phase: str | None = None,
    low: float = LOW,
    high: float = HIGH,
    steps: int = STEPS,
    **settings: Any,
) -> RateCurve:
    """Train while the rate rises by one factor a batch, and watch the loss; nothing is kept.

    Args:
        data, recipe, settings: as for `tlkit.finetune`.
        phase: "head" or "fine-tune" (the head is trained first, as in any run); without trained
            weights there is only "scratch". When None: fine-tuning if the recipe has any.
        low, high: the first and the last rate.
        steps: batches.

    Raises:
        TlkitError: what was wrong, what arrived, what to do next.
    """
    if not 0 < low < high < math.inf or steps < 10:
        raise RecipeError(
            f"The range test needs 0 < low < high and 10 steps or more; got {low:g}, {high:g} and "
            f"{steps}."
        )
    machines.refuse_several("The range test of learning rates")
    resolved = pipeline.resolve(data, recipe, settings)
    chosen = _phase(resolved, phase)
    folder, split = pipeline.scan(resolved)
    from tlkit import device

    device.import_keras(backend=resolved.backend)
    from tlkit import trainer
    from tlkit.experiments.rising_rate import RisingRate

    on = device.prepare(resolved.device, resolved.seed)
    classifier, datasets, features = pipeline.assemble(resolved, folder.classes, split, on)
    datasets = replace(datasets, val=None)  # nobody asks how good it is
    features.datasets = datasets
    config = _only(resolved.train, chosen, epochs=1 + math.ceil(steps / len(datasets.train)))
    trainer.check(config, classifier, datasets)
    test = RisingRate(np.geomspace(low, high, steps).tolist())

    def watchers(name: str) -> Sequence[Any]:
        return [test] if name == chosen else []

    with (
        Checkpoint.temporary(resolved.to_toml()) as checkpoint,
        end_on_sigterm(),
        _without_epochs(),
    ):
        try:
            trainer.fit(classifier, datasets, config, features, on, checkpoint, watchers)
        except TrainingError:  # the loss became no number at a high rate, as it may
            if len(test.losses) < 10:
                raise
    rates, used = test.rates[: len(test.losses)], _rate(resolved.train, chosen)
    return RateCurve.from_steps(chosen, rates, test.losses, used, folder.root.resolve().name)


def _phase(recipe: Recipe, asked: str | None) -> Phase:
    """The phase to test."""
    possible: tuple[Phase, ...] = ("head", "fine-tune")
    if not recipe.pretrained:
        possible = ("scratch",)
    elif recipe.train.epochs:
        possible = ("fine-tune", "head")
    for each in possible:
        if asked in (each, None):
            return each
    raise RecipeError(
        f"--phase must be one of {', '.join(possible)} with weights = {recipe.weights!r}; got "
        f"{asked!r}."
    )


def _rate(train: TrainConfig, phase: Phase) -> float:
    """The rate that the recipe has for a phase."""
    place = ("head", "fine-tune", "scratch").index(phase)
    return (train.head_lr if phase == "head" else train.lr) or RATES[train.optimizer][place]


def _only(train: TrainConfig, phase: Phase, epochs: int) -> TrainConfig:
    """The same training with this phase as its last, at a rate that nothing else changes."""
    update: dict[str, Any] = {"schedule": "constant", "warmup": None, "patience": epochs}
    if phase == "head":
        update |= {"solver": "sgd", "freeze_epochs": epochs, "epochs": 0}
    else:
        update |= {"epochs": epochs}
    if phase == "fine-tune":
        update |= {"unfreeze": train.unfreeze or "last", "gradual": False}
    key = "head_lr" if phase == "head" else "lr"
    return train.model_copy(update=update | {key: _rate(train, phase)})


@contextlib.contextmanager
def _without_epochs() -> Iterator[None]:
    """Inside, no line per epoch: the numbers of an epoch at rising rates say nothing."""
    lines = logging.getLogger("tlkit.callbacks")
    before = lines.level
    lines.setLevel(logging.WARNING)
    try:
        yield
    finally:
        lines.setLevel(before)
