"""Signals in a process of their own: one that has used several frameworks did not survive them."""

import subprocess
import sys
from pathlib import Path


def test_signals() -> None:
    alone = Path(__file__).with_name("signals_alone.py")
    line = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", str(alone)]
    done = subprocess.run(line, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout[-3000:]
    assert "3 passed" in done.stdout
