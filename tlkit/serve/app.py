"""The FastAPI application: a page, and the endpoints that it and programs ask."""

from __future__ import annotations

import asyncio
import ipaddress
import threading
from typing import Any

import cv2
import numpy as np
from fastapi import FastAPI, Request
from fastapi.concurrency import run_in_threadpool
from fastapi.responses import HTMLResponse, JSONResponse
from starlette.middleware.trustedhost import TrustedHostMiddleware

from tlkit.classifier import Classifier
from tlkit.errors import DataError
from tlkit.evaluation.answers import Detail
from tlkit.evaluation.explain import encode, grad_cam, overlay
from tlkit.evaluation.predictions import answer_picture
from tlkit.report.serving import serving_page

UPLOAD_SECONDS = 60
"""A picture must have arrived by then."""


class Model:
    """A classifier that answers one picture at a time, whichever thread asks."""

    def __init__(self, classifier: Classifier, reject_below: float = 0.0):
        self.classifier = classifier
        self.detail = Detail(classifier.classes, None, reject_below, classifier.multi_label)
        self._one_at_a_time = threading.Lock()

    def warm_up(self) -> None:
        """Answer a black picture, so that nobody waits for what is only done the first time."""
        side = self.classifier.size
        black = cv2.imencode(".png", np.zeros((side, side, 3), np.uint8))[1].tobytes()
        self.answer(black, explain=True)

    def answer(self, data: bytes, explain: bool = False) -> dict[str, Any]:
        """What the network says of a picture.

        Args:
            data: the bytes of an image file.
            explain: also give `seen`, the picture as the network takes it, and `looked`, where it
                looked for the most probable class (Grad-CAM); both base64 JPEG.

        Raises:
            DataError: the picture cannot be read; the message is the reason.
        """
        with self._one_at_a_time:
            answer, seen = answer_picture(self.classifier, data)
            record = self.detail.record(answer)
            del record["path"]
            if explain:
                assert answer.probabilities is not None
                best = int(answer.probabilities.argmax())
                heat = grad_cam(self.classifier, seen[None], [best])[0]
                record |= {"seen": encode(seen, 512), "looked": encode(overlay(seen, heat), 512)}
            return record


def make_app(model: Model, name: str, host: str, most_bytes: int) -> FastAPI:
    """The FastAPI application.

    Args:
        model: what answers.
        name: the run's name, for the page.
        host: where it will listen. At a loopback address only this machine's names are answered,
            so that no page elsewhere can reach it under a name of its own (DNS rebinding).
        most_bytes: of one picture.
    """
    classifier, detail = model.classifier, model.detail
    page = serving_page(
        name, classifier.classes, classifier.row.name, detail.reject_below, most_bytes
    )
    # No /docs: that page loads its scripts from elsewhere.
    app = FastAPI(title=f"tlkit: {name}", docs_url=None, redoc_url=None)
    if _is_loopback(host):
        names = [host, "localhost", "127.0.0.1", "::1", "[::1]"]
        app.add_middleware(TrustedHostMiddleware, allowed_hosts=names, www_redirect=False)

    @app.get("/", response_class=HTMLResponse, include_in_schema=False)
    async def _page() -> HTMLResponse:
        headers = {
            # The page's own policy says the rest; this part holds in a header alone.
            "Content-Security-Policy": "frame-ancestors 'none'",
            "X-Content-Type-Options": "nosniff",
            "Referrer-Policy": "no-referrer",
        }
        return HTMLResponse(page, headers=headers)

    @app.get("/about", summary="The classes and what a picture may weigh")
    async def _about() -> dict[str, Any]:
        limits = {"reject_below": detail.reject_below, "most_bytes": most_bytes}
        return {"run": name, **classifier.about, **limits}

    body = {"required": True, "content": {"image/*": {"schema": {"format": "binary"}}}}

    @app.post(
        "/predict",
        summary="Classify the picture in the request's body",
        openapi_extra={"requestBody": body},
    )
    async def _predict(request: Request, explain: bool = False) -> JSONResponse:
        if request.headers.get("sec-fetch-site", "none") not in ("none", "same-origin"):
            return JSONResponse({"error": "asked by a page of another site"}, 403)
        try:
            async with asyncio.timeout(UPLOAD_SECONDS):
                data = await _body(request, most_bytes)
        except TimeoutError:
            return JSONResponse({"error": f"not sent within {UPLOAD_SECONDS} s"}, 408)
        if data is None:
            return JSONResponse({"error": f"too large: the limit is {most_bytes:,} bytes"}, 413)
        try:
            return JSONResponse(await run_in_threadpool(model.answer, data, explain))
        except DataError as error:
            return JSONResponse({"error": str(error)}, 422)

    return app


async def _body(request: Request, most_bytes: int) -> bytes | None:
    """The request's body; None as soon as it is too large."""
    data = bytearray()
    async for part in request.stream():
        data += part
        if len(data) > most_bytes:
            return None
    return bytes(data)


def _is_loopback(host: str) -> bool:
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False
