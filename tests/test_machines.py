"""Several processes that train together, on loopback: one run, and the weights of one process."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import tlkit
from tests.conftest import make_pictures
from tlkit import device, machines
from tlkit.data.folder import ImageFolder
from tlkit.data.loader import ImageBatches
from tlkit.errors import DeviceError, RecipeError

ALONE = {key: value for key, value in os.environ.items() if key != "KERAS_BACKEND"}


def test_only_a_launcher_makes_several(monkeypatch: pytest.MonkeyPatch) -> None:
    assert not machines.launched()
    for name in machines.SLURM:
        monkeypatch.setenv(f"SLURM_{name}", "1")
    assert not machines.launched(), "a job of one process"
    monkeypatch.setenv("SLURM_NTASKS", "2")
    assert machines.launched()
    monkeypatch.delenv("SLURM_STEP_NODELIST")
    assert not machines.launched(), "allotted to a job, but not started by srun"
    monkeypatch.setenv(machines.ADDRESS, "localhost:1234")
    assert machines.launched()
    with pytest.raises(RecipeError, match="one process"):
        tlkit.finetune("anything", backend="jax", resume=True)


def test_a_launcher_that_says_too_little_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(machines.ADDRESS, "localhost:1234")
    monkeypatch.setenv(machines.PROCESSES, "2")
    with pytest.raises(DeviceError, match=machines.PROCESS):
        machines.join()
    assert machines.place() == (0, 1)


def test_the_backend_cannot_change_under_way() -> None:
    now = device.import_keras().backend.backend()
    assert device.import_keras(backend=now).backend.backend() == now
    other = {"tensorflow": "jax", "jax": "tensorflow"}[now]
    with pytest.raises(DeviceError, match=f"KERAS_BACKEND={other}"):
        device.import_keras(backend=other)


def test_the_parts_of_a_batch_make_the_batch(pictures: Path) -> None:
    folder = ImageFolder(pictures)
    batches = ImageBatches(
        folder.samples, folder.root, folder.classes, 16, batch_size=10, shuffle=True, devices=2
    )
    for index in range(len(batches)):  # the last one holds four
        batches.part = (0, 1)
        images, labels = batches[index]
        parts = []
        for number in range(2):
            batches.part = (number, 2)
            parts.append(batches[index])
        assert len(parts[0][0]) == len(parts[1][0])
        np.testing.assert_array_equal(np.concatenate([part[0] for part in parts]), images)
        np.testing.assert_array_equal(np.concatenate([part[1] for part in parts]), labels)


def _start(name: str, settings: list[str], **environment: str) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "tlkit.cli", "finetune", "--backend", "jax", *settings]
    return subprocess.Popen(
        [*command, "--name", name],
        env=ALONE | environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def _said(process: subprocess.Popen[str]) -> tuple[str, str]:
    out, err = process.communicate(timeout=300)
    assert process.returncode == 0, err
    return out, err


def _free_port() -> int:
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return found.getsockname()[1]


@pytest.mark.slow
def test_two_processes_train_what_one_would(tmp_path: Path) -> None:
    pictures = make_pictures(tmp_path / "pictures", per_class=10, size=(40, 36))
    weights = tmp_path / "lenet.weights.h5"
    tlkit.build_backbone("lenet5_modern", weights=None).save_weights(weights)
    runs = tmp_path / "runs"
    settings = [
        *("--data", str(pictures), "--output", str(runs), "--backbone", "lenet5_modern"),
        *("--weights", str(weights), "--freeze-epochs", "2", "--epochs", "2", "--unfreeze", "1"),
        *("--batch-size", "8", "--augment", "light"),
    ]  # 16 images train and 4 validate: full batches, whoever shares them
    one = _start("one", settings)
    assert _said(one)[1]
    devices = _start("devices", settings, XLA_FLAGS="--xla_force_host_platform_device_count=2")
    assert "hold the same" not in _said(devices)[1]
    address = f"127.0.0.1:{_free_port()}"
    both = [
        _start(
            "two",
            settings,
            JAX_COORDINATOR_ADDRESS=address,
            JAX_NUM_PROCESSES="2",
            JAX_PROCESS_ID=str(number),
        )
        for number in range(2)
    ]
    said = [_said(process) for process in both]
    assert said[0][1].count("2 processes hold the same weights, bit for bit") == 2, "both phases"
    assert "report" in said[0][0]
    assert "report" not in said[1][0] + said[1][1]

    assert {path.name for path in runs.iterdir()} == {"one", "devices", "two"}
    found = {name: tlkit.Run(runs / name) for name in ("one", "devices", "two")}
    names = {path.name for path in found["one"].folder.iterdir()}
    expected = found["one"].model.get_weights()
    phases = found["one"].history["phase"].tolist()
    assert phases == ["head", "head", "fine-tune", "fine-tune"]
    for name, count in (("devices", "2 cpus"), ("two", "2 cpus in 2 processes")):
        run = found[name]
        assert {path.name for path in run.folder.iterdir()} == names
        assert count in (run.folder / "metrics.json").read_text()
        for a, b in zip(run.model.get_weights(), expected, strict=True):
            np.testing.assert_allclose(a, b, atol=1e-5)
        np.testing.assert_allclose(run.history["loss"], found["one"].history["loss"], rtol=1e-4)
