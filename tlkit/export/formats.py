"""The formats a model can leave in: how each is written, loaded by its own runtime, and asked what
it knows of its classes.

Every format takes raw RGB 0-255, float32 (batch, size, size, 3), and gives class probabilities:
preprocessing and calibration are layers of the network.
"""

from __future__ import annotations

import contextlib
import io
import json
import sys
import warnings
import zipfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tlkit.classifier import Classifier
from tlkit.engines import import_openvino, openvino_core
from tlkit.errors import ExportError, did_you_mean
from tlkit.extras import require
from tlkit.model_file import FACTS
from tlkit.progress import console

LABELS = "labels.txt"
"""The class names, one a line, in the order of the outputs."""

Forward = Callable[[NDArray[np.float32]], NDArray[np.float32]]
"""An exported network's forward pass."""
Calibration = Sequence[NDArray[np.uint8]]


@dataclass(frozen=True)
class Format:
    """One format.

    Attributes:
        name: as `--format` takes it.
        file: the file in the export's folder that a runtime is given; "" is the folder itself.
        runtime: what runs it, and the package whose version is stated.
        needs: modules of the extra `export`.
        write: the classifier into a folder; with training images, quantised to int8.
        load: a function that runs the written file in its own runtime.
        about: what the written file says of its classes and preprocessing.
        int8: modules that quantising needs on top; None where tlkit does not quantise.
    """

    name: str
    file: str
    runtime: tuple[str, str]
    needs: tuple[str, ...]
    write: Callable[[Classifier, Path, Calibration | None], None]
    load: Callable[[Path], Forward]
    about: Callable[[Path], dict[str, Any]]
    int8: tuple[str, ...] | None = None


def get_format(name: str, int8: bool = False) -> Format:
    """The format of that name, with all it needs installed.

    Raises:
        ExportError: no such format, or one that is not quantised here.
        MissingPackageError: a package of the extra `export` is missing.
    """
    if name not in FORMATS:
        raise ExportError(
            f"--format must be one of {', '.join(FORMATS)}; got {name!r}."
            f"{did_you_mean(name, FORMATS)}"
        )
    form = FORMATS[name]
    if int8 and form.int8 is None:
        able = " or ".join(other.name for other in FORMATS.values() if other.int8 is not None)
        raise ExportError(f"--int8 is for --format {able}; got --format {name}.")
    import keras

    if name != "keras" and keras.backend.backend() != "tensorflow":
        raise ExportError(
            f"--format {name} is written by TensorFlow, but KERAS_BACKEND is "
            f"{keras.backend.backend()!r}; leave KERAS_BACKEND out (model.keras fits any backend)."
        )
    import_openvino()  # before anything else imports it, and its telemetry
    for module in (*form.needs, *(form.int8 or ()) * int8):
        require(module, "export", f"The export to {name}{' in int8' * int8}")
    return form


# --- Keras ---


def _write_keras(classifier: Classifier, folder: Path, calibration: Calibration | None) -> None:
    classifier.save(folder / "model.keras")


def _load_keras(file: Path) -> Forward:
    import keras

    model = keras.saving.load_model(file, compile=False)
    return lambda batch: np.asarray(model.predict_on_batch(batch))


def _zipped(file: Path) -> dict[str, Any]:
    with zipfile.ZipFile(file) as archive:
        return json.loads(archive.read(FACTS))


# --- TensorFlow SavedModel ---


def _write_saved_model(
    classifier: Classifier, folder: Path, calibration: Calibration | None
) -> None:
    _keras_export(classifier, folder, "tf_saved_model")
    # TensorFlow's own place for files that belong to a model but not to its graph.
    extra = folder / "assets.extra"
    extra.mkdir()
    (extra / FACTS).write_text(_json(classifier.about), encoding="utf-8")


def _load_saved_model(folder: Path) -> Forward:
    import tensorflow as tf

    model = tf.saved_model.load(folder)
    return lambda batch: model.serve(batch).numpy()


def _about_saved_model(folder: Path) -> dict[str, Any]:
    return json.loads((folder / "assets.extra" / FACTS).read_text(encoding="utf-8"))


# --- ONNX ---


def _write_onnx(classifier: Classifier, folder: Path, calibration: Calibration | None) -> None:
    onnx = require("onnx", "export", "The export to onnx")
    file = folder / "model.onnx"
    with _plain_functions(), _plain_constants(classifier.model):
        _keras_export(classifier, file, "onnx")
    model = onnx.load(file)
    _spell_out_erfc(model.graph, onnx.helper)
    given, output = model.graph.input[0], model.graph.output[0]
    for node in model.graph.node:
        node.output[:] = ["probabilities" if name == output.name else name for name in node.output]
        node.input[:] = ["probabilities" if name == output.name else name for name in node.input]
    output.name = "probabilities"
    for value in (given, output):
        value.type.tensor_type.shape.dim[0].dim_param = "batch"
    onnx.helper.set_model_props(
        model,
        {key: json.dumps(value, ensure_ascii=False) for key, value in classifier.about.items()},
    )
    onnx.checker.check_model(model)
    onnx.save(model, file)


def _spell_out_erfc(graph: Any, make: Any) -> None:
    """TensorFlow's GELU asks for erfc, which ONNX has not and tf2onnx leaves: it is 1 - erf."""
    nodes = []
    for node in graph.node:
        if node.op_type == "Erfc":
            erf = f"{node.output[0]}/erf"
            nodes.append(make.make_node("Erf", list(node.input), [erf]))
            node = make.make_node("Sub", ["tlkit/one", erf], list(node.output), node.name)
        nodes.append(node)
    if len(nodes) > len(graph.node):
        graph.initializer.append(make.make_tensor("tlkit/one", 1, [], [1.0]))  # 1: float32
        del graph.node[:]
        graph.node.extend(nodes)


@contextlib.contextmanager
def _plain_functions() -> Iterator[None]:
    """Keras wraps grouped convolutions in functions that XLA compiles; tf2onnx cannot read those,
    but it can read what is in them."""
    import tensorflow as tf

    whole = tf.function

    def function(*arguments: Any, **options: Any) -> Any:
        return (lambda body: body) if options.get("jit_compile") else whole(*arguments, **options)

    tf.function = function
    try:
        yield
    finally:
        tf.function = whole


@contextlib.contextmanager
def _plain_constants(model: Any) -> Iterator[None]:
    """Normalization keeps tensors from outside the graph, which tf2onnx takes for inputs; arrays
    become constants of the graph."""
    import keras

    layers = [each for each in model.layers if isinstance(each, keras.layers.Normalization)]
    before = [(layer.mean, layer.variance) for layer in layers]
    for layer in layers:
        layer.mean, layer.variance = np.asarray(layer.mean), np.asarray(layer.variance)
    try:
        yield
    finally:
        for layer, (mean, variance) in zip(layers, before, strict=True):
            layer.mean, layer.variance = mean, variance


def _load_onnx(file: Path) -> Forward:
    session = _onnx_session(file)
    name = session.get_inputs()[0].name
    return lambda batch: session.run(["probabilities"], {name: batch})[0]


def _about_onnx(file: Path) -> dict[str, Any]:
    properties = _onnx_session(file).get_modelmeta().custom_metadata_map
    return {key: json.loads(value) for key, value in properties.items()}


def _onnx_session(file: Path) -> Any:
    import onnxruntime

    return onnxruntime.InferenceSession(file, providers=["CPUExecutionProvider"])


# --- OpenVINO ---


def _write_openvino(classifier: Classifier, folder: Path, calibration: Calibration | None) -> None:
    openvino = import_openvino()
    from openvino.passes import ConstantFolding, Manager

    file = folder / "model.xml"
    _keras_export(classifier, file, "openvino")
    # Weights that are still transposed when the network runs would stay in float32 beside int8.
    model = openvino_core().read_model(file)
    model.outputs[0].tensor.set_names({"probabilities"})
    passes = Manager()
    passes.register_pass(ConstantFolding())
    passes.run_passes(model)
    if calibration is not None:
        model = _int8_openvino(model, calibration)
    for key, value in classifier.about.items():
        model.set_rt_info(json.dumps(value, ensure_ascii=False), ["tlkit", key])
    small = folder / "new.xml"  # the file that is being read cannot be written
    openvino.save_model(model, small, compress_to_fp16=False)
    del model
    for ending in (".xml", ".bin"):
        small.with_suffix(ending).replace(file.with_suffix(ending))


def _int8_openvino(model: Any, calibration: Calibration) -> Any:
    with _prints_on_stderr():
        nncf = require("nncf", "export", "The export to openvino in int8")
        nncf.set_log_level(40)  # errors alone
        images = nncf.Dataset(list(_one_by_one(calibration)))
        # Signed activations where they are symmetric, unsigned after a ReLU.
        preset = nncf.QuantizationPreset.MIXED
        return nncf.quantize(model, images, preset=preset, subset_size=len(calibration))


def _load_openvino(file: Path) -> Forward:
    # A processor with bfloat16 units would compute in bfloat16 unasked.
    model = openvino_core().compile_model(file, "CPU", {"INFERENCE_PRECISION_HINT": "f32"})
    return lambda batch: np.array(model(batch)[0])


def _about_openvino(file: Path) -> dict[str, Any]:
    values = openvino_core().read_model(file).get_rt_info(["tlkit"]).value
    return {key: json.loads(value) for key, value in values.items()}


# --- LiteRT ---


def _write_litert(classifier: Classifier, folder: Path, calibration: Calibration | None) -> None:
    import tensorflow as tf

    options: dict[str, Any] = {}
    if calibration is not None:
        options = {
            "optimizations": [tf.lite.Optimize.DEFAULT],
            "representative_dataset": lambda: ([image] for image in _one_by_one(calibration)),
            "target_spec": {"supported_ops": [tf.lite.OpsSet.TFLITE_BUILTINS_INT8]},
        }
    file = folder / "model.tflite"
    # One picture at a time, as phones do it: a fixed shape is what the fast kernels ask for.
    _keras_export(classifier, file, "litert", batch=1, **options)
    # Files that belong to a .tflite are a zip at its end, which interpreters pass over.
    with zipfile.ZipFile(file, "a") as archive:
        archive.writestr(FACTS, _json(classifier.about))
        archive.writestr(LABELS, labels(classifier))


def _load_litert(file: Path) -> Forward:
    from ai_edge_litert.interpreter import Interpreter

    interpreter = Interpreter(model_path=str(file))
    interpreter.allocate_tensors()
    given, output = interpreter.get_input_details()[0], interpreter.get_output_details()[0]

    def run(batch: NDArray[np.float32]) -> NDArray[np.float32]:
        answers = []
        for image in batch:
            interpreter.set_tensor(given["index"], image[None])
            interpreter.invoke()
            answers.append(interpreter.get_tensor(output["index"])[0])
        return np.stack(answers)

    return run


# --- shared ---


def _keras_export(
    classifier: Classifier, path: Path, form: str, batch: int | None = None, **options: Any
) -> None:
    import keras

    shape = (batch, *classifier.model.input_shape[1:])
    signature = [keras.InputSpec("float32", shape=shape, name="image")]
    with warnings.catch_warnings():
        # tf2onnx looks for names of an older NumPy; the LiteRT converter says what stays float32.
        warnings.simplefilter("ignore")
        classifier.model.export(
            str(path), format=form, verbose=False, input_signature=signature, **options
        )


def labels(classifier: Classifier) -> str:
    """labels.txt: line breaks in a class name become spaces."""
    return "".join(f"{' '.join(name.splitlines())}\n" for name in classifier.classes)


def _one_by_one(images: Calibration) -> Iterator[NDArray[np.float32]]:
    return (image[None].astype(np.float32) for image in images)


def _json(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False, indent=2)


@contextlib.contextmanager
def _prints_on_stderr() -> Iterator[None]:
    """What a library prints (NNCF: its progress bars) goes to the terminal, not into a pipe."""
    with contextlib.redirect_stdout(sys.stderr if console.is_terminal else io.StringIO()):
        yield


FORMATS = {
    form.name: form
    for form in (
        Format("keras", "model.keras", ("Keras", "keras"), (), _write_keras, _load_keras, _zipped),
        Format(
            "saved_model", "", ("TensorFlow", "tensorflow"), (),
            _write_saved_model, _load_saved_model, _about_saved_model,
        ),
        Format(
            "onnx", "model.onnx", ("ONNX Runtime", "onnxruntime"),
            ("onnx", "tf2onnx", "onnxruntime"), _write_onnx, _load_onnx, _about_onnx,
        ),
        Format(
            "openvino", "model.xml", ("OpenVINO", "openvino"), (),
            _write_openvino, _load_openvino, _about_openvino, ("nncf",),
        ),
        Format(
            "litert", "model.tflite", ("LiteRT", "ai-edge-litert"), ("ai_edge_litert",),
            _write_litert, _load_litert, _zipped, (),
        ),
    )
}  # fmt: skip
