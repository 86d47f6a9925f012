"""What a process says when C++ code ends it."""

from __future__ import annotations

import signal
import subprocess
import sys

import pytest


@pytest.mark.parametrize(("ends", "code"), [("", 3), ("aborts.as_usual(); ", -signal.SIGABRT)])
def test_an_abort_has_last_words(ends: str, code: int) -> None:
    script = (
        "import os, threading; from tlkit import aborts; "
        "aborts.on_abort(lambda: (os.write(1, b'last words'), os._exit(3))); "
        f"{ends}thread = threading.Thread(target=os.abort); thread.start(); thread.join()"
    )
    ended = subprocess.run([sys.executable, "-c", script], capture_output=True)
    assert ended.returncode == code, ended.stderr
    assert ended.stdout == (b"last words" if code == 3 else b"")
