"""The terminal: one line on stderr and exit code 2 for whatever a user can mend."""

from __future__ import annotations

import inspect
import json
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import save_file

import tlkit
from tests.conftest import make_pictures
from tlkit.cli.finetune import finetune
from tlkit.recipe import Recipe, _flag, _keys


def command(*arguments: object, cwd: Path | None = None) -> subprocess.CompletedProcess[str]:
    line = [sys.executable, "-m", "tlkit.cli", *map(str, arguments)]
    return subprocess.run(line, capture_output=True, text=True, cwd=cwd)


def fails(done: subprocess.CompletedProcess[str], *says: str) -> None:
    """One line on stderr that holds `says`; code 2, no traceback, nothing on stdout."""
    assert done.returncode == 2, done.stderr
    lines = [line for line in done.stderr.splitlines() if line]
    assert lines[-1].startswith("tlkit: ")
    assert "Traceback" not in done.stderr
    assert done.stdout == ""
    for word in says:
        assert word in lines[-1]


def test_help_names_every_command() -> None:
    done = command("--help")
    assert done.returncode == 0
    names = ("finetune", "evaluate", "predict", "compare", "ensemble", "lr-find", "search")
    for name in (*names, "report", "backbones"):
        assert name in done.stdout
    assert command("--version").stdout == f"tlkit {tlkit.__version__}\n"


@pytest.mark.parametrize("asked", [("backbones", "--json"), ("backbones", "lenet")])  # long, short
def test_a_reader_that_goes_away_is_no_error(asked: tuple[str, str]) -> None:
    line = [sys.executable, "-m", "tlkit.cli", *asked]
    with subprocess.Popen(line, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        process.stdout.close()
        assert process.stderr.read() == b""
    assert process.returncode == 141


def test_every_recipe_key_is_a_flag() -> None:
    known = {_flag(key) for key in _keys(Recipe)}
    assert known <= set(inspect.signature(finetune).parameters)


def test_every_flag_of_finetune_stands_under_a_heading() -> None:
    flags = inspect.signature(finetune, eval_str=True).parameters.values()
    panels = {flag.name: flag.annotation.__metadata__[0].rich_help_panel for flag in flags}
    assert [name for name, panel in panels.items() if panel is None] == ["recipe"]


def test_a_run_from_the_terminal(pictures: Path, tmp_path: Path) -> None:
    done = command(
        *("finetune", "--data", pictures, "--img-size", 64, "--freeze-epochs", 2, "--name", "a"),
        *("--min-accuracy", "0.999", "--head-lr", "1e-7"),
        cwd=tmp_path,
    )
    assert done.returncode == 1, "an accuracy below --min-accuracy is exit code 1"
    assert "is below --min-accuracy 0.999" in done.stderr.splitlines()[-1]
    assert "accuracy 0." in done.stdout
    assert "95 % interval" in done.stdout
    lines = done.stdout.splitlines()
    assert len(lines) == 5
    assert lines[2].startswith("most wrong: ")
    assert lines[4].startswith("would help most: ")
    assert str(Path("runs/a/report.html")) in done.stdout
    for step in ("1  take", "2  freeze", "3  add", "4  train"):
        assert step in done.stderr
    assert "oneDNN" not in done.stderr
    assert (tmp_path / "runs/a/report.html").is_file()


def test_predict_and_report_from_the_terminal(
    run: tlkit.Run, pictures: Path, tmp_path: Path
) -> None:
    done = command("predict", run.folder, pictures / "red")
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("\n") == 13
    assert done.stdout.count("%") == 12
    assert "12 files" in done.stderr
    done = command("predict", run.folder, pictures / "red", "--output", tmp_path / "p.csv")
    assert done.stdout == ""
    assert (tmp_path / "p.csv").read_text().count("\n") == 13
    fails(command("predict", run.folder, pictures, "--format", "xml"), "table, csv, jsonl")
    fails(command("predict", run.folder, pictures / "nothing"), "nothing")
    before = run.report.stat().st_mtime_ns
    assert command("report", run.folder).returncode == 0
    assert run.report.stat().st_mtime_ns > before


def test_compare_from_the_terminal(run: tlkit.Run, tmp_path: Path) -> None:
    twin = shutil.copytree(run.folder, tmp_path / "twin")
    done = command("compare", twin, run.folder)
    assert done.returncode == 0, done.stderr
    assert "2 runs on the 5 validation images" in done.stdout
    assert "not distinguishable" in done.stdout
    assert (tmp_path / "compare.html").is_file()
    fails(command("compare", run.folder), "two or more")


def test_dry_run_trains_and_writes_nothing(pictures: Path, tmp_path: Path) -> None:
    done = command("finetune", "--data", pictures, "--dry-run", cwd=tmp_path)
    assert done.returncode == 0
    assert "24 images of 2 classes: 19 train, 5 val" in done.stdout
    assert 'backbone = "efficientnet_lite0"' in done.stdout
    assert not list(tmp_path.iterdir())


def test_backbones_are_listed() -> None:
    done = command("backbones", "vgg1*_bn")
    assert [line.split()[0] for line in done.stdout.splitlines()[1:]] != []
    assert "vgg11_bn" in done.stdout
    assert "resnet50" not in done.stdout
    rows = json.loads(command("backbones", "lenet5*", "--json").stdout)
    assert [row["name"] for row in rows] == ["lenet5", "lenet5_modern"]
    fails(command("backbones", "gg1*"), "'gg1*'", "try 'gg1'")


def test_a_network_is_summarised() -> None:
    done = command("summary", "lenet", "--classes", 3, "--csv")
    header, *lines = done.stdout.splitlines()
    assert header.startswith("layer,kind,output_shape,memory_kb,parameters")
    assert lines[-1].startswith("top_logits,Dense,3,")
    assert done.stderr == ""


def bad_inputs(tmp: Path) -> dict[str, tuple[list[object], tuple[str, ...]]]:
    """What goes wrong, by name: the arguments, and words of the line that must be there."""
    good = make_pictures(tmp / "good", per_class=4)
    one_class = make_pictures(tmp / "one_class", per_class=4)
    for file in (one_class / "red").iterdir():
        file.unlink()
    (one_class / "red").rmdir()
    one_image = make_pictures(tmp / "one_image", per_class=4)
    for file in list((one_image / "red").iterdir())[1:]:
        file.unlink()
    (tmp / "file.jpg").write_bytes((good / "red/00.jpg").read_bytes())
    broken = make_pictures(tmp / "broken", per_class=4)
    whole = (broken / "red/00.jpg").read_bytes()
    (broken / "red/00.jpg").write_bytes(whole[: len(whole) // 2])
    empty = make_pictures(tmp / "empty", per_class=4)
    (empty / "red/00.jpg").write_bytes(b"")
    text = make_pictures(tmp / "text", per_class=4)
    (text / "red/00.jpg").write_text("a text file")
    (tmp / "typo.toml").write_text("[train]\nepoch = 3\n")
    save_file({"conv.weight": np.zeros((3, 3), np.float32)}, tmp / "other.safetensors")
    strict = ("--on-bad-image", "error")
    return {
        "missing folder": (["--data", tmp / "nothing"], ("nothing",)),
        "one class": (["--data", one_class], ("blue",)),
        "file for a folder": (["--data", tmp / "file.jpg"], ("file.jpg",)),
        "class with one image": (["--data", one_image], ("red", "1")),
        "truncated": (["--data", broken, *strict], ("00.jpg", "truncated")),
        "zero bytes": (["--data", empty, *strict], ("00.jpg", "empty")),
        "text": (["--data", text, *strict], ("00.jpg", "not an image")),
        "backbone": (["--data", good, "--backbone", "vg11_bn"], ("'vg11_bn'", "vgg11_bn")),
        "recipe key": ([tmp / "typo.toml", "--data", good], ("train.epoch", "train.epochs")),
        "weights": (["--data", good, "--weights", tmp / "other.safetensors"], ("other",)),
        "no weights file": (["--data", good, "--weights", "none.pth"], ("none.pth",)),
        "no data": ([], ("--data",)),
        "flag": (["--dta", good], ("--dta",)),
        "no gpu": (["--data", good, "--device", "gpu"], ("--device cpu",)),
        "stage": (["--data", good, "--epochs", 1, "--unfreeze", "stage99"], ("stage99",)),
    }


@pytest.mark.slow
def test_what_a_user_can_mend_is_one_line(tmp_path: Path) -> None:
    work = tmp_path / "work"
    work.mkdir()
    for name, (arguments, says) in bad_inputs(tmp_path).items():
        done = command("finetune", *arguments, cwd=work)
        try:
            fails(done, *says)
            assert not [p for p in work.rglob("*") if p.is_file()], "something was half-written"
        except AssertionError as error:
            raise AssertionError(f"{name}: {error}\n{done.stderr}") from error


def test_bad_files_are_skipped_and_named_by_default(tmp_path: Path) -> None:
    folder = make_pictures(tmp_path / "mixed", per_class=6)
    whole = (folder / "red/00.jpg").read_bytes()
    (folder / "red/00.jpg").write_bytes(whole[: len(whole) // 2])
    (folder / "red/01.jpg").write_bytes(b"")
    (folder / "red/02.jpg").write_text("a text file")
    run = tlkit.finetune(
        folder, output=tmp_path / "runs", img_size=64, freeze_epochs=1, head_lr=0.01
    )
    reasons = dict(zip(run.skipped["path"], run.skipped["reason"], strict=True))
    assert set(reasons) == {"red/00.jpg", "red/01.jpg", "red/02.jpg"}
    assert "truncated" in reasons["red/00.jpg"]
    assert len(run.predictions) == 9
    assert json.loads((run.folder / "metrics.json").read_text())["data"]["skipped"] == 3


@pytest.mark.slow
def test_weights_are_listed_imported_and_verified(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from tlkit.backbones import _weights, get_backbone

    monkeypatch.setenv("TLKIT_CACHE", str(tmp_path / "cache"))
    lines = command("weights", "list", "efficientnet_lite*").stdout.splitlines()
    assert [line.split()[:2] for line in lines[1:]] == [
        [f"efficientnet_lite{i}", "True"] for i in range(3)
    ]
    assert "sound" in command("weights", "verify", "efficientnet_lite0").stdout
    fails(command("weights", "verify", "vgg11_bn"), "tlkit weights fetch vgg11_bn")
    fails(command("weights", "import", "nothing.pth", "--backbone", "vgg11"), "nothing.pth")
    fails(command("weights", "fetch", "vgg99"), "vgg99")

    real = _weights.find_weights(get_backbone("efficientnet_lite0"), "imagenet").path
    done = command("weights", "import", real, "--backbone", "efficientnet_lite0")
    assert done.returncode == 0, done.stderr
    kept = Path(done.stdout.strip())
    assert kept.is_relative_to(tmp_path / "cache")
    kept.write_bytes(kept.read_bytes()[:-1])
    fails(command("weights", "verify", "efficientnet_lite0"), "damaged", "import it again")
