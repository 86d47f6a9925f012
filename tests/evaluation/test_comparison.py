"""Runs side by side: the right images, the right test, and no difference that chance explains."""

import numpy as np
import pandas as pd
import pytest
from scipy.stats import binom
from sklearn.metrics import f1_score

from tlkit.errors import DataError, RunError
from tlkit.evaluation.comparison import _pair, compare_runs
from tlkit.evaluation.metrics import score
from tlkit.evaluation.predictions_table import predictions_table
from tlkit.labels import join_labels, multi_hot
from tlkit.runs import Run

CLASSES = ["cat", "dog"]


def make_run(
    folder,
    name,
    right,
    splits=None,
    labels=None,
    classes=CLASSES,
    prefix="",
    evaluation_of=None,
):
    """A finished run without pictures. `right`: bool per image; the sha256 is the number."""
    count = len(right)
    labels = labels or [classes[i % 2] for i in range(count)]
    samples = pd.DataFrame(
        {
            "path": [f"{prefix}{i:03}.jpg" for i in range(count)],
            "label": labels,
            "split": splits or ["val"] * count,
            "sha256": [f"{i:064}" for i in range(count)],
        }
    )
    p = np.full((count, len(classes)), 0.2 / (len(classes) - 1), np.float32)
    truth = np.array([classes.index(label) for label in labels])
    p[np.arange(count), np.where(right, truth, 1 - truth)] = 0.8
    if evaluation_of is not None:
        run = Run.create(evaluation_of.folder / "evaluations", name)
    else:
        run = Run.create(folder, name)
        run.write_text(run.recipe_file, "")
    predictions = predictions_table(samples, p, classes)
    run.write_table("split", samples[["path", "label", "split", "sha256"]])
    run.write_table("predictions", predictions)
    run.write_metrics(score(predictions, classes) | {"model": {"backbone": name, "parameters": 7}})
    return run


def answers(count, wrong=()):
    right = np.ones(count, dtype=bool)
    right[list(wrong)] = False
    return right


def test_the_leaderboard_and_the_exact_test(tmp_path):
    a = make_run(tmp_path, "a", answers(60, range(20, 40)))
    b = make_run(tmp_path, "b", answers(60, range(38, 48)), prefix="moved/")
    found = compare_runs([a.folder, b.folder])
    assert found.names == ["b", "a"]
    assert [row["scores"]["correct"] for row in found.rows] == [50, 40]
    (pair,) = found.pairs
    assert (pair.only_first, pair.only_second, pair.images) == (18, 8, 60)
    # McNemar's exact test is a sign test on the flips: twice the smaller tail of Bin(26, 1/2).
    assert pair.p_value == pytest.approx(2 * binom.cdf(8, 26, 0.5))
    assert not pair.distinguishable
    assert pair.difference == pytest.approx(10 / 60)
    low, high = pair.difference_interval
    assert low < 10 / 60 < high
    assert pair.f1_interval[0] < pair.f1_difference < pair.f1_interval[1]
    assert found.split == "val"
    assert found.remarks == []


def test_flipped_images_come_with_both_answers(tmp_path):
    a = make_run(tmp_path, "a", answers(20, [3]))
    b = make_run(tmp_path, "b", answers(20, [3, 5, 6]))
    found = compare_runs([a.folder, b.folder])
    only_a, only_b = found.flipped(found.pairs[0])
    assert only_a["path"].tolist() == ["005.jpg", "006.jpg"]
    assert only_a["first"].tolist() == only_a["label"].tolist() == ["dog", "cat"]
    assert only_a["second"].tolist() == ["cat", "dog"]
    assert not len(only_b)


def test_a_clear_difference_is_one_and_equal_runs_are_not(tmp_path):
    good = make_run(tmp_path, "good", answers(100, [1]))
    twin = make_run(tmp_path, "twin", answers(100, [1]))
    bad = make_run(tmp_path, "bad", answers(100, range(30)))
    found = compare_runs([bad.folder, good.folder, twin.folder])
    assert found.names[2] == "bad"
    verdicts = {(p.first, p.second): p.distinguishable for p in found.pairs}
    assert verdicts == {("good", "twin"): False, ("good", "bad"): True, ("twin", "bad"): True}
    assert [pair.second for pair in found.against_best()] == ["twin", "bad"]
    same = found.pairs[0]
    assert (same.p_value, same.difference) == (1, 0)
    low, high = same.difference_interval
    assert -0.04 < low < 0 < high < 0.04, "100 images without a flip do not prove that none is"


def test_many_pairs_ask_for_more_than_one(tmp_path):
    """Holm 1979: 7 flips to 0 is p = 0.016 for two runs, and nothing among four."""
    runs = [make_run(tmp_path, "best", answers(50))]
    runs += [make_run(tmp_path, f"run{i}", answers(50, range(i, i + 7))) for i in range(3)]
    assert compare_runs([r.folder for r in runs[:2]]).pairs[0].distinguishable
    four = compare_runs([r.folder for r in runs])
    assert four.pairs[0].p_value == pytest.approx(6 * 2 * 0.5**7)
    assert not any(pair.distinguishable for pair in four.pairs)


def test_images_that_a_run_learned_from_are_left_out(tmp_path):
    half = ["train"] * 10 + ["val"] * 10
    a = make_run(tmp_path, "a", answers(20), half)
    b = make_run(tmp_path, "b", answers(20), ["train"] * 4 + ["val"] * 10 + ["train"] * 6)
    found = compare_runs([a.folder, b.folder])
    assert sorted(found.images["sha256"]) == [f"{i:064}" for i in range(10, 14)]
    assert any("6 images" in r and "a learned" in r for r in found.remarks)
    assert any("6 images" in r and "b learned" in r for r in found.remarks)
    c = make_run(tmp_path, "c", answers(20), half[::-1])
    with pytest.raises(DataError, match="share no image"):
        compare_runs([a.folder, c.folder])


def test_a_common_test_set_is_preferred(tmp_path):
    splits = ["val"] * 10 + ["test"] * 5
    runs = [make_run(tmp_path, name, answers(15), splits) for name in "ab"]
    found = compare_runs([run.folder for run in runs])
    assert (found.split, len(found.images)) == ("test", 5)
    assert "10 images of validation left out" in found.remarks[0]


def test_evaluations_can_be_compared_and_remember_the_training(tmp_path):
    runs = [make_run(tmp_path, name, answers(6), ["train"] * 3 + ["val"] * 3) for name in "ab"]
    new = [
        make_run(tmp_path, "new", answers(9, [8]), ["test"] * 9, evaluation_of=run) for run in runs
    ]
    found = compare_runs([run.folder for run in new])
    assert found.names == ["a/evaluations/new", "b/evaluations/new"]
    assert len(found.images) == 6


def test_other_labels_and_unknown_classes_are_left_out(tmp_path):
    a = make_run(tmp_path, "a", answers(4), labels=["cat", "cat", "dog", "eel"],
                 classes=["cat", "dog", "eel"])  # fmt: skip
    b = make_run(tmp_path, "b", answers(4), labels=["cat", "dog", "dog", "dog"])
    found = compare_runs([a.folder, b.folder])
    assert len(found.images) == 2
    assert "2 images labelled differently" in found.remarks[0]


def test_what_cannot_be_compared_is_an_error(tmp_path):
    a = make_run(tmp_path, "a", answers(4))
    with pytest.raises(DataError, match="two or more"):
        compare_runs([a.folder, a.folder])
    with pytest.raises(DataError, match="two or more"):
        compare_runs([a.folder])
    with pytest.raises(RunError, match="not a run folder"):
        compare_runs([a.folder, tmp_path])


def test_of_several_labels_every_class_counts_once_not_every_combination():
    random = np.random.default_rng(0)
    names = ["a", "b", "c"]
    truth, one, two = random.integers(2, size=(3, 40, 3)) > 0
    cells = [[join_labels(np.array(names)[row]) for row in column] for column in (truth, one, two)]
    columns = ("label", "predicted x", "predicted y")
    images = pd.DataFrame(dict(zip(columns, cells, strict=True)))
    pair = _pair(images, "x", "y", multi_label=True)
    expected = [f1_score(truth, answer, average="macro") for answer in (one, two)]
    assert pair.f1_difference == pytest.approx(expected[0] - expected[1])
    assert (multi_hot(cells[0], names) > 0).tolist() == truth.tolist()
    assert pair.f1_interval[0] < pair.f1_difference < pair.f1_interval[1]
