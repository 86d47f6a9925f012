"""Download a file: go on where the last attempt stopped, and keep only the right bytes."""

from __future__ import annotations

import hashlib
import os
import socket
import threading
import time
import urllib.parse
import urllib.request
from collections.abc import Iterator, Mapping
from pathlib import Path

from rich.progress import (
    BarColumn,
    DownloadColumn,
    Progress,
    TextColumn,
    TimeRemainingColumn,
    TransferSpeedColumn,
)

from tlkit.errors import WeightsError
from tlkit.progress import console

PATIENCE = 1.5  # seconds to reach a server before it counts as unreachable
READ_TIMEOUT = 30.0  # seconds without a byte
ATTEMPTS = 4  # in a row that bring nothing


def offline() -> str | None:
    """The environment variable that forbids the network, if one does."""
    for name in ("TLKIT_OFFLINE", "HF_HUB_OFFLINE", "TRANSFORMERS_OFFLINE"):
        if os.environ.get(name, "").strip().upper() in ("1", "ON", "YES", "TRUE"):
            return name
    return None


def check_reachable(url: str, what: str) -> None:
    """Return when the host of `url` (or the proxy that leads there) accepts a connection.

    A machine without a network may take minutes to find that out by itself: looking up a name has
    no time limit, so it happens in a thread that is left behind.

    Args:
        url: that is wanted.
        what: the backbone whose weights are wanted.

    Raises:
        WeightsError: no way, after PATIENCE seconds at the latest, or forbidden; it names the three
            ways out.
    """
    variable = offline()
    problem = f"{variable} is set" if variable else connection_problem(url)
    if problem:
        raise WeightsError(
            f"No network ({problem}), and the ImageNet weights of {what} are not on this machine:"
            " give a file with --weights FILE, start from random ones with --weights none, or take"
            " a backbone whose weights are installed, such as --backbone efficientnet_lite0."
        )


def connection_problem(url: str) -> str | None:
    """Why the host of `url` cannot be reached; None when it can."""
    parts = urllib.parse.urlsplit(url)
    proxy = urllib.request.getproxies().get(parts.scheme)
    if proxy and not urllib.request.proxy_bypass(parts.hostname or ""):
        parts = urllib.parse.urlsplit(proxy if "//" in proxy else f"//{proxy}")
    address = parts.hostname or "", parts.port or (80 if parts.scheme == "http" else 443)
    problem: list[str | None] = [f"{address[0]} does not answer"]

    def connect() -> None:
        try:
            socket.create_connection(address, timeout=PATIENCE).close()
            problem[0] = None
        except OSError as error:
            problem[0] = f"{address[0]}: {error.strerror or error}"

    thread = threading.Thread(target=connect, daemon=True)
    thread.start()
    thread.join(PATIENCE)
    return problem[0]


def download(
    url: str,
    target: Path,
    digests: Mapping[str, str],
    *,
    what: str,
    size: int | None = None,
    headers: Mapping[str, str] | None = None,
    lock: Path | None = None,
) -> None:
    """Bring the file behind `url` to `target`, with a progress bar on a terminal.

    The bytes go to `<target>.part`, which a later attempt goes on with, and get their name in one
    step. Of two processes one downloads and the other waits.

    Args:
        url: of the file.
        target: where it shall be; nothing happens when it is there.
        digests: kind ("sha256", or "git" for a blob's hash) -> hexadecimal digits, or the first.
        what: a name for messages and the bar.
        size: in bytes, if known.
        headers: of the request.
        lock: file to lock; `<target>.lock` by default.

    Raises:
        WeightsError: the server refuses, the connection breaks, or the bytes are wrong.
    """
    from filelock import FileLock, Timeout

    lock = lock or target.with_name(f"{target.name}.lock")
    try:
        for folder in (target.parent, lock.parent):
            folder.mkdir(parents=True, exist_ok=True)
        guard = FileLock(lock)
        try:
            guard.acquire(timeout=1)
        except Timeout:
            note = f"Another process is downloading {what}: waiting for it."
            console.print(note, soft_wrap=True)
            guard.acquire()
        try:
            if not target.exists():
                part = target.with_name(f"{target.name}.part")
                _complete(url, part, what, size, headers)
                _check(url, part, digests)
                part.replace(target)
        finally:
            guard.release()
    except OSError as error:
        raise WeightsError(failure(url, error)) from error


def digest(path: Path, kind: str = "sha256") -> str:
    """Hexadecimal digest of a file's bytes; "git" is the hash that git gives to a blob."""
    with path.open("rb") as file:
        if kind == "sha256":
            return hashlib.file_digest(file, "sha256").hexdigest()
        start = b"blob %d\0" % path.stat().st_size
        return hashlib.file_digest(
            file, lambda: hashlib.sha1(start, usedforsecurity=False)
        ).hexdigest()


def failure(url: str, error: BaseException) -> str:
    """One line on a download that failed, and what to do."""
    reason = (str(error).strip() or type(error).__name__).splitlines()[0][:160].rstrip(".")
    return (
        f"Cannot download {url}: {reason}. Try again, give a file with --weights FILE, or start"
        " from random weights with --weights none."
    )


def _complete(
    url: str, part: Path, what: str, size: int | None, headers: Mapping[str, str] | None
) -> None:
    """Append what is missing; a connection that breaks is taken up again, as long as it helps."""
    if size is not None and part.exists() and part.stat().st_size > size:
        part.unlink()
    with part.open("ab") as file, _bytes_bar() as bar:
        task = bar.add_task(f"download {what}", total=size, completed=file.tell())
        fruitless = 0
        while size is None or file.tell() < size:
            start = file.tell()
            chunks = _get(url, start, headers)
            try:
                while chunk := next(chunks, b""):
                    file.write(chunk)
                    bar.advance(task, len(chunk))
                break
            except (WeightsError, OSError):
                raise  # the server's last word; or the disk is full
            except Exception as error:  # of whichever HTTP library huggingface_hub uses
                fruitless = 0 if file.tell() > start else fruitless + 1
                if fruitless == ATTEMPTS:
                    raise WeightsError(
                        f"{failure(url, error)} {start:,} bytes are kept: the next attempt goes on"
                        " from there."
                    ) from error
                time.sleep(2**fruitless)


def _get(url: str, start: int, headers: Mapping[str, str] | None) -> Iterator[bytes]:
    """The bytes behind `url` from `start` on, also of a server that only sends the whole."""
    from huggingface_hub.errors import HfHubHTTPError
    from huggingface_hub.utils._http import get_session, hf_raise_for_status

    asked = {**(headers or {}), "Accept-Encoding": "identity"}
    if start:
        asked["Range"] = f"bytes={start}-"
    with get_session().stream("GET", url, headers=asked, timeout=READ_TIMEOUT) as response:
        if response.status_code == 416:  # nothing is missing
            return
        try:
            hf_raise_for_status(response)
        except HfHubHTTPError as error:
            raise WeightsError(failure(url, error)) from error
        surplus = start if response.status_code != 206 else 0
        for chunk in response.iter_bytes():  # as they come: a given size would hold some back
            if len(chunk) > surplus:
                yield chunk[surplus:]
            surplus = max(0, surplus - len(chunk))


def _bytes_bar() -> Progress:
    """Like tlkit.progress.progress_bar, counting megabytes."""
    return Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        DownloadColumn(),
        TransferSpeedColumn(),
        TimeRemainingColumn(),
        console=console,
        transient=True,
        disable=not console.is_terminal,
    )


def _check(url: str, part: Path, digests: Mapping[str, str]) -> None:
    for kind, expected in digests.items():
        arrived = digest(part, kind)
        if not arrived.startswith(expected):
            part.unlink()
            raise WeightsError(
                f"{url} delivered wrong bytes, which were deleted: {kind} {arrived}, expected"
                f" {expected}. Try again, or give a file with --weights FILE."
            )
