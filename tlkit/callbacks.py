"""What watches `fit`: the history and its progress bar, and a clean end on Ctrl-C."""

from __future__ import annotations

import contextlib
import logging
import signal
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import keras

from tlkit.interrupts import interrupt, safe_point
from tlkit.progress import progress_bar

log = logging.getLogger(__name__)

HISTORY = ["phase", "epoch", "loss", "accuracy", "val_loss", "val_accuracy", "lr", "seconds"]


class EpochLog(keras.callbacks.Callback):
    """Appends a row per epoch to the history, and shows how far the phase is.

    Args:
        phase: its name.
        epochs: how many it has.
        rows: the history, in place.
        rate: its learning rate, or a schedule of it; a row holds the rate of the epoch's last step.
    """

    def __init__(self, phase: str, epochs: int, rows: list[dict[str, Any]], rate: Any = None):
        super().__init__()
        self.phase, self.epochs, self.rows, self.rate = phase, epochs, rows, rate
        self._stack = contextlib.ExitStack()

    def on_train_begin(self, logs: Any = None) -> None:
        """Open the bar."""
        self._bar = self._stack.enter_context(progress_bar())
        self._task = self._bar.add_task(self.phase, total=self.epochs * self.params["steps"])

    def on_epoch_begin(self, epoch: int, logs: Any = None) -> None:
        """Start the clock."""
        self._start = time.perf_counter()

    def on_train_batch_end(self, batch: int, logs: Any = None) -> None:
        """Move the bar."""
        self._bar.advance(self._task)

    def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
        """Keep the epoch's numbers."""
        row = {
            "phase": self.phase,
            "epoch": epoch + 1,
            **{key: float(value) for key, value in (logs or {}).items()},
        }
        optimizer = self.model.optimizer
        schedule = callable(self.rate)
        rate = self.rate(optimizer.iterations - 1) if schedule else optimizer.learning_rate
        row["lr"] = float(keras.ops.convert_to_numpy(rate))
        row["seconds"] = round(time.perf_counter() - self._start, 3)
        self.rows.append({key: row.get(key) for key in HISTORY})
        line = f"loss {row['loss']:.4f}  accuracy {row['accuracy']:.3f}"
        if "val_loss" in row:
            line += f"  val_loss {row['val_loss']:.4f}  val_accuracy {row['val_accuracy']:.3f}"
        log.info("%s %d/%d  %s", self.phase, epoch + 1, self.epochs, line)

    def on_train_end(self, logs: Any = None) -> None:
        """Close the bar."""
        self.close()

    def close(self) -> None:
        """Close the bar, also where `fit` ends with an error and does not say so."""
        self._stack.close()


class AveragedWeights(keras.callbacks.SwapEMAWeights):
    """Validates and leaves behind the moving average of the weights.

    Keras swaps average and weights at both ends of an epoch; this one also knows which is which
    in a run that goes on.
    """

    def __init__(self) -> None:
        super().__init__(swap_on_epoch=True)

    def on_epoch_begin(self, epoch: int, logs: Any = None) -> None:
        """Train on the weights themselves; an epoch before this one has left the average."""
        self._ema_weights_in_model = epoch > 0
        super().on_epoch_begin(epoch, logs)


@dataclass
class StopRequest(keras.callbacks.Callback):
    """Ends training after the current batch once `asked` is set; every batch is a safe point."""

    asked: bool = field(default=False)

    def __post_init__(self) -> None:
        super().__init__()

    def on_train_batch_end(self, batch: int, logs: Any = None) -> None:
        """Tell Keras to stop: it evaluates the epoch so far and leaves `fit`."""
        safe_point()
        if self.asked:
            self.model.stop_training = True

    def on_test_batch_end(self, batch: int, logs: Any = None) -> None:
        """Leave the validation, too, if it has to be at once."""
        safe_point()


@contextlib.contextmanager
def stop_on_ctrl_c(gently: bool = True) -> Iterator[StopRequest]:
    """Inside, the first Ctrl-C asks for a clean end and the second one ends with the next batch.

    Args:
        gently: False if already the first one is to end it.
    """
    stop = StopRequest()
    if threading.current_thread() is not threading.main_thread():
        yield stop
        return

    def end(signum: int, frame: Any) -> None:
        signal.signal(signal.SIGINT, signal.default_int_handler)  # a third one does not wait
        interrupt()

    def ask(signum: int, frame: Any) -> None:
        stop.asked = True
        signal.signal(signal.SIGINT, end)
        log.warning(
            "stopping after this epoch, then evaluating and writing the report (Ctrl-C again ends "
            "at once)"
        )

    previous = signal.signal(signal.SIGINT, ask if gently else end)
    try:
        yield stop
    finally:
        signal.signal(signal.SIGINT, previous)
