"""Whether a model.keras may be loaded: one from a stranger can describe more than a network.

Keras builds whatever class of its own the file names, and some of those run code (Lambda) or read
files and addresses (lookup layers). tlkit writes a short list of classes, numbers and nothing
else, so nothing else is read.
"""

from __future__ import annotations

import json
import re
import zipfile
from pathlib import Path
from typing import Any

from tlkit.errors import RunError

FACTS = "tlkit.json"
MEMBERS = {"metadata.json", "config.json", "model.weights.h5", FACTS}
# (module, class): what tlkit's networks are described with.
ALLOWED = re.compile(
    r"keras\.(layers|initializers|regularizers|constraints|src\.ops\.\w+) \w+"
    r"|keras (DTypePolicy|Sequential)|keras\.src\.models\.functional Functional"
    r"|keras\.src\.applications\.(convnext LayerScale|inception_resnet_v2 CustomScaleLayer)"
    r"|None __(ellipsis|keras_tensor|numpy|slice)__"
)
# Layers that call what the file says, or read a file or an address that it names.
REFUSED = frozenset(
    {"Lambda", "TFSMLayer", "TorchModuleWrapper", "JaxLayer", "FlaxLayer"}
    | {"StringLookup", "IntegerLookup", "TextVectorization"}
)


def read_facts(path: Path) -> dict[str, Any]:
    """The tlkit.json of a model file that is safe to load with Keras.

    Returns:
        backbone, classes, img_size, resize and perhaps temperature, of the right types.

    Raises:
        RunError: it is no model file that tlkit wrote; nothing of it was run.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            _check_members(archive, path.stat().st_size)
            _check_classes(json.loads(archive.read("config.json")))
            facts = json.loads(archive.read(FACTS))
        _check_facts(facts)
    except FileNotFoundError:
        raise RunError(
            f"{path} is missing: the run did not finish (`tlkit finetune --resume` goes on), or it "
            "cross-validated, which keeps no model (`tlkit finetune` without --folds makes one)."
        ) from None
    except (OSError, zipfile.BadZipFile, LookupError, ValueError, RecursionError) as error:
        reason = (str(error) or type(error).__name__).splitlines()[0][:200]
        raise RunError(
            f"{path} is not a model that tlkit saved: {reason}. `tlkit finetune` makes one."
        ) from None
    return facts


def _check_members(archive: zipfile.ZipFile, size: int) -> None:
    """Each member once, uncompressed as Keras writes it, and no other name."""
    names = archive.namelist()
    if foreign := next((name for name in names if name not in MEMBERS), None):
        raise ValueError(f"it holds {foreign[:80]!r}")
    if len(names) != len(set(names)) or sum(i.file_size for i in archive.infolist()) > size:
        raise ValueError("it holds more than its size")


def _check_classes(described: Any) -> None:
    """Walk the whole description: a class may hide anywhere in it."""
    waiting = [described]
    while waiting:
        value = waiting.pop()
        if isinstance(value, list):
            waiting += value
        elif isinstance(value, dict):
            waiting += value.values()
            if "class_name" not in value:
                continue
            module, name = str(value.get("module")), str(value["class_name"])
            if name in REFUSED or not ALLOWED.fullmatch(f"{module} {name}"):
                raise ValueError(f"it describes a {name[:80]!r} of {module[:80]!r}, not run")


def _check_facts(facts: Any) -> None:
    expected = {"backbone": str, "classes": list, "img_size": int, "resize": str}
    for key, kind in expected.items():
        if not isinstance(facts, dict) or type(facts.get(key)) is not kind:
            raise ValueError(f"its {FACTS} has no {key}")
    if not all(isinstance(name, str) for name in facts["classes"]):
        raise ValueError(f"its {FACTS} has no names of classes")
    if type(facts.get("temperature", 1.0)) not in (int, float):
        raise ValueError(f"its {FACTS} has no temperature")
    if type(facts.get("multi_label", False)) is not bool:
        raise ValueError(f"its {FACTS} does not say whether images have several labels")
