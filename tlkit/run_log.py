"""What a run says, kept beside what it makes; and what ends it, said in one line."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING

from tlkit import native_output
from tlkit.errors import RunError
from tlkit.foreign_text import printable

if TYPE_CHECKING:
    from tlkit.runs import Run

log = logging.getLogger(__name__)


@contextmanager
def named_file_errors(run: Run) -> Iterator[None]:
    """Inside, what the system refuses (a full disk, no permission) is an error of one line."""
    try:
        yield
    except OSError as error:
        what = f"{error.strerror}: {error.filename}" if error.filename else error
        raise RunError(
            f"The run in {run.folder} stopped, as a file could not be read or written: {what}. "
            "Make room or grant access, then go on with --resume."
        ) from error


class PlainLines(logging.Formatter):
    """Lines that a terminal only shows: a file's name may hold its commands."""

    def formatMessage(self, record: logging.LogRecord) -> str:  # noqa: N802  logging's name
        """The record's line or lines."""
        return "\n".join(map(printable, super().formatMessage(record).split("\n")))


class LogFile(logging.FileHandler):
    """A log that falls silent when the disk is full, where Python's own would print a traceback."""

    def handleError(self, record: logging.LogRecord) -> None:  # noqa: N802  logging's name
        """Lose the line."""


@contextmanager
def run_log(run: Run) -> Iterator[None]:
    """Write everything tlkit says to the run's log.txt as it is said: a killed run has its log."""
    root = logging.getLogger("tlkit")
    root.setLevel(logging.INFO)
    file = LogFile(run.log_file, encoding="utf-8")
    file.setFormatter(PlainLines("%(asctime)s %(levelname)s %(message)s"))
    root.addHandler(file)
    try:
        with native_output.into(run.log_file):
            yield
    except BaseException as error:
        file.handle(log.makeRecord(log.name, logging.ERROR, "", 0, repr(error), (), None))
        raise
    finally:
        root.removeHandler(file)
        with suppress(OSError):  # of a full disk, on what it could not flush
            file.close()
        run.remove_if_empty()
