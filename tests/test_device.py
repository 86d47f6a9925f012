import gc
import os
import subprocess
import sys

import pytest

from tlkit import device
from tlkit.errors import DeviceError


def test_the_cpu_is_always_there() -> None:
    found = device.prepare("cpu", seed=1)
    assert (found.kind, found.count, str(found)) == ("cpu", 1, "cpu")


def test_a_missing_gpu_is_an_error_not_a_slow_run() -> None:
    import tensorflow as tf

    if tf.config.list_physical_devices("GPU"):
        pytest.skip("this machine has a GPU")
    with pytest.raises(DeviceError, match="--device cpu"):
        device.prepare("gpu")


def test_one_seed_gives_one_sequence() -> None:
    import keras

    device.prepare("cpu", seed=7)
    first = keras.random.normal((3,)).numpy()
    device.prepare("cpu", seed=7)
    assert (first == keras.random.normal((3,)).numpy()).all()


def test_a_large_import_is_left_out_of_garbage_collection() -> None:
    before = gc.get_freeze_count()
    try:
        with device.without_collector():
            assert not gc.isenabled()
            imported = [[] for _ in range(1000)]
        assert gc.isenabled()
        assert gc.get_freeze_count() >= before + len(imported)
        gc.disable()
        with device.without_collector():
            pass
        assert not gc.isenabled(), "whoever does without the collector goes on without it"
    finally:
        gc.enable()
        gc.unfreeze()


def test_here_keras_computes_on_the_cpu(monkeypatch: pytest.MonkeyPatch) -> None:
    import tensorflow as tf

    monkeypatch.setattr(tf.config, "get_visible_devices", lambda kind: [])
    assert device.on_cpu()
    monkeypatch.setattr(tf.config, "get_visible_devices", lambda kind: ["a GPU"])
    assert not device.on_cpu()


TWO_DEVICES = """
import tensorflow as tf
cpu = tf.config.list_physical_devices("CPU")[0]
tf.config.set_logical_device_configuration(cpu, [tf.config.LogicalDeviceConfiguration()] * 2)
from tlkit.device import prepare
device = prepare("cpu")
assert (device.count, str(device)) == (2, "2 cpus"), device
import keras, numpy as np
with device.scope():
    model = keras.Sequential([keras.Input((4,)), keras.layers.Dense(1, kernel_initializer="zeros")])
    model.compile(optimizer=keras.optimizers.SGD(0.1), loss="mse")
x = np.ones((8, 4), np.float32)
model.fit(x, x[:, :1], batch_size=8, shuffle=False, verbose=0)
# One step on the mean over the whole batch: the gradient of (4 w - 1)^2 at 0 is -2 per weight.
np.testing.assert_allclose(model.get_weights()[0], 0.2, rtol=1e-5)
print("replicas", device.strategy.num_replicas_in_sync)
"""


def test_several_devices_share_a_batch() -> None:
    environment = {**os.environ, "TF_CPP_MIN_LOG_LEVEL": "3", "KERAS_BACKEND": "tensorflow"}
    done = subprocess.run(
        [sys.executable, "-c", TWO_DEVICES], env=environment, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr[-2000:]
    assert "replicas 2" in done.stdout


def test_the_start_is_quiet() -> None:
    plain = {key: value for key, value in os.environ.items() if not key.startswith("TF_")}
    done = subprocess.run(
        [sys.executable, "-c", "from tlkit.device import prepare; prepare('cpu')"],
        env=plain,
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stderr == ""
    assert done.stdout == ""
