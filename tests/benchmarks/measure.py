"""Whole processes side by side: wall time, processor time and peak memory, interleaved.

    python measure.py FOLDER OUTPUT.json [JOB ...]

Each job runs the Keras recipe and tlkit in turn, `--repeat` times; the ratio is of the medians.
Processor time (user and system) stands beside wall time since it hardly depends on what else the
machine is doing.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

HERE = Path(__file__).parent
BACKBONES = ("resnet50", "mobilenet_v2", "vgg11_bn")


def run(command: list[str], cache: Path) -> dict[str, float]:
    """One whole process: seconds of wall and processor, peak memory in MiB."""
    environment = os.environ | {"TLKIT_CACHE": str(cache), "TF_CPP_MIN_LOG_LEVEL": "3"}
    start = time.perf_counter()
    process = subprocess.Popen(
        command, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True
    )
    assert process.stderr is not None
    errors = process.stderr.read()
    _, status, usage = os.wait4(process.pid, 0)
    wall = time.perf_counter() - start
    if status:
        raise SystemExit(f"{' '.join(command)} failed:\n{errors[-2000:]}")
    return {
        "wall": wall,
        "processor": usage.ru_utime + usage.ru_stime,
        "peak_mib": usage.ru_maxrss / 1024,
    }


def random_weights(name: str, folder: Path) -> Path:
    """A file of random weights, made once."""
    file = folder / f"{name}.weights.h5"
    if not file.exists():
        code = (
            "import sys, tlkit; tlkit.build_backbone(sys.argv[1], include_top=False)"
            ".save_weights(sys.argv[2])"
        )
        subprocess.run([sys.executable, "-c", code, name, str(file)], check=True)
    return file


def tlkit(data: Path, runs: Path, weights: Path, name: str, *flags: str) -> list[str]:
    """The command line of a tlkit run."""
    return [
        *(sys.executable, "-m", "tlkit.cli", "finetune", "--data", str(data)),
        *("--backbone", name, "--weights", str(weights), "--output", str(runs)),
        *("--name", "bench", "--exist-ok", *flags),
    ]


def keras(data: Path, name: str, *flags: str) -> list[str]:
    """The command line of the Keras recipe."""
    return [sys.executable, str(HERE / "keras_recipe.py"), name, str(data), *flags]


def main() -> None:
    """Run the jobs that are asked for."""
    parser = argparse.ArgumentParser()
    parser.add_argument("data", type=Path)
    parser.add_argument("output", type=Path)
    parser.add_argument("jobs", nargs="*")
    parser.add_argument("--repeat", type=int, default=1)
    args = parser.parse_args()
    scratch = Path(tempfile.mkdtemp(prefix="bench-"))
    results = {}
    for job in args.jobs:
        kind, _, name = job.partition(":")
        weights = random_weights(name, args.output.parent)
        ours, theirs, again = [], [], []
        for number in range(args.repeat):
            cache = scratch / f"{name}-{kind}-{number}"
            last_stage = [
                *("--freeze-epochs", "0", "--epochs", "5", "--unfreeze", "last"),
                *("--patience", "5"),
            ]
            flags = {
                "frozen": ["--freeze-epochs", "10", "--patience", "10"],
                "augment": ["--freeze-epochs", "10", "--patience", "10", "--augment", "light"],
                "finetune": last_stage,
                "finetune16": [*last_stage, "--precision", "bfloat16"],
            }[kind]
            ours.append(run(tlkit(args.data, scratch, weights, name, *flags), cache))
            if kind == "frozen":
                other = [*flags, "--head-lr", "0.003"]
                again.append(run(tlkit(args.data, scratch, weights, name, *other), cache))
            extra = {"frozen": [], "augment": ["--augment"]}.get(
                kind, ["--finetune", "--epochs", "5"]
            )
            theirs.append(run(keras(args.data, name, *extra), cache))
        results[job] = {"tlkit": ours, "keras": theirs, "second": again}
        for key in ("wall", "processor"):
            mine, keras_, second = (
                statistics.median(r[key] for r in rows) if rows else float("nan")
                for rows in (ours, theirs, again)
            )
            print(
                f"{job:24} {key:10} keras {keras_:7.1f}  tlkit {mine:6.1f}  "
                f"ratio {keras_ / mine:5.1f}  second run {second:6.1f} ({mine / second:.1f} x)",
                flush=True,
            )
        args.output.write_text(json.dumps(results, indent=1))
    shutil.rmtree(scratch)


if __name__ == "__main__":
    main()
