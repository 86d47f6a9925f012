"""The audit finds flipped labels, the curve rises where data helps, shortcuts show as baselines."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from flipped_labels import make_mosaics, measure, measure_decisions
from PIL import Image
from scipy.stats import multivariate_normal
from sklearn.linear_model import LogisticRegression

import tlkit
from tlkit import solver
from tlkit.evaluation import audit, probe
from tlkit.evaluation.baselines import baselines
from tlkit.evaluation.curve import SHARES, data_curve
from tlkit.evaluation.probe import (
    DIRECTIONS,
    DISCRIMINANT,
    LOGISTIC,
    MOST_LEARNED_FROM,
    MOST_SCORES,
    WIDENING,
    directions,
    head_for,
    out_of_fold,
    probabilities,
)

CLASSES = ["a", "b", "c"]


def make_features(images: int, apart: float, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Three clouds in 200 directions."""
    rng = np.random.default_rng(seed)
    labels = np.arange(images) % 3
    centres = rng.normal(size=(3, 200))
    noise = rng.normal(size=(images, 200))
    return (apart * centres[labels] + noise).astype(np.float32), labels


def as_samples(labels: np.ndarray) -> pd.DataFrame:
    return pd.DataFrame(
        {
            "path": [f"{i:04}.jpg" for i in range(len(labels))],
            "split": "train",
            "label": np.array(CLASSES)[labels],
        }
    )


def test_audit_finds_the_flipped_labels() -> None:
    rows, truth = make_features(600, apart=0.5)
    flipped = np.random.default_rng(1).choice(600, 30, replace=False)
    labels = truth.copy()
    labels[flipped] = (labels[flipped] + 1) % 3
    p = out_of_fold(directions([rows]), labels, 3)
    found = audit.doubtful(as_samples(labels), p, CLASSES)
    places = found["path"].str[:4].astype(int)
    hits = places.isin(flipped)
    assert hits.sum() >= 27
    assert hits.mean() > 0.8
    right = found[hits.to_numpy()]
    assert (right["suggested"] == np.array(CLASSES)[truth[places[hits]]]).mean() > 0.9
    assert audit.doubtful(as_samples(labels), p, CLASSES).equals(found)


def test_audit_lists_no_more_than_asked_and_nothing_confirmed() -> None:
    p = np.tile([0.2, 0.7, 0.1], (4, 1)) + np.arange(4)[:, None] * np.array([-0.01, 0.01, 0])
    p = np.concatenate([p, np.tile([0.9, 0.05, 0.05], (4, 1))])
    table = audit.doubtful(as_samples(np.zeros(8, int)), p, CLASSES)
    assert table["path"].tolist() == ["0003.jpg", "0002.jpg", "0001.jpg", "0000.jpg"]
    facts = audit.facts(table, 8, reviewed=["0003.jpg"], most=2)
    assert facts["doubtful"] == 3
    assert [row["path"] for row in facts["list"]] == ["0002.jpg", "0001.jpg"]


def make_several(images: int, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Each class shifts a picture by a direction of its own; "c" is rare."""
    rng = np.random.default_rng(seed)
    shown = (rng.random((images, 3)) < [0.5, 0.4, 0.08]).astype(np.int64)
    rows = 2.5 * shown @ rng.normal(size=(3, 64)) + rng.normal(size=(images, 64))
    return rows.astype(np.float32), shown


def test_audit_finds_flipped_decisions_where_an_image_has_several_classes() -> None:
    rows, truth = make_several(500)
    flipped = np.random.default_rng(1).random(truth.shape) < 0.05
    labels = np.where(flipped, 1 - truth, truth)
    p = out_of_fold(directions([rows]), labels, 3)
    assert p.shape == truth.shape
    samples = as_samples(np.zeros(500, int))
    found = audit.doubtful_decisions(samples, labels, p, CLASSES)
    places = found["path"].str[:4].astype(int), found["class"].map(CLASSES.index)
    hits = flipped[places]
    assert hits.sum() >= 0.9 * flipped.sum()
    assert hits.mean() > 0.8
    assert hits[found["very"]].mean() > 0.9
    assert (labels[places] == found["labelled"]).all()
    assert {True, False} == set(found["labelled"])
    assert (found["p_label"] + found["p_suggested"]).round(9).eq(1).all()
    assert found["very"].is_monotonic_decreasing
    facts = audit.facts(found, 500)
    assert facts["doubtful"] == len(found)
    assert set(facts["list"][0]) == {
        *("path", "split", "class", "labelled", "p_label", "p_suggested", "very")
    }


def test_the_curve_of_several_classes_asks_for_all_of_them() -> None:
    rows, labels = make_several(600)
    labels[:, 2] = 0  # a class that nothing shows is no mistake
    train, held_out = np.arange(400), np.arange(400, 600)
    found = data_curve(rows, labels, train, held_out, 3)
    assert found is not None
    each = [probabilities(rows[:400], own, rows[400:], 2)[:, 1] > 0.5 for own in labels[:400].T]
    right = (np.stack(each, axis=1) == labels[400:]).all(axis=1)
    assert found["points"][-1]["accuracy"] == right.mean() > 0.8
    assert found["points"][0]["images"] == pytest.approx(40, abs=2)


def test_out_of_fold_never_asks_a_head_about_what_it_learned() -> None:
    rng = np.random.default_rng(0)
    rows, labels = rng.normal(size=(300, 64)).astype(np.float32), rng.integers(0, 3, 300)
    accuracy = (out_of_fold(rows, labels, 3).argmax(axis=1) == labels).mean()
    assert accuracy < 0.45  # chance, while the same rows would be learned by heart


def test_iterations_are_for_as_many_classes_as_they_can_do() -> None:
    most = MOST_SCORES // MOST_LEARNED_FROM
    assert head_for(500, np.arange(500) % 2) == LOGISTIC
    assert head_for(10**6, np.arange(10**4) % most) == LOGISTIC  # no more than 8,000 are learned
    assert head_for(10**6, np.arange(10**4) % (most + 1)) == DISCRIMINANT
    assert head_for(4000, np.arange(4000) % 2000) == DISCRIMINANT
    assert head_for(4000, np.zeros((4000, 2000), np.int64)) == LOGISTIC, "a head for each class"


def test_the_discriminant_is_the_posterior_of_normal_clouds() -> None:
    rng = np.random.default_rng(0)
    labels = np.repeat([0, 1, 3], [40, 10, 1])  # nothing of class 2, one of class 3
    rows = (rng.normal(size=(51, 5)) * [1, 2, 3, 4, 0] + labels[:, None]).astype(np.float32)
    rows[:, 4] = 7  # never varies
    others = rows[::4] + 0.5
    p = probabilities(rows, labels, others, 4, head=DISCRIMINANT)
    inside = sum((n - 1) * np.cov(rows[labels == c].T) for c, n in [(0, 40), (1, 10)])
    middle, weight = rows.mean(axis=0), solver.PRIOR
    covariance = inside + weight * np.cov(rows.T, ddof=0)
    covariance *= WIDENING / (51 - 3 + weight)
    covariance += 1e-3 * np.trace(covariance) / 5 * np.eye(5)
    density = np.zeros((len(others), 4))
    for c, n in [(0, 40), (1, 10), (3, 1)]:
        mean = (rows[labels == c].sum(axis=0) + middle) / (n + 1)
        density[:, c] = n * multivariate_normal.pdf(others, mean, covariance)
    np.testing.assert_allclose(p, density / density.sum(axis=1, keepdims=True), rtol=1e-3)
    assert (p[:, 2] == 0).all()


def test_a_thousand_classes_are_asked_without_iterations(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delattr(solver, "regression")
    rng = np.random.default_rng(0)
    truth = np.repeat(np.arange(1000), 3)
    rows = (rng.normal(size=(1000, 64))[truth] + rng.normal(0, 0.8, (3000, 64))).astype(np.float32)
    flipped = np.arange(0, 3000, 60)
    labels = truth.copy()
    labels[flipped] = (labels[flipped] + 500) % 1000
    names = [f"{c:04}" for c in range(1000)]
    table = pd.DataFrame(
        {
            "path": [f"{i:04}" for i in range(3000)],
            "split": "train",
            "label": np.take(names, labels),
        }
    )
    p = out_of_fold(rows, labels, 1000)
    assert (p.argmax(axis=1) == truth).mean() > 0.9
    doubtful = audit.doubtful(table, p, names)
    assert set(flipped) <= set(doubtful["path"].astype(int))
    very = doubtful.loc[doubtful["very"], "path"].astype(int)
    assert very.isin(flipped).sum() >= 0.6 * len(flipped)
    train, held_out = np.flatnonzero(np.arange(3000) % 3 < 2), np.arange(2, 3000, 3)
    curve = data_curve(rows, truth, train, held_out, 1000)
    assert curve is not None
    assert curve["head"] == DISCRIMINANT
    assert curve["points"][-1]["accuracy"] > curve["points"][0]["accuracy"] + 0.005
    facts = pd.DataFrame({"width": truth + 10, "height": 20, "format": "PNG"})
    monkeypatch.setattr(
        "tlkit.evaluation.baselines._colour", lambda *_: rng.normal(size=(len(held_out) * 3, 6))
    )
    found = {row["rule"]: row for row in baselines(rows, facts, truth, train, held_out, tmp_path)}
    assert {rule for rule, row in found.items() if row.get("head")} == {"size", "colour"}
    assert found["colour"]["accuracy"] < 0.02


def test_few_classes_are_asked_as_ever(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr(probe, "_discriminant")
    rows, labels = make_features(500, apart=0.3)
    learned, held_out = np.arange(400), np.arange(400, 500)
    model = LogisticRegression(C=probe.STRENGTH, max_iter=100).fit(rows[:400], labels[:400])
    answer = probabilities(rows[:400], labels[:400], rows[400:], 3)
    np.testing.assert_allclose(answer, model.predict_proba(rows[400:]), atol=1e-6)
    curve = data_curve(rows, labels, learned, held_out, 3)
    assert curve is not None
    assert "head" not in curve
    assert curve["points"][-1]["accuracy"] == (answer.argmax(axis=1) == labels[400:]).mean()


def test_directions_of_parts_are_those_of_the_whole() -> None:
    rows, _ = make_features(200, apart=1)
    assert directions([rows[:150], rows[150:]]).shape == (200, DIRECTIONS)
    assert np.array_equal(directions([rows]), directions([rows]))


def test_curve_rises_with_data_and_its_intervals_hold_it() -> None:
    rows, labels = make_features(900, apart=0.12)
    found = data_curve(rows, labels, np.arange(600), np.arange(600, 900), 3)
    assert found is not None
    accuracies = [point["accuracy"] for point in found["points"]]
    assert [point["share"] for point in found["points"]] == list(SHARES)
    assert [point["images"] for point in found["points"]] == [60, 150, 300, 600]
    assert accuracies[-1] > accuracies[0] + 0.05
    for point in found["points"]:
        assert 0 <= point["interval"][0] < point["accuracy"] < point["interval"][1] <= 1
    assert found["gain_interval"][0] < found["gain"] < found["gain_interval"][1]
    assert data_curve(rows, labels, np.arange(600), np.arange(0), 3) is None


def test_a_few_pictures_without_a_difference_prove_nothing() -> None:
    rows, labels = make_features(70, apart=5)
    few = data_curve(rows, labels, np.arange(60), np.arange(60, 70), 3)
    assert few is not None
    assert few["gain"] == 0
    low, high = few["gain_interval"]
    assert low == -high
    assert high > 0.15


def test_a_share_that_draws_no_fewer_images_is_no_point_of_its_own() -> None:
    rows, labels = make_features(30, apart=0.5)
    few = data_curve(rows, labels, np.arange(6), np.arange(6, 30), 3)
    assert few is not None
    assert [(point["share"], point["images"]) for point in few["points"]] == [(0.5, 3), (1.0, 6)]
    assert data_curve(rows, labels, np.arange(3), np.arange(6, 30), 3) is None


def make_shortcut(root: Path) -> pd.DataFrame:
    """Noise in two classes: their colour tells them apart, nothing else does."""
    rng = np.random.default_rng(0)
    rows = []
    for i in range(60):
        colour = (180, 60, 60) if i % 2 else (60, 60, 180)
        Image.fromarray(rng.normal(colour, 30, (40, 40, 3)).clip(0, 255).astype(np.uint8)).save(
            root / f"{i:02}.png"
        )
        rows.append((f"{i:02}.png", 40, 40, "PNG"))
    return pd.DataFrame(rows, columns=["path", "width", "height", "format"])


def test_baselines_show_a_shortcut(tmp_path: Path) -> None:
    samples = make_shortcut(tmp_path)
    rows = np.random.default_rng(1).normal(size=(60, 64)).astype(np.float32)
    train, held_out = np.arange(40), np.arange(40, 60)
    found = baselines(rows, samples, np.arange(60) % 2, train, held_out, tmp_path)
    accuracy = {row["rule"]: row["accuracy"] for row in found}
    assert list(accuracy) == ["majority", "size", "colour", "neighbour"]
    assert accuracy["colour"] == 1
    assert accuracy["majority"] == accuracy["size"] == 0.5
    assert accuracy["neighbour"] < 0.9
    assert baselines(rows, samples, np.arange(60) % 2, train, held_out[:0], tmp_path) == []


def test_a_run_carries_all_three(run: tlkit.Run) -> None:
    metrics = run.metrics
    assert metrics["audit"]["images"] == 24
    assert metrics["curve"]["points"][-1]["images"] == (run.split["split"] == "train").sum()
    assert {row["rule"] for row in metrics["baselines"]} >= {"majority", "colour"}


def test_fixes_reach_the_run_and_no_insight_is_none(pictures: Path, tmp_path: Path) -> None:
    fixes = tmp_path / "fixes.csv"
    fixes.write_text("path,action,label\nred/00.jpg,drop,\nred/01.jpg,relabel,blue\n")
    tiny = {"img_size": 64, "freeze_epochs": 1, "batch_size": 8}
    run = tlkit.finetune(
        pictures, output=tmp_path, name="fixed", fixes=fixes, insight=False, **tiny
    )
    split = run.split.set_index("path")["label"]
    assert "red/00.jpg" not in split
    assert split["red/01.jpg"] == "blue"
    assert run.skipped["path"].tolist() == ["red/00.jpg"]
    assert not {"audit", "curve", "baselines"} & set(run.metrics)
    assert str(fixes) in run.recipe_file.read_text()


@pytest.mark.slow
def test_a_run_on_drawings_with_flipped_labels_lists_them(tmp_path: Path) -> None:
    clipart = Path(__file__).parents[2] / "sample_data" / "clipart"
    found = measure(clipart, share=0.05, seed=0, work=tmp_path)
    assert found["recall"] >= 0.6


@pytest.mark.slow
def test_a_run_on_mosaics_with_flipped_decisions_lists_them(tmp_path: Path) -> None:
    mosaics = make_mosaics(tmp_path / "mosaics")
    found = measure_decisions(mosaics, share=0.05, seed=0, work=tmp_path)
    assert found["recall"] >= 0.8
    assert found["very_precision"] >= 0.7
