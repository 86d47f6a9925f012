"""Runs of tlkit in processes of their own that start within milliseconds, and can be killed.

A process that has imported TensorFlow but computed nothing yet may be forked: a run in a fork is a
run in a fresh process, without the seconds that the import takes. `Forks` talks to such a process;
this file is also what that process runs.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any, Self


class Forks:
    """A process that waits to be forked; each run has a cache beside it, `<name>.cache`."""

    def __init__(self) -> None:
        environment = os.environ | {"PYTHONWARNINGS": "ignore"}
        self.process = subprocess.Popen(
            [sys.executable, __file__],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env=environment,
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *reason: object) -> None:
        self.process.kill()
        self.process.wait()
        for pipe in (self.process.stdin, self.process.stdout):
            pipe and pipe.close()

    def run(
        self,
        settings: dict[str, Any],
        signal: int = signal.SIGKILL,
        at: str | int | None = None,
        after: float = 0.0,
        fault: str | None = None,
        times: int = 1,
    ) -> tuple[int, float]:
        """One `tlkit.finetune(**settings)` in a fork.

        Args:
            settings: as for `finetune`; what JSON holds.
            signal: sent to the fork.
            at: what the run's log says by then, or how many lines; None to let the run end.
            after: seconds from then until the signal is sent.
            fault: what to plant in the run (tests/faults.py).
            times: how often the signal is sent, a second time once the log says that Ctrl-C was
                heard: two that come at once are one to Python.

        Returns:
            Exit code (negative when a signal ended it), seconds.
        """
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        request = {"settings": settings, "signal": signal, "at": at, "after": after}
        request |= {"fault": fault, "times": times}
        print(json.dumps(request), file=self.process.stdin, flush=True)
        code, seconds = json.loads(self.process.stdout.readline())
        return code, seconds


def serve() -> None:
    """Answer requests until there are no more."""
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    from tlkit import device

    device.import_keras()
    import sklearn.model_selection

    from tlkit import pipeline, report, trainer  # noqa: F401
    from tlkit.data import loader, split  # noqa: F401
    from tlkit.evaluation import metrics, predictions, temperature  # noqa: F401

    assert sklearn.model_selection
    for line in sys.stdin:
        request = json.loads(line)
        start = time.monotonic()
        child = os.fork()
        if child == 0:
            work(request["settings"], request["fault"])
        code = watch(child, request)
        print(json.dumps([code, time.monotonic() - start]), file=answers, flush=True)


def work(settings: dict[str, Any], fault: str | None) -> None:
    """In the fork: the run; the exit code is that of the command line."""
    import logging

    run = Path(settings["output"]) / settings["name"]
    os.environ["TLKIT_CACHE"] = str(run.with_suffix(".cache"))
    from tlkit import pipeline
    from tlkit.data.folder import ImageFolder
    from tlkit.errors import TlkitError

    # Say when images are read, so that a test can see that they were not.
    read = ImageFolder.__init__

    def saying(self: ImageFolder, *arguments: Any, **named: Any) -> None:
        logging.getLogger("tlkit").info("reading images")
        read(self, *arguments, **named)

    ImageFolder.__init__ = saying  # type: ignore[method-assign]
    code = 70
    try:
        if fault:
            import faults

            faults.plant(fault, settings)
        pipeline.finetune(**settings)
        code = 0
    except SystemExit as leave:
        code = int(str(leave))
    except KeyboardInterrupt:
        code = 130
    except TlkitError as error:
        (run.parent / f"{run.name}.error").write_text(str(error))
        code = 2
    except BaseException:
        import traceback

        traceback.print_exc()
    finally:
        sys.stderr.flush()
        os._exit(code)


def watch(child: int, request: dict[str, Any]) -> int:
    """Wait for the fork, and send the signal when its time has come."""
    settings, at, due = request["settings"], request["at"], None
    log = Path(settings["output"]) / settings["name"] / "log.txt"
    while True:
        ended, status = os.waitpid(child, os.WNOHANG)
        if ended:
            return os.waitstatus_to_exitcode(status)
        if at is not None:
            said = log.read_text() if log.is_file() else ""
            if at in said if isinstance(at, str) else said.count("\n") >= at:
                at, due = None, time.monotonic() + request["after"]
        if due is not None and time.monotonic() >= due:
            os.kill(child, request["signal"])
            request["times"] -= 1
            due = None
            if request["times"]:
                at, request["after"] = "stopping after this epoch", 0.0
        time.sleep(0.002)


if __name__ == "__main__":
    serve()
