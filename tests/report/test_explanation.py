import re
from typing import Any

import pytest

from tlkit.errors import DataError
from tlkit.report.explanation import write_explanation

DOT = (
    "/9j/4AAQSkZJRgABAQEASABIAAD/2wBDAP//////////////////////////////////////////////////////"
    "////////////////////////////////2wBDAf//////////////////////////////////////////////////"
    "////////////////////////////////////wAARCAABAAEDASIAAhEBAxEB/8QAFAABAAAAAAAAAAAAAAAAAAAA"
    "A//EABQQAQAAAAAAAAAAAAAAAAAAAAD/xAAUAQEAAAAAAAAAAAAAAAAAAAAA/8QAFBEBAAAAAAAAAAAAAAAAAAAA"
    "AP/aAAwDAQACEQMRAD8AAf/Z"
)


def values(name: str) -> dict[str, Any]:
    stages = [{"name": "stem", "picture": DOT}]
    image = {"path": f"{name}/1.jpg", "label": name, "predicted": "dog", "confidence": 0.9,
             "right": False, "seen": DOT, "looked": DOT, "stages": stages}  # fmt: skip
    return {"filters": DOT, "images": [image]}


def test_names_are_text_whatever_they_hold(tmp_path):
    page = write_explanation(values("<script>alert(1)</script>"), "a", tmp_path / "e.html")
    text = page.read_text("utf-8")
    assert "<script>" not in text
    assert "&lt;script&gt;alert(1)" in text


@pytest.mark.parametrize(("right", "mark"), [(True, "✓"), (False, "✗"), (None, "")])
def test_an_answer_is_marked_only_where_the_truth_is_known(tmp_path, right, mark):
    known = values("dog" if right else "cat")
    known["images"][0] |= {"right": right} | ({"label": None} if right is None else {})
    page = write_explanation(known, "a", tmp_path / "e.html").read_text("utf-8")
    found = re.findall(r'class="mark"[^>]*>(.)<', page)
    assert "".join(found) == mark
    assert ("labelled" in page) == (right is False)


@pytest.mark.parametrize(("places", "coarse"), [([2, 2], True), ([7, 7], False), (None, False)])
def test_a_map_of_few_places_is_called_coarse(tmp_path, places, coarse):
    known = values("dog") | ({"places": places} if places else {})
    page = write_explanation(known, "a", tmp_path / "e.html").read_text("utf-8")
    assert ("2 × 2 places" in page) == coarse


def test_an_output_that_cannot_be_written_is_one_line(tmp_path):
    with pytest.raises(DataError, match="--output"):
        write_explanation(values("cat"), "a", tmp_path / "no" / "e.html")


@pytest.mark.browser
@pytest.mark.parametrize("width", [1280, 400])
def test_the_page_opens_quietly(open_report, tmp_path, width):
    page = open_report(
        write_explanation(values("x" * 200), "a", tmp_path / "e.html"), width=width, ready="main"
    )
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    page.locator("summary").first.click()
    assert page.locator(".stages img").first.is_visible()
