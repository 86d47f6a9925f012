"""What this machine has of what tlkit can use. Nothing here fails: a broken part is named."""

from __future__ import annotations

import importlib.metadata
import os
import platform
import re
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table

import tlkit
from tlkit.backbones._download import connection_problem, offline
from tlkit.data.parallel import worker_count
from tlkit.device import import_keras
from tlkit.engines import openvino_core
from tlkit.places import cache_folder
from tlkit.progress import console

HOST = "huggingface.co"
"""Where published weights come from."""
_NOT_FOR_USERS = {"fuzz", "test"}


class Finding(NamedTuple):
    """One row: what was looked at, whether it is usable (None: not here, and only needed by those
    who ask for it), and what there is or what to do."""

    what: str
    good: bool | None
    found: str


def examine() -> list[Finding]:
    """Look at Python, backend, devices, engines, caches, weights, extras and the network."""
    with console.status("looking around"):
        return [
            Finding("tlkit", True, f"{tlkit.__version__} in {Path(tlkit.__file__).parent}"),
            Finding("Python", True, f"{platform.python_version()}, {platform.platform()}"),
            _memory(),
            *(_tried(name, look) for name, look in _LOOKS.items()),
            _caches(),
            *_extras(),
            _network(),
        ]


def show(findings: list[Finding]) -> None:
    """Print one table; ✗ marks what cannot be used, – what is optional and not here."""
    table = Table(box=SIMPLE_HEAD, show_header=False, pad_edge=False)
    table.add_column(no_wrap=True)
    table.add_column(no_wrap=True)
    table.add_column(overflow="fold")
    for what, good, found in findings:
        table.add_row({True: "✓", False: "✗", None: "–"}[good], what, found)
    Console(highlight=False, markup=False, soft_wrap=False).print(table)


def _memory() -> Finding:
    cores = worker_count()
    try:
        bytes_ = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
        memory = f", {bytes_ / 2**30:.1f} GiB of memory"
    except (AttributeError, ValueError, OSError):  # Windows does not say
        memory = ""
    return Finding("processor", True, f"{cores} of {os.cpu_count()} cores usable{memory}")


def _tried(what: str, look: Callable[[], tuple[bool, str]]) -> Finding:
    try:
        return Finding(what, *look())
    except Exception as error:  # a broken installation fails in any way it likes
        reason = " ".join(f"{type(error).__name__}: {error}".split())[:200]
        return Finding(what, False, f"does not start: {reason}")


def _backend() -> tuple[bool, str]:
    keras = import_keras()
    name = keras.backend.backend()
    version = importlib.metadata.version(name)
    return True, f"{name} {version} (Keras {keras.__version__})"


def _gpus() -> tuple[bool, str]:
    keras = import_keras()
    if keras.backend.backend() == "jax":
        import jax

        found = [str(each) for each in jax.devices() if each.platform != "cpu"]
    else:
        import tensorflow as tf

        # What the driver calls them, such as "NVIDIA A100".
        found = [
            tf.config.experimental.get_device_details(gpu).get("device_name", gpu.name)
            for gpu in tf.config.list_physical_devices("GPU")
        ]
    return True, ", ".join(found) or "none that the backend sees: runs use the CPU"


def _openvino() -> tuple[bool, str]:
    able = openvino_core().get_property("CPU", "OPTIMIZATION_CAPABILITIES")
    fast = "float32 and bfloat16" if "BF16" in able else "float32"
    return True, f"{importlib.metadata.version('openvino')}, on this CPU in {fast}"


def _weights() -> tuple[bool, str]:
    from tlkit.backbones._weights import list_weights

    table = list_weights()
    here = table["name"][table["cached"]].tolist()
    return bool(here), f"{len(here)} of {len(table)} backbones: {', '.join(here[:6])}" + (
        f" and {len(here) - 6} more" if len(here) > 6 else ""
    )


_LOOKS: dict[str, Callable[[], tuple[bool, str]]] = {
    "backend": _backend,
    "GPUs": _gpus,
    "OpenVINO": _openvino,
    "weights here": _weights,
}


def _caches() -> Finding:
    root = cache_folder("features").parent
    there = next(parent for parent in (root, *root.absolute().parents) if parent.exists())
    sizes = {
        kind: sum(file.stat().st_size for file in cache_folder(kind).rglob("*") if file.is_file())
        for kind in ("weights", "features", "networks")
    }
    held = ", ".join(f"{kind} {size / 2**20:,.0f} MiB" for kind, size in sizes.items())
    free = shutil.disk_usage(there).free / 2**30
    good = os.access(there, os.W_OK)
    state = f"{free:,.1f} GiB free" if good else "it cannot be written; set TLKIT_CACHE"
    return Finding("caches", good, f"{root}: {held}; {state}")


def _extras() -> Iterator[Finding]:
    """One row for each extra of the installed tlkit."""
    try:
        lines = importlib.metadata.requires("tlkit") or []
    except importlib.metadata.PackageNotFoundError:
        lines = []
    extras: dict[str, list[str]] = {}
    for line in lines:
        wanted = re.match(r"([\w.-]+).*;.*extra == [\"']([\w.-]+)[\"']", line)
        if wanted and wanted[2] not in _NOT_FOR_USERS:
            extras.setdefault(wanted[2], []).append(wanted[1])
    for extra, packages in sorted(extras.items()):
        missing = [name for name in packages if not _installed(name)]
        found = ", ".join(f"{name} {importlib.metadata.version(name)}" for name in packages
                          if name not in missing)  # fmt: skip
        if missing:
            found = f"without {', '.join(missing)}: pip install 'tlkit[{extra}]'"
        yield Finding(f"tlkit[{extra}]", None if missing else True, found)


def _installed(name: str) -> bool:
    try:
        importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return False
    return True


def _network() -> Finding:
    if variable := offline():
        return Finding("network", True, f"not used: {variable} is set")
    problem = connection_problem(f"https://{HOST}")
    if problem is None:
        return Finding("network", True, f"{HOST} can be reached")
    return Finding("network", False, f"{problem}; weights that are here still work")
