"""Runs to report on, and the browser to look at them with."""

import shutil

import pytest
from synthetic_run import make_run

FLAGS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]


@pytest.fixture
def cats_and_dogs(tmp_path):
    """Two classes, three splits, 40 held-out images, some of them wrong."""
    return make_run(tmp_path, ["cat", "dog"], {"train": 12, "val": 12, "test": 8}, skill=1.2)


@pytest.fixture(scope="session")
def browser():
    """The system's Chromium, headless."""
    chromium = shutil.which("chromium") or shutil.which("chromium-browser")
    if chromium is None:
        pytest.skip("no chromium on this machine; .ci/run installs it")
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        started = playwright.chromium.launch(executable_path=chromium, args=FLAGS)
        yield started
        started.close()


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
