"""A server of its own process, asked by programs and by a browser."""

from __future__ import annotations

import base64
import http.client
import io
import json
import socket
import subprocess
import sys
import urllib.error
import urllib.request
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

import tlkit
from tlkit.errors import MissingPackageError, ServeError
from tlkit.serve import serve

MOST = 1 << 20


@pytest.fixture(scope="module")
def address(run: tlkit.Run) -> Iterator[str]:
    """Where the page is: host and port."""
    line = [sys.executable, "-m", "tlkit.cli", "serve", str(run.folder), "--port", "0"]
    limits = ["--max-upload", "1", "--reject-below", "0.7"]
    with subprocess.Popen([*line, *limits], stdout=subprocess.PIPE, text=True) as server:
        assert server.stdout is not None
        yield server.stdout.readline().split()[0].removeprefix("http://")
        server.terminate()


def ask(
    address: str, data: bytes = b"", path: str = "/predict", **headers: str
) -> tuple[int, dict[str, Any]]:
    """The status and the JSON that comes back."""
    names = {name.replace("_", "-"): value for name, value in headers.items()}
    request = urllib.request.Request(f"http://{address}{path}", data or None, names)
    try:
        with urllib.request.urlopen(request, timeout=60) as response:
            return response.status, json.load(response)
    except urllib.error.HTTPError as error:
        return error.code, json.loads(error.read())


def test_the_endpoint_says_what_predict_says(address: str, run: tlkit.Run, pictures: Path) -> None:
    path = pictures / "red" / "00.jpg"
    status, answer = ask(address, path.read_bytes(), "/predict?explain=true")
    known = tlkit.predict(run, [path]).iloc[0]
    assert status == 200
    assert answer["predicted"] == known["predicted"] == "red"
    assert answer["confidence"] == pytest.approx(known["confidence"], abs=1e-5)
    assert list(answer["probabilities"]) == ["red", "blue"], "the most probable first"
    for name in ("seen", "looked"):
        with Image.open(io.BytesIO(base64.b64decode(answer[name]))) as shown:
            assert shown.size == (64, 64)
    status, answer = ask(address, path.read_bytes())
    assert set(answer) == {"predicted", "confidence", "error", "probabilities"}
    assert ask(address, path="/about")[1]["classes"] == ["blue", "red"]


def test_an_unsure_answer_is_null(address: str, run: tlkit.Run, tmp_path: Path) -> None:
    # Between the two pictures somewhere the network is undecided.
    for step in range(41):
        colour = np.average([(40, 60, 200), (200, 60, 40)], 0, [40 - step, step])
        Image.new("RGB", (64, 64), tuple(colour.astype(int))).save(tmp_path / f"{step}.png")
    table = tlkit.predict(run, [tmp_path])
    file = Path(table["path"][table["confidence"].idxmin()])
    assert table["confidence"].min() < 0.69
    answer = ask(address, file.read_bytes())[1]
    assert answer["predicted"] is None
    assert answer["confidence"] < 0.7


def bomb() -> bytes:
    """A small PNG that claims 60,000 x 60,000 pixels."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        check = zlib.crc32(kind + data).to_bytes(4)
        return len(data).to_bytes(4) + kind + data + check

    size = (60_000).to_bytes(4) * 2
    rows = zlib.compress(bytes(60_001) * 100)
    header = chunk(b"IHDR", size + bytes([8, 0, 0, 0, 0]))
    return b"\x89PNG\r\n\x1a\n" + header + chunk(b"IDAT", rows) + chunk(b"IEND", b"")


def test_what_is_no_picture_is_refused(address: str) -> None:
    assert ask(address, b"no picture") == (422, {"error": "not an image"})
    status, answer = ask(address, bomb())
    assert status == 422
    assert answer["error"].startswith("too large: 60000 x 60000 pixels")
    status, answer = ask(address, b"\xff\xd8\xff" + bytes(MOST))
    assert status == 413
    assert "1,048,576 bytes" in answer["error"]


def test_a_body_without_a_length_is_cut_off(address: str) -> None:
    connection = http.client.HTTPConnection(address, timeout=60)
    parts = (bytes(1 << 16) for _ in range(64))
    try:
        connection.request("POST", "/predict", parts, encode_chunked=True)
        status = connection.getresponse().status
    except OSError:  # the server hung up while we were still sending
        status = 413
    finally:
        connection.close()
    assert status == 413


def test_pages_elsewhere_cannot_ask(address: str, pictures: Path) -> None:
    data = (pictures / "red" / "00.jpg").read_bytes()
    assert ask(address, data, Sec_Fetch_Site="cross-site")[0] == 403
    connection = http.client.HTTPConnection(address, timeout=60)
    connection.request("GET", "/about", headers={"Host": "rebound.example"})
    assert connection.getresponse().status == 400
    connection.close()


def test_a_taken_port_and_a_missing_package_are_one_line(
    run: tlkit.Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        with pytest.raises(ServeError, match=r"already in use.*--port"):
            serve(run, port=other.getsockname()[1])
    monkeypatch.setitem(sys.modules, "uvicorn", None)
    with pytest.raises(MissingPackageError, match=r"pip install 'tlkit\[serve\]'"):
        serve(run)


OpenPage = Callable[..., Any]


@pytest.fixture
def open_page(browser: Any, address: str) -> Iterator[OpenPage]:
    """Open the page; the test fails when it complains or asks anybody but its server."""
    pages, complaints = [], []

    def open_(width: int = 1280, height: int = 900, scheme: str = "light") -> Any:
        page = browser.new_page(
            viewport={"width": width, "height": height}, color_scheme=scheme,
            reduced_motion="reduce",
        )  # fmt: skip
        pages.append(page)
        # A refused picture is an answer of the server that Chromium also logs.
        page.on("console", lambda m: "status of 422" in m.text or complaints.append(m.text))
        page.on("pageerror", lambda error: complaints.append(str(error)))
        page.on(
            "request",
            lambda request: (
                request.url.startswith(("data:", f"http://{address}/"))
                or complaints.append(request.url[:200])
            ),
        )
        page.goto(f"http://{address}/")
        return page

    yield open_
    for page in pages:
        page.close()
    assert complaints == []


DROP = """([name, data]) => {
  const bytes = Uint8Array.from(atob(data), (c) => c.charCodeAt(0));
  const transfer = new DataTransfer();
  transfer.items.add(new File([bytes], name, { type: "image/jpeg" }));
  const target = document.querySelector("#drop");
  for (const kind of ["dragenter", "dragover", "drop"])
    target.dispatchEvent(
      new DragEvent(kind, { bubbles: true, cancelable: true, dataTransfer: transfer }));
}"""


@pytest.mark.browser
@pytest.mark.parametrize(("width", "scheme"), [(1280, "light"), (400, "dark")])
def test_a_picture_is_chosen_and_dropped(
    open_page: OpenPage, pictures: Path, tmp_path: Path, width: int, scheme: str
) -> None:
    page = open_page(width, scheme=scheme)
    page.set_input_files("#file", pictures / "red" / "01.jpg")
    page.wait_for_selector(".answer")
    assert page.text_content(".answer h2").startswith("red ")
    shown = base64.b64encode((pictures / "blue" / "02.jpg").read_bytes()).decode()
    page.evaluate(DROP, ["blue <b>two</b>.jpg", shown])
    page.wait_for_selector(".answer:nth-child(2)")
    assert page.text_content(".answer h2").startswith("blue "), "the newest is on top"
    assert page.text_content(".answer .path") == "blue <b>two</b>.jpg"
    for image in page.query_selector_all(".answer img"):
        assert image.evaluate("each => each.complete && each.naturalWidth") == 64
        assert image.get_attribute("alt")
    assert page.text_content("#asked").startswith("blue <b>two</b>.jpg: blue ")
    (tmp_path / "bad.jpg").write_bytes(b"no picture")
    page.set_input_files("#file", tmp_path / "bad.jpg")
    page.wait_for_selector("#failed:not(:empty)")
    assert page.text_content("#failed") == "bad.jpg: not an image"
    (tmp_path / "huge.jpg").write_bytes(bytes(MOST + 1))
    page.set_input_files("#file", tmp_path / "huge.jpg")
    page.wait_for_selector("#failed:has-text('huge.jpg')")
    assert "too large; the limit is 1 MiB" in page.text_content("#failed")
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    assert page.locator("#drop").bounding_box()["width"] > min(width, 800) * 0.8
    page.screenshot(path=tmp_path / "page.png", full_page=True)


@pytest.mark.browser
def test_the_keyboard_reaches_the_picture(open_page: OpenPage) -> None:
    page = open_page()
    page.bring_to_front()
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.className") == "skip"
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.id") == "file"
    # The event of the dialog itself once did not come in thirty seconds; the click opens it.
    page.evaluate("""document.activeElement.addEventListener(
        "click", (event) => { document.title = `opened: ${event.isTrusted}` })""")
    page.keyboard.press("Space")
    page.wait_for_function("document.title == 'opened: true'")
