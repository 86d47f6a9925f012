from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from tlkit.errors import RunError
from tlkit.runs import Run


def test_a_taken_name_is_refused_unless_it_may_exist(tmp_path: Path) -> None:
    Run.create(tmp_path, "a")
    with pytest.raises(RunError, match="--exist-ok"):
        Run.create(tmp_path, "a")
    assert Run.create(tmp_path, "a", exist_ok=True).folder == tmp_path / "a"


def test_two_runs_in_one_second_get_two_folders(tmp_path: Path) -> None:
    folders = {Run.create(tmp_path).folder for _ in range(3)}
    assert len(folders) == 3


@pytest.mark.parametrize("name", ["../evil", "a/b", "", "..", "."])
def test_a_name_is_a_plain_folder_name(tmp_path: Path, name: str) -> None:
    with pytest.raises(RunError, match="plain folder name"):
        Run.create(tmp_path, name)


def test_tables_come_back_as_they_were(tmp_path: Path) -> None:
    run = Run(tmp_path)
    p = np.float32([1 / 3, 2 / 3])
    names = {"path": ["a", "b"], "label": ["NA", "007"], "predicted": ["007", "NA"]}
    table = pd.DataFrame(
        {**names, "split": "val", "confidence": p, "loss": [0.5, 0.25], "p_007": p}
    )
    run.write_table("predictions", table)
    back = run.predictions
    assert back["label"].tolist() == ["NA", "007"]
    assert (back["p_007"].astype(np.float32) == p).all()


def test_not_a_run_folder(tmp_path: Path) -> None:
    with pytest.raises(RunError, match="not a run folder"):
        Run.open(tmp_path)
    with pytest.raises(RunError, match="did not finish"):
        _ = Run(tmp_path).metrics


def test_what_has_no_network_of_its_own_says_what_has_one(tmp_path: Path) -> None:
    one, both, crossed = (Run.create(tmp_path, name) for name in ("one", "both", "crossed"))
    one.write_text(one.recipe_file, "seed = 0\n")
    both.write_text(both.ensemble_file, 'runs = ["../one"]\nshares = [1.0]\n')
    (crossed.folder / "folds").mkdir()
    for run, says in (
        (both, r"an ensemble .* one of its runs: .*one\."),
        (crossed, r"a cross-validation.*`tlkit finetune .*recipe\.toml`"),
        (one, r"model\.keras is missing: the run did not finish"),
    ):
        for ask in (lambda: run.network, lambda: run.model):  # noqa: B023  called at once
            with pytest.raises(RunError, match=says):
                ask()
    one.model_file.write_text("a network")
    assert one.network == one.model_file


def test_results_of_an_earlier_model_go_with_it(tmp_path: Path) -> None:
    run = Run(tmp_path)
    (run.exports / "onnx").mkdir(parents=True)
    (run.exports / "onnx" / "model.onnx").write_text("old")
    for name in ("folds/1", "evaluations/new"):
        (tmp_path / name).mkdir(parents=True)
    run.write_explanations({})
    run.ensemble_file.write_text('runs = ["../gone"]\nshares = [1.0]\n')
    run.model_file.write_text("old")
    run.log_file.write_text("kept")
    run.remove_results()
    assert list(tmp_path.iterdir()) == [run.log_file]
    assert run.members == [(run, 1.0)], "it answers for itself again"


def test_what_was_meant_is_said_where_no_run_is(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    one = Run.create(Path("runs"), "cats")
    one.write_text(one.recipe_file, "")
    one.write_text(one.model_file, "")
    begun = Run.create(Path("runs"), "begun")
    (begun.folder / "checkpoint").mkdir()
    for path, says in (
        ("runs/dogs", "No such run folder: runs/dogs"),
        ("cats", "Did you mean runs/cats?"),
        ("runs", "is not a run folder, but holds 1: name one, such as runs/cats"),
        ("runs/cats/model.keras", "is a file; a run is a folder. Did you mean runs/cats?"),
        ("runs/begun", "--resume --output runs --name begun"),
    ):
        with pytest.raises(RunError) as error:
            Run.open(path)
        assert says in str(error.value)
    assert repr(Run.open("runs/cats")) == "Run('runs/cats')"
