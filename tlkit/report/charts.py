"""Where things go in a chart: from numbers to coordinates that the templates draw as inline SVG."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pandas as pd

from tlkit.evaluation.displays import (
    CoverageCurve,
    LearningCurves,
    ReliabilityDiagram,
    ThresholdCurve,
)
from tlkit.evaluation.rates import RateCurve


@dataclass(frozen=True)
class Axis:
    """A linear scale.

    Args:
        low, high: the values at its ends.
        start, end: the places of its ends, in SVG units; start may be the larger one.
        ticks: (value, text) pairs.
    """

    low: float
    high: float
    start: float
    end: float
    ticks: list[tuple[float, str]] = field(default_factory=list)

    def at(self, value: float) -> float:
        """The place of a value, in SVG units with two decimals."""
        share = (value - self.low) / (self.high - self.low)
        return round(self.start + share * (self.end - self.start), 2)


@dataclass(frozen=True)
class Chart:
    """A frame with two axes and what is drawn inside it (`marks` is the chart's own)."""

    x: Axis
    y: Axis
    marks: dict[str, Any]
    width: int = 440
    height: int = 250


def nice_ticks(low: float, high: float, most: int = 5) -> list[float]:
    """Round values (1, 2 or 5 times a power of ten apart), about `most`, that span a range."""
    span = (high - low) or abs(high) or 1.0
    power = 10 ** math.floor(math.log10(span / most))
    step = next(power * m for m in (1, 2, 5, 10) if span / (power * m) <= most)
    first, last = math.floor(low / step + 1e-9), math.ceil(high / step - 1e-9)
    return [round(i * step, 10) for i in range(first, max(last, first + 1) + 1)]


def percent_text(value: float) -> str:
    """`"40 %"`: a tick of an axis of shares."""
    return f"{value * 100:g}\u00a0%"


def learning_chart(curves: LearningCurves, quantity: str) -> Chart | None:
    """Training and validation curves of one quantity over all phases.

    Args:
        curves: the history.
        quantity: "loss" or "accuracy".

    Returns:
        None when nothing was measured. Marks: `lines` (name, kind "train" or "val", segments of
        (x, y) places), `dividers` (x place and name where a phase begins), `best` (the chosen
        epoch's places on the validation curve).
    """
    values = [
        value
        for phase in curves.phases
        for name in (quantity, f"val_{quantity}")
        for value in phase.curves[name]
        if math.isfinite(value)
    ]
    if not values:
        return None
    left, right, top, bottom = 46.0, 428.0, 24.0, 214.0
    epochs = curves.phases[-1].epochs[-1]
    whole = [t for t in nice_ticks(1, max(epochs, 2), 8) if t == int(t) and 1 <= t <= epochs]
    x = Axis(0.5, epochs + 0.5, left, right, [(t, f"{t:g}") for t in whole or [1]])
    y = _value_axis(values, quantity, bottom, top)
    lines = []
    for kind, name in (("train", quantity), ("val", f"val_{quantity}")):
        segments = [
            [(x.at(e), y.at(v)) for e, v in points]
            for phase in curves.phases
            for points in _finite_runs(phase.epochs, phase.curves[name])
        ]
        if segments:
            lines.append({"kind": kind, "segments": segments})
    best = []
    for phase in curves.phases:
        place = phase.epochs.index(phase.best)
        value = phase.curves[f"val_{quantity}"][place]
        if math.isfinite(value):
            best.append((x.at(phase.best), y.at(value)))
    # Stage by stage there are many phases, and little room: "fine-tune stage4" is called "stage4".
    names = [phase.name.rpartition(" ")[2] for phase in curves.phases]
    places = [x.at(phase.epochs[0] - 0.5) for phase in curves.phases]
    # A single phase needs no name.
    named = zip(places, names, strict=True) if len(names) > 1 else []
    dividers = [{"x": place, "name": name} for place, name in named]
    return Chart(x, y, {"lines": lines, "dividers": dividers, "best": best})


def reliability_chart(diagram: ReliabilityDiagram) -> Chart:
    """Bars of accuracy per bin of confidence, with their intervals and the diagonal.

    Returns:
        Marks: `bars` with places left, right, top, whisker (top, bottom), center, and the bin's own
        numbers; `diagonal` (x1, y1, x2, y2); `base`, the place of 0; `floor`, of the histogram
        underneath.
    """
    ticks = [(t, percent_text(t)) for t in (0, 0.25, 0.5, 0.75, 1)]
    x, y = Axis(0, 1, 46, 428, ticks), Axis(0, 1, 250, 12, ticks)
    largest = int(diagram.bins["images"].max())
    bars = [
        {
            **{key: float(row[key]) for key in ("low", "high", "accuracy", "confidence")},
            "images": int(row["images"]),
            "left": x.at(row["low"]) + 1,
            "right": x.at(row["high"]) - 1,
            "center": x.at((row["low"] + row["high"]) / 2),
            "top": y.at(row["accuracy"]),
            "whisker": (y.at(row["accuracy_high"]), y.at(row["accuracy_low"])),
            "count_height": round(max(40 * row["images"] / largest, 1.5), 2),
        }
        for row in diagram.bins.to_dict("records")
    ]
    diagonal = (x.at(0), y.at(0), x.at(1), y.at(1))
    marks = {"bars": bars, "diagonal": diagonal, "base": y.at(0), "floor": y.at(0) + 100}
    return Chart(x, y, marks, height=370)


def roc_chart(curves: list[ThresholdCurve]) -> Chart:
    """Hit rate against false alarms. Marks: `curves` (place, name, path), `diagonal`."""
    x, y = _share_axes()
    drawn = [
        _curve(curve, "M" + "L".join(_thin(zip(curve.false_alarms, curve.hits, strict=True), x, y)))
        for curve in curves
    ]
    diagonal = (x.at(0), y.at(0), x.at(1), y.at(1))
    return Chart(x, y, {"curves": drawn, "diagonal": diagonal})


def precision_recall_chart(curves: list[ThresholdCurve]) -> Chart:
    """Precision against recall, in steps. Marks: `curves` (place, name, path), no `diagonal`."""
    x, y = _share_axes()
    drawn = []
    for curve in curves:
        places = _thin(zip(curve.recall, curve.precision, strict=True), x, y)
        path = f"M{places[0]}"
        for place in places[1:]:
            across, up = place.split(" ")
            path += f"V{up}H{across}"
        drawn.append(_curve(curve, path))
    return Chart(x, y, {"curves": drawn, "diagonal": None})


def coverage_chart(curve: CoverageCurve) -> Chart:
    """Accuracy of the answers given against the share of images answered.

    Returns:
        Marks: `line` and `band` (the 95 % interval), both path data.
    """
    points = curve.points
    ticks = [(t, percent_text(t)) for t in (0, 0.25, 0.5, 0.75, 1)]
    lowest = float(points["accuracy_low"].quantile(0.02))
    values = nice_ticks(min(lowest, 0.9), 1.0, 5)
    x = Axis(0, 1, 46, 428, ticks)
    y = Axis(values[0], 1, 214, 12, [(t, percent_text(t)) for t in values if t <= 1])

    def places(column: str) -> list[str]:
        clipped = points[column].clip(lower=y.low)
        return _thin(zip(points["coverage"], clipped, strict=True), x, y)

    band = places("accuracy_high") + places("accuracy_low")[::-1]
    marks = {"line": "M" + "L".join(places("accuracy")), "band": "M" + "L".join(band) + "Z"}
    return Chart(x, y, marks)


# Room that the name of a rate takes, in SVG units.
_NAME = 72


def rate_chart(curve: RateCurve) -> Chart:
    """Loss against the logarithm of the learning rate.

    Returns:
        Marks: `raw` and `smoothed` (places), `rates` (x, y, name and side of the text of the rates
        to point out).
    """
    decades = range(math.floor(np.log10(curve.rates[0])), math.ceil(np.log10(curve.rates[-1])) + 1)
    ticks = [(float(power), f"1e{power}") for power in decades]
    x = Axis(ticks[0][0], ticks[-1][0], 46, 428, ticks)
    # What the loss reached on its way down; where it blew up matters less.
    highest = min(
        float(curve.losses.max()), 1.5 * float(curve.losses[: len(curve.losses) // 3 + 1].max())
    )
    values = nice_ticks(0, highest, 5)
    y = Axis(0, values[-1], 214, 38, [(t, f"{t:g}") for t in values])

    def places(losses: np.ndarray) -> list[tuple[float, float]]:
        pairs = zip(np.log10(curve.rates), np.clip(losses, y.low, y.high), strict=True)
        return [(x.at(rate), y.at(loss)) for rate, loss in pairs]

    named = [("suggested", curve.suggestion), ("in the recipe", curve.used)]
    placed = sorted(
        (x.at(math.log10(rate)), name)
        for name, rate in named
        if rate is not None and x.low <= math.log10(rate) <= x.high
    )
    # The line that stands on the side of the other's text begins below it.
    turned = bool(placed) and placed[-1][0] > x.end - _NAME
    rates = [
        {
            "x": place,
            "y": y.end - 8 - 13 * (i if turned else len(placed) - 1 - i),
            "name": name,
            "end": turned and place > x.start + _NAME,
        }
        for i, (place, name) in enumerate(placed)
    ]
    marks = {"raw": places(curve.raw), "smoothed": places(curve.losses), "rates": rates}
    return Chart(x, y, marks)


def trials_chart(trials: pd.DataFrame, key: str) -> Chart | None:
    """The loss of finished trials against one key: a number (its logarithm where it spans more than
    two decades) across; names, which may be long, one below the other and the loss across.

    Returns:
        None for fewer than two finished trials. Marks: `x_title`, `points` (places), `beyond`
        (arrowheads as path data where losses leave the scale), `best` (a place).
    """
    done = trials[trials["loss"].notna() & trials[key].notna()]
    if len(done) < 2:
        return None
    losses = done["loss"].to_numpy(dtype=float)
    # A few recipes that fail badly would press all others onto the axis.
    scale = nice_ticks(0, min(float(losses.max()), 4 * float(np.median(losses))), 5)
    ticks = [(t, f"{t:g}") for t in scale]
    beyond, shown = losses > scale[-1], np.minimum(losses, scale[-1])
    if _is_number(done[key]):
        x, numbers = _number_axis(done[key].to_numpy(dtype=float))
        y = Axis(0, scale[-1], 214, 12, ticks)
        places = [(x.at(n), y.at(loss)) for n, loss in zip(numbers, shown, strict=True)]
        x_title, arrow, bottom = key, "m-4 0h8l-4 -7z", y.start
    else:
        names = sorted(map(str, done[key].unique()))
        bottom = 12.0 + 26 * len(names)
        y = Axis(len(names) - 0.5, -0.5, bottom, 12, list(enumerate(map(_shortened, names))))
        x = Axis(0, scale[-1], 24 + 6.5 * max(len(text) for _, text in y.ticks), 420, ticks)
        rows = [names.index(str(value)) for value in done[key]]
        places = [(x.at(loss), y.at(row)) for loss, row in zip(shown, rows, strict=True)]
        x_title, arrow = "loss", "m0 -4v8l7 -4z"
    marks = {
        "x_title": x_title,
        "points": [place for place, out in zip(places, beyond, strict=True) if not out],
        "beyond": [
            f"M{place[0]} {place[1]}{arrow}"
            for place, out in zip(places, beyond, strict=True)
            if out
        ],
        "best": places[int(losses.argmin())],
    }
    return Chart(x, y, marks, height=round(bottom) + 36)


def _is_number(values: pd.Series) -> bool:
    return bool(pd.api.types.is_numeric_dtype(values)) and not pd.api.types.is_bool_dtype(values)


def _number_axis(values: np.ndarray) -> tuple[Axis, np.ndarray]:
    """The axis across, and the values on it: logarithms where they span over two decades."""
    if values.min() > 0 and values.max() > 100 * values.min():
        values = np.log10(values)
        low, high = math.floor(values.min()), math.ceil(values.max())
        return Axis(low, high, 46, 428, [(t, f"1e{t}") for t in range(low, high + 1)]), values
    ticks = nice_ticks(float(values.min()), float(values.max()), 5)
    return Axis(ticks[0], ticks[-1], 46, 428, [(t, f"{t:g}") for t in ticks]), values


def _shortened(name: str) -> str:
    return name if len(name) <= 24 else f"{name[:23]}…"


def _share_axes() -> tuple[Axis, Axis]:
    ticks = [(t, percent_text(t)) for t in (0, 0.25, 0.5, 0.75, 1)]
    return Axis(0, 1, 46, 428, ticks), Axis(0, 1, 214, 12, ticks)


def _curve(curve: ThresholdCurve, path: str) -> dict[str, Any]:
    return {"place": curve.place, "name": curve.name, "path": path}


def _thin(points: Iterable[tuple[float, float]], x: Axis, y: Axis) -> list[str]:
    """Places as text, one per unit that a curve crosses: more would not be seen."""
    places = [(round(x.at(a), 1), round(y.at(b), 1)) for a, b in points]
    kept = places[:1]
    for place in places[1:-1]:
        if abs(place[0] - kept[-1][0]) >= 1 or abs(place[1] - kept[-1][1]) >= 1:
            kept.append(place)
    return [f"{a:g} {b:g}" for a, b in kept + places[-1:]]


def _value_axis(values: list[float], quantity: str, start: float, end: float) -> Axis:
    """Loss starts at 0; accuracy ends at 100 % and starts where it is worth looking."""
    if quantity == "accuracy":
        ticks = nice_ticks(min(min(values), 0.9), 1.0, 5)
        return Axis(ticks[0], 1.0, start, end, [(t, percent_text(t)) for t in ticks if t <= 1])
    ticks = nice_ticks(0, max(values), 5)
    return Axis(0, ticks[-1], start, end, [(t, f"{t:g}") for t in ticks])


def _finite_runs(epochs: list[int], values: np.ndarray) -> list[list[tuple[int, float]]]:
    """Cut a curve where a value is missing, so that no line bridges the gap."""
    runs: list[list[tuple[int, float]]] = [[]]
    for epoch, value in zip(epochs, values, strict=True):
        if math.isfinite(value):
            runs[-1].append((epoch, float(value)))
        elif runs[-1]:
            runs.append([])
    return [run for run in runs if run]
