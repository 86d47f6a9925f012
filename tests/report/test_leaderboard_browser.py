"""The comparison in headless Chromium."""

import pytest
from synthetic_run import make_run
from test_browser import CONTRAST, HOSTILE, MEASURE

from tlkit.evaluation.comparison import compare_runs
from tlkit.report.leaderboard import write_comparison

pytestmark = pytest.mark.browser


@pytest.fixture(scope="module")
def page_of_three(tmp_path_factory):
    folder = tmp_path_factory.mktemp("comparison")
    runs = [
        make_run(folder, HOSTILE, {"val": 4}, skill=skill, seed=i, name=f"a long run name {i}")
        for i, skill in enumerate((0.5, 1.5, 3))
    ]
    return write_comparison(compare_runs([r.folder for r in runs]), folder / "compare.html")


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [1280, 400])
def test_nothing_overlaps_and_everything_is_readable(open_report, page_of_three, width, scheme):
    page = open_report(page_of_three, width, scheme=scheme, ready="footer")
    for duel in page.locator(".duel:not([open]) summary").all():
        duel.click()
    assert page.locator(".duel[open]").count() == 2
    assert page.evaluate(MEASURE) == []
    assert page.evaluate(CONTRAST) == []


def test_every_pair_opens_and_closes_from_the_keyboard(open_report, page_of_three):
    page = open_report(page_of_three, ready="footer")
    first, second = page.locator(".duel").all()
    assert first.locator("figure").first.is_visible()
    assert not second.locator("figure").first.is_visible()
    second.locator("summary").focus()
    page.keyboard.press("Enter")
    assert second.locator("figure").first.is_visible()
    first.locator("summary").click()
    assert not first.locator("figure").first.is_visible()


def test_contents_lead_to_sections_and_it_prints_light(open_report, page_of_three):
    page = open_report(page_of_three, scheme="dark", ready="footer")
    for link in page.locator(".contents a").all():
        assert page.locator(link.get_attribute("href")).count() == 1
    page.emulate_media(media="print")
    assert not page.locator(".contents").is_visible()
    assert page.evaluate("getComputedStyle(document.body).backgroundColor") == "rgb(255, 255, 255)"
