"""tlkit: fine-tune an image classifier on a folder of pictures, and get a report you can trust."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from tlkit.backbones import build_backbone as build_backbone
    from tlkit.backbones import list_backbones as list_backbones
    from tlkit.data.folder import ImageFolder as ImageFolder
    from tlkit.errors import TlkitError as TlkitError
    from tlkit.evaluation.comparison import compare_runs as compare_runs
    from tlkit.experiments.ensemble import ensemble as ensemble
    from tlkit.experiments.folds import cross_validate as cross_validate
    from tlkit.experiments.lr_find import find_rate as find_rate
    from tlkit.experiments.search import search as search
    from tlkit.export import export_run as export_run
    from tlkit.inference import evaluate as evaluate
    from tlkit.inference import explain as explain
    from tlkit.inference import predict as predict
    from tlkit.pipeline import finetune as finetune
    from tlkit.recipe import Recipe as Recipe
    from tlkit.recipe import load_recipe as load_recipe
    from tlkit.runs import Run as Run

__version__ = "0.1.0"

# Public name -> where it lives; imported on first use, so that `import tlkit` costs nothing (PEP
# 562).
_PUBLIC = {
    "ImageFolder": "tlkit.data.folder",
    "Recipe": "tlkit.recipe",
    "Run": "tlkit.runs",
    "TlkitError": "tlkit.errors",
    "build_backbone": "tlkit.backbones",
    "compare_runs": "tlkit.evaluation.comparison",
    "cross_validate": "tlkit.experiments.folds",
    "ensemble": "tlkit.experiments.ensemble",
    "evaluate": "tlkit.inference",
    "explain": "tlkit.inference",
    "export_run": "tlkit.export",
    "find_rate": "tlkit.experiments.lr_find",
    "finetune": "tlkit.pipeline",
    "list_backbones": "tlkit.backbones",
    "load_recipe": "tlkit.recipe",
    "predict": "tlkit.inference",
    "search": "tlkit.experiments.search",
}
__all__ = sorted(_PUBLIC)


def __getattr__(name: str) -> Any:
    if name in _PUBLIC:
        return getattr(importlib.import_module(_PUBLIC[name]), name)
    raise AttributeError(f"module 'tlkit' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted([*globals(), *__all__])
