"""Download a file: go on where the last attempt stopped, and keep only the right bytes."""

from __future__ import annotations

import hashlib
import os
import socket
import threading
import urllib.parse
import urllib.request
from collections.abc import Mapping
from pathlib import Path

from tlkit.errors import WeightsError
from tlkit.progress import console

PATIENCE = 1.5  # seconds to reach a server before it counts as unreachable


class UnreachableError(Exception):
    """No way to the server: the message says why."""


def offline() -> str | None:
    """The environment variable that forbids the network, if one does."""
    for name in ("TLKIT_OFFLINE", "HF_HUB_OFFLINE", "TRANSFORMERS_OFFLINE"):
        if os.environ.get(name, "").strip().upper() in ("1", "ON", "YES", "TRUE"):
            return name
    return None


def check_reachable(url: str) -> None:
    """Return when the host of `url` (or the proxy that leads there) accepts a connection.

    A machine without a network may take minutes to find that out by itself: looking up a name has
    no time limit, so it happens in a thread that is left behind.

    Raises:
        UnreachableError: after PATIENCE seconds at the latest.
    """
    if variable := offline():
        raise UnreachableError(f"{variable} is set")
    parts = urllib.parse.urlsplit(url)
    proxy = urllib.request.getproxies().get(parts.scheme)
    if proxy and not urllib.request.proxy_bypass(parts.hostname or ""):
        parts = urllib.parse.urlsplit(proxy if "//" in proxy else f"//{proxy}")
    address = parts.hostname or "", parts.port or (80 if parts.scheme == "http" else 443)
    problem = [f"{address[0]} does not answer"]

    def connect() -> None:
        try:
            socket.create_connection(address, timeout=PATIENCE).close()
            problem.clear()
        except OSError as error:
            problem[:] = [f"{address[0]}: {error.strerror or error}"]

    thread = threading.Thread(target=connect, daemon=True)
    thread.start()
    thread.join(PATIENCE)
    if problem:
        raise UnreachableError(problem[0])


def download(
    url: str,
    target: Path,
    digests: Mapping[str, str],
    *,
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
            console.print(f"Another process is downloading {target.name}: waiting for it.")
            guard.acquire()
        try:
            if not target.exists():
                part = target.with_name(f"{target.name}.part")
                _complete(url, part, size, headers)
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


def _complete(url: str, part: Path, size: int | None, headers: Mapping[str, str] | None) -> None:
    """Append what is missing."""
    from huggingface_hub.file_download import http_get

    if size is not None and part.exists() and part.stat().st_size > size:
        part.unlink()
    try:
        with part.open("ab") as file:
            http_get(
                url,
                file,
                resume_size=file.tell(),
                headers=dict(headers or {}),
                expected_size=size,
                displayed_filename=url.rpartition("/")[2],
            )
    except Exception as error:  # of whichever HTTP library huggingface_hub uses
        kept = part.stat().st_size if part.exists() else 0
        more = f" {kept:,} bytes are kept: the next attempt goes on from there." if kept else ""
        raise WeightsError(failure(url, error) + more) from error


def _check(url: str, part: Path, digests: Mapping[str, str]) -> None:
    for kind, expected in digests.items():
        arrived = digest(part, kind)
        if not arrived.startswith(expected):
            part.unlink()
            raise WeightsError(
                f"{url} delivered wrong bytes, which were deleted: {kind} {arrived}, expected"
                f" {expected}. Try again, or give a file with --weights FILE."
            )
