"""Where tlkit keeps on this machine what it can make or fetch again."""

from __future__ import annotations

import os
import sys
from pathlib import Path


def cache_folder(kind: str) -> Path:
    """The folder of one kind of cached files: inside TLKIT_CACHE, or the platform's cache folder.

    Args:
        kind: "weights", "features" or "networks". Nothing is created.
    """
    if folder := os.environ.get("TLKIT_CACHE"):
        return Path(folder).expanduser() / kind
    if sys.platform == "win32":
        base = Path(os.environ.get("LOCALAPPDATA", Path.home() / "AppData" / "Local"))
    elif sys.platform == "darwin":
        base = Path.home() / "Library" / "Caches"
    else:
        base = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    return base / "tlkit" / kind
