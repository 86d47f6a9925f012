"""Answers from a cluster: two workers of a local one, and one of them killed on the way."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

import tlkit
from tests.conftest import make_pictures
from tlkit import inference
from tlkit.errors import MissingPackageError

KILLED = """
import os, signal, sys
from pathlib import Path

import ray

from tlkit.evaluation import by_ray
from tlkit.evaluation.answers import Detail, write_answers
from tlkit.runs import Run

by_ray.BLOCK = 16
ray.init(num_cpus=4, include_dashboard=False, log_to_driver=False)  # two workers of two each
run, photos, output, marks = sys.argv[1:]


class Victim(by_ray.Worker):
    # Says who answers which block, and the first to begin a third one dies in the middle of it.
    def __call__(self, block):
        mine = Path(marks) / str(os.getpid())
        with mine.open("a") as file:
            file.write("x")
        if len(mine.read_text()) == 3:
            try:
                (Path(marks) / "killed").touch(exist_ok=False)
                os.kill(os.getpid(), signal.SIGKILL)
            except FileExistsError:
                pass
        return super().__call__(block)


by_ray.Worker = Victim
files = sorted(Path(photos).iterdir())
with open(output, "w", encoding="utf-8", errors="surrogateescape", newline="") as file:
    answers = by_ray.answers_by_ray(Run.open(run), iter(files))
    print(write_answers(answers, Detail(["blue", "red"]), file, "csv"))
"""


def _python(*arguments: str) -> subprocess.CompletedProcess[str]:
    here = {"PYTHONPATH": str(Path.cwd()), "RAY_USAGE_STATS_ENABLED": "0"}
    done = subprocess.run(
        [sys.executable, *arguments], env=os.environ | here, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr[-3000:]
    return done


@pytest.fixture(scope="module")
def many(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """120 pictures in one folder, one that is none, and one whose name is not Unicode."""
    folder = tmp_path_factory.mktemp("many")
    made = make_pictures(folder / "made", per_class=60, size=(40, 36))
    photos = folder / "photos"
    photos.mkdir()
    for file in made.rglob("*.jpg"):
        file.rename(photos / f"{file.parent.name}{file.name}")
    (photos / "bad.jpg").write_bytes(b"no picture")
    (photos / "red00.jpg").rename(photos / os.fsdecode(b"red\xff.jpg"))
    return photos


def _same(table: pd.DataFrame, expected: pd.DataFrame) -> None:
    """Each file once, in the same order, with the same answer."""
    assert table["path"].tolist() == expected["path"].tolist()
    for column in ("predicted", "error"):
        assert table[column].fillna("").tolist() == expected[column].tolist()
    np.testing.assert_allclose(
        table["p_red"].to_numpy(float), expected["p_red"].to_numpy(float), atol=1e-4
    )


def _read(file: Path) -> pd.DataFrame:
    return pd.read_csv(file, encoding_errors="surrogateescape")


@pytest.mark.slow
def test_a_killed_worker_loses_and_doubles_nothing(
    run: tlkit.Run, many: Path, tmp_path: Path
) -> None:
    marks, output = tmp_path / "marks", tmp_path / "answers.csv"
    marks.mkdir()
    done = _python("-c", KILLED, str(run.folder), str(many), str(output), str(marks))
    assert "121 files" in done.stdout
    assert (marks / "killed").exists()
    assert len(list(marks.iterdir())) > 2, "two workers and the mark"
    _same(_read(output), inference.predict(run, [many]))


@pytest.mark.slow
def test_the_flag_gives_the_answers_of_one_machine(
    run: tlkit.Run, many: Path, tmp_path: Path
) -> None:
    output = tmp_path / "answers.csv"
    settings = ["--ray", "--output", str(output)]
    done = _python("-m", "tlkit.cli", "predict", str(run.folder), str(many), *settings)
    assert done.stdout == ""
    assert "121 files, 1 could not be read" in done.stderr
    _same(_read(output), inference.predict(run, [many]))


def test_ray_is_an_extra(
    run: tlkit.Run, pictures: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(MissingPackageError, match=r"tlkit\[ray\]"):
        inference.predict_to(run, [pictures], tmp_path / "answers.csv", ray=True)
