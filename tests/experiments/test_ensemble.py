"""An ensemble is the mean of its runs, and claims no more over the best of them than the test."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest

import tlkit
from tests.conftest import make_pictures
from tests.report.synthetic_run import make_run
from tlkit.errors import RecipeError, RunError
from tlkit.evaluation.comparison import compare_runs
from tlkit.experiments.ensemble import ensemble, parse_weights
from tlkit.report.experiments import ensemble_verdict

CLASSES = ["cat", "dog", "fox"]
SPLITS = {"train": 4, "val": 40}


@pytest.fixture
def runs(tmp_path: Path) -> list[tlkit.Run]:
    """Three runs whose mistakes have nothing to do with each other."""
    return [
        make_run(tmp_path, CLASSES, SPLITS, pictures=False, seed=seed, name=f"run{seed}", skill=1.6)
        for seed in range(3)
    ]


def test_its_predictions_are_the_weighted_mean(tmp_path: Path, runs: list[tlkit.Run]) -> None:
    found = ensemble(runs, [2, 1, 1], output=tmp_path, name="mean")
    columns = [f"p_{name}" for name in CLASSES]
    said = [run.predictions[columns].to_numpy() for run in runs]
    mean = 0.5 * said[0] + 0.25 * said[1] + 0.25 * said[2]
    np.testing.assert_allclose(found.predictions[columns], mean, atol=1e-6)
    assert found.predictions["predicted"].tolist() == [CLASSES[i] for i in mean.argmax(axis=1)]
    assert found.split.equals(runs[0].split)
    assert [share for _, share in found.members] == [0.5, 0.25, 0.25]


def test_it_says_what_the_paired_test_says(tmp_path: Path, runs: list[tlkit.Run]) -> None:
    found = ensemble(runs, output=tmp_path, name="mean")
    facts = found.metrics["ensemble"]
    singles = compare_runs([run.folder for run in runs])
    assert facts["best"] == singles.names[0]
    best = singles.rows[0]["folder"]
    (pair,) = compare_runs([found.folder, best]).pairs
    assert facts["against_best"]["p_value"] == pair.p_value
    assert pair.first == "mean", "independent mistakes are fewer in the mean"
    assert facts["against_best"]["distinguishable"]
    assert pair.distinguishable
    says = ensemble_verdict(facts)
    assert "better than the best single run" in says
    assert f"by {100 * pair.difference:.1f} points" in says
    page = found.report.read_text()
    assert ensemble_verdict(facts) in page
    assert 'id="ensemble"' in page
    assert 'id="ensemble"' not in tlkit.report.render_run(runs[0]).read_text()


def test_no_better_is_said_to_be_no_better(tmp_path: Path, runs: list[tlkit.Run]) -> None:
    shutil.copytree(runs[0].folder, tmp_path / "runs" / "copy")
    found = ensemble([runs[0], tmp_path / "runs" / "copy"], output=tmp_path, name="mean")
    says = ensemble_verdict(found.metrics["ensemble"])
    assert "cannot be told apart" in says
    assert "0 of 120 pictures gained, 0 lost" in says


def test_other_classes_and_other_splits_are_refused(tmp_path: Path, runs: list[tlkit.Run]) -> None:
    other = make_run(tmp_path, ["cat", "dog"], SPLITS, pictures=False, name="two classes")
    with pytest.raises(RunError, match=r"two classes knows the classes cat, dog, but.*fox"):
        ensemble([runs[0], other], output=tmp_path / "none")
    moved = runs[1].split
    moved.loc[0, "split"] = "val"
    runs[1].write_table("split", moved)
    with pytest.raises(RunError, match=r"differ in 2 rows of split\.csv"):
        ensemble(runs, output=tmp_path / "none")
    with pytest.raises(RunError, match="two runs or more"):
        ensemble(runs[:1], output=tmp_path / "none")
    assert not (tmp_path / "none").exists(), "nothing is left of what was refused"


def test_it_is_not_written_over_its_own_runs(tmp_path: Path, runs: list[tlkit.Run]) -> None:
    output = runs[0].folder.parent
    mean = ensemble(runs[:2], output=output, name="mean")
    for members, name in ((runs, "run1"), ([mean, runs[2]], "run0"), ([mean, runs[2]], "mean")):
        with pytest.raises(RunError, match="is one of the runs to average"):
            ensemble(members, output=output, name=name, exist_ok=True)
    assert len(mean.predictions), "nothing was removed"


@pytest.mark.parametrize("weights", [[1, 2], [1, 0, 1], [1, -1, 1], [1, float("nan"), 1]])
def test_bad_weights_are_refused(
    tmp_path: Path, runs: list[tlkit.Run], weights: list[float]
) -> None:
    with pytest.raises(RecipeError, match="a positive number for each of the 3 runs"):
        ensemble(runs, weights, output=tmp_path / "none")


def test_weights_from_the_terminal() -> None:
    assert parse_weights("2,1, 0.5") == [2, 1, 0.5]
    assert parse_weights(None) is None
    with pytest.raises(RecipeError, match="2,1,1; got 'a,b'"):
        parse_weights("a,b")


@pytest.mark.slow
def test_an_ensemble_answers_like_any_run(run: tlkit.Run, pictures: Path, tmp_path: Path) -> None:
    other = tmp_path / "other"
    shutil.copytree(run.folder, other)
    # Another network of the same split: its answers turned round by way of its last layer.
    from tlkit.classifier import load_classifier

    changed = load_classifier(other / "model.keras")
    layer = changed.model.get_layer("head_logits")
    layer.set_weights([-2 * weight for weight in layer.get_weights()])
    changed.save(other / "model.keras")
    both = ensemble([run, other], [3, 1], output=tmp_path, name="both")
    columns = ["p_blue", "p_red"]
    said = [tlkit.predict(one, [pictures])[columns].to_numpy() for one in (run, other, both)]
    np.testing.assert_allclose(said[2], 0.75 * said[0] + 0.25 * said[1], atol=1e-6)
    assert np.abs(said[0] - said[1]).max() > 0.5
    new = make_pictures(tmp_path / "new", per_class=2)
    scored = tlkit.evaluate(both, new)
    assert scored.metrics["splits"]["test"]["images"] == 4
    with pytest.raises(RunError, match="has no network of its own"):
        tlkit.inference.explain(both, [pictures])
    with pytest.raises(RunError, match="has no network of its own"):
        tlkit.export_run(both, "onnx")
    shutil.rmtree(other)
    with pytest.raises(RunError, match=r"No such run folder: .*other"):
        tlkit.predict(both, [pictures])
