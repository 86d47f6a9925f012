"""Take a run's model elsewhere, with proof: the exported file is run by its own runtime on the
run's validation images, and one that does not answer as Keras does is not kept."""

from __future__ import annotations

import contextlib
import hashlib
import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import tlkit
from tlkit.device import import_keras
from tlkit.errors import ExportError, TlkitError
from tlkit.new_folder import new_folder
from tlkit.progress import console
from tlkit.runs import Run

if TYPE_CHECKING:
    from tlkit.export.proof import Proof

PROOF = "proof.json"


@dataclass(frozen=True)
class Export:
    """An export that holds.

    Attributes:
        folder: holds the model, labels.txt and proof.json.
        model: what a runtime is given: a file, or the folder of a SavedModel.
        size: of all files, bytes.
        proof: how its answers compare with Keras'.
    """

    folder: Path
    model: Path
    size: int
    proof: Proof

    def __str__(self) -> str:
        return f"{self.proof}\n{self.model}  {self.size / 1e6:.1f} MB"


def export_run(
    run: Run | Path | str,
    format: str,
    *,
    int8: bool = False,
    output: Path | str | None = None,
    data: Path | str | None = None,
) -> Export:
    """Write a run's model in another format, and prove that it gives the same answers.

    Args:
        run: a finished run.
        format: keras, saved_model, onnx, openvino or litert.
        int8: quantise weights and activations, calibrated on training images (openvino, litert).
        output: the folder to write; exports/<format>[-int8] in the run when None. An earlier export
            there is replaced.
        data: where the run's images are now; where they were when None.

    Returns:
        The export and its proof.

    Raises:
        ExportError: an unknown format, a folder that is taken, or answers that differ by more than
            the tolerance: nothing is left then.
        MissingPackageError: the extra `export` is not installed.
        DataError: the run's images are gone.
        RunError: the run has no network of its own (`Run.network`).
    """
    import_keras()
    from tlkit.classifier import load_classifier
    from tlkit.export import proof
    from tlkit.export.formats import LABELS, get_format, labels

    source = run if isinstance(run, Run) else Run.open(run)
    network = source.network
    form = get_format(format, int8)
    target = Path(output or source.exports / f"{form.name}{'-int8' * int8}")
    _refuse_foreign(target)
    root = Path(data or source.metrics["data"]["root"])
    rows = proof.held_out(source.split, root)
    classifier = load_classifier(network)
    calibration = proof.calibration_images(source.split, root, classifier) if int8 else None
    with new_folder(target, ExportError, " Choose another --output.") as folder:
        with console.status(f"writing {form.name}"), _one_line(form.name, int8):
            form.write(classifier, folder, calibration)
        with _one_line(form.name, int8):
            found = proof.prove(form, folder / form.file, classifier, rows, root, int8)
        if not found.holds:
            way_out = "leave out --int8, or choose" if int8 else "choose"
            raise ExportError(
                f"The {form.name} export differs too much and was not kept: {found}; {way_out} "
                "another --format."
            )
        (folder / LABELS).write_text(labels(classifier), encoding="utf-8")
        files = {file: file.read_bytes() for file in sorted(folder.rglob("*")) if file.is_file()}
        facts = {"format": form.name, "int8": int8, "tlkit": tlkit.__version__}
        facts |= found.to_dict()
        facts["files"] = {
            file.relative_to(folder).as_posix(): hashlib.sha256(data).hexdigest()
            for file, data in files.items()
        }
        (folder / PROOF).write_text(json.dumps(facts, indent=2) + "\n", encoding="utf-8")
        size = sum(len(data) for data in files.values())
    return Export(target, target / form.file, size, found)


def _refuse_foreign(target: Path) -> None:
    """Only what an earlier export wrote is replaced."""
    if target.is_dir() and any(target.iterdir()) and not (target / PROOF).is_file():
        raise ExportError(
            f"{target} is not an export of tlkit and not empty; choose another --output."
        )
    if target.exists() and not target.is_dir():
        raise ExportError(f"{target} is a file; --output is the folder to write.")


@contextlib.contextmanager
def _one_line(name: str, int8: bool) -> Iterator[None]:
    """Converters and runtimes fail in many ways and at length: one line of it."""
    try:
        yield
    except (TlkitError, OSError):
        raise
    except Exception as error:
        reason = " ".join(f"{type(error).__name__}: {error}".split())[:300]
        raise ExportError(
            f"This network cannot be exported to {name}{' in int8' * int8} ({reason}); choose "
            "another --format."
        ) from error
