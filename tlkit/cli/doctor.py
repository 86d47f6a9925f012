"""The command doctor."""

from __future__ import annotations


def doctor() -> None:
    """Say what this machine has: backend, GPUs, engines, caches, extras, network. Always exit 0."""
    from tlkit.doctor import examine, show

    show(examine())
