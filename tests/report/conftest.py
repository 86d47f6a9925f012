"""Runs to report on, and pages to look at them on."""

import pytest
from synthetic_run import make_run


@pytest.fixture
def cats_and_dogs(tmp_path):
    """Two classes, three splits, 40 held-out images, some of them wrong."""
    return make_run(tmp_path, ["cat", "dog"], {"train": 12, "val": 12, "test": 8}, skill=1.2)


@pytest.fixture
def open_report(browser):
    """Open a report; the test fails when the page complains or asks for anything beyond itself."""
    pages, complaints = [], []

    def open_(report, width=1280, height=900, scheme="light", ready="#gallery-status:not(:empty)"):
        page = browser.new_page(
            viewport={"width": width, "height": height},
            color_scheme=scheme,
            reduced_motion="reduce",
        )
        pages.append(page)
        address = report.resolve().as_uri()
        page.on("console", lambda message: complaints.append(f"console: {message.text}"))
        page.on("pageerror", lambda error: complaints.append(f"error: {error}"))
        page.on("dialog", lambda dialog: complaints.append(f"dialog: {dialog.message}"))
        page.on(
            "request",
            lambda request: (
                request.url.startswith(("data:", address))
                or complaints.append(f"request: {request.url[:200]}")
            ),
        )
        page.goto(address)
        page.wait_for_selector(ready)
        return page

    yield open_
    for page in pages:
        page.close()
    assert complaints == []
