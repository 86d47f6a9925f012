"""A page to try a model in the browser, and the same as a JSON endpoint; on this machine alone
unless asked otherwise."""

from __future__ import annotations

import contextlib
import socket
from pathlib import Path

from tlkit.device import import_keras
from tlkit.errors import ServeError
from tlkit.extras import require
from tlkit.progress import console
from tlkit.runs import Run

WAITING = 32
"""Requests at a time; more are told to come back."""


def serve(
    run: Run | Path | str,
    host: str = "127.0.0.1",
    port: int = 8000,
    *,
    reject_below: float = 0.0,
    most_bytes: int = 20 * 2**20,
) -> None:
    """Serve a page where pictures are dropped and answered, until Ctrl-C.

    Args:
        run: a finished run.
        host: the address to listen at; any other than a loopback address lets other machines in.
        port: 0 takes a free one.
        reject_below: an answer less confident than this is "don't know".
        most_bytes: of one picture.

    Raises:
        MissingPackageError: the extra `serve` is not installed.
        ServeError: the address is taken, or not this machine's.
        RunError: no finished run with a network of its own (`Run.network`).
    """
    uvicorn = require("uvicorn", "serve", "tlkit serve")
    require("fastapi", "serve", "tlkit serve")
    source = run if isinstance(run, Run) else Run.open(run)
    network = source.network
    listening = _listen(host, port)
    with listening:
        with console.status("loading the model"):
            import_keras()
            from tlkit.classifier import load_classifier
            from tlkit.serve.app import Model, make_app

            model = Model(load_classifier(network), reject_below)
            model.warm_up()
        app = make_app(model, source.folder.resolve().name, host, most_bytes)
        config = uvicorn.Config(
            app, log_level="error", access_log=False, limit_concurrency=WAITING, lifespan="off",
            server_header=False,
        )  # fmt: skip
        place = f"[{host}]" if ":" in host else host
        print(f"http://{place}:{listening.getsockname()[1]}  (Ctrl-C ends it)", flush=True)
        with contextlib.suppress(KeyboardInterrupt):
            uvicorn.Server(config).run(sockets=[listening])


def _listen(host: str, port: int) -> socket.socket:
    try:
        family, kind, number, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[
            0
        ]
        listening = socket.socket(family, kind, number)
        try:
            listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            listening.bind(address)
            listening.listen(WAITING)
        except OSError:
            listening.close()
            raise
    except (OSError, OverflowError) as error:
        reason = getattr(error, "strerror", None) or error
        raise ServeError(
            f"Cannot listen at {host} port {port}: {reason}. Choose another --port or --host."
        ) from None
    return listening
