"""Kill runs, let them go on, and compare bytes."""

import json
import logging
import os
import random
import re
import signal
from pathlib import Path

import numpy as np
import pytest

import tlkit
from tests.conftest import TINY
from tests.victim import Victim
from tlkit.checkpoint import Checkpoint
from tlkit.errors import RecipeError, RunError
from tlkit.interrupts import Terminated
from tlkit.runs import Run

KILLS = 25


@pytest.mark.parametrize("at", ["reading images", "head 2/2", "fine-tune 1/2"])
def test_killed_at_a_known_moment(victim: Victim, at: str) -> None:
    name = re.sub(r"\W", "-", at)
    assert victim.run(name, at=at) == -signal.SIGKILL
    finished, before = victim.finished(name), victim.log(name)
    assert victim.run(name) == 0
    victim.check_end(name, finished, before)


@pytest.mark.slow
def test_killed_while_all_the_craft_is_on(victim: Victim) -> None:
    """Averages, accumulated gradients, mixed batches and a warm-up go on where they were."""
    craft = {
        "mixup": 0.3, "cutmix": 1.0, "ema": 0.9, "accumulate": 2, "warmup": 1, "layer_decay": 0.5,
        "optimizer": "adamw", "gradual": True, "unfreeze": "2", "weight_decay": 0.01,
        "augment": "pad-crop 4, randaugment 9",
    }  # fmt: skip
    assert victim.run("craft-whole", craft) == 0
    assert victim.run("craft", craft, at="fine-tune c3 1/2") == -signal.SIGKILL
    assert victim.finished("craft") >= {"head", "fine-tune c5"}
    assert victim.run("craft", craft) == 0
    assert victim.file("craft", "predictions.csv") == victim.file("craft-whole", "predictions.csv")


@pytest.mark.slow
def test_killed_at_random_moments(victim: Victim) -> None:
    # Between which lines of its log, and when: a slow machine spreads the moments as a fast one.
    lines = victim.log("whole").count("\n")
    pause = victim.seconds / lines
    dice = random.Random(0)
    reached = []
    for number in range(KILLS):
        name = f"random-{number}"
        code = victim.run(name, at=dice.randrange(lines), after=dice.uniform(0, pause))
        assert code in (-signal.SIGKILL, 0)
        finished, before = victim.finished(name), victim.log(name)
        reached.append((code, before.count("\n"), *sorted(finished)))
        assert victim.run(name) == 0
        if code:
            victim.check_end(name, finished, before)
    print(*reached, sep="\n")
    assert sum(code != 0 for code, *_ in reached) > KILLS / 2, reached
    assert len({tuple(finished) for _, _, *finished in reached}) >= 4, reached


@pytest.mark.slow
@pytest.mark.parametrize(
    ("settings", "fault"), [({"freeze_epochs": None}, None), ({}, "little_memory")]
)
def test_a_solved_head_and_halved_batches_killed_at_random_moments(
    victim: Victim, settings: dict[str, object], fault: str | None
) -> None:
    whole = f"whole-{fault}"
    assert victim.run(whole, settings, fault=fault) == 0
    said = victim.log(whole)
    assert ("going on with 4" if fault else "solved by L-BFGS") in said
    dice, ended = random.Random(2), 0
    for number in range(5):
        name = f"{whole}-{number}"
        at = dice.randrange(said.count("\n"))
        ended += victim.run(name, settings, fault=fault, at=at) == -signal.SIGKILL
        assert victim.run(name, settings, fault=fault) == 0
        for file in ("predictions.csv", "split.csv"):
            assert victim.file(name, file) == victim.file(whole, file)
    assert ended >= 3


@pytest.mark.slow
def test_killed_again_and_again(victim: Victim) -> None:
    dice = random.Random(1)
    for _ in range(8):
        said = victim.log("stubborn").count("\n")
        if victim.run("stubborn", at=said + dice.randrange(1, 8)) == 0:
            break
    assert victim.run("stubborn") == 0
    assert victim.file("stubborn", "predictions.csv") == victim.predictions


@pytest.mark.parametrize(("at", "epochs"), [("head 2/2", 1), ("fine-tune 2/2", 3)])
def test_sigterm_saves_and_leaves(victim: Victim, at: str, epochs: int) -> None:
    name = f"term-{at[:4]}"
    assert victim.run(name, at=at, signal=signal.SIGTERM) == 128 + signal.SIGTERM
    before = victim.log(name)
    assert "--resume" in before
    with np.load(victim.runs / name / "checkpoint" / "training.npz") as file:
        facts = json.loads(file["facts"].tobytes())
    assert len(facts["history"]) >= epochs, "an epoch that had ended was not saved"
    finished = victim.finished(name)
    assert victim.run(name) == 0
    victim.check_end(name, finished, before)


def begun(folder: Path, name: str = "a", recipe: str = "seed = 3\n") -> Checkpoint:
    return Checkpoint.start(Run.create(folder, name), recipe)


def test_the_newest_unfinished_run_that_nobody_works_on(tmp_path: Path) -> None:
    checkpoints = [begun(tmp_path, name) for name in "abc"]
    for age, checkpoint in enumerate(checkpoints):
        os.utime(checkpoint.recipe_file, (1e9 - age, 1e9 - age))
    for checkpoint in checkpoints[1:]:
        checkpoint._lock.release()
    found = Checkpoint.find(tmp_path, None)
    assert found is not None
    assert found.run.folder.name == "b", "a is newer, but it is being worked on"
    assert Checkpoint.find(tmp_path, "never") is None


def test_a_part_of_an_experiment_is_not_gone_on_with(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    run = Run.create(tmp_path, "fold")
    start = Checkpoint.start(run, "seed = 3\n", resumable=False)
    for part in (start, Checkpoint.temporary("seed = 3\n")):
        with pytest.raises(Terminated), part as checkpoint:  # noqa: PT012
            checkpoint.keep_training({"a": np.zeros(3)}, {})
            raise Terminated(143)
        assert not checkpoint.folder.exists()
    assert "--resume" not in caplog.text
    assert run.folder.exists()


def test_one_process_at_a_time(tmp_path: Path) -> None:
    with begun(tmp_path), pytest.raises(RunError, match="Another process works on"):
        Checkpoint.find(tmp_path, "a")
    assert Checkpoint.find(tmp_path, "a") is None, "it is finished"


def test_states_in_between_wait_in_memory_until_they_are_needed(tmp_path: Path) -> None:
    checkpoint = begun(tmp_path)
    checkpoint.finish("check")
    with pytest.raises(RuntimeError), checkpoint:  # noqa: PT012
        for epoch in range(200):
            checkpoint.keep_training({"model/x": np.full(3, epoch)}, {"epoch": epoch})
        saved = checkpoint.training()
        assert saved is not None
        assert saved[1]["epoch"] < 199, "200 files in no time"
        raise RuntimeError
    again = Checkpoint.find(tmp_path, "a")
    assert again is not None
    arrays, facts = again.training() or ({}, {})
    assert facts == {"epoch": 199}
    assert arrays["model/x"].tolist() == [199] * 3


@pytest.mark.parametrize("damage", [b"", b"PK", b"not a zip at all"])
def test_a_damaged_state_is_named(tmp_path: Path, damage: bytes) -> None:
    checkpoint = begun(tmp_path)
    checkpoint._training_file.write_bytes(damage)
    with pytest.raises(RunError, match=r"training\.npz is damaged"):
        checkpoint.training()


def test_a_hostile_state_runs_nothing(tmp_path: Path) -> None:
    checkpoint = begun(tmp_path)
    with checkpoint._training_file.open("wb") as file:
        np.savez(file, facts=np.array([print], dtype=object))
    with pytest.raises(RunError, match="damaged"):
        checkpoint.training()


def test_what_a_killed_process_was_writing_is_removed(tmp_path: Path) -> None:
    checkpoint = begun(tmp_path)
    checkpoint._lock.release()
    rests = [tmp_path / "a" / ".model-x1.keras", checkpoint.folder / ".training-y2.npz"]
    for rest in rests:
        rest.write_text("half")
    assert Checkpoint.find(tmp_path, "a")
    assert not any(rest.exists() for rest in rests)


def test_a_run_goes_on_as_it_began(tmp_path: Path) -> None:
    checkpoint = begun(tmp_path, recipe="[train]\nepochs = 4\nfreeze_epochs = 1\n")
    checkpoint.finish("scan")
    checkpoint._lock.release()
    with pytest.raises(RecipeError, match=r"train\.epochs = 4, but 7"):
        tlkit.finetune(output=tmp_path, name="a", resume=True, epochs=7)
    assert Checkpoint.find(tmp_path, "a"), "it is free for the next attempt"


def test_finished_runs_stay_and_unknown_ones_begin(
    run: tlkit.Run, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    files = {path: path.stat().st_mtime_ns for path in run.folder.iterdir()}
    again = tlkit.finetune(output=run.folder.parent, name=run.folder.name, resume=True)
    assert again.folder == run.folder
    assert files == {path: path.stat().st_mtime_ns for path in run.folder.iterdir()}
    assert "finished already" in caplog.text
    with pytest.raises(RecipeError, match="--data"):
        tlkit.finetune(output=tmp_path, name="never", resume=True)


def test_writing_over_a_run_never_mixes_the_two(
    pictures: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    old = tmp_path / "a"
    old.mkdir()
    for name in ("predictions.csv", "metrics.json", "report.html"):
        (old / name).write_text("old")
    with pytest.raises(RunError):
        tlkit.finetune(pictures, output=tmp_path, name="a", **TINY)
    with pytest.raises(RecipeError):
        tlkit.finetune(pictures, output=tmp_path, name="a", exist_ok=True, epochs=1, unfreeze="99")
    assert (old / "predictions.csv").read_text() == "old", "a refused recipe cost the old run"

    def fail(*_: object) -> None:
        raise RuntimeError("no training today")

    monkeypatch.setattr("tlkit.trainer.fit", fail)
    with pytest.raises(RuntimeError):
        tlkit.finetune(pictures, output=tmp_path, name="a", exist_ok=True, **TINY)
    assert {path.name for path in old.iterdir()} == {
        *("checkpoint", "log.txt", "recipe.toml", "split.csv", "skipped.csv")
    }
