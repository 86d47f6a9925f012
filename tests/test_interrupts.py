"""Signals as they arrive: at once, again where they were swallowed, or at safe points."""

import os
import signal
import time
import weakref

import pytest

from tlkit import interrupts
from tlkit.interrupts import Terminated, at_safe_points, end_on_sigterm, interrupt, safe_point


def test_sigterm_unwinds_once_and_works_as_before_afterwards() -> None:
    before = signal.getsignal(signal.SIGTERM)
    with pytest.raises(Terminated) as leave, end_on_sigterm():  # noqa: PT012
        os.kill(os.getpid(), signal.SIGTERM)
        time.sleep(5)
    assert leave.value.code == 143
    assert signal.getsignal(signal.SIGTERM) is before


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
def test_a_swallowed_exception_comes_again(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(interrupts, "AGAIN", 0.1)

    class Thing:
        pass

    def killed_while_collecting(_: object) -> None:
        os.kill(os.getpid(), signal.SIGTERM)
        time.sleep(0.01)

    thing = Thing()
    reference = weakref.ref(thing, killed_while_collecting)
    with pytest.raises(Terminated), end_on_sigterm():  # noqa: PT012
        del thing
        assert reference() is None
        time.sleep(5)


def test_native_code_is_left_at_safe_points_only() -> None:
    reached = []
    with pytest.raises(Terminated), end_on_sigterm(), at_safe_points():  # noqa: PT012
        safe_point()
        os.kill(os.getpid(), signal.SIGTERM)
        time.sleep(0.01)
        reached.append("computed to the end")
        safe_point()
        reached.append("went on")
    assert reached == ["computed to the end"]
    safe_point()


def test_an_interrupt_waits_for_a_safe_point_too() -> None:
    with pytest.raises(KeyboardInterrupt):
        interrupt()
    with pytest.raises(KeyboardInterrupt), at_safe_points():  # noqa: PT012
        interrupt()
        raise ValueError("something else went wrong")
    reached = []
    with pytest.raises(KeyboardInterrupt), at_safe_points():  # noqa: PT012
        interrupt()
        reached.append("computed to the end")
        safe_point()
        reached.append("went on")
    assert reached == ["computed to the end"]
    safe_point()
