import contextlib
import signal
from types import SimpleNamespace

import pytest

from tlkit import callbacks
from tlkit.callbacks import EpochLog, stop_on_ctrl_c
from tlkit.interrupts import at_safe_points


def test_ctrl_c_works_as_before_afterwards() -> None:
    before = signal.getsignal(signal.SIGINT)
    with stop_on_ctrl_c():
        assert signal.getsignal(signal.SIGINT) is not before
    assert signal.getsignal(signal.SIGINT) is before


@pytest.mark.parametrize(("gently", "times"), [(True, 2), (False, 1)])
def test_ctrl_c_ends_with_the_next_batch(gently: bool, times: int) -> None:
    with (  # noqa: PT012
        stop_on_ctrl_c(gently) as stop,
        pytest.raises(KeyboardInterrupt),
        at_safe_points(),
    ):
        stop.set_model(SimpleNamespace(stop_training=False))
        for _ in range(times):
            stop.on_train_batch_end(0)
            signal.raise_signal(signal.SIGINT)
        stop.on_test_batch_end(0)
        pytest.fail("went on")


def test_the_first_ctrl_c_lets_the_epoch_end() -> None:
    with stop_on_ctrl_c() as stop, at_safe_points():
        stop.set_model(SimpleNamespace(stop_training=False))
        signal.raise_signal(signal.SIGINT)
        stop.on_train_batch_end(0)
        assert stop.model.stop_training


def test_the_bar_goes_where_training_ends_with_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    open_bars = []

    @contextlib.contextmanager
    def bar():
        open_bars.append("bar")
        yield SimpleNamespace(add_task=lambda *_, **__: 0)
        open_bars.pop()

    monkeypatch.setattr(callbacks, "progress_bar", bar)
    log = EpochLog("head", 1, [])
    log.set_params({"steps": 1})
    log.close()  # an error before there was one
    with pytest.raises(OSError, match="lost"), contextlib.closing(log):  # noqa: PT012
        log.on_train_begin()
        assert open_bars
        raise OSError("lost")
    assert not open_bars
