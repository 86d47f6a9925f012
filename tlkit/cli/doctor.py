"""The command doctor."""

from __future__ import annotations


def doctor() -> None:
    """Say what this machine has.

    Backend, GPUs, engines, caches, extras and network; always exit 0.
    """
    from tlkit.doctor import examine, show

    show(examine())
