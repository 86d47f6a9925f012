"""Signals: what a person or a scheduler sends to end a run."""

from __future__ import annotations

import contextlib
import signal
import threading
from collections.abc import Iterator
from typing import Any


class Terminated(SystemExit):
    """SIGTERM has come; whoever has work to save does so on the way out."""


@contextlib.contextmanager
def end_on_sigterm() -> Iterator[None]:
    """Inside, the first SIGTERM unwinds the stack with `Terminated`; the second one kills."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    def leave(signum: int, frame: Any) -> None:
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
        raise Terminated(128 + signum)

    previous = signal.signal(signal.SIGTERM, leave)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, previous)
