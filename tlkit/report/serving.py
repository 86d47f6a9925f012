"""The page of `tlkit serve`: drop a picture, see what the network says and where it looked."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Sequence
from importlib import metadata
from typing import NamedTuple

from markupsafe import Markup

from tlkit.report.render import asset, environment


class ServingPage(NamedTuple):
    """The page and the policy to send with it: it may run its own script and ask its own server."""

    html: str
    policy: str


def serving_page(
    name: str, classes: Sequence[str], backbone: str, reject_below: float, most_bytes: int
) -> ServingPage:
    """Write the page.

    Args:
        name: the run's name.
        classes: what the network can say.
        backbone: the network's name.
        reject_below: an answer less confident than this is shown as "don't know".
        most_bytes: of a picture that is sent.
    """
    script = asset("serve.js")
    html = (
        environment()
        .get_template("serve.html")
        .render(
            version=metadata.version("tlkit"),
            name=name,
            classes=classes,
            backbone=backbone,
            reject_below=reject_below,
            most_bytes=most_bytes,
            style=Markup(asset("report.css")),
            script=Markup(script),
        )
    )
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    policy = (
        "default-src 'none'; img-src data:; style-src 'unsafe-inline'; "
        f"script-src 'sha256-{digest}'; connect-src 'self'; base-uri 'none'; "
        "form-action 'none'; frame-ancestors 'none'"
    )
    return ServingPage(html, policy)
