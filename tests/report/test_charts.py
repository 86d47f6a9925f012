"""Coordinates: monotone, inside the frame, honest about gaps."""

import re

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tlkit.evaluation.displays import (
    CoverageCurve,
    LearningCurves,
    ReliabilityDiagram,
    ThresholdCurve,
)
from tlkit.evaluation.rates import RateCurve
from tlkit.report.charts import (
    Axis,
    coverage_chart,
    learning_chart,
    nice_ticks,
    precision_recall_chart,
    rate_chart,
    reliability_chart,
    roc_chart,
    trials_chart,
)


@given(low=st.floats(-1e3, 1e3), span=st.floats(1e-3, 1e4), most=st.integers(2, 8))
def test_ticks_are_few_and_span_the_range(low, span, most):
    high = low + span
    ticks = nice_ticks(low, high, most)
    assert 2 <= len(ticks) <= most + 2
    assert ticks[0] <= low + span * 1e-6
    assert ticks[-1] >= high - span * 1e-6
    steps = np.diff(ticks)
    assert steps == pytest.approx(np.full(len(steps), steps[0]), rel=1e-4)


def test_axis_runs_either_way():
    assert Axis(0, 10, 100, 0).at(2.5) == 75
    assert Axis(0, 10, 0, 100).at(2.5) == 25


def make_curves(**columns):
    length = len(next(iter(columns.values())))
    return LearningCurves.from_history(pd.DataFrame({"phase": ["head"] * length, **columns}))


def test_curves_stay_inside_the_frame_and_lower_loss_is_lower_down():
    chart = learning_chart(make_curves(loss=[9.0, 1.0, 0.2], val_loss=[4.0, 2.0, 3.0]), "loss")
    places = [place for line in chart.marks["lines"] for s in line["segments"] for place in s]
    assert all(chart.x.start <= x <= chart.x.end for x, _ in places)
    assert all(chart.y.end <= y <= chart.y.start for _, y in places)
    heights = [y for _, y in chart.marks["lines"][0]["segments"][0]]
    assert heights == sorted(heights)
    assert chart.marks["best"] == [chart.marks["lines"][1]["segments"][0][1]]


def test_a_missing_epoch_is_a_gap_and_no_measurement_is_no_chart():
    curves = make_curves(loss=[0.5, np.nan, 0.3, 0.2])
    (line,) = learning_chart(curves, "loss").marks["lines"]
    assert [len(segment) for segment in line["segments"]] == [1, 2]
    assert learning_chart(curves, "accuracy") is None


def test_stages_that_are_unfrozen_in_turn_have_short_names():
    phases = ["head", "fine-tune stage2", "fine-tune stage1"]
    history = pd.DataFrame({"phase": phases, "loss": [0.5, 0.4, 0.3]})
    chart = learning_chart(LearningCurves.from_history(history), "loss")
    assert [mark["name"] for mark in chart.marks["dividers"]] == ["head", "stage2", "stage1"]
    alone = learning_chart(LearningCurves.from_history(history.head(1)), "loss")
    assert alone.marks["dividers"] == []


def test_one_epoch_and_a_perfect_accuracy_can_be_drawn():
    chart = learning_chart(make_curves(accuracy=[1.0]), "accuracy")
    assert chart.x.ticks == [(1, "1")]
    assert chart.y.ticks[-1][1] == "100\u00a0%"


def test_what_a_solver_did_is_drawn_by_its_iterations():
    history = pd.DataFrame(
        {"phase": ["head"] * 4, "epoch": [1, 2, 3, 30], "loss": [4, 3, 2, 1],
         "val_loss": [2, 1, 2, 3], "lr": [0.0] * 4}
    )  # fmt: skip
    chart = learning_chart(LearningCurves.from_history(history), "loss")
    assert [x for x, _ in chart.marks["lines"][0]["segments"][0]] == [
        chart.x.at(iteration) for iteration in (1, 2, 3, 30)
    ]
    assert chart.marks["best"] == [(chart.x.at(30), chart.y.at(3))]


def test_reliability_bars_show_their_own_bins():
    predictions = pd.DataFrame(
        {
            "split": "val",
            "label": ["a", "a", "b", "b"],
            "predicted": ["a", "a", "b", "a"],
            "confidence": [0.91, 0.92, 0.99, 0.61],
        }
    )
    chart = reliability_chart(ReliabilityDiagram.from_predictions(predictions, bins=10))
    low, high = chart.marks["bars"]
    assert (low["images"], low["accuracy"]) == (1, 0)
    assert (high["images"], high["accuracy"]) == (3, 1)
    assert high["top"] == chart.y.at(1)
    assert low["top"] == chart.marks["base"]


def make_threshold_curve(points=4):
    rising = np.linspace(0, 1, points)
    return ThresholdCurve("cat", 1, 9, rising, np.sqrt(rising), rising, 1 - rising / 2)


def places(path):
    return [tuple(map(float, pair.split())) for pair in re.split("[ML]", path.strip("MZ"))]


def test_roc_goes_from_corner_to_corner():
    (curve,) = roc_chart([make_threshold_curve()]).marks["curves"]
    first, *_, last = places(curve["path"])
    assert first == (46, 214)
    assert last == (428, 12)
    assert curve["place"] == 1


def test_precision_holds_from_the_recall_before_it():
    chart = precision_recall_chart([make_threshold_curve(3)])
    half, end = chart.x.at(0.5), chart.x.at(1)
    assert chart.marks["curves"][0]["path"] == (
        f"M46 12V{chart.y.at(0.75):g}H{half:g}V{chart.y.at(0.5):g}H{end:g}"
    )


def test_thousands_of_points_are_thinned_to_what_can_be_seen():
    chart = roc_chart([make_threshold_curve(20_000)])
    found = places(chart.marks["curves"][0]["path"])
    assert len(found) < 900
    assert found[-1] == (428, 12)


def test_coverage_stays_inside_the_frame():
    predictions = pd.DataFrame(
        {
            "split": "val",
            "label": ["a", "b"] * 20,
            "predicted": ["a"] * 40,
            "confidence": np.linspace(0.5, 0.99, 40),
        }
    )
    chart = coverage_chart(CoverageCurve.from_predictions(predictions))
    for path in (chart.marks["line"], chart.marks["band"]):
        for x, y in places(path):
            assert chart.x.start <= x <= chart.x.end
            assert chart.y.end <= y <= chart.y.start


@pytest.mark.parametrize("used", [3e-6, 3e-3, 3e-2, 0.2, 8.0])
def test_the_names_of_two_rates_keep_clear_of_each_other_and_of_the_edge(used):
    losses = [2.0] * 10 + list(np.linspace(2.0, 0.5, 15)) + [9.0]
    rates = list(np.logspace(-6, 1, len(losses)))
    chart = rate_chart(RateCurve.from_steps("head", rates, losses, used))
    left, right = chart.marks["rates"]
    assert left["x"] < right["x"]
    assert left["y"] != right["y"]
    for mark, other in ((left, right), (right, left)):
        begin, end = (mark["x"] - 72, mark["x"]) if mark["end"] else (mark["x"], mark["x"] + 72)
        assert chart.x.start - 1 <= begin
        assert end <= chart.x.end
        assert not (begin < other["x"] < end and other["y"] < mark["y"]), "a line through a name"


def test_a_loss_above_the_scale_is_marked_as_such():
    trials = pd.DataFrame({"loss": [0.4, 0.5, 0.6, 9.0], "rate": [0.1, 0.2, 0.3, 0.4]})
    chart = trials_chart(trials, "rate")
    assert len(chart.marks["points"]) == 3
    assert chart.marks["beyond"] == [f"M{chart.x.at(0.4)} {chart.y.at(chart.y.high)}m-4 0h8l-4 -7z"]
    assert chart.marks["best"] == chart.marks["points"][0]


def test_long_names_have_a_row_each():
    names = ["efficientnet_lite0", "a_name_that_is_longer_than_any_backbone", "vgg16_bn"]
    trials = pd.DataFrame({"loss": [0.4, 0.3, 9.0], "backbone": names})
    chart = trials_chart(trials, "backbone")
    assert [text[:3] for _, text in chart.y.ticks] == ["a_n", "eff", "vgg"]
    assert all(len(text) <= 24 for _, text in chart.y.ticks)
    assert [y for _, y in chart.marks["points"]] == [chart.y.at(1), chart.y.at(0)]
    assert chart.marks["best"] == (chart.x.at(0.3), chart.y.at(0))
    assert len(chart.marks["beyond"]) == 1
    assert chart.x.start < chart.x.at(0.3) < chart.x.end
