import os
import signal
import time

import pytest

from tlkit.backbones._survive import survive


def test_a_crash_is_an_error() -> None:
    with pytest.raises(ValueError, match="the HDF5 library crashes on it"):
        survive(lambda: os.kill(os.getpid(), signal.SIGSEGV), 60)


def test_what_never_ends_is_an_error() -> None:
    with pytest.raises(ValueError, match=r"does not end within 0\.2 s"):
        survive(lambda: time.sleep(60), 0.2)


def test_the_rest_is_left_to_whoever_asks(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[int] = []
    children: list[int] = []
    fork = os.fork

    def counted() -> int:
        children.append(fork())
        return children[-1]

    monkeypatch.setattr(os, "fork", counted)
    for work in (lambda: seen.append(1), lambda: 1 / 0, lambda: [][1]):
        survive(work, 60)
    assert not seen, "it happened elsewhere"
    assert len(children) == 3
    for child in children:
        with pytest.raises(ChildProcessError):
            os.waitpid(child, os.WNOHANG)
