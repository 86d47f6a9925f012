"""A model hub on loopback: what huggingface_hub asks of a server to download one file."""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

FILE = "acme/tiny/model.safetensors"
COMMIT = "0123456789abcdef0123456789abcdef01234567"


@dataclass
class Hub:
    """Serves `files`; `log` keeps (method, path, Range header) of every request.

    `cut` closes the connection after so many bytes of an answer, for all requests but HEAD;
    `pause` is waited for before the first byte of a GET, `stall` after the last; `etag` replaces
    the true one; `ranges` False sends the whole whatever is asked.
    """

    files: dict[str, bytes]
    log: list[tuple[str, str, str | None]] = field(default_factory=list)
    cut: int | None = None
    pause: threading.Event | None = None
    stall: threading.Event | None = None
    etag: str | None = None
    status: int | None = None
    ranges: bool = True
    url: str = ""

    def count(self, method: str) -> int:
        return sum(entry[0] == method for entry in self.log)


@contextmanager
def serve(files: dict[str, bytes]) -> Iterator[Hub]:
    """Files by their path, such as "timm/vgg11_bn.tv_in1k/model.safetensors"."""
    hub = Hub(files)

    class Handler(BaseHTTPRequestHandler):
        def answer(self) -> None:
            asked = self.headers.get("Range")
            if not self.path.startswith("/api/"):  # huggingface_hub asks for more than we do
                hub.log.append((self.command, self.path, asked))
            body = hub.files.get(self.path.strip("/").replace("resolve/main/", ""))
            if body is None or hub.status:
                self.send_response(hub.status or 404)
                self.send_header("X-Error-Code", "EntryNotFound")
                self.send_header("Content-Length", "0")
                self.end_headers()
                return
            asked = asked if hub.ranges else None
            start = int(asked.removeprefix("bytes=").rstrip("-")) if asked else 0
            etag = hub.etag or hashlib.sha256(body).hexdigest()
            self.send_response(206 if asked else 200)
            self.send_header("ETag", f'"{etag}"')
            self.send_header("X-Linked-Etag", f'"{etag}"')
            self.send_header("X-Linked-Size", str(len(body)))
            self.send_header("X-Repo-Commit", COMMIT)
            self.send_header("Accept-Ranges", "bytes")
            self.send_header("Content-Length", str(len(body) - start))
            if asked:
                self.send_header("Content-Range", f"bytes {start}-{len(body) - 1}/{len(body)}")
            self.end_headers()
            if self.command == "GET":
                if hub.pause:
                    hub.pause.wait(20)
                self.wfile.write(body[start:][: hub.cut])
                if hub.stall:
                    hub.stall.wait(20)
                self.close_connection = True

        do_GET = do_HEAD = answer  # noqa: N815

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    hub.url = f"http://127.0.0.1:{server.server_port}"
    thread = threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True)
    thread.start()
    try:
        yield hub
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
