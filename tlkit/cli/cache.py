"""`tlkit cache`: features that are kept for later runs."""

from __future__ import annotations

import typer

app = typer.Typer(help="Features that are kept for later runs: info, clear.", no_args_is_help=True)


@app.command("info")
def info() -> None:
    """Say where kept features are, how much room they take, and what they are of."""
    from tlkit.feature_cache import FeatureCache

    cache = FeatureCache()
    print(f"{cache.root}  {cache.size() / 2**20:,.1f} MiB")
    if len(table := cache.info()):
        print(table.to_string(index=False, na_rep=""))


@app.command("clear")
def clear() -> None:
    """Delete all kept features and converted networks; later runs compute them again."""
    from tlkit.feature_cache import FeatureCache

    print(f"{FeatureCache().clear() / 2**20:,.1f} MiB freed")
