"""Where the numbers are crunched: discovery, memory growth, several GPUs, determinism."""

from __future__ import annotations

import contextlib
import gc
import os
import sys
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Any, Literal

from tlkit import machines
from tlkit.errors import DeviceError
from tlkit.extras import require


@dataclass(frozen=True)
class Device:
    """What a run computes on.

    Attributes:
        kind: "cpu" or "gpu".
        count: how many devices share a batch, over all processes.
        strategy: tf.distribute.MirroredStrategy when count > 1 on TensorFlow, else None.
        processes: how many train together; only JAX's may be several.
    """

    kind: str
    count: int = 1
    strategy: Any = None
    processes: int = 1

    def scope(self) -> AbstractContextManager[Any]:
        """Build and compile models inside this."""
        return self.strategy.scope() if self.strategy else contextlib.nullcontext()

    @property
    def precision(self) -> Literal["float32", "float16"]:
        """What a training computes in here, unless the recipe says otherwise."""
        return "float16" if self.kind == "gpu" else "float32"

    def sharing(self, model: Any, batches: Sequence[Any]) -> AbstractContextManager[None]:
        """Compile and train a model inside this; several devices of JAX share the batches then."""
        if self.count == 1 or self.strategy:
            return contextlib.nullcontext()
        return machines.sharing(model, batches)

    def __str__(self) -> str:
        devices = self.kind if self.count == 1 else f"{self.count} {self.kind}s"
        return devices if self.processes == 1 else f"{devices} in {self.processes} processes"


@contextlib.contextmanager
def quiet_stderr() -> Iterator[None]:
    """Send what native code prints on stderr to nowhere: TensorFlow greets before its log level is
    read."""
    sys.stderr.flush()
    try:
        saved = os.dup(2)
    except OSError:  # no stderr at all
        yield
        return
    nowhere = os.open(os.devnull, os.O_WRONLY)
    try:
        os.dup2(nowhere, 2)
        yield
    finally:
        sys.stderr.flush()
        os.dup2(saved, 2)
        os.close(saved)
        os.close(nowhere)


@contextlib.contextmanager
def without_collector() -> Iterator[None]:
    """Keep Python's garbage collector out of a large import, and away from what it leaves.

    What is imported stays; to look through it again and again takes a second of the four that
    TensorFlow's import takes.
    """
    was_on = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        gc.freeze()
        if was_on:
            gc.enable()


def import_keras(verbose: bool = False, backend: str | None = None) -> Any:
    """Import Keras and its backend without their start-up chatter (`verbose` lets it through).

    Args:
        verbose: show it.
        backend: "tensorflow" or "jax"; what KERAS_BACKEND or keras.json says when None.

    Raises:
        DeviceError: Keras runs on another backend in this process already.
        MissingPackageError: JAX is not installed.
    """
    if "keras" not in sys.modules:
        if backend == "jax":
            require("jax", "jax", "The JAX backend")
        if backend is not None:
            os.environ["KERAS_BACKEND"] = backend
        os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "0" if verbose else "3")
        with contextlib.nullcontext() if verbose else quiet_stderr(), without_collector():
            import keras
    keras = sys.modules["keras"]
    if backend not in (None, keras.backend.backend()):
        raise DeviceError(
            f"backend = {backend!r} was asked for, but Keras runs on {keras.backend.backend()} in "
            f"this process already; set KERAS_BACKEND={backend} before Python starts."
        )
    return keras


def on_cpu() -> bool:
    """Whether Keras computes on the CPU here, with no device that is faster."""
    if import_keras().backend.backend() == "jax":
        import jax

        return bool(jax.default_backend() == "cpu")
    import tensorflow as tf

    return not tf.config.get_visible_devices("GPU")


def prepare(device: str = "auto", seed: int = 0) -> Device:
    """Choose the device and seed every generator; call it before building a model.

    A GPU gets memory growth; several GPUs get a MirroredStrategy. On the CPU every operation is
    made deterministic, so that one seed gives one predictions.csv.

    Args:
        device: "auto" (a GPU when there is one), "cpu" or "gpu".
        seed: for Python, NumPy and the backend.

    Raises:
        DeviceError: a GPU was asked for and none is there.
    """
    keras = import_keras()
    keras.utils.set_random_seed(seed)
    keras.config.set_dtype_policy("float32")  # `tlkit.precision` says where it is another
    if keras.backend.backend() != "tensorflow":
        return _prepare_jax(device)
    import tensorflow as tf

    gpus = tf.config.list_physical_devices("GPU")
    if device == "gpu" and not gpus:
        raise DeviceError(
            "--device gpu was asked for, but TensorFlow sees no GPU; use --device cpu, or see "
            "`tlkit doctor`."
        )
    if device == "cpu" or not gpus:
        if gpus:
            tf.config.set_visible_devices([], "GPU")
        tf.config.experimental.enable_op_determinism()
        return mirrored(tf.config.list_logical_devices("CPU"), "cpu")
    for gpu in gpus:
        # Refused once TensorFlow has started on the GPU (a second run in one process): it is set
        # already then.
        with contextlib.suppress(RuntimeError):
            tf.config.experimental.set_memory_growth(gpu, True)
    return mirrored(tf.config.list_logical_devices("GPU"), "gpu")


def mirrored(devices: list[Any], kind: str) -> Device:
    """A Device over one or several logical devices of TensorFlow."""
    if len(devices) < 2:
        return Device(kind)
    import tensorflow as tf

    return Device(
        kind, len(devices), tf.distribute.MirroredStrategy([device.name for device in devices])
    )


def _prepare_jax(device: str) -> Device:
    import jax

    kind = jax.default_backend()
    if device == "gpu" and kind != "gpu":
        raise DeviceError(
            f"--device gpu was asked for, but JAX runs on {kind!r}; use --device cpu."
        )
    return Device(
        "gpu" if kind == "gpu" else "cpu", jax.device_count(), processes=jax.process_count()
    )
