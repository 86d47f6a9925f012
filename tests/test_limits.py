"""Full disks, lost images, little memory, numbers that are none: an error of one line or a run
that goes on, and never a lost file."""

import os
import shutil
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

import tlkit
from tests.victim import Victim
from tlkit.errors import RunError
from tlkit.runs import Run


def error_of(victim: Victim, name: str, output: Path | None = None) -> str:
    """The run's error, which is one line."""
    text = ((output or victim.runs) / f"{name}.error").read_text()
    assert "\n" not in text
    return text


def test_batches_are_halved_until_they_fit(victim: Victim) -> None:
    assert victim.run("little", fault="little_memory") == 0
    assert "out of memory with batches of 8: going on with 4" in victim.log("little")
    assert Run(victim.runs / "little").history["epoch"].tolist() == [1, 2, 1, 2]


def test_a_device_without_memory_is_one_line(victim: Victim) -> None:
    assert victim.run("none", fault="no_memory") == 2
    assert "even for batches of 1; use a smaller --img-size" in error_of(victim, "none")


def test_nan_stops_and_keeps_the_best_epoch(victim: Victim) -> None:
    settings = {"freeze_epochs": 6, "epochs": 0, "unfreeze": None, "schedule": None}
    assert victim.run("nan", settings, fault="nan_in_third_epoch") == 0
    assert "the best epoch is kept; try a lower --head-lr" in victim.log("nan")
    run = Run(victim.runs / "nan")
    assert len(run.history) == 3
    best = run.history["val_loss"].min()
    validated = run.predictions.query("split == 'val'")
    # The temperature is fitted on these images: it can only bring their loss down.
    assert validated["loss"].mean() <= best + 1e-6
    assert validated["loss"].mean() == pytest.approx(best, rel=0.5)


def test_a_lost_image_is_named_and_the_run_goes_on_once_it_is_back(
    victim: Victim, tmp_path: Path
) -> None:
    data = Path(shutil.copytree(victim.settings["data"], tmp_path / "data"))
    image = (data / "red" / "03.jpg").read_bytes()
    settings = {"data": str(data)}
    assert victim.run("lost", settings, fault="lost_image") == 2
    assert "03.jpg: no such file" in error_of(victim, "lost")
    split = victim.file("lost", "split.csv")
    assert split == victim.file("whole", "split.csv"), "earlier artefacts are intact"
    (data / "red" / "03.jpg").write_bytes(image)
    assert victim.run("lost", settings) == 0
    assert victim.file("lost", "split.csv") == split
    assert victim.file("lost", "predictions.csv") == victim.predictions


def test_images_lost_before_the_report_cost_their_pictures_only(
    victim: Victim, tmp_path: Path
) -> None:
    data = Path(shutil.copytree(victim.settings["data"], tmp_path / "data"))
    assert victim.run("late", {"data": str(data)}, fault="image_lost_late") == 0
    assert victim.file("late", "predictions.csv") == victim.predictions
    assert victim.file("late", "report.html")


@pytest.mark.parametrize("call", [1, 4, 8, 11, 14])
def test_a_full_disk_at_any_file(victim: Victim, call: int) -> None:
    name = f"full-{call}"
    assert victim.run(name, fault=f"disk_full_at:{call}") == 2
    assert "No space left on device" in error_of(victim, name)
    assert not list((victim.runs / name).rglob(".*-*")), "a temporary file was left"
    assert victim.run(name) == 0
    assert victim.file(name, "predictions.csv") == victim.predictions


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 400 KiB."""
    folder = tmp_path / "disk"
    folder.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", "size=400k", "tmpfs", str(folder)]
    if os.geteuid() != 0 or subprocess.run(command, capture_output=True).returncode:
        pytest.skip("only root may mount a small disk")
    yield folder
    subprocess.run(["umount", "--lazy", str(folder)], check=True)


def test_a_really_full_disk(victim: Victim, small_disk: Path) -> None:
    settings = {"output": str(small_disk)}
    assert victim.run("a", settings) == 2
    folder = small_disk / "a"
    kept = {p.name: p.read_bytes() for p in folder.iterdir() if p.suffix == ".csv"}
    assert "split.csv" in kept
    (small_disk / "a.error").unlink()
    subprocess.run(["mount", "-o", "remount,size=64m", str(small_disk)], check=True)
    assert victim.run("a", settings) == 0
    assert (folder / "split.csv").read_bytes() == kept["split.csv"]
    assert (folder / "predictions.csv").read_bytes() == victim.predictions


def test_ctrl_c_once_still_reports(victim: Victim) -> None:
    settings = {"freeze_epochs": 5000, "schedule": None}
    assert victim.run("once", settings, at="head 2/", signal=signal.SIGINT) == 0
    assert "stopping after this epoch" in victim.log("once")
    run = Run(victim.runs / "once")
    assert run.report.is_file()
    assert set(run.history["phase"]) == {"head"}
    assert not (run.folder / "checkpoint").exists()


@pytest.mark.parametrize("at", ["head 1/2", "fine-tune 1/2"])
def test_ctrl_c_twice_ends_at_once_and_the_run_can_go_on(victim: Victim, at: str) -> None:
    name = f"twice-{at[:4]}"
    assert victim.run(name, at=at, signal=signal.SIGINT, times=2) == 130
    assert not (victim.runs / name / "report.html").exists()
    finished, before = victim.finished(name), victim.log(name)
    assert victim.run(name) == 0
    victim.check_end(name, finished, before)


def test_ctrl_c_before_there_is_anything_leaves_nothing(victim: Victim) -> None:
    assert victim.run("early", at="reading images", signal=signal.SIGINT) in (0, 130)
    left = {p.name for p in (victim.runs / "early").glob("*")}
    assert not left or "report.html" in left or "checkpoint" in left


def test_an_output_that_cannot_be_written_is_one_line(pictures: Path, small_disk: Path) -> None:
    (small_disk / "file").write_text("not a folder")
    subprocess.run(["mount", "-o", "remount,ro", str(small_disk)], check=True)
    for place in (small_disk, small_disk / "runs", small_disk / "file" / "runs"):
        with pytest.raises(RunError, match="Choose another place with --output") as error:
            tlkit.finetune(pictures, output=place, name="a")
        assert "\n" not in str(error.value)
