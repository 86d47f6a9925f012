"""Signals: what a person or a scheduler sends to end a run."""

from __future__ import annotations

import contextlib
import os
import signal
import threading
from collections.abc import Iterator
from typing import Any

AGAIN = 1.0
"""Seconds after which an exception that Python has swallowed is raised again."""


_asked = threading.Event()  # SIGTERM has come
_interrupted = threading.Event()  # an interrupt waits for a safe point
_waits = threading.Event()


class Terminated(SystemExit):
    """SIGTERM has come; whoever has work to save does so on the way out."""


@contextlib.contextmanager
def at_safe_points() -> Iterator[None]:
    """Inside, SIGTERM and `interrupt` wait for the next `safe_point`, or for the end.

    TensorFlow's threads do not always survive an exception that comes while they compute.
    """
    _waits.set()
    try:
        yield
    finally:
        _waits.clear()
        safe_point()  # also when something went wrong: it was asked for before


def safe_point() -> None:
    """Raise `Terminated` if SIGTERM has come, KeyboardInterrupt if there was an `interrupt`."""
    if _asked.is_set():
        raise Terminated(128 + signal.SIGTERM)
    if _interrupted.is_set():
        _interrupted.clear()
        raise KeyboardInterrupt


def interrupt() -> None:
    """Raise KeyboardInterrupt: at once, or at the next safe point."""
    if not _waits.is_set():
        raise KeyboardInterrupt
    _interrupted.set()


@contextlib.contextmanager
def end_on_sigterm() -> Iterator[None]:
    """Inside, SIGTERM raises `Terminated` in the main thread.

    An exception out of a signal handler is lost when it happens to come inside a destructor or a
    weak reference's callback; so it is raised again until it has left this context.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    left = threading.Event()
    _asked.clear()

    def remind() -> None:
        if not left.wait(AGAIN):
            os.kill(os.getpid(), signal.SIGTERM)

    def leave(signum: int, frame: Any) -> None:
        _asked.set()
        if not left.is_set() and not _waits.is_set():
            threading.Thread(target=remind, daemon=True).start()
            raise Terminated(128 + signum)

    previous = signal.signal(signal.SIGTERM, leave)
    try:
        yield
    finally:
        left.set()
        _asked.clear()
        signal.signal(signal.SIGTERM, previous)
