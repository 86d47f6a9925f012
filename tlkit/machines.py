"""Several machines as one, by JAX: each process trains on its part of every batch.

A launcher (Slurm, Ray, a loop over ssh) starts the same command on every machine. All processes do
the same up to the end of training, so that each knows what the others wait for; from then on
process 0 works alone. It alone writes the run: the others write to a scratch folder of their own.
When one process ends before that, for whatever reason, the others end, too (`together`).
While a phase trains, the variables live on all devices at once (`sharing`); before and after it
every process has its own copy, equal to the others'.
"""

from __future__ import annotations

import atexit
import contextlib
import hashlib
import logging
import os
import sys
import tempfile
import threading
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from tlkit import aborts
from tlkit.errors import DataError, DeviceError, RecipeError, RunError, TlkitError, TrainingError
from tlkit.extras import require

log = logging.getLogger(__name__)

ADDRESS, PROCESSES, PROCESS = "JAX_COORDINATOR_ADDRESS", "JAX_NUM_PROCESSES", "JAX_PROCESS_ID"
SLURM = ("JOB_ID", "STEP_NODELIST", "NTASKS", "PROCID", "LOCALID")
"""Of srun; JAX knows it by these."""

HEARTBEATS = 60
"""Seconds without a sign of life after which JAX takes a process for lost. The connections of one
that is killed break at once; this is for a machine that is cut off."""
LOST = (
    "Another process of this run is gone (it failed, was killed, or cannot be reached), so this "
    "one ends, too: see what the others say, then start all of them again, or go on in one process "
    "with --resume."
)
SIGNS = ("Gloo", "NCCL", "UNAVAILABLE", "DEADLINE_EXCEEDED")
"""What JAX's errors say when processes cannot reach each other."""
GRACE = 30.0
"""Seconds that a process which is ending already has to do so before an abort ends it."""

_joined = False
_code = 2
_ending = threading.Lock()
_scratch: tempfile.TemporaryDirectory[str] | None = None


class Helped(SystemExit):
    """This process has helped to train, and is done: process 0 evaluates and writes the run."""


class _Batches(Protocol):
    part: tuple[int, int]


def launched() -> bool:
    """Whether a launcher has started this process as one of several."""
    if ADDRESS in os.environ:
        return True
    slurm = all(f"SLURM_{name}" in os.environ for name in SLURM)
    return slurm and int(os.environ["SLURM_NTASKS"]) > 1


def refuse_several(what: str) -> None:
    """Find out before any work whether a launcher has started what works in one process only.

    Args:
        what: that is asked for, the beginning of a sentence.

    Raises:
        RecipeError: this is one of several processes, and each would do the whole work.
    """
    if launched():
        raise RecipeError(
            f"{what} works in one process, and this one was started as one of several, which would "
            f"all do the same; start it once, without srun and without {ADDRESS}."
        )


def join() -> None:
    """Meet the other processes, if a launcher has started any; before anything is computed.

    Raises:
        DeviceError: the launcher's variables make no sense, or the others do not come.
    """
    global _joined
    if _joined or not launched():
        return
    jax = require("jax", "jax", "The JAX backend")
    numbers = {"num_processes": os.environ.get(PROCESSES), "process_id": os.environ.get(PROCESS)}
    try:
        given = {key: int(number) for key, number in numbers.items() if number is not None}
        jax.distributed.initialize(**given, heartbeat_timeout_seconds=HEARTBEATS)
    except (ValueError, RuntimeError) as error:
        reason = str(error).splitlines()[0]
        raise DeviceError(
            f"The processes of this run did not meet: {reason} Give each {ADDRESS} (host:port of "
            f"process 0), {PROCESSES} and {PROCESS}, or start them with srun."
        ) from error
    _joined = True
    aborts.on_abort(_aborted)
    atexit.register(_end_alone)  # the last to be registered is the first to run: before JAX's
    if not first():
        logging.getLogger("tlkit").propagate = False  # process 0 speaks for all


def first() -> bool:
    """Whether this is process 0, or the only one."""
    return place()[0] == 0


def place() -> tuple[int, int]:
    """The number of this process, and how many there are."""
    if not _joined:
        return 0, 1
    import jax

    return jax.process_index(), jax.process_count()


def folder(output: Path) -> Path:
    """Where this process may write: `output` for process 0, else a folder that goes with it."""
    global _scratch
    if first():
        return output
    _scratch = tempfile.TemporaryDirectory(prefix="tlkit-")
    return Path(_scratch.name)


@contextlib.contextmanager
def together() -> Iterator[None]:
    """Inside, this process needs the others; if it has to end, it does not wait for them.

    Raises:
        DeviceError: another process is gone.
    """
    global _code
    try:
        yield
    except Helped:
        raise
    except BaseException as error:
        if not _joined:
            raise
        if not _ending.acquire(blocking=False):
            time.sleep(GRACE)  # JAX has noticed first, and the process ends this moment
        if isinstance(error, KeyboardInterrupt):
            _code = 130
        elif isinstance(error, SystemExit) and isinstance(error.code, int):
            _code = error.code
        elif isinstance(error, Exception) and not isinstance(error, TlkitError):
            if _unreachable(error):
                raise DeviceError(LOST) from error
            _code = 1  # a bug, with its traceback
        raise


def _unreachable(error: BaseException | None) -> bool:
    """Whether JAX says that processes cannot reach each other, here or in what led to this."""
    while error is not None:
        if any(sign in str(error) for sign in SIGNS):
            return True
        error = error.__cause__ or error.__context__
    return False


def _aborted() -> None:
    """JAX's C++ code has found another process gone, and would end this one with a traceback."""
    if _ending.acquire(blocking=False):
        with contextlib.suppress(OSError, ValueError):  # no stderr at all
            os.write(sys.stderr.fileno(), f"tlkit: {LOST}\n".encode())
    else:
        time.sleep(GRACE)
    _leave_nothing()


def _end_alone() -> None:
    """Where Python ends while the others still train: JAX would wait for them, and then abort."""
    if _joined:
        _leave_nothing()


def _leave_nothing() -> None:
    for stream in (sys.stdout, sys.stderr):
        with contextlib.suppress(OSError, ValueError, AttributeError):
            stream.flush()
    if _scratch is not None:
        with contextlib.suppress(OSError):
            _scratch.cleanup()
    os._exit(_code)


@contextlib.contextmanager
def agreed() -> Iterator[None]:
    """Inside, what fails for one process fails for all, so that none waits for another."""
    try:
        yield
    except Exception:
        _all_have(b"failed")
        raise
    if not _all_have(b"fine"):
        raise RunError("Another process of this run could not begin; see what it says.")


def check_same(text: str) -> None:
    """Find out whether all processes have the same images and the same split.

    Raises:
        DataError: they have not, so they would wait for each other forever.
    """
    own = text.encode("utf-8", "surrogatepass")
    if not _all_have(own):
        raise DataError(
            "The machines of this run do not see the same images; give all of them the same "
            "--data, on a shared file system or as equal copies."
        )


@contextlib.contextmanager
def sharing(model: Any, batches: Sequence[_Batches | None]) -> Iterator[None]:
    """Inside, `model` lives on the devices of all processes, and each reads its part of a batch.

    Compile and fit inside. All processes start with the weights of process 0.

    Args:
        model: a keras.Model; its variables are moved, and moved back at the end.
        batches: what it trains on and what it is validated with.

    Raises:
        TrainingError: the processes have ended with different weights.
    """
    import jax
    import keras
    from jax.experimental.multihost_utils import broadcast_one_to_all

    spread = keras.distribution.DataParallel(auto_shard_dataset=False)
    values = [np.array(variable.value) for variable in model.variables]
    if place()[1] > 1:
        values = broadcast_one_to_all(values)
    for variable, value in zip(model.variables, values, strict=True):
        # Keras gives a variable its layout when it is made; these were made for one device.
        variable._layout = layout = spread.get_variable_layout(variable)
        everywhere = jax.make_array_from_process_local_data(
            layout.backend_layout, np.asarray(value), variable.shape
        )
        variable.assign(everywhere)
    shared = [part for part in batches if part is not None]
    for part in shared:
        part.part = place()
    ended = values  # if it fails: JAX may have given the memory of the variables away by then
    try:
        with spread.scope():
            yield
        ended = [np.array(variable.value) for variable in model.variables]
    finally:
        for part in shared:
            part.part = (0, 1)
        for variable, value in zip(model.variables, ended, strict=True):
            variable._layout = None
            variable.assign(value)
    _check_equal(ended)


def leave() -> None:
    """Training is over: process 0 goes on alone, the others end here.

    Raises:
        Helped: in every other process.
    """
    global _joined
    if not _joined:
        return
    import jax

    alone = first()
    jax.distributed.shutdown()
    _joined = False
    aborts.as_usual()
    if not alone:
        raise Helped(0)


def _check_equal(values: Sequence[NDArray[Any]]) -> None:
    """Raise a TrainingError unless all processes hold the same values, bit for bit."""
    own = b"".join(value.tobytes() for value in values)
    if not _all_have(own):
        raise TrainingError(
            "The processes ended with different weights; report this, and train on one machine."
        )
    if place()[1] > 1:
        log.info("%d processes hold the same weights, bit for bit", place()[1])


def _all_have(data: bytes) -> bool:
    """Whether every process has the same bytes; all of them must ask."""
    if place()[1] == 1:
        return True
    from jax.experimental.multihost_utils import process_allgather

    own = np.frombuffer(hashlib.sha256(data).digest(), np.uint8)
    return bool((np.asarray(process_allgather(own)) == own).all())
