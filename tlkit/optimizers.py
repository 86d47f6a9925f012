"""Optimizers and learning-rate schedules: Keras' own, by the names of the recipe."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import accumulate
from typing import Any

import keras
from keras import ops
from keras.optimizers import schedules

from tlkit.recipe import TrainConfig

KINDS: dict[str, type[keras.optimizers.Optimizer]] = {
    "sgd": keras.optimizers.SGD,
    "adam": keras.optimizers.Adam,
    "adamw": keras.optimizers.AdamW,
    "rmsprop": keras.optimizers.RMSprop,
    "lion": keras.optimizers.Lion,
}
NO_DECAY = ("bias", "gamma", "beta")
"""Variables that weight decay leaves alone: shifting or scaling a map is no complexity."""
RISE = 0.3
"""Share of the one-cycle schedule in which the rate rises, from a 25th of its peak."""


def make_optimizer(
    config: TrainConfig,
    rate: float | schedules.LearningRateSchedule,
    factors: Mapping[str, float] | None = None,
) -> keras.optimizers.Optimizer:
    """The optimizer of a resolved recipe.

    Args:
        config: kind, momentum, decay, clipping, accumulation, averaging.
        rate: constant or a schedule.
        factors: what the rate of single variables is multiplied by, by their path.
    """
    arguments = {
        "momentum": config.momentum,
        "nesterov": config.nesterov,
        "weight_decay": config.weight_decay,
        "global_clipnorm": config.clip_norm,
        "gradient_accumulation_steps": config.accumulate,
        "use_ema": config.ema is not None,
        "ema_momentum": config.ema,
    }
    given: dict[str, Any] = {key: value for key, value in arguments.items() if value is not None}
    kind = KINDS[config.optimizer]
    if factors:
        kind = type(f"Layerwise{kind.__name__}", (_Layerwise, kind), {})
        given["factors"] = factors
    optimizer = kind(rate, **given)
    optimizer.exclude_from_weight_decay(var_names=NO_DECAY)
    return optimizer


class _Layerwise:
    """Mixed into an optimizer: each variable has a rate of its own (Howard & Ruder 2018, 3.2)."""

    def __init__(self, *arguments: Any, factors: Mapping[str, float], **more: Any):
        super().__init__(*arguments, **more)
        self._factor_of_path = dict(factors)

    def build(self, variables: Sequence[keras.Variable]) -> None:
        """Line the factors up with the variables."""
        super().build(variables)  # type: ignore[misc]
        self._factors = [self._factor_of_path.get(variable.path, 1.0) for variable in variables]

    def update_step(self, gradient: Any, variable: Any, learning_rate: Any) -> None:
        """One variable's step."""
        factor = self._factors[self._get_variable_index(variable)]  # type: ignore[attr-defined]
        super().update_step(gradient, variable, learning_rate * factor)  # type: ignore[misc]


def make_schedule(
    config: TrainConfig, rate: float, epochs: int, steps_per_epoch: float
) -> float | schedules.LearningRateSchedule:
    """The rate of every step of one phase; constant, and plateau, which a callback lowers, are
    the number itself.

    Args:
        config: of a resolved recipe.
        rate: the phase's, before decay and after warm-up.
        epochs: of the phase.
        steps_per_epoch: updates of the weights, not batches.
    """
    whole = round(epochs * steps_per_epoch)
    rise = round((config.warmup or 0) * steps_per_epoch)
    rest = max(1, whole - rise)
    if config.schedule == "cosine":
        if rise:
            return schedules.CosineDecay(0.0, rest, warmup_target=rate, warmup_steps=rise)
        return schedules.CosineDecay(rate, rest)
    if config.schedule == "one-cycle":
        up = max(1, round(RISE * whole))
        return schedules.CosineDecay(
            rate / 25, max(1, whole - up), 4e-6, warmup_target=rate, warmup_steps=up
        )
    if config.schedule == "polynomial":
        schedule = schedules.PolynomialDecay(rate, rest, config.end_lr or 0.0, config.power or 1.0)
    elif config.schedule == "exponential":
        assert isinstance(config.decay_epochs, int)
        assert isinstance(config.decay_rate, float)
        epoch = max(1, round(config.decay_epochs * steps_per_epoch))
        schedule = schedules.ExponentialDecay(rate, epoch, config.decay_rate)
    elif config.schedule == "step":
        drops, rates = _steps(config, rate, epochs)
        last = [round(drop * steps_per_epoch) - rise - 1 for drop in drops]
        schedule = schedules.PiecewiseConstantDecay(last, rates) if drops else rate
    else:
        schedule = rate
    return WarmUp(schedule, rise) if rise else schedule


def _steps(config: TrainConfig, rate: float, epochs: int) -> tuple[list[int], list[float]]:
    """After which epochs the rate drops, and the rates before, between and after the drops."""
    drops, factors = config.decay_epochs, config.decay_rate
    assert drops is not None
    assert factors is not None
    after = drops if isinstance(drops, list) else list(range(drops, epochs, drops))
    each = factors if isinstance(factors, list) else [factors] * len(after)
    return after, list(accumulate(each, lambda now, factor: now * factor, initial=rate))


class WarmUp(schedules.LearningRateSchedule):
    """From 0 to the schedule's first rate in a straight line, then the schedule.

    Args:
        schedule: a rate or a schedule, which begins once the warm-up has ended.
        steps: of the warm-up.
    """

    def __init__(self, schedule: float | schedules.LearningRateSchedule, steps: int):
        super().__init__()
        self.schedule, self.steps = schedule, steps

    def __call__(self, step: Any) -> Any:
        """The rate of the update number `step`, from 0."""
        step = ops.cast(step, "float32")
        after = ops.maximum(step - self.steps, 0.0)
        rate = self.schedule(after) if callable(self.schedule) else self.schedule
        return rate * ops.minimum((step + 1) / self.steps, 1.0)
