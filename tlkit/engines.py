"""Engines: ways to run a fixed network over many images, and the proof that they agree with Keras.

Keras runs on any device. On a CPU, OpenVINO runs the same network about twice as fast in float32,
and several times as fast in bfloat16 where the processor computes in it. Its answers do not depend
on how images are grouped into batches, bit for bit: a row computed alone equals a row computed in a
crowd. Any engine but Keras must first agree with Keras on a few of the images themselves.
"""

from __future__ import annotations

import contextlib
import hashlib
import importlib.metadata
import logging
import os
import sys
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache, cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from numpy.typing import NDArray

from tlkit.atomic import write_atomically
from tlkit.places import cache_folder

if TYPE_CHECKING:
    import keras

log = logging.getLogger(__name__)

Precision = Literal["float32", "bfloat16"]
Forward = Callable[[NDArray[Any]], NDArray[np.float32]]
"""A network's forward pass, on a batch of any size."""

WORTH = 64
"""Images from which OpenVINO pays: it takes about a second to convert and check a network."""
AT_A_TIME = 8
"""Images OpenVINO gets at once: their maps stay in the processor's cache. Of 8, 16 and 32, eight
were the fastest for every network that was measured, in the least memory."""
SAMPLE = 8
"""Images on which an engine must agree with Keras."""
TOLERANCE: dict[Precision, float] = {"float32": 1e-4, "bfloat16": 5e-2}
"""Largest difference from Keras over the largest value. Measured on ResNet50: 2e-6 and 6e-3."""


@dataclass(frozen=True)
class Engine:
    """A network ready to run: uint8 or float32 (batch, height, width, 3) 0-255 to float32 outputs.

    Attributes:
        name: "Keras" or "OpenVINO".
        precision: of the arithmetic.
        run: the function.
        error: largest difference from Keras on the check batch, over the largest value.
    """

    name: str
    precision: Precision
    run: Forward
    error: float = 0.0

    def __call__(self, batch: NDArray[Any]) -> NDArray[np.float32]:
        """Run a batch of any size."""
        return self.run(batch)

    def __str__(self) -> str:
        return f"{self.name} in {self.precision}"


class Engines:
    """The engines for one network; what they share is made once, and only when it is needed.

    Args:
        network: images to outputs, float32, flat.
        sample: gives a few of the images; on these an engine must agree with Keras.
        images: how many will be run.
        rest: from the network's output to class probabilities; their arg-max must agree as well.
        on_cpu: whether Keras computes on the CPU.
    """

    def __init__(
        self,
        network: keras.Model,
        sample: Callable[[], NDArray[Any]],
        images: int,
        rest: keras.Model | None = None,
        on_cpu: bool = True,
    ):
        self.network, self.sample, self.images, self.rest = network, sample, images, rest
        self.possible = on_cpu and _on_tensorflow()
        self._chosen: dict[bool, Engine] = {}

    def fastest(self, exact: bool) -> Engine:
        """The fastest engine that can be trusted; `exact` allows float32 arithmetic alone."""
        if exact not in self._chosen:
            self._chosen[exact] = self._choose(exact)
        return self._chosen[exact]

    def keep(self, model_file: Path) -> None:
        """Keep the network for `proven`, if OpenVINO has agreed with Keras in float32.

        Args:
            model_file: the file the network was loaded from.
        """
        if self.fastest(True).name == "OpenVINO":
            _keep_graph(self._graph, _proven_file(model_file))

    def _choose(self, exact: bool) -> Engine:
        plain = Engine("Keras", "float32", self._keras)
        if not self.possible:
            return plain
        if self.images < WORTH and not _graph_file(self.network).exists():
            log.info("engine: Keras (converting does not pay for %d images)", self.images)
            return plain
        wanted: list[Precision] = ["float32"] if exact else ["bfloat16", "float32"]
        candidates = (self._openvino(precision) for precision in wanted)
        return next((engine for engine in candidates if engine), plain)

    def _openvino(self, precision: Precision) -> Engine | None:
        run = None
        try:
            run = compile_graph(self._graph, precision)
            if run is None:
                return None
            sample, truth = self._truth
            problem, error = compare(truth, run(sample), TOLERANCE[precision], self.rest)
        except Exception as reason:  # converters and compilers fail in many ways; Keras goes on
            problem, error = " ".join(f"{type(reason).__name__}: {reason}".split())[:300], 1.0
        if problem or run is None:
            log.warning("engine: not OpenVINO in %s: %s", precision, problem)
            return None
        log.info("engine: OpenVINO in %s, within %.1e of Keras", precision, error)
        return Engine("OpenVINO", precision, run, error)

    def _keras(self, batch: NDArray[Any]) -> NDArray[np.float32]:
        images = batch.astype(np.float32)
        strategy = getattr(self.network, "distribute_strategy", None)  # TensorFlow alone has it
        devices = getattr(strategy, "num_replicas_in_sync", 1)
        if devices == 1:
            return np.asarray(self.network.predict_on_batch(images), np.float32)
        # predict_on_batch would give every device the whole batch; predict gives each a part, and a
        # convolution cannot take an empty one.
        filled = np.concatenate([images, np.repeat(images[:1], -len(images) % devices, axis=0)])
        answers = self.network.predict(filled, batch_size=len(filled), verbose=0)
        return np.asarray(answers[: len(images)], np.float32)

    @cached_property
    def _graph(self) -> Any:
        return with_weights(graph_of(self.network), self.network)

    @cached_property
    def _truth(self) -> tuple[NDArray[Any], NDArray[np.float32]]:
        sample = self.sample()
        return sample, self._keras(sample)


def _on_tensorflow() -> bool:
    import keras

    return keras.backend.backend() == "tensorflow"


def compare(
    truth: NDArray[Any], answer: NDArray[Any], tolerance: float, rest: keras.Model | None = None
) -> tuple[str, float]:
    """What is wrong with an engine's answer (empty when nothing is), and its error.

    Args:
        truth: Keras' output for a batch.
        answer: the engine's.
        tolerance: largest difference over the largest value.
        rest: from these outputs to class probabilities. A class may only change where
            Keras itself puts the two best within the tolerance of each other.
    """
    if answer.shape != truth.shape or not np.isfinite(answer).all():
        return f"it gives {answer.shape}, finite or not, for {truth.shape}", float("nan")
    error = float(
        np.abs(answer - truth).max() / max(np.abs(truth).max(), np.finfo(np.float32).tiny)
    )
    if error > tolerance:
        return (
            f"it differs from Keras by {error:.1e} of the largest value, more than {tolerance:.0e}",
            error,
        )
    if rest is not None:
        expected, got = np.asarray(rest(truth)), np.asarray(rest(answer))
        rows = np.arange(len(expected))
        lost = expected[rows, expected.argmax(1)] - expected[rows, got.argmax(1)]
        if lost.max() > tolerance:
            changed = int((lost > tolerance).sum())
            return f"it changes the predicted class of {changed} of {len(lost)} images", error
    return "", error


# --- OpenVINO ---


def compile_graph(graph: Any, precision: Precision) -> Forward | None:
    """A network compiled for this processor; None when it does not compute in this precision."""
    core = openvino_core()
    if precision == "bfloat16" and "BF16" not in core.get_property(
        "CPU", "OPTIMIZATION_CAPABILITIES"
    ):
        return None
    hints = {
        "INFERENCE_PRECISION_HINT": {"float32": "f32", "bfloat16": "bf16"}[precision],
        "PERFORMANCE_HINT": "LATENCY",  # one stream on all cores; several streams were slower
    }
    compiled = core.compile_model(graph, "CPU", hints)

    def run(batch: NDArray[Any]) -> NDArray[np.float32]:
        starts = range(0, len(batch), AT_A_TIME)
        parts = (batch[start : start + AT_A_TIME].astype(np.float32) for start in starts)
        return np.concatenate([np.array(compiled(part, share_inputs=True)[0]) for part in parts])

    return run


def import_openvino() -> Any:
    """Import OpenVINO without its telemetry, which would report each conversion to a server."""
    if "openvino" not in sys.modules:
        # The converter does without the package when it cannot be imported; nothing else needs it.
        sys.modules.setdefault("openvino_telemetry", None)  # type: ignore[arg-type]
    import openvino

    return openvino


@cache
def openvino_core() -> Any:
    """The one core of this process.

    Where the processor has AMX, a core gives the thread a stack of its own for signals and frees it
    when the core goes. After two cores the stack in use is one that is freed, and the next Ctrl-C
    crashes the process.
    """
    return import_openvino().Core()


def proven(model_file: Path) -> Forward | None:
    """The network of a model file in float32, without Keras; None where nothing is kept.

    Only what agreed with Keras on this very file is kept (`Engines.keep`).
    """
    try:
        graph = _kept_graph(_proven_file(model_file))
        return None if graph is None else compile_graph(graph, "float32")
    except Exception as reason:  # compilers fail in many ways; Keras goes on
        log.warning("engine: not OpenVINO: %s", " ".join(str(reason).split())[:300])
        return None


def graph_of(network: keras.Model) -> Any:
    """The network as an OpenVINO model whose weights are inputs: kept, it serves any weights."""
    path = _graph_file(network)
    graph = _kept_graph(path)
    if graph is None:
        graph = _convert(network)
        _keep_graph(graph, path)
    return graph


def _graph_file(network: keras.Model) -> Path:
    return _network_file(network.to_json().encode())


def _proven_file(model_file: Path) -> Path:
    with model_file.open("rb") as file:
        return _network_file(hashlib.file_digest(file, "sha256").digest())


def _network_file(content: bytes) -> Path:
    versions = [importlib.metadata.version(name) for name in ("keras", "tensorflow", "openvino")]
    name = hashlib.sha256(b"\n".join([content, *map(str.encode, versions)])).hexdigest()[:32]
    return cache_folder("networks") / f"{name}.npz"


def _kept_graph(path: Path) -> Any | None:
    """The network in a file; None where there is none. A damaged file is deleted."""
    try:
        with path.open("rb") as file, np.load(file) as parts:
            graph = openvino_core().read_model(parts["xml"].tobytes(), parts["bin"].tobytes())
    except FileNotFoundError:
        return None
    except Exception as reason:  # damaged in whatever way
        log.warning("deleted the damaged network %s: %s", path.name, reason)
        with contextlib.suppress(OSError):
            path.unlink()
        return None
    with contextlib.suppress(OSError):  # another process made room, or it is not ours
        os.utime(path)
    return graph


def _keep_graph(graph: Any, path: Path) -> None:
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        write_atomically(path, lambda temporary: _save_graph(graph, temporary))
    except OSError as reason:
        log.info("the converted network is not kept: %s", reason)


def _convert(network: keras.Model) -> Any:
    """Trace the network with its weights as arguments and convert the trace.

    `Model.export(format="openvino")` traces with the weights inside, and the converter then reads
    all of them once per operation (2.8 s for ResNet50 instead of 0.8).
    """
    import tensorflow as tf

    trainable, fixed = network.trainable_variables, network.non_trainable_variables

    def forward(image: Any, *weights: Any) -> Any:
        outputs, _ = network.stateless_call(
            weights[: len(trainable)], weights[len(trainable) :], image, training=False
        )
        return outputs

    image = tf.TensorSpec((None, *network.input_shape[1:]), tf.float32, name="image")
    weights = [
        tf.TensorSpec(variable.shape, variable.dtype, name=f"weight{number}")
        for number, variable in enumerate([*trainable, *fixed])
    ]
    return import_openvino().convert_model(
        tf.function(forward).get_concrete_function(image, *weights)
    )


def with_weights(graph: Any, network: keras.Model) -> Any:
    """Put the network's weights in place of the graph's inputs weight0, weight1, ..."""
    from openvino import opset13

    variables = [*network.trainable_variables, *network.non_trainable_variables]
    for parameter in graph.get_parameters():
        name = parameter.get_friendly_name()
        if name.startswith("weight"):
            value = opset13.constant(np.asarray(variables[int(name.removeprefix("weight"))]))
            parameter.output(0).replace(value.output(0))
            graph.remove_parameter(parameter)
    graph.validate_nodes_and_infer_types()
    return graph


def _save_graph(graph: Any, path: Path) -> None:
    with tempfile.TemporaryDirectory() as folder:
        xml = Path(folder) / "graph.xml"
        import_openvino().serialize(graph, xml)
        # The zip's own checksums tell a damaged file when it is read.
        np.savez(
            path, xml=np.fromfile(xml, np.uint8), bin=np.fromfile(xml.with_suffix(".bin"), np.uint8)
        )
