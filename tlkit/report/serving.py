"""The page of `tlkit serve`: drop a picture, see what the network says and where it looked."""

from __future__ import annotations

from collections.abc import Sequence

from markupsafe import Markup

from tlkit.report.render import asset, render, script_hash


def serving_page(
    name: str, classes: Sequence[str], backbone: str, reject_below: float, most_bytes: int
) -> str:
    """The page; its policy lets it run its own script and ask its own server, nothing else.

    Args:
        name: the run's name.
        classes: what the network can say.
        backbone: the network's name.
        reject_below: an answer less confident than this is shown as "don't know".
        most_bytes: of a picture that is sent.
    """
    script = asset("serve.js")
    return render(
        "serve.html",
        name=name,
        classes=classes,
        backbone=backbone,
        reject_below=reject_below,
        most_bytes=most_bytes,
        asks=True,
        script=Markup(script),
        script_hash=script_hash(script),
    )
