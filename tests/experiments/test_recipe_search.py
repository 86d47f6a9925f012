"""A search: ranges are checked, trials share a split, a stopped one goes on, the best is kept."""

from __future__ import annotations

import tomllib
from pathlib import Path
from types import SimpleNamespace

import pandas as pd
import pytest

import tlkit
from tlkit.errors import RecipeError, RunError, TrainingError
from tlkit.experiments.search import Objective, search, with_values
from tlkit.experiments.search_space import check_space
from tlkit.recipe import load_recipe
from tlkit.report.search import trials_table, verdict

pytest.importorskip("optuna")
RECIPE = """
[data]
img_size = 64
[train]
batch_size = 8
[search]
"train.head_lr" = {low = 1e-6, high = 0.1, log = true}
train.freeze_epochs = {low = 1, high = 3}
head.dropout = [0.0, 0.3]
"""


@pytest.fixture
def recipe(tmp_path: Path) -> Path:
    file = tmp_path / "wide.toml"
    file.write_text(RECIPE)
    return file


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> list[dict[str, object]]:
    """No training: the loss follows from the rate, as if 1e-2 were the best."""
    tried: list[dict[str, object]] = []

    def train(self: Objective, drawn: dict[str, object], trial: object) -> tuple[float, float]:
        tried.append(drawn)
        if drawn["train.freeze_epochs"] == 2:
            raise TrainingError("The loss became nan.")
        return abs(float(str(drawn["train.head_lr"])) - 1e-2), 0.9

    monkeypatch.setattr(Objective, "_train", train)
    return tried


@pytest.mark.slow
def test_trials_and_their_best(recipe: Path, pictures: Path, tmp_path: Path) -> None:
    found = search(recipe, pictures, 2, output=tmp_path, name="s")
    assert len(found.trials) == 2
    assert found.trials["loss"].dropna().is_monotonic_increasing
    assert found.images == 5
    best = load_recipe(found.best)
    assert best.train.head_lr == pytest.approx(found.trials["train.head_lr"][0])
    again = tlkit.finetune(recipe=found.best, output=tmp_path, name="again", insight=False)
    val = again.metrics["splits"]["val"]
    assert val["accuracy"] == found.trials["accuracy"][0]
    assert val["loss"] == pytest.approx(found.trials["loss"][0], abs=2e-3)
    page = (found.folder / "report.html").read_text()
    assert verdict(found.trials) in page
    assert page.count("<tr") == 1 + 2
    table = pd.read_csv(found.folder / "trials.csv")
    assert table["trial"].tolist() == found.trials["trial"].tolist()
    assert {path.name for path in found.folder.iterdir()} == {
        *("search.db", "trials.csv", "best.toml", "report.html", "log.txt")
    }


def test_a_stopped_search_goes_on(
    recipe: Path, pictures: Path, tmp_path: Path, quick: list[dict[str, object]]
) -> None:
    first = search(recipe, pictures, 6, output=tmp_path, name="s")
    failed = (first.trials["state"] == "failed").sum()
    assert 0 < failed < 6, "a recipe that cannot be trained ends its trial, not the search"
    both = search(recipe, pictures, 20, output=tmp_path, name="s", resume=True)
    assert len(both.trials) == len(quick) == 20
    assert both.trials["trial"].nunique() == 20
    assert both.trials["loss"][0] <= first.trials["loss"][0]
    text = trials_table(both.trials, sorted(both.space))
    assert text.splitlines()[-1] == verdict(both.trials)
    assert f"and {len(both.trials) - 10} more" in text
    with pytest.raises(RecipeError, match="began with another recipe"):
        search(recipe, pictures, 20, output=tmp_path, name="s", resume=True, seed=7)
    with pytest.raises(RunError, match="no search to go on with"):
        search(recipe, pictures, 20, output=tmp_path, name="t", resume=True)
    with pytest.raises(RunError, match="exists already"):
        search(recipe, pictures, 20, output=tmp_path, name="s")


def test_a_search_in_which_nothing_trains_says_why(
    recipe: Path, pictures: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fails(*arguments: object) -> None:
        raise TrainingError("The loss became nan.")

    monkeypatch.setattr(Objective, "_train", fails)
    with pytest.raises(RunError, match="No recipe of the search can be trained: The loss became"):
        search(recipe, pictures, 3, output=tmp_path, name="s")


@pytest.mark.parametrize(
    ("table", "says"),
    [
        ({"train.leanring": [1, 2]}, "unknown key 'train.leanring'"),
        ({"train": {"head_lrr": {"low": 1, "high": 2}}}, "Did you mean 'train.head_lr'"),
        ({"seed": [1, 2]}, "seed must not vary"),
        ({"data.val_split": {"low": 0.1, "high": 0.5}}, "data.val_split must not vary"),
        ({"train.lr": {"low": 1e-2, "high": 1e-3}}, "low must be below high"),
        ({"train.lr": {"low": 0.0, "high": 1.0, "log": True}}, "low must be above 0"),
        ({"train.lr": 0.1}, "neither a range"),
        ({"train.epochs": {"low": 1, "high": 4, "step": 2}}, "step must lead from low to high"),
        ({"train.optimizer": ["adam"]}, "two or more different values"),
        ({"train.lr": {"low": 0.1}}, "neither a range"),
    ],
)
def test_bad_ranges_are_named(table: dict[str, object], says: str) -> None:
    with pytest.raises(RecipeError, match=says):
        check_space(table)


def test_a_recipe_without_ranges_or_validation_is_refused(
    recipe: Path, pictures: Path, tmp_path: Path
) -> None:
    with pytest.raises(RecipeError, match="judges its trials on validation images"):
        search(recipe, pictures, 3, output=tmp_path, val_split=0.0)
    recipe.write_text("seed = 1\n")
    with pytest.raises(RecipeError, match=r"has no \[search\] table"):
        search(recipe, pictures, 3, output=tmp_path)
    assert not list(tmp_path.glob("20*"))


def test_a_drawn_value_is_checked_like_a_written_one(pictures: Path) -> None:
    base = load_recipe(None, data=pictures)
    drawn = with_values(base, {"train.optimizer": "sgd", "train.head_lr": 0.5})
    assert (drawn.train.optimizer, drawn.train.head_lr) == ("sgd", 0.5)
    assert tomllib.loads(drawn.to_toml())["train"]["head_lr"] == 0.5
    with pytest.raises(RecipeError, match=r"train\.optimizer"):
        with_values(base, {"train.optimizer": "best"})


def test_a_bad_trial_is_cut_short() -> None:
    from tlkit.experiments.pruning import Pruning

    reported: list[tuple[float, int]] = []
    trial = SimpleNamespace(
        report=lambda value, step: reported.append((value, step)),
        should_prune=lambda: reported[-1][0] > 1,
    )
    pruning = Pruning(trial)
    model = SimpleNamespace(optimizer=None, stop_training=False)
    pruning.set_model(model)
    pruning.on_epoch_end(0, {"val_loss": 9.0})
    assert not reported, "a solved head has no epochs"
    model.optimizer = object()
    for epoch, loss in enumerate([0.5, float("nan"), 2.0]):
        assert not pruning.pruned
        pruning.on_epoch_end(epoch, {"val_loss": loss})
    assert reported == [(0.5, 1), (2.0, 3)]
    assert pruning.pruned
    assert model.stop_training
    model.stop_training = False
    pruning.on_train_batch_end(0)
    assert model.stop_training, "a later phase ends at once"
