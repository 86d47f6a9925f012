"""Weights in Keras' own files, and those that keras.applications downloads.

.keras, .weights.h5 and .h5 are read with h5py, layer by layer: the model that a .keras file
describes is never built, so that nothing in the file can run.
"""

from __future__ import annotations

import io
import os
import re
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from tlkit.backbones._download import check_reachable, failure
from tlkit.backbones._registry import Backbone
from tlkit.backbones._survive import survive
from tlkit.errors import WeightsError

if TYPE_CHECKING:
    import h5py
    import keras

KERAS_SERVER = "https://storage.googleapis.com"  # where keras.applications keeps its files

PATIENCE, SLOWEST = 60.0, 5e6
"""Seconds that reading any file may take, and bytes a second of a slow disk: a file that takes
longer than both together is held to be one that never ends."""

Arrays = dict[str, list[np.ndarray]]


def read_keras_file(path: str | Path) -> Arrays:
    """The weights of each layer by the layer's name, in Keras' order.

    Args:
        path: .keras, .weights.h5 (Keras 3), or .h5 (a model or its weights, Keras 2 or 3).

    Raises:
        WeightsError: damaged, of another kind, or it points outside itself.
    """
    path = Path(path)
    try:
        check_readable(path)
        arrays = _read_numbers(path)
    except Exception as error:  # on a damaged file h5py raises whatever it stumbles over
        reason = (str(error) or type(error).__name__).splitlines()[0][:120]
        raise WeightsError(
            f"Cannot read the weights file {path}: it is truncated, damaged or no Keras file"
            f" ({reason}). Fetch or save it again."
        ) from error
    if not arrays:
        raise WeightsError(f"Cannot read the weights file {path}: it holds no weights of layers.")
    return arrays


def assign_keras_file(
    model: keras.Model, row: Backbone, path: Path, skip: frozenset[str] = frozenset()
) -> None:
    """Fill a model from a Keras file, by the names of layers; all of it, or nothing.

    The files of keras.applications name the layers in another way; these are read in order, as
    Keras does. Layers of the file that the model has not, such as another head, are left.

    Raises:
        WeightsError: unreadable, or a layer of the model is missing or has another shape.
    """
    arrays = read_keras_file(path)
    layers = _weighted(model, skip)
    foreign = not any(layer.name in arrays for layer in layers)
    if foreign and row.weights and row.weights.keras and len(arrays) >= len(layers):
        learnt = [values for name, values in arrays.items() if not name.startswith("normalization")]
        found = learnt[: len(layers)]  # the file may have a top that the model lacks
    else:
        found = [_of_layer(layer, arrays) for layer in layers]
    misfits = []
    for layer, values in zip(layers, found, strict=True):
        expected = [tuple(variable.shape) for variable in layer.weights]
        arrived = [value.shape for value in values]
        if arrived != expected:
            what = f"arrived {arrived}" if arrived else "is missing"
            misfits.append(f"{layer.name} expects {expected}, {what}")
    if misfits:
        raise WeightsError(
            f"{path} does not fit {row.name}: {len(misfits)} of {len(layers)} layers do not fit"
            f" ({'; '.join(misfits[:3])}{'; ...' if len(misfits) > 3 else ''})."
            f" The file has layers such as {', '.join(list(arrays)[:3])}; take another file."
        )
    for layer, values in zip(layers, found, strict=True):
        for variable, value in zip(layer.weights, values, strict=True):
            variable.assign(value)


# --- keras.applications: Keras downloads, checks and caches ---


def cached_application(row: Backbone, include_top: bool = False) -> Path | None:
    """The file that Keras keeps of a keras.applications network, if it is here."""
    model = re.escape(re.sub(r"\W|_", "", row.arguments["model"].lower()))
    for path in sorted(_keras_folder().glob("*.h5")):
        stem = re.sub(r"\W|_", "", path.name.lower())
        if re.match(rf"(weights)?{model}(?!v\d)", stem) and ("notop" in stem) != include_top:
            return path
    return None


def fetch_application(row: Backbone, include_top: bool = False) -> keras.Model:
    """The network as keras.applications builds it, with its weights; Keras downloads what it needs.

    Raises:
        WeightsError: no network, the download fails, or its checksum is wrong.
    """
    if cached_application(row, include_top) is None:
        check_reachable(KERAS_SERVER, row.name)
    import keras

    try:
        network = getattr(keras.applications, row.arguments["model"])
        return network(include_top=include_top, weights="imagenet")
    except Exception as error:  # Keras wraps whatever urllib raises in a plain Exception
        raise WeightsError(failure(f"the weights of {row.name} through Keras", error)) from error


def assign_application(
    model: keras.Model, row: Backbone, skip: frozenset[str] = frozenset()
) -> None:
    """Copy the published weights of keras.applications into a model of the row's builder.

    Both graphs come from the same function, so that their layers correspond in order.
    """
    layers = _weighted(model, skip)
    with_top = any(layer.name.startswith("top_") for layer in layers)
    source = _weighted(fetch_application(row, include_top=with_top), frozenset())
    fits = len(layers) == len(source) and all(
        [np.prod(v.shape) for v in ours.weights] == [np.prod(v.shape) for v in theirs.weights]
        for ours, theirs in zip(layers, source, strict=True)
    )
    if not fits:
        raise WeightsError(
            f"keras.applications builds {row.name} with other layers than tlkit expects: install"
            " another Keras, or give a file with --weights FILE."
        )
    for ours, theirs in zip(layers, source, strict=True):
        for variable, value in zip(ours.weights, theirs.get_weights(), strict=True):
            variable.assign(np.reshape(value, variable.shape))  # a 1x1 convolution may be a Dense


def _keras_folder() -> Path:
    home = os.environ.get("KERAS_HOME")
    return (Path(home) if home else Path.home() / ".keras") / "models"


# --- reading ---


def check_readable(path: Path) -> None:
    """Find out whether reading the numbers of a Keras file survives.

    Raises:
        ValueError: it does not, or does not end.
        OSError: there is no such file.
    """
    patience = PATIENCE + path.stat().st_size / SLOWEST
    survive(lambda: _read_numbers(path), patience)


def _read_numbers(path: Path) -> Arrays:
    """As `read_keras_file`, but with whatever error h5py has."""
    import h5py

    with zipfile.ZipFile(path) if zipfile.is_zipfile(path) else path.open("rb") as file:
        if isinstance(file, zipfile.ZipFile):
            info = file.getinfo("model.weights.h5")
            if info.compress_type != zipfile.ZIP_STORED:
                raise ValueError("its weights are compressed, which Keras never does")
            source: Any = io.BytesIO(file.read(info))
        else:
            source = file
        with h5py.File(source, "r") as h5:
            legacy = _child(h5, "model_weights") if "model_weights" in h5 else h5
            return _legacy(legacy) if "layer_names" in legacy.attrs else _by_name(h5)


def _weighted(model: keras.Model, skip: frozenset[str]) -> list[keras.Layer]:
    """Layers with weights; EfficientNet's input statistics are the row's preprocessing instead."""
    import keras

    return [
        layer
        for layer in model.layers
        if layer.weights
        and layer.name not in skip
        and not isinstance(layer, keras.layers.Normalization)
    ]


def _of_layer(layer: keras.Layer, arrays: Mapping[str, list[np.ndarray]]) -> list[np.ndarray]:
    """A layer's own arrays, or those of the layers inside it."""
    if layer.name in arrays:
        return arrays[layer.name]
    return [array for inner in getattr(layer, "layers", ()) for array in _of_layer(inner, arrays)]


def _legacy(group: h5py.Group) -> Arrays:
    """Keras 2: attributes list the layers, and the weights of each, in order."""
    arrays = {}
    for layer in _texts(group.attrs["layer_names"]):
        weights = _child(group, layer)
        names = _texts(weights.attrs["weight_names"])
        if names:
            arrays[layer] = [_array(weights, name) for name in names]
    return arrays


def _by_name(file: h5py.File) -> Arrays:
    """Keras 3: every group `vars` holds 0, 1, 2 ... and has the layer's name as an attribute."""
    arrays: Arrays = {}
    twice = set()

    def visit(name: str, item: Any) -> None:
        if (
            name.split("/")[-1] != "vars"
            or name.startswith("optimizer")
            or "name" not in item.attrs
        ):
            return
        layer = str(item.attrs["name"])
        if len(item):
            if layer in arrays:
                twice.add(layer)
            arrays[layer] = [_array(item, str(i)) for i in range(len(item))]

    file.visititems(visit)
    return {layer: values for layer, values in arrays.items() if layer not in twice}


def _array(group: h5py.Group, name: str) -> np.ndarray:
    """The numbers of a dataset, as long as they lie in this very file and do not unfold."""
    data = _child(group, name)
    if data.is_virtual or data.external or data.id.get_storage_size() < data.nbytes:
        raise ValueError(f"the numbers of {name} are compressed, or not in the file")
    return np.asarray(data[()])


def _child(group: h5py.Group, name: str) -> Any:
    """What a path leads to without a link, which could lead into another file."""
    import h5py

    for part in name.split("/"):
        if not isinstance(group.get(part, getlink=True), h5py.HardLink):
            raise ValueError(f"{name} is a link")
        group = group[part]
    return group


def _texts(attribute: Any) -> list[str]:
    return [name.decode() if isinstance(name, bytes) else str(name) for name in attribute]
