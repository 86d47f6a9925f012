"""The comparison as text: its numbers are the comparison's, its words claim no more than it."""

import re
from html import unescape

import pytest
from synthetic_run import make_run

from tlkit.errors import DataError
from tlkit.evaluation.comparison import Pair, compare_runs
from tlkit.report.leaderboard import SHOWN, leaderboard, verdict, write_comparison
from tlkit.report.words import both_sides, pair_verdict

SPLITS = {"train": 4, "val": 20}


def make_runs(folder, skills, classes=("cat", "dog"), **kwargs):
    """Runs on the same pictures; the made-up answers of each have a skill and a seed."""
    return [
        make_run(folder, list(classes), SPLITS, skill=skill, seed=i, name=f"run {i}", **kwargs)
        for i, skill in enumerate(skills)
    ]


def compared(runs):
    return compare_runs([run.folder for run in runs])


def test_the_page_shows_the_leaderboard_and_the_flips(tmp_path):
    found = compared(make_runs(tmp_path, [0.5, 5]))
    page = write_comparison(found, tmp_path / "compare.html").read_text()
    board = re.search(r'<section id="leaderboard".*?</section>', page, re.S).group()
    shown = [float(value) for value in re.findall(r'<data value="([^"]+)">', board)]
    keys = ("accuracy", "macro_f1", "balanced_accuracy", "ece")
    assert shown == [row["scores"][key] for row in found.rows for key in keys]
    (pair,) = found.pairs
    flipped = re.search(r'<section id="flipped".*?</section>', page, re.S).group()
    assert flipped.count("<figure") == pair.only_first + pair.only_second > 0
    assert flipped.count('src="data:image/jpeg') == flipped.count("<figure")
    alts = [unescape(alt) for alt in re.findall(r'alt="([^"]+)"', flipped)]
    assert re.fullmatch(r"(cat|dog) photo; run 1: \1, run 0: (?!\1)(cat|dog)", alts[0])


def test_the_terminal_and_the_page_agree(tmp_path):
    found = compared(make_runs(tmp_path, [1, 1.2, 4], pictures=False))
    text = leaderboard(found)
    page = write_comparison(found, tmp_path / "compare.html").read_text()
    assert verdict(found) in text
    assert verdict(found) in unescape(page)
    lines = text.splitlines()
    assert lines[0] == "3 runs on the 40 validation images that all evaluated"
    for rank, row in enumerate(found.rows, start=1):
        line = lines[1 + rank]
        assert line.startswith(f"{rank}  {row['name']}")
        assert f"{row['scores']['accuracy']:.3f}" in line
    for pair in found.against_best():
        assert pair_verdict(pair) in text
        assert pair_verdict(pair) in unescape(page)


def make_pair(only_first, only_second, p_value):
    return Pair("a", "b", 100, only_first, only_second, p_value, 0, [0, 0], 0, [0, 0])


@pytest.mark.parametrize(
    ("pair", "says"),
    [
        (make_pair(0, 0, 1), "not distinguishable: right on the same pictures"),
        (make_pair(7, 3, 0.34), "not distinguishable: 3 gained, 7 lost, p = 0.34"),
        (make_pair(9, 1, 0.0215), "worse: 1 gained, 9 lost, p = 0.021"),
        (make_pair(90, 1, 1e-20), "worse: 1 gained, 90 lost, p < 0.001"),
    ],
)
def test_a_pair_in_words(pair, says):
    assert pair_verdict(pair).replace("\u00a0", " ") == says


def test_a_pair_without_a_yardstick_names_both():
    pairs = (make_pair(7, 3, 0.34), make_pair(9, 1, 0.0215))
    level, apart = (both_sides(pair).replace("\u00a0", " ") for pair in pairs)
    assert level == "not distinguishable: only “a” right on 7, only “b” on 3, p = 0.34"
    assert apart == "“a” is better: only “a” right on 9, only “b” on 1, p = 0.021"
    assert both_sides(make_pair(0, 0, 1)) == pair_verdict(make_pair(0, 0, 1))


def test_the_verdict_names_who_cannot_be_told_apart(tmp_path):
    level = compared(make_runs(tmp_path / "a", [1, 1], pictures=False))
    assert "not distinguishable" in verdict(level)
    apart = compared(make_runs(tmp_path / "b", [-3, 8], pictures=False))
    assert verdict(apart).endswith("beyond what chance explains.")
    mixed = compared(make_runs(tmp_path / "c", [-3, 8, 8], pictures=False))
    assert "cannot be told apart from “run" in verdict(mixed)


def test_hostile_names_are_text(tmp_path):
    classes = ["<script>alert(1)</script>", '"; DROP onload="alert(2)']
    found = compared(make_runs(tmp_path, [0.3, 0.6], classes, pictures=False))
    page = write_comparison(found, tmp_path / "compare.html").read_text()
    assert "<script" not in page
    assert 'onload="' not in page
    assert classes[0] in unescape(page)


def test_many_flips_are_cut_and_counted(tmp_path, monkeypatch):
    monkeypatch.setattr("tlkit.report.leaderboard.SHOWN", 3)
    found = compared(make_runs(tmp_path, [-3, 8], pictures=False))
    page = write_comparison(found, tmp_path / "compare.html").read_text()
    assert SHOWN > 3
    assert page.count("<figure") == 3
    assert f"The 3 that the other run was surest of, of {found.pairs[0].only_first}." in page


def test_a_page_that_cannot_be_written_is_an_error(tmp_path):
    found = compared(make_runs(tmp_path, [1, 2], pictures=False))
    with pytest.raises(DataError, match="--output"):
        write_comparison(found, tmp_path / "no" / "where.html")
