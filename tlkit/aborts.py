"""SIGABRT: how C++ libraries end a process where they see no way on, past Python's exceptions.

Python's own signal handlers come too late for it: they run when the C++ code has returned, and
`abort` does not return. So this one is set past Python, by libc, and runs where it is called.
"""

from __future__ import annotations

import ctypes
import signal
import sys
from collections.abc import Callable
from typing import Any

_DEFAULT = 0  # libc's SIG_DFL
_handler: Any = None  # libc keeps its address only


def on_abort(last: Callable[[], None]) -> None:
    """Call `last` when C++ code aborts this process; it ends the process itself, by `os._exit`.

    It runs in the thread that aborts, while the others go on: it should be short.
    """
    global _handler
    kind = ctypes.CFUNCTYPE(None, ctypes.c_int)
    _handler = kind(lambda signum: last())
    _set(ctypes.cast(_handler, ctypes.c_void_p))


def as_usual() -> None:
    """Let an abort be an abort again."""
    _set(ctypes.c_void_p(_DEFAULT))


def _set(handler: ctypes.c_void_p) -> None:
    if sys.platform == "win32":
        return
    libc = ctypes.CDLL(None)
    libc.signal.argtypes, libc.signal.restype = (ctypes.c_int, ctypes.c_void_p), ctypes.c_void_p
    libc.signal(signal.SIGABRT, handler)
