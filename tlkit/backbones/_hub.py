"""Checkpoints on the model hub: found in its cache, or downloaded into it.

The cache is huggingface_hub's own (HF_HUB_CACHE, HF_HOME), so that what timm or another tool has
fetched is here too. But huggingface_hub 2 starts anew when a download was interrupted, and a VGG
has half a gigabyte: so `_download` fetches the bytes, and the library puts them into its tree.
"""

from __future__ import annotations

import os
import re
from pathlib import Path

from tlkit.backbones._download import check_reachable, download, failure
from tlkit.errors import WeightsError

METADATA_TIMEOUT = 10.0  # seconds
ETAGS = {64: "sha256", 40: "git"}  # what the hub's version of a file is, by its length


def cached(repo: str, file: str) -> Path | None:
    """The file in the hub's cache, intact or not; None when it was never fetched."""
    from huggingface_hub import try_to_load_from_cache

    path = try_to_load_from_cache(repo, file, cache_dir=_cache())
    return Path(path) if isinstance(path, str) else None


def published_sha256(path: Path) -> str | None:
    """What the hub said of a cached file: it names the blob behind the link."""
    name = path.resolve().name
    return name if re.fullmatch("[0-9a-f]{64}", name) else None


def remove(path: Path) -> None:
    """Forget a cached file, so that it is fetched anew."""
    blob = path.resolve()
    path.unlink(missing_ok=True)
    blob.unlink(missing_ok=True)


def fetch(repo: str, file: str, what: str, sha256: str | None = None) -> Path:
    """Download a file of a repository's main branch into the hub's cache.

    Args:
        repo: "owner/name".
        file: name in the repository.
        what: the backbone, for messages.
        sha256: that tlkit knows; else the one that the hub states is checked.

    Raises:
        WeightsError: no network, see `_download.download`, or another file than tlkit knows.
    """
    from huggingface_hub import get_hf_file_metadata, hf_hub_download, hf_hub_url
    from huggingface_hub.utils._headers import build_hf_headers

    endpoint, cache = _endpoint(), _cache()
    check_reachable(endpoint, what)
    url = hf_hub_url(repo, file, endpoint=endpoint)
    try:
        metadata = get_hf_file_metadata(url, timeout=METADATA_TIMEOUT)
    except Exception as error:  # of whichever HTTP library huggingface_hub uses
        raise WeightsError(failure(url, error)) from error
    etag = metadata.etag or ""
    if not re.fullmatch(r"[\w-]+", etag):
        raise WeightsError(f"{url} states no version of the file: is HF_ENDPOINT a model hub?")
    digests = {"sha256": sha256} if sha256 else {}
    kind = ETAGS.get(len(etag)) if re.fullmatch("[0-9a-f]+", etag) else None
    if kind and not etag.startswith(digests.setdefault(kind, etag)):
        raise WeightsError(
            f"{url} is not the file that tlkit knows: its sha256 is {etag}, expected {sha256}."
            " Give a file that you trust with --weights FILE."
        )
    folder = f"models--{repo.replace('/', '--')}"
    download(
        url,
        cache / folder / "blobs" / etag,
        digests,
        what=what,
        size=metadata.size,
        headers=build_hf_headers(),
        lock=cache / ".locks" / folder / f"{etag}.lock",
    )
    try:  # the bytes are there: this only links them into the tree of versions
        return Path(hf_hub_download(repo, file, cache_dir=cache, endpoint=endpoint))
    except Exception as error:
        raise WeightsError(failure(url, error)) from error


def _endpoint() -> str:
    from huggingface_hub import constants

    return (os.environ.get("HF_ENDPOINT") or constants.ENDPOINT).rstrip("/")


def _cache() -> Path:
    """The hub's cache, as the environment says now (huggingface_hub looks once, on import)."""
    from huggingface_hub import constants

    if folder := os.environ.get("HF_HUB_CACHE"):
        return Path(folder).expanduser()
    if home := os.environ.get("HF_HOME"):
        return Path(home).expanduser() / "hub"
    return Path(constants.HF_HUB_CACHE)
