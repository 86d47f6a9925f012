"""The page of `tlkit serve`: drop a picture, see what the network says and where it looked."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from markupsafe import Markup

from tlkit.report.render import asset, render, script_hash


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
    html = render(
        "serve.html",
        name=name,
        classes=classes,
        backbone=backbone,
        reject_below=reject_below,
        most_bytes=most_bytes,
        script=Markup(script),
    )
    policy = (
        "default-src 'none'; img-src data:; style-src 'unsafe-inline'; "
        f"script-src '{script_hash(script)}'; connect-src 'self'; base-uri 'none'; "
        "form-action 'none'; frame-ancestors 'none'"
    )
    return ServingPage(html, policy)
