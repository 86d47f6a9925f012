"""The [search] table of a recipe: which keys may vary, and over which values."""

from __future__ import annotations

import math
from collections.abc import Collection
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, ValidationError, model_validator

from tlkit.errors import RecipeError, did_you_mean
from tlkit.recipe import Recipe, flat, read_toml

if TYPE_CHECKING:
    import optuna

FIXED = {
    *("data.root", "data.val_split", "data.test_split", "data.fixes", "data.on_bad_image"),
    *("seed", "device", "workers", "cache_size", "insight", "track", "train.min_accuracy"),
}
"""Keys that must be the same for all trials: else they would not be judged on the same images."""


class Range(BaseModel):
    """Numbers from low to high, both included; integers if both are."""

    model_config = ConfigDict(extra="forbid", strict=True)

    low: int | float
    high: int | float
    log: bool = False
    """Even in the logarithm: as many trials between 1e-4 and 1e-3 as between 1e-3 and 1e-2."""
    step: int | float | None = Field(None, gt=0)

    @model_validator(mode="after")
    def _ends_fit(self) -> Range:
        if self.low >= self.high:
            raise ValueError("low must be below high")
        if self.log and (self.low <= 0 or self.step is not None):
            raise ValueError("with log = true low must be above 0, and there is no step")
        if self.step is not None and not math.isclose(
            steps := (self.high - self.low) / self.step, round(steps), abs_tol=1e-9
        ):
            raise ValueError("step must lead from low to high")
        return self

    def suggest(self, trial: optuna.Trial, key: str) -> int | float:
        """A value for this trial."""
        if isinstance(self.low, int) and isinstance(self.high, int):
            step = int(self.step) if self.step else 1
            return trial.suggest_int(key, self.low, self.high, step=step, log=self.log)
        return trial.suggest_float(key, self.low, self.high, step=self.step, log=self.log)


Choices = list[str | int | float | bool]
Space = dict[str, Range | Choices]


def read_space(file: Path) -> tuple[dict[str, Any], Space]:
    """A recipe's values without its [search] table, and that table.

    Raises:
        RecipeError: the file cannot be read, has no [search], or the table does not fit.
    """
    values = read_toml(file)
    table = values.pop("search", None)
    if not isinstance(table, dict) or not table:
        raise RecipeError(
            f"{file} has no [search] table; it names what may vary, such as "
            '"train.head_lr" = {low = 1e-4, high = 1e-1, log = true} or '
            '"train.optimizer" = ["sgd", "adam"].'
        )
    return values, check_space(table, str(file))


def check_space(table: dict[str, Any], where: str = "[search]") -> Space:
    """The table with every range checked.

    Raises:
        RecipeError: an unknown key, one that must not vary, or a range that is none.
    """
    every = flat(Recipe())
    known = [key for key in every if key not in FIXED]
    table = _dotted(table, every)
    for key in table:
        if key in FIXED:
            raise RecipeError(
                f"{where}: {key} must not vary, or the trials could not be compared; leave it out."
            )
        if key not in known:
            raise RecipeError(
                f"{where}: unknown key {key!r} in [search].{did_you_mean(key, known)} Known: "
                f"{', '.join(known)}."
            )
        if isinstance(table[key], list) and len(set(map(repr, table[key]))) < 2:
            raise RecipeError(f"{where}: {key} in [search] needs two or more different values.")
    try:
        return TypeAdapter(Space).validate_python(table)
    except ValidationError as error:
        first = error.errors()[0]
        key = str(first["loc"][0])
        raise RecipeError(
            f"{where}: {key} in [search] is neither a range such as {{low = 1, high = 9}} nor a "
            f"list of values: {first['msg'].removeprefix('Value error, ')}; got {table[key]!r}."
        ) from None


def _dotted(table: dict[str, Any], known: Collection[str], prefix: str = "") -> dict[str, Any]:
    """Without quotes, TOML reads train.lr as a table within a table; here both are one key."""
    found: dict[str, Any] = {}
    for name, value in table.items():
        key = prefix + name
        if isinstance(value, dict) and key not in known:
            found |= _dotted(value, known, f"{key}.") or {key: value}
        else:
            found[key] = value
    return found


def suggest(space: Space, trial: optuna.Trial) -> dict[str, Any]:
    """A value for every key, as this trial draws them."""
    return {
        key: what.suggest(trial, key)
        if isinstance(what, Range)
        else trial.suggest_categorical(key, what)
        for key, what in space.items()
    }
