"""The passport of a run: the steps that made it, its model, its data, the versions, the time."""

from __future__ import annotations

import hashlib
import importlib.metadata
import platform
import sys
from dataclasses import asdict, replace
from datetime import datetime
from typing import TYPE_CHECKING, Any

import pandas as pd

import tlkit
from tlkit.evaluation.displays import LearningCurves
from tlkit.recipe import Recipe

if TYPE_CHECKING:
    from tlkit.classifier import Classifier, Step
    from tlkit.data.folder import ImageFolder


def steps_taken(
    classifier: Classifier, history: pd.DataFrame, unfreeze: str | None
) -> tuple[Step, ...]:
    """The steps with what came of the training, and fine-tuning as a fifth where there was some."""
    from tlkit.classifier import Step
    from tlkit.complexity import numbers

    *first, fourth = classifier.steps
    phases = {phase.name: phase for phase in LearningCurves.from_history(history).phases}
    seconds = history.groupby("phase")["seconds"].sum()

    def outcome(name: str) -> str:
        if name not in phases:
            return "stopped before the first epoch ended"
        phase = phases[name]
        rates = history.loc[history["phase"] == name, "lr"]
        if (rates == 0).all():
            return f"solved by L-BFGS, {seconds[name]:.1f} s"
        best = phase.best - phase.epochs[0] + 1
        count = f"{len(phase.epochs)} epoch{'s' * (len(phase.epochs) > 1)}"
        return f"{count}, best was {best}, {seconds[name]:.1f} s"

    # Without pretrained weights all layers train in one phase of another name.
    main = "scratch" if "scratch" in phases else "head"
    steps = [*first, replace(fourth, detail=f"{fourth.detail}: {outcome(main)}")]
    if tuned := [name for name in phases if name.startswith("fine-tune")]:
        model = classifier.model
        frozen, total = numbers(model.non_trainable_weights), model.count_params()
        came_of_it = "; ".join(
            f"{name.removeprefix('fine-tune').strip()} {outcome(name)}".strip() for name in tuned
        )
        detail = f"{_unfrozen(unfreeze)} unfrozen: {came_of_it}"
        steps.append(Step(5, "fine-tune", detail, total, frozen, total - frozen))
    return tuple(steps)


def _unfrozen(what: str | None) -> str:
    """What `train.unfreeze` means, in words."""
    if what == "all":
        return "everything"
    if what in ("last", "1"):
        return "the last stage"
    return f"the last {what} stages" if what and what.isdigit() else f"{what} and all after it"


def versions() -> dict[str, str]:
    """Of tlkit, Python and the packages that decide a number."""
    packages = ["tensorflow", "keras", "numpy", "albumentations", "scikit-learn"]
    if "jax" in sys.modules:
        packages.append("jax")
    return {
        "tlkit": tlkit.__version__,
        "python": platform.python_version(),
        **{name: importlib.metadata.version(name) for name in packages},
        "opencv-python-headless": importlib.metadata.version("opencv-python-headless"),
    }


def data_facts(folder: ImageFolder, split: pd.DataFrame) -> dict[str, Any]:
    """Which images a run is about, as far as it takes to know them again."""
    lines = split[["path", "label", "split", "sha256"]].agg("\t".join, axis=1)
    return {
        "root": str(folder.root),
        "images": len(split),
        "skipped": len(folder.skipped),
        "empty_classes": list(folder.empty_classes),
        "sha256": hashlib.sha256("\n".join(lines).encode()).hexdigest(),
    }


def passport(
    recipe: Recipe,
    classifier: Classifier,
    folder: ImageFolder,
    split: pd.DataFrame,
    timings: dict[str, float],
    on: str,
) -> dict[str, Any]:
    """What metrics.json says besides the scores: the steps, the model, its data, the versions, the
    time."""
    from tlkit.complexity import numbers

    model = classifier.model
    frozen, parameters = numbers(model.non_trainable_weights), model.count_params()
    weights = classifier.weights
    return {
        "created": datetime.now().astimezone().isoformat(timespec="seconds"),
        "steps": [asdict(step) for step in classifier.steps],
        "model": {
            "backbone": classifier.row.name,
            "parameters": parameters,
            "frozen": frozen,
            "trainable": parameters - frozen,
            "input_size": classifier.size,
            "weights": {"source": weights.source, "sha256": weights.sha256}
            if weights
            else {"source": "none", "sha256": None},
        },
        "data": data_facts(folder, split),
        "timings": {name: round(seconds, 3) for name, seconds in timings.items()},
        "versions": versions(),
        "device": on,
    }
