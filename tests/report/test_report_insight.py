"""Doubtful labels, the data curve and the trivial rules, on the page and under the mouse."""

import csv
import re

import pytest
from synthetic_run import make_run

from tlkit.evaluation.metrics import accuracy_interval
from tlkit.report import insight, render_run

HOSTILE = '"; DROP, <script>alert(1)</script>'


def with_insight(run, classes, gain=(0.01, 0.05), colour=0.5):
    """The run with the keys audit, curve and baselines, every second image doubtful."""
    metrics, table = run.metrics, run.predictions
    rows = [
        {
            "path": row.path, "split": row.split, "label": row.label,
            "suggested": classes[(classes.index(row.label) + 1) % len(classes)],
            "p_label": 0.1, "p_suggested": 0.9, "very": row.Index % 4 == 0,
        }
        for row in table[table["split"] != "test"].iloc[::2].itertuples()
    ]  # fmt: skip
    points = [
        {"share": share, "images": round(100 * share), "draws": 4, "accuracy": 0.7 + share / 5,
         "interval": [0.6 + share / 5, 0.75 + share / 5]}
        for share in (0.1, 0.25, 0.5, 1.0)
    ]  # fmt: skip
    rules = {"majority": 0.5, "size": 0.52, "colour": colour, "neighbour": 0.8}
    run.write_metrics(
        metrics
        | {
            "audit": {
                "images": len(table), "doubtful": len(rows),
                "very_doubtful": sum(row["very"] for row in rows), "list": rows,
            },
            "curve": {
                "held_out": 40, "points": points, "gain": sum(gain) / 2,
                "gain_interval": list(gain),
            },
            "baselines": [
                {"rule": rule, "accuracy": share, "images": 40,
                 "interval": accuracy_interval(round(40 * share), 40)}
                for rule, share in rules.items()
            ],
        }
    )  # fmt: skip
    return run


def text_of(report, section):
    page = report.read_text("utf-8")
    found = re.search(f'<section id="{section}".*?</section>', page, re.DOTALL)
    return found and re.sub(r"\s+", " ", re.sub(r"<[^>]+>", " ", found[0]))


def test_without_insight_the_sections_are_left_out(cats_and_dogs):
    report = render_run(cats_and_dogs)
    assert [text_of(report, name) for name in ("audit", "data_curve", "baselines")] == [None] * 3


@pytest.mark.parametrize(
    ("gain", "words"),
    [
        ((0.01, 0.05), "More pictures would help"),
        ((-0.02, 0.005), "would hardly help"),
        ((-0.02, 0.03), "cannot be told from these: the second half of them brought +0.5 points"),
    ],
)
def test_the_curve_says_what_would_help(cats_and_dogs, gain, words):
    report = render_run(with_insight(cats_and_dogs, ["cat", "dog"], gain))
    assert words in text_of(report, "data_curve")


def test_a_shortcut_is_named(cats_and_dogs):
    report = render_run(with_insight(cats_and_dogs, ["cat", "dog"], colour=0.95))
    assert "mean colour alone tells 95.0 % right" in text_of(report, "baselines").replace(
        "\u00a0", " "
    )
    hint = render_run(with_insight(cats_and_dogs, ["cat", "dog"], colour=0.7))
    assert "Somewhat better than the most frequent class: mean" in text_of(hint, "baselines")
    sound = render_run(with_insight(cats_and_dogs, ["cat", "dog"]))
    assert "no sign of a shortcut" in text_of(sound, "baselines")


def test_no_doubtful_label_is_said_in_words(cats_and_dogs):
    run = with_insight(cats_and_dogs, ["cat", "dog"])
    metrics = run.metrics
    metrics["audit"] |= {"doubtful": 0, "very_doubtful": 0, "list": []}
    run.write_metrics(metrics)
    assert "no label looks doubtful" in text_of(render_run(run), "audit")


def test_heads_that_contradict_half_the_labels_are_called_poor_judges(cats_and_dogs):
    run = with_insight(cats_and_dogs, ["cat", "dog"])
    assert "are poor judges" in text_of(render_run(run), "audit")
    metrics = run.metrics
    metrics["audit"] |= {"doubtful": 5, "very_doubtful": 2}
    run.write_metrics(metrics)
    assert "poor judges" not in text_of(render_run(run), "audit")


def test_doubtful_decisions_are_shown_without_marks(cats_and_dogs):
    run = with_insight(cats_and_dogs, ["cat", "dog"])
    metrics = run.metrics
    rows = [
        {"path": row["path"], "split": row["split"], "class": "dog", "labelled": labelled,
         "p_label": 0.02, "p_suggested": 0.98, "very": True}
        for row, labelled in zip(metrics["audit"]["list"], (False, True), strict=False)
    ]  # fmt: skip
    metrics["audit"] |= {"doubtful": 2, "very_doubtful": 2, "list": rows, "decisions": 80}
    run.write_metrics(metrics)
    report = render_run(run)
    said = text_of(report, "audit").replace("\u00a0", " ")
    assert "80 decisions" in said
    assert "2 look the other way round than labelled, 2 of them strongly" in said
    assert "labelled without dog looks strongly like dog 98 %" in said
    assert "labelled dog looks strongly like no dog 98 %" in said
    page = report.read_text("utf-8")
    assert 'alt="labelled dog, looks like no dog"' in page
    assert 'id="audit-grid"' not in page
    assert 'id="audit-save"' not in page


def test_the_page_says_where_the_heads_are_of_another_kind(cats_and_dogs):
    said, sections = "by discriminant analysis, not by", ("audit", "data_curve", "baselines")
    run = with_insight(cats_and_dogs, ["cat", "dog"])
    assert not [name for name in sections if said in text_of(render_run(run), name)]
    metrics = run.metrics
    for part in (metrics["audit"], metrics["curve"], metrics["baselines"][2]):
        part["head"] = "discriminant analysis"
    run.write_metrics(metrics)
    report = render_run(run)
    assert [text_of(report, name).count(said) for name in sections] == [1, 1, 1]


def test_the_page_shows_a_bounded_number(cats_and_dogs, monkeypatch):
    monkeypatch.setattr(insight, "MOST_SHOWN", 5)
    report = render_run(with_insight(cats_and_dogs, ["cat", "dog"]))
    assert report.read_text("utf-8").count("<li data-path=") == 5
    assert "The 5 most doubtful are shown" in text_of(report, "audit")


@pytest.mark.browser
@pytest.mark.parametrize("width", [1280, 400])
def test_marks_become_fixes(open_report, tmp_path, width):
    classes = ["cat", HOSTILE, "x" * 200]
    run = make_run(tmp_path, classes, {"train": 6, "val": 6}, skill=1.2)
    page = open_report(render_run(with_insight(run, classes)), width=width)
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")
    save, items = page.locator("#audit-save"), page.locator("#audit-grid > li")
    assert save.is_disabled()
    items.nth(0).get_by_label("drop").check()
    items.nth(1).get_by_label("relabel").check()
    select = items.nth(1).locator("select")
    assert sorted(select.locator("option").all_inner_texts()) == sorted(classes)
    select.select_option(HOSTILE)
    items.nth(2).get_by_label("relabel").check()
    items.nth(2).get_by_label("keep").check()
    assert items.nth(2).locator("select").is_hidden()
    assert "3 pictures marked." in page.locator("#audit-count").inner_text()
    with page.expect_download() as download:
        save.click()
    assert download.value.suggested_filename == "fixes.csv"
    with open(download.value.path(), encoding="utf-8", newline="") as file:  # noqa: PTH123
        rows = list(csv.reader(file))
    paths = [items.nth(i).get_attribute("data-path") for i in range(3)]
    assert rows == [
        ["path", "action", "label"],
        [paths[0], "drop", ""],
        [paths[1], "relabel", HOSTILE],
        [paths[2], "keep", ""],
    ]
