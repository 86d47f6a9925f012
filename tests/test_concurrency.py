"""Several processes that share caches, a name, or the folder of all runs."""

import json
import multiprocessing
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tlkit.checkpoint import Checkpoint
from tlkit.errors import RunError
from tlkit.runs import Run

PROCESSES = 4


def take(output: Path, name: str | None) -> str:
    """A process that wants a run folder: what it got."""
    try:
        return str(Run.create(output, name).folder)
    except RunError as error:
        assert "--exist-ok" in str(error)  # noqa: PT017
        return ""


def begin(output: Path, name: str) -> bool:
    """A process that begins a run in a folder that may exist, and holds it for a second."""
    try:
        checkpoint = Checkpoint.start(Run.create(output, name, exist_ok=True), "seed = 3\n")
    except RunError as error:
        assert "Another process works on the run" in str(error)  # noqa: PT017
        return False
    with checkpoint:
        multiprocessing.Event().wait(1)
    return True


def test_one_name_goes_to_one_of_four_processes(tmp_path: Path) -> None:
    with multiprocessing.get_context("spawn").Pool(PROCESSES) as pool:
        for name in "abc":
            got = pool.starmap(take, [(tmp_path, name)] * PROCESSES, chunksize=1)
            assert sorted(got) == [""] * (PROCESSES - 1) + [str(tmp_path / name)]
        got = pool.starmap(take, [(tmp_path, None)] * 10 * PROCESSES, chunksize=1)
        assert len(set(got)) == 10 * PROCESSES, "a run's folder was given twice"
        held = pool.starmap(begin, [(tmp_path, "d")] * PROCESSES, chunksize=1)
        assert held.count(True) == 1, "two worked on one run"


FINETUNE = """
import sys, tlkit
tlkit.build_backbone("lenet5_modern", weights="imagenet")
run = tlkit.finetune(sys.argv[1], backbone="lenet5_modern", output=sys.argv[2], augment="light",
                     epochs=1, unfreeze="1")
print(run.folder)
"""
IMPORT = """
import sys
from tlkit.backbones import _weights
for _ in range(3):
    _weights.import_file(sys.argv[1], "lenet5_modern")
    _weights.verify("lenet5_modern")
"""


@pytest.mark.slow
def test_four_processes_share_caches_and_the_folder_of_runs(pictures: Path, tmp_path: Path) -> None:
    import tlkit

    weights = tmp_path / "lenet.weights.h5"
    tlkit.build_backbone("lenet5_modern", weights=None).save_weights(weights)
    environment = os.environ | {"TLKIT_CACHE": str(tmp_path / "cache")}

    def together(*line: object) -> list[str]:
        command = [sys.executable, "-W", "ignore", "-c", *map(str, line)]
        started = [
            subprocess.Popen(
                command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment
            )
            for _ in range(PROCESSES)
        ]
        ended = [process.communicate() for process in started]
        assert [process.returncode for process in started] == [0] * PROCESSES, ended
        return [out.strip() for out, _ in ended]

    together(IMPORT, weights)
    folders = together(FINETUNE, pictures, tmp_path / "runs")
    assert len(set(folders)) == PROCESSES
    assert {str(path) for path in (tmp_path / "runs").iterdir()} == set(folders)
    tables = {(Path(folder) / "predictions.csv").read_bytes() for folder in folders}
    assert len(tables) == 1, "one seed, one result"
    for folder in map(Path, folders):
        assert (folder / "report.html").is_file()
        assert json.loads((folder / "metrics.json").read_text())["data"]["images"] == 24
        assert not (folder / "checkpoint").exists()
    rests = [path for path in tmp_path.rglob(".*") if path.name != ".lock"]
    assert not rests, "a temporary file was left"
    again = together(FINETUNE, pictures, tmp_path / "runs")
    assert {(Path(folder) / "predictions.csv").read_bytes() for folder in again} == tables
