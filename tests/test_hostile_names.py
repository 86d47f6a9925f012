"""Classes and files whose names are HTML, shell, formulas and terminal commands, through a whole
run and back: nothing runs, nothing is written outside the run, and every name survives."""

import csv
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.conftest import make_pictures
from tests.test_terminal import CHATTER, complain_of
from tlkit import cli
from tlkit.data.folder import ImageFolder
from tlkit.errors import DataError
from tlkit.inference import predict_to
from tlkit.runs import Run

CLASSES = [
    "=1+1", "@SUM(A1)", "-rf", "+x", "'=q", "$(touch proof)", "`touch proof`;touch proof|tee",
    "<script>alert(1)", '"><img src=x onerror=alert(2)>', "{{ 7*7 }}", "\x1b[2J\x1b]0;title\x07",
    "two\nlines", "cr\r=2", "NA", "007", "고양이 🐈", "\u202etxt", "%s%n", "[red]rich[∕red]",
]  # fmt: skip
FILES = ["=cmd|' -C calc'!A0.jpg", "--help.jpg", 'a,b".jpg', "\t=1.jpg", "\x1b[31m.jpg"]
BAD = "=broken\x1b.jpg"


def cells(file: Path) -> Iterator[str]:
    with file.open(encoding="utf-8", newline="") as lines:
        for row in csv.reader(lines):
            yield from row


def command(work: Path, *arguments: object) -> subprocess.CompletedProcess[bytes]:
    line = [sys.executable, "-m", "tlkit.cli", *map(str, arguments)]
    here = str(Path(__file__).parent.parent)
    return subprocess.run(
        line, capture_output=True, cwd=work, env=os.environ | {"PYTHONPATH": here}
    )


@pytest.fixture(scope="module")
def work(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of hostile names, and a run of it in runs/a."""
    work = tmp_path_factory.mktemp("work")
    pictures = sorted(make_pictures(work / "pictures", 50, (36, 36)).rglob("*.jpg"))
    complain_of(pictures[-1])
    for name in CLASSES:
        (work / "data" / name).mkdir(parents=True)
        for file in FILES:
            pictures.pop().rename(work / "data" / name / file)
        (work / "data" / name / BAD).write_bytes(b"\xff\xd8\xff rubbish")
    done = command(
        *(work, "finetune", "--data", "data", "--backbone", "lenet5_modern", "--weights", "none"),
        *("--epochs", 1, "--name", "a"),
    )
    assert done.returncode == 0, done.stderr.decode()
    assert not set(done.stdout + done.stderr) & set(b"\x1b\x07\r")
    assert not CHATTER.search(done.stdout + done.stderr), "libraries talk to the log"
    return work


def test_nothing_was_written_outside_the_run(work: Path) -> None:
    assert {path.name for path in work.iterdir()} == {"data", "pictures", "runs"}
    assert [path.name for path in (work / "runs").iterdir()] == ["a"]
    kept = {path for path in (work / "data").rglob("*") if path.is_file()}
    assert len(kept) == len(CLASSES) * (len(FILES) + 1)


def test_no_cell_is_a_formula_and_every_name_comes_back(work: Path) -> None:
    run = Run(work / "runs" / "a")
    for name in ("split", "skipped", "predictions"):
        for cell in cells(run.folder / f"{name}.csv"):
            assert cell[:1] not in {"=", "+", "-", "@", "\t", "\r"}, (name, cell)
    expected = sorted(f"{label}/{file}" for label in CLASSES for file in FILES)
    for table in (run.split, run.predictions):
        assert sorted(table["path"]) == expected
        assert set(table["label"]) == set(CLASSES)
    assert set(run.skipped["path"]) == {f"{label}/{BAD}" for label in CLASSES}
    assert run.metrics["classes"] == sorted(CLASSES)
    assert list(run.predictions.columns[6:]) == [f"p_{name}" for name in sorted(CLASSES)]


def test_a_split_is_a_manifest(work: Path) -> None:
    run = Run(work / "runs" / "a")
    manifest = work / "data" / "manifest.csv"
    manifest.write_bytes((run.folder / "split.csv").read_bytes())
    try:
        folder = ImageFolder(manifest)
    finally:
        manifest.unlink()
    names = ["path", "label", "split", "sha256"]
    assert folder.samples[names].to_numpy().tolist() == run.split[names].to_numpy().tolist()


def test_the_report_shows_names_and_obeys_none(work: Path) -> None:
    page = (work / "runs" / "a" / "report.html").read_text()
    assert page.count("<script") == 2, "the page's own data and program"
    assert "<img src=x" not in page
    assert "{{ 7*7 }}" in page


def test_the_log_may_be_shown_on_a_terminal(work: Path) -> None:
    log = (work / "runs" / "a" / "log.txt").read_bytes()
    assert not set(log) & set(b"\x1b\x07\r")
    assert b"Corrupt JPEG" in log, "what libraries said"


def test_answers_and_errors_on_the_terminal(work: Path, capsys: pytest.CaptureFixture[str]) -> None:
    names = [work / "data" / name for name in CLASSES]
    predict_to(Run(work / "runs" / "a"), names)
    said = capsys.readouterr().out
    assert not set(said) & set("\x1b\x07\r\t")
    assert said.count("\n") == 1 + len(CLASSES) * (len(FILES) + 1)
    with pytest.raises(DataError) as error:
        predict_to(Run(work / "runs" / "a"), ["\x1b[2Jnothing\nhere"])
    with pytest.raises(SystemExit, match="2"):
        cli._fail(str(error.value))
    said = capsys.readouterr().err
    assert said.count("\n") == 1
    assert "\x1b" not in said
