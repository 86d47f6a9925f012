import json
import logging
import subprocess
import sys
from pathlib import Path

import keras
import numpy as np
import pytest
from numpy.typing import NDArray

from tlkit import engines
from tlkit.engines import Engines, compare

SIZE = 12


@pytest.fixture(autouse=True)
def _own_cache(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("TLKIT_CACHE", str(tmp_path))


def network(seed: int = 0, pooled: bool = True) -> keras.Model:
    """A small network with every kind of thing that could go wrong in a conversion."""
    keras.utils.set_random_seed(seed)
    image = keras.Input((SIZE, SIZE, 3), name="image")
    x = keras.layers.Rescaling(1 / 127.5, offset=-1, name="preprocess_scale")(image)
    x = keras.layers.Conv2D(8, 3, strides=2, padding="same", name="stem_conv")(x)
    x = keras.layers.BatchNormalization(name="stem_bn")(x)
    y = keras.layers.DepthwiseConv2D(3, padding="same", name="stage1_depthwise")(x)
    x = keras.layers.Add(name="stage1_add")([x, keras.layers.ReLU(6, name="stage1_relu")(y)])
    x = keras.layers.Dropout(0.5, name="stage1_dropout")(x)
    x = keras.layers.Conv2D(10, 1, name="stage2_conv")(x)
    if pooled:
        x = keras.layers.GlobalAveragePooling2D(name="head_pool")(x)
    model = keras.Model(image, x, name="prefix")
    rng = np.random.default_rng(seed)
    for weight in model.weights:
        if weight.path.endswith(("mean", "variance", "gamma", "beta", "bias")):
            weight.assign(rng.uniform(0.5, 1.5, weight.shape))
    return model


def images(count: int, seed: int = 0) -> NDArray[np.uint8]:
    return np.random.default_rng(seed).integers(0, 256, (count, SIZE, SIZE, 3), dtype=np.uint8)


def relative(answer: NDArray[np.float32], truth: NDArray[np.float32]) -> float:
    return float(np.abs(answer - truth).max() / np.abs(truth).max())


@pytest.mark.parametrize("pooled", [True, False])
def test_openvino_agrees_with_keras(pooled: bool) -> None:
    model = network(pooled=pooled)
    engine = Engines(model, lambda: images(4), 1000).fastest(exact=True)
    assert (engine.name, engine.precision) == ("OpenVINO", "float32")
    batch = images(7, seed=1)
    truth = model.predict(batch.astype(np.float32), verbose=0)
    assert relative(engine(batch), truth) < 1e-5
    assert engine(batch).dtype == np.float32


def test_bfloat16_where_the_processor_has_it() -> None:
    model = network()
    chosen = Engines(model, lambda: images(4), 1000)
    engine = chosen.fastest(exact=False)
    core = engines.openvino_core()
    has_it = "BF16" in core.get_property("CPU", "OPTIMIZATION_CAPABILITIES")
    assert engine.precision == ("bfloat16" if has_it else "float32")
    truth = model.predict(images(9).astype(np.float32), verbose=0)
    assert relative(engine(images(9)), truth) < 2e-2
    assert chosen.fastest(exact=False) is engine


SIGNALLED = """
import os, signal
from tests.test_engines import Engines, images, network

def use() -> None:
    chosen = Engines(network(), lambda: images(4), 1000)
    for exact in (False, True):
        chosen.fastest(exact)(images(4))

use()
got = []
signal.signal(signal.SIGINT, lambda number, frame: got.append(number))
os.kill(os.getpid(), signal.SIGINT)
assert got == [signal.SIGINT]
"""


def test_a_signal_after_the_engines_are_gone_does_no_harm() -> None:
    done = subprocess.run([sys.executable, "-c", SIGNALLED], capture_output=True, text=True)
    assert done.returncode == 0, (done.returncode, done.stderr[-2000:])


@pytest.mark.parametrize("exact", [True, False])
def test_rows_do_not_depend_on_their_batch(exact: bool) -> None:
    engine = Engines(network(), lambda: images(4), 1000).fastest(exact)
    batch = images(20)
    together = engine(batch)
    alone = np.concatenate([engine(batch[i : i + 1]) for i in range(20)])
    np.testing.assert_array_equal(together, alone)
    np.testing.assert_array_equal(engine(batch[::-1])[::-1], together)


def test_few_images_are_not_worth_a_conversion(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "tlkit")
    model = network()
    engine = Engines(model, lambda: images(4), engines.WORTH - 1).fastest(exact=False)
    assert engine.name == "Keras"
    assert "does not pay" in caplog.text
    np.testing.assert_allclose(engine(images(3)), model.predict(images(3), verbose=0), rtol=1e-6)
    Engines(model, lambda: images(4), 1000).fastest(exact=True)
    # Once converted, the network costs nothing more, and the rows stay the same bit for bit.
    assert Engines(model, lambda: images(4), 1).fastest(exact=True).name == "OpenVINO"


def test_kept_network_serves_other_weights() -> None:
    Engines(network(seed=1), lambda: images(4), 1000).fastest(exact=True)
    model = network(seed=2)
    assert engines._graph_file(model).exists()
    engine = Engines(model, lambda: images(4), 1000).fastest(exact=True)
    assert engine.name == "OpenVINO"
    assert relative(engine(images(5)), model.predict(images(5), verbose=0)) < 1e-5


def test_another_network_has_another_file() -> None:
    assert engines._graph_file(network()) != engines._graph_file(network(pooled=False))


@pytest.mark.parametrize("damage", [b"", b"no zip", None])
def test_damaged_network_is_made_anew(damage: bytes | None) -> None:
    model = network()
    Engines(model, lambda: images(4), 1000).fastest(exact=True)
    file = engines._graph_file(model)
    whole = file.read_bytes()
    file.write_bytes(whole[:600] + bytes(64) + whole[664:] if damage is None else damage)
    engine = Engines(model, lambda: images(4), 1000).fastest(exact=True)
    assert engine.name == "OpenVINO"
    assert relative(engine(images(5)), model.predict(images(5), verbose=0)) < 1e-5
    with np.load(file) as parts:
        assert set(parts) == {"xml", "bin"}


def test_an_engine_that_disagrees_is_not_trusted(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    compiled = engines.compile_graph

    def wrong(graph: object, precision: engines.Precision) -> engines.Forward | None:
        run = compiled(graph, precision)
        return run and (lambda batch: run(batch) * 1.2)

    monkeypatch.setattr(engines, "compile_graph", wrong)
    engine = Engines(network(), lambda: images(4), 1000).fastest(exact=False)
    assert engine.name == "Keras"
    assert "differs from Keras by" in caplog.text


def test_a_converter_that_fails_is_not_the_end(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def fail(network: keras.Model) -> None:
        raise RuntimeError("no conversion rule\nfor this operation")

    monkeypatch.setattr(engines, "_convert", fail)
    assert Engines(network(), lambda: images(4), 1000).fastest(exact=True).name == "Keras"
    assert "no conversion rule for this operation" in caplog.text


def test_gpu_keeps_keras() -> None:
    assert Engines(network(), lambda: images(4), 1000, on_cpu=False).fastest(False).name == "Keras"


def test_compare() -> None:
    truth = np.array([[1.0, 0.0], [0.0, 2.0]], np.float32)
    assert compare(truth, truth, 1e-4) == ("", 0.0)
    assert compare(truth, truth + 1e-3, 1e-4)[1] == pytest.approx(5e-4, rel=1e-3)
    assert "differs" in compare(truth, truth + 1e-3, 1e-4)[0]
    assert "finite" in compare(truth, truth * np.nan, 1e-4)[0]
    assert "(1, 2)" in compare(truth, truth[:1], 1e-4)[0]


def test_compare_asks_the_rest_of_the_network() -> None:
    vector = keras.Input((2,))
    rest = keras.Model(vector, keras.layers.Softmax()(keras.layers.Rescaling(100.0)(vector)))
    truth = np.array([[1.0, 0.0], [1.0, 0.98]], np.float32)
    answer = np.array([[1.0, 0.0], [0.98, 1.0]], np.float32)
    assert compare(truth, answer, 0.05)[0] == ""
    assert "class of 1 of 2" in compare(truth, answer, 0.05, rest)[0]
    tie = np.array([[1.0, 1.0 - 1e-6]], np.float32)  # Keras itself can hardly tell
    assert compare(tie, tie[:, ::-1].copy(), 0.05, rest)[0] == ""


def test_no_telemetry_is_loaded() -> None:
    code = (
        "import json, sys; from tlkit.engines import import_openvino;"
        "import_openvino(); import openvino.tools.ovc;"
        "print(json.dumps([m for m in sys.modules if 'telemetry' in m and sys.modules[m]]))"
    )
    output = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    )
    modules = json.loads(output.stdout)
    assert not [name for name in modules if name.startswith("openvino_telemetry")]
    assert "openvino.tools.ovc.telemetry_stub" in modules
