"""Every error that tlkit raises on purpose.

    TlkitError            anything a user can mend; on the terminal one line, exit code 2
    ├── RecipeError       a recipe key, a flag or a combination of them is wrong
    ├── DataError         the folder, the manifest or an image cannot be used
    ├── BackboneError     no such backbone, or an input that it cannot take
    ├── WeightsError      weights cannot be found, fetched or read, or do not fit
    ├── RunError          a run folder is missing, taken or incomplete
    ├── DeviceError       the device that was asked for is not there
    ├── ExportError       an export cannot be made, or does not answer as Keras does
    ├── MissingPackageError  a package of an extra is not installed
    ├── ServeError        the page cannot be served at that address
    └── TrainingError     training cannot go on (for example a NaN loss)

A message says what was wrong, what arrived and what to do next, in one line. Only `tlkit.cli` turns
a TlkitError into an exit code; any other exception is a bug and keeps its traceback.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable


class TlkitError(Exception):
    """The root of all errors that a user can mend."""


class RecipeError(TlkitError):
    """A recipe key, a flag or a combination of them is wrong."""


class DataError(TlkitError):
    """The folder, the manifest or an image cannot be used."""


class BackboneError(TlkitError):
    """No such backbone, or an input that it cannot take."""


class WeightsError(TlkitError):
    """Weights cannot be found, fetched or read, or do not fit."""


class RunError(TlkitError):
    """A run folder is missing, taken or incomplete."""


class DeviceError(TlkitError):
    """The device that was asked for is not there."""


class ExportError(TlkitError):
    """An export cannot be made, or does not answer as Keras does."""


class MissingPackageError(TlkitError):
    """A package that comes with an extra is not installed."""


class ServeError(TlkitError):
    """The page cannot be served at that address."""


class TrainingError(TlkitError):
    """Training cannot go on."""


def did_you_mean(name: str, known: Iterable[str]) -> str:
    """`" Did you mean 'vgg11_bn'?"` for the nearest known name, or an empty string."""
    near = difflib.get_close_matches(name, list(known), n=1, cutoff=0.6)
    return f" Did you mean {near[0]!r}?" if near else ""
