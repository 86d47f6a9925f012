"""Packages that only some commands need: they come with an extra, `pip install 'tlkit[...]'`."""

from __future__ import annotations

import importlib
from typing import Any

from tlkit.errors import MissingPackageError


def require(module: str, extra: str, what: str) -> Any:
    """Import a module of an extra.

    Args:
        module: e.g. "onnxruntime".
        extra: the extra that installs it.
        what: what needs it, as the sentence begins: "The export to ONNX".

    Raises:
        MissingPackageError: it is not installed, or does not start.
    """
    try:
        return importlib.import_module(module)
    except ImportError as error:
        name = module.partition(".")[0]
        gone = isinstance(error, ModuleNotFoundError) and (error.name or "").startswith(name)
        state = "which is not installed" if gone else f"which does not start ({error})"
        raise MissingPackageError(
            f"{what} needs the package {name}, {state}: pip install 'tlkit[{extra}]'."
        ) from None
