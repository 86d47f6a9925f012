"""Many files and many classes: bounded memory, and nothing left open or lying about."""

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import tlkit

RUN = """
import json, os, sys, tempfile
from pathlib import Path

def handles():
    return len(os.listdir("/proc/self/fd"))

from tlkit import device
device.import_keras()
import tlkit
before = handles()
run = tlkit.finetune(sys.argv[1], output=sys.argv[2], name="load", backbone="lenet5_modern",
                     weights=sys.argv[3], val_split=0.34, freeze_epochs=5, head_lr=0.01)
after = handles()
# Not ru_maxrss, which begins with what the process that started this one had.
status = Path("/proc/self/status").read_text()
peak = int(status.partition("VmHWM:")[2].split()[0]) // 1024
print(json.dumps({"before": before, "after": after, "peak": peak}))
"""


def many_pictures(folder: Path, classes: int, per_class: int) -> Path:
    """Pictures of 8 to 32 pixels in the colour of their class, with noise."""
    rng = np.random.default_rng(0)
    for number in range(classes):
        (folder / f"class {number:04}").mkdir(parents=True)
        colour = rng.integers(40, 216, 3)
        for image in range(per_class):
            height, width = rng.integers(8, 33, 2)
            pixels = rng.normal(colour, 12, (height, width, 3)).clip(0, 255).astype(np.uint8)
            Image.fromarray(pixels).save(folder / f"class {number:04}" / f"{image:04}.png")
    return folder


@pytest.mark.parametrize(
    ("classes", "per_class", "megabytes"),
    [
        pytest.param(200, 25, 1500, marks=pytest.mark.slow),
        pytest.param(2000, 3, 2500, marks=pytest.mark.load),
        pytest.param(200, 250, 2500, marks=pytest.mark.load),
    ],
)
def test_memory_handles_and_temporary_files(
    classes: int, per_class: int, megabytes: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    temporary = tmp_path / "tmp"
    temporary.mkdir()
    for name, place in (("TMPDIR", temporary), ("TLKIT_CACHE", tmp_path / "cache")):
        monkeypatch.setenv(name, str(place))
    data = many_pictures(tmp_path / "data", classes, per_class)
    weights = tmp_path / "lenet.weights.h5"
    tlkit.build_backbone("lenet5_modern", weights=None).save_weights(weights)
    line = [sys.executable, "-W", "ignore", "-c", RUN, str(data), str(tmp_path / "runs")]
    done = subprocess.run([*line, str(weights)], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-3000:]
    seen = json.loads(done.stdout.splitlines()[-1])
    run = tlkit.Run(tmp_path / "runs" / "load")
    seconds = sum(run.metrics["timings"].values())
    size = run.report.stat().st_size / 2**20
    print(f"{classes} x {per_class}: {seen}, {seconds:.0f} s, report {size:.1f} MiB")
    print(run.metrics["timings"], f"accuracy {run.metrics['accuracy']:.3f}")
    assert len(run.predictions) == classes * per_class
    assert len(run.metrics["classes"]) == classes
    assert seen["peak"] < megabytes
    assert seen["after"] <= seen["before"] + 4, "files stay open"
    assert not list(temporary.iterdir())
    assert not [path for path in tmp_path.rglob(".*") if path.is_file()]
    assert size < 60


@pytest.mark.slow
def test_runs_in_one_process_leave_no_file_open(pictures: Path, tmp_path: Path) -> None:
    """The first may load libraries that keep something open; later ones may not add to it."""

    def handles() -> int:
        return len(list(Path("/proc/self/fd").iterdir()))

    counted = []
    for _ in range(3):
        tlkit.finetune(
            *(pictures,), output=tmp_path, backbone="lenet5_modern", weights="none", epochs=1
        )
        counted.append(handles())
    assert counted[2] == counted[1]
