"""Whether reading a file survives: HDF5's C library crashes on some damaged ones, and no Python can
catch that."""

from __future__ import annotations

import faulthandler
import os
import sys
import time
from collections.abc import Callable


def survive(work: Callable[[], object], patience: float) -> None:
    """Do `work` in a fork of this process; what it returns or raises there does not matter.

    A fork takes milliseconds. Where there is none that is safe beside other threads (anywhere but
    on Linux) nothing happens.

    Args:
        work: reads a file, and has no other effect.
        patience: seconds after which the file is held to be one that never ends.

    Raises:
        ValueError: the fork crashed, or did not end.
    """
    if sys.platform != "linux":
        return
    child = os.fork()
    if child == 0:
        try:
            faulthandler.disable()
            work()
        finally:
            os._exit(0)
    until = time.monotonic() + patience
    while True:
        ended, status = os.waitpid(child, os.WNOHANG)
        if ended:
            break
        if time.monotonic() > until:
            os.kill(child, 9)
            os.waitpid(child, 0)
            raise ValueError(f"reading it does not end within {round(patience, 1):g} s")
        time.sleep(0.001)
    if os.WIFSIGNALED(status):
        raise ValueError("the HDF5 library crashes on it")
