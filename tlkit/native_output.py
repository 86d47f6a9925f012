"""What C and C++ libraries print on stderr ("Corrupt JPEG data", TensorFlow's greetings): off the
terminal, into the run's log.

They write to file descriptor 2, past Python. On the command line the terminal therefore moves to a
descriptor of its own, which `sys.stderr` keeps using, and descriptor 2 leads elsewhere.
"""

from __future__ import annotations

import contextlib
import io
import os
import sys
from collections.abc import Iterator
from pathlib import Path

_moved = False


def keep_off_terminal() -> None:
    """From now on only Python writes to the terminal; for a command line, not for a library."""
    global _moved
    try:
        terminal = os.dup(2)
    except OSError:  # no stderr at all
        return
    sys.stderr.flush()
    sys.stderr = io.TextIOWrapper(
        io.FileIO(terminal, "w"), sys.stderr.encoding, "backslashreplace", write_through=True
    )
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, 2)
    os.close(nowhere)
    _moved = True


@contextlib.contextmanager
def into(file: Path) -> Iterator[None]:
    """Inside, what is kept off the terminal is appended to `file`."""
    if not _moved:
        yield
        return
    before, log = os.dup(2), os.open(file, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o644)
    try:
        os.dup2(log, 2)
        yield
    finally:
        os.dup2(before, 2)
        os.close(before)
        os.close(log)
