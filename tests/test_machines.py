"""Several processes that train together, on loopback: one run, and the weights of one process."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import tlkit
from tests.conftest import make_pictures
from tlkit import device, machines
from tlkit.checkpoint import Checkpoint
from tlkit.data.folder import ImageFolder
from tlkit.data.loader import ImageBatches
from tlkit.errors import DeviceError, RecipeError
from tlkit.experiments.folds import cross_validate
from tlkit.experiments.lr_find import find_rate
from tlkit.experiments.search import search

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


@pytest.mark.parametrize(
    ("what", "begin"),
    [
        ("Cross-validation", lambda: cross_validate("anything", backend="jax")),
        ("A search", lambda: search("anything.toml")),
        ("The range test", lambda: find_rate("anything")),
    ],
)
def test_what_would_do_all_the_work_in_each_process_is_refused(
    monkeypatch: pytest.MonkeyPatch, what: str, begin: Callable[[], Any]
) -> None:
    monkeypatch.setenv(machines.ADDRESS, "localhost:1234")
    with pytest.raises(RecipeError, match=f"{what}.* works in one process"):
        begin()


def test_what_jax_says_of_a_lost_process_is_known_behind_another_error() -> None:
    behind = KeyError("cleaning up")
    behind.__context__ = ValueError("UNKNOWN: Gloo AllReduce failed: Connection closed by peer")
    assert machines._unreachable(behind)
    assert not machines._unreachable(ValueError("a bug"))


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


def _start_two(name: str, settings: list[str], **environment: str) -> list[subprocess.Popen[str]]:
    launcher = {
        machines.ADDRESS: f"127.0.0.1:{_free_port()}",
        machines.PROCESSES: "2",
    }
    return [
        _start(name, settings, **environment, **launcher, **{machines.PROCESS: str(number)})
        for number in range(2)
    ]


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
    both = _start_two("two", settings)
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


@pytest.mark.slow
@pytest.mark.parametrize("killed", [0, 1])
def test_when_one_process_is_killed_the_other_ends_with_one_line(
    tmp_path: Path, killed: int
) -> None:
    pictures = make_pictures(tmp_path / "pictures", per_class=10, size=(40, 36))
    runs, scratch = tmp_path / "runs", tmp_path / "scratch"
    scratch.mkdir()
    settings = [
        *("--data", str(pictures), "--output", str(runs), "--backbone", "lenet5_modern"),
        *("--weights", "none", "--epochs", "100000", "--patience", "100000", "--batch-size", "8"),
    ]  # never done by itself
    both = _start_two("lost", settings, TMPDIR=str(scratch))
    left = both[1 - killed]
    try:
        epochs = runs / "lost" / "checkpoint" / "training.npz"
        while not epochs.exists():
            assert both[0].poll() is both[1].poll() is None, "one ended before both trained"
            time.sleep(0.1)
        both[killed].kill()
        said = left.communicate(timeout=300)[1]
    finally:
        for process in both:
            process.kill()
            process.communicate()
    assert left.returncode == 2, said
    assert said.splitlines()[-1] == f"tlkit: {machines.LOST}"
    assert said.count(machines.LOST) == 1
    assert "Traceback" not in said
    if killed == 0:
        assert said.count("\n") == 1
        assert not list(scratch.glob("tlkit-*")), "what it wrote for itself"
    checkpoint = Checkpoint.find(runs, "lost")
    assert checkpoint is not None
    with checkpoint.released_on_error():
        kept = checkpoint.training()
    assert kept is not None
    assert kept[1]["history"]
    checkpoint.remove()
