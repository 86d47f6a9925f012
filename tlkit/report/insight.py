"""The sections on the data itself: doubtful labels, whether more would help, trivial rules."""

from __future__ import annotations

from typing import Any

from tlkit.evaluation.advice import HARDLY, poor_judge
from tlkit.evaluation.intervals import accuracy_interval
from tlkit.report.charts import Axis, Chart, nice_ticks, percent_text
from tlkit.report.sections import Material
from tlkit.report.words import gain_text, percent

MOST_SHOWN = 60
"""Doubtful pictures on the page; metrics.json lists up to 200."""
SHORTCUT = 0.1
"""A rule that beats the most frequent class by this much, and surely, may be a shortcut; one that
beats it at all, and surely, is a hint."""

RULES = {
    "majority": ("Always the most frequent class", "knows nothing of the picture"),
    "size": ("Image size and file format", "width, height and format, nothing inside the picture"),
    "colour": ("Mean colour", "how much red, green and blue, and how much they vary"),
    "neighbour": ("Nearest training picture", "by the frozen backbone's features, no training"),
}


def audit(material: Material) -> dict[str, Any] | None:
    """The doubtful labels, with what someone may mark about each."""
    found = material.metrics.get("audit")
    if not found:
        return None
    rows = [row | _told(row) for row in found["list"][:MOST_SHOWN]]
    counts = {name: found[name] for name in ("images", "doubtful", "very_doubtful")}
    return counts | {
        "decisions": found.get("decisions"),
        "rows": rows,
        "head": found.get("head"),
        "poor_judge": poor_judge(found),
    }


def _told(row: dict[str, Any]) -> dict[str, Any]:
    """What a row says of its picture: `told` and `seems` are a word before the class, and it."""
    if "class" in row:
        name = row["class"]
        told, seems = ("without", name), ("", name)
        if row["labelled"]:
            told, seems = ("", name), ("no", name)
    else:
        told, seems = ("", row["label"]), ("", row["suggested"])
    says = [" ".join(filter(None, part)) for part in (told, seems)]
    return {"told": told, "seems": seems, "alt": f"labelled {says[0]}, looks like {says[1]}"}


def data_curve(material: Material) -> dict[str, Any] | None:
    """Accuracy of the head by the number of training pictures, and what it says."""
    found = material.metrics.get("curve")
    if not found:
        return None
    points = found["points"]
    low, high = found["gain_interval"]
    brought = f"the second half of them brought {gain_text(found)}"
    if points[-1]["accuracy"] >= 0.99:
        verdict = "There is next to nothing left to gain on these held-out pictures."
    elif low > 0:
        verdict = f"More pictures would help: {brought}."
    elif high < HARDLY:
        verdict = (
            f"More of the same pictures would hardly help: {brought}. "
            "Mended labels, fine-tuning (--epochs) or another backbone may."
        )
    else:
        verdict = (
            f"Whether more pictures would help cannot be told from these: {brought}, "
            "which chance alone may have done."
        )
    return {
        "chart": _curve_chart(points),
        "several": material.multi_label,
        "measure": "All labels right" if material.multi_label else "Accuracy",
        "points": points,
        "held_out": found["held_out"],
        "head": found.get("head"),
        "verdict": verdict,
    }


def _curve_chart(points: list[dict[str, Any]]) -> Chart:
    """Marks: `line`, (x, y) places; `points` with x, y and the whisker's ends."""
    most = points[-1]["images"]
    ticks = [t for t in nice_ticks(0, most, 6) if t <= most]
    x = Axis(0, 1.05 * most, 46.0, 428.0, [(t, f"{t:g}") for t in ticks])
    least = min(point["interval"][0] for point in points)
    values = nice_ticks(min(least, 0.9), 1.0, 5)
    y = Axis(values[0], 1.0, 214.0, 24.0, [(t, percent_text(t)) for t in values if t <= 1])
    marks = [
        {
            "x": x.at(point["images"]),
            "y": y.at(point["accuracy"]),
            "whisker": (y.at(point["interval"][1]), y.at(point["interval"][0])),
        }
        for point in points
    ]
    return Chart(x, y, {"line": [(mark["x"], mark["y"]) for mark in marks], "points": marks})


def baselines(material: Material) -> dict[str, Any] | None:
    """Trivial rules beside the model, on held-out pictures."""
    found = material.metrics.get("baselines")
    if not found:
        return None
    held_out = material.predictions[material.predictions["split"] != "train"]
    right = int((held_out["label"] == held_out["predicted"]).sum())
    rows = [
        {
            "name": RULES[row["rule"]][0],
            "what": RULES[row["rule"]][1],
            "own": False,
            "head": None,
            **row,
        }
        for row in found
    ]
    rows.append(
        {
            "name": "This classifier",
            "what": "",
            "own": True,
            "head": None,
            "accuracy": right / len(held_out),
            "interval": accuracy_interval(right, len(held_out)),
            "images": len(held_out),
        }
    )
    common = found[0]["accuracy"]
    looked_past = [
        (row["interval"][0] - common,
         f"{RULES[row['rule']][0].lower()} alone tells {percent(row['accuracy'])} right")
        for row in found
        if row["rule"] in ("size", "colour")
    ]  # fmt: skip
    return {
        "rows": rows,
        "shortcuts": [text for more, text in looked_past if more > SHORTCUT],
        "hints": [text for more, text in looked_past if 0 < more <= SHORTCUT],
    }
