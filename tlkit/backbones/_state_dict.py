"""Published state dicts: read them, and assign them to the Keras layers of a row.

The row's `keys` function says which module of the checkpoint a layer is; how the numbers are turned
follows from the layer's kind (PyTorch keeps kernels as (out, in, height, width)).
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from tlkit.backbones._registry import BACKBONES, Backbone, load
from tlkit.backbones._torch_file import LEGACY_START, ZIP_START, read_torch_file
from tlkit.errors import WeightsError
from tlkit.progress import track

if TYPE_CHECKING:
    import keras

StateDict = dict[str, np.ndarray]
Keys = Callable[[Sequence[str]], dict[str, tuple[str, ...]]]

# What wrappers (DataParallel, torch.compile, Lightning) put before every key.
WRAPPERS = ("module.", "_orig_mod.", "model.", "net.", "network.", "backbone.", "encoder.")
# A Keras variable's name -> the parameter's name in a module.
PARAMETERS = {
    "kernel": "weight",
    "depthwise_kernel": "weight",
    "bias": "bias",
    "gamma": "weight",
    "beta": "bias",
    "moving_mean": "running_mean",
    "moving_variance": "running_var",
}
STATISTICS = ("running_mean", "running_var", "num_batches_tracked")


def load_state_dict(path: str | Path) -> StateDict:
    """The tensors of a checkpoint in PyTorch's layout, by key; the content decides the format.

    Args:
        path: .safetensors, or .pth / .pt / .bin in either of PyTorch's layouts.

    Returns:
        Arrays as they are stored (bfloat16 as float32); a prefix that all keys share because the
        model was wrapped ("module.", "_orig_mod.", "model." ...) is taken off.

    Raises:
        WeightsError: no such file, damaged, or refused (see `read_torch_file`).
    """
    path = Path(path)
    start = _first_bytes(path, len(LEGACY_START))
    torch_file = start.startswith(ZIP_START) or start == LEGACY_START
    if torch_file or path.suffix.lower() in (".pth", ".pt", ".bin", ".tar", ".ckpt"):
        state = read_torch_file(path)
    else:
        state = _read_safetensors(path)
    while prefix := next((w for w in WRAPPERS if all(key.startswith(w) for key in state)), ""):
        state = {key.removeprefix(prefix): array for key, array in state.items()}
    return state


def assign_state_dict(
    model: keras.Model,
    row: Backbone,
    state: Mapping[str, np.ndarray],
    path: str | Path,
    skip: frozenset[str] = frozenset(),
) -> None:
    """Fill every weighted layer of a model, or none at all.

    Args:
        model: with the layers of the row's builder, its top and its auxiliary heads or not.
        row: of the registry; its `keys` names the modules.
        state: of `load_state_dict`.
        path: for messages.
        skip: names of layers that are not the row's, such as those of a new head.

    Raises:
        WeightsError: a layer stays empty or has another shape, or a tensor is left over.
    """
    if row.keys is None:
        raise WeightsError(
            f"{row.name} has no published state dict, so {path} cannot be mapped onto it: give a"
            " Keras file (.keras, .weights.h5, .h5), or --weights none."
        )
    keys: Keys = load(row.keys)
    layers = {
        layer.name: layer for layer in model.layers if layer.weights and layer.name not in skip
    }
    modules = keys(list(layers))
    plan: list[tuple[Any, np.ndarray]] = []
    misfits: dict[str, str] = {}
    used: set[str] = set()
    for name, layer in layers.items():
        prefix = _spelling(modules[name], state)
        if prefix is None:
            misfits[name] = f"{name} is missing ({' or '.join(modules[name])})"
            continue
        for variable in layer.weights:
            key = f"{prefix}.{PARAMETERS.get(variable.name, variable.name)}"
            used.add(key)
            array = state.get(key)
            turned = None if array is None else _turn(array, layer, tuple(variable.shape))
            if turned is not None:
                plan.append((variable, turned))
                continue
            expected = _torch_shape(layer, tuple(variable.shape))
            arrived = "nothing" if array is None else _by(array.shape)
            misfits.setdefault(name, f"{name} expects {_by(expected)} at {key}, arrived {arrived}")
    left_over = _left_over(state, used, layers, keys)
    if misfits or left_over:
        texts = list(misfits.values())
        raise WeightsError(
            _other_classes(row, layers, modules, state, path)
            or _misfit(row, path, state, len(layers), texts, left_over)
        )
    for variable, array in track(plan, f"load {row.name}"):
        variable.assign(array)


def looks_like(state: Mapping[str, np.ndarray], rows: Iterable[Backbone]) -> list[str]:
    """Names of the rows whose number of parameters a checkpoint has, whatever its classes."""
    counted = {
        key: array
        for key, array in state.items()
        if not key.endswith(STATISTICS) and not _is_auxiliary(key)
    }
    total = sum(array.size for array in counted.values())
    tops = [  # (classes, inputs) of what may be the last layer
        (len(array), array.size // len(array))
        for key, array in counted.items()
        if array.ndim >= 2
        and len(array)
        and re.search("fc|classif|head|linear|logits", key)
        and key.replace("weight", "bias") in counted
    ]
    return [
        row.name
        for row in rows
        if row.keys is not None
        and row.parameters in {total, *(total + (row.classes - n) * (d + 1) for n, d in tops)}
    ]


def _read_safetensors(path: Path) -> StateDict:
    import ml_dtypes  # noqa: F401  teaches numpy the name bfloat16, which safetensors asks for
    from safetensors import SafetensorError
    from safetensors.numpy import load_file

    try:
        state = load_file(path)
    except (SafetensorError, OSError, ValueError, LookupError, TypeError, AttributeError) as error:
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise WeightsError(
            f"Cannot read the weights file {path}: it is truncated, damaged or no checkpoint"
            f" ({reason}). Fetch or save it again."
        ) from error
    if not state:
        raise WeightsError(f"Cannot read the weights file {path}: it holds no tensors.")
    return {
        key: array.astype(np.float32) if array.dtype.name == "bfloat16" else array
        for key, array in state.items()
    }


def _first_bytes(path: Path, count: int) -> bytes:
    try:
        with path.open("rb") as file:
            return file.read(count)
    except OSError as error:
        raise WeightsError(
            f"Cannot open the weights file {path}: {error.strerror or error}."
        ) from error


def _spelling(prefixes: Iterable[str], state: Mapping[str, np.ndarray]) -> str | None:
    """The first of the alternative module names that the checkpoint knows."""
    for prefix in prefixes:
        if any(f"{prefix}.{parameter}" in state for parameter in PARAMETERS.values()):
            return prefix
    return None


def _torch_shape(layer: keras.Layer, shape: tuple[int, ...]) -> tuple[int, ...]:
    """The shape that PyTorch gives to what Keras keeps as `shape`."""
    import keras

    if len(shape) == 4:
        height, width, inputs, outputs = shape
        if isinstance(layer, keras.layers.DepthwiseConv2D):
            return inputs * outputs, 1, height, width
        return outputs, inputs, height, width
    return shape[::-1]


def _turn(array: np.ndarray, layer: keras.Layer, shape: tuple[int, ...]) -> np.ndarray | None:
    """An array of a checkpoint in Keras' layout, or None when it does not fit.

    A Linear may come as a convolution over the whole map (timm's VGG) and a 1x1 convolution as a
    Linear: their numbers are in the same order.
    """
    import keras

    expected = _torch_shape(layer, shape)
    if array.shape != expected:
        same = math.prod(array.shape) == math.prod(expected) and array.shape[:1] == expected[:1]
        if not same or min(array.ndim, len(expected)) != 2:
            return None
        array = array.reshape(expected)
    if array.ndim == 4:
        if isinstance(layer, keras.layers.DepthwiseConv2D):
            height, width, inputs, multiplier = shape
            split = array.reshape(inputs, multiplier, height, width)
            return split.transpose(2, 3, 0, 1)
        return array.transpose(2, 3, 1, 0)
    return array.T


def _left_over(
    state: Mapping[str, np.ndarray],
    used: set[str],
    layers: Mapping[str, Any],
    keys: Keys,
) -> list[str]:
    """Tensors that a fitting checkpoint would not have: a deeper network's, for example.

    Its last layer may be left over when the model has another one; so may its whole top when the
    model has none, as long as those modules hold nothing of the features.
    """
    rest = [key for key in state if key not in used and not key.endswith("num_batches_tracked")]
    if not any(name.startswith("aux") for name in layers):
        rest = [key for key in rest if not _is_auxiliary(key)]
    if "top_logits" in layers:
        return rest
    last = tuple(f"{prefix}." for prefix in keys(["top_logits"])["top_logits"])
    rest = [key for key in rest if not key.startswith(last)]
    if any(name.startswith("top_") for name in layers):
        return rest
    features = {key.split(".")[0] for key in used}
    return [key for key in rest if key.split(".")[0] in features]


def _is_auxiliary(key: str) -> bool:
    return key.lower().startswith("aux")


def _other_classes(
    row: Backbone,
    layers: Mapping[str, Any],
    modules: Mapping[str, tuple[str, ...]],
    state: Mapping[str, np.ndarray],
    path: str | Path,
) -> str | None:
    """A checkpoint that only has other classes is no wrong checkpoint: say what to do."""
    if "top_logits" not in layers or not looks_like(state, [row]):
        return None
    wanted = int(layers["top_logits"].weights[0].shape[-1])
    weight = state.get(f"{_spelling(modules['top_logits'], state)}.weight")
    if weight is None or len(weight) == wanted:
        return None
    return (
        f"{path} was trained on {len(weight)} classes, and this {row.name} has {wanted}: build it"
        f" with classes={len(weight)}, or without its top to use the features alone."
    )


def _misfit(
    row: Backbone,
    path: str | Path,
    state: Mapping[str, np.ndarray],
    layers: int,
    misfits: Sequence[str],
    left_over: Sequence[str],
) -> str:
    parts = []
    if misfits:
        parts.append(f"{len(misfits)} of {layers} layers do not fit ({_some(misfits, '; ')})")
    if left_over:
        parts.append(f"{len(left_over)} tensors have no place ({_some(left_over, ', ')})")
    rows = (other for other in BACKBONES.values() if other.weights and other.name != row.name)
    others = looks_like(state, rows)
    message = f"{path} does not fit {row.name}: {', '.join(parts)}."
    if others:
        looks = " or ".join(others[:3])
        return f"{message} It looks like {looks}: take --backbone {others[0]}, or another file."
    return f"{message} Take another file, or --weights imagenet or none."


def _some(items: Sequence[str], separator: str) -> str:
    more = f"{separator}..." if len(items) > 3 else ""
    return separator.join(item[:120] for item in items[:3]) + more


def _by(shape: Iterable[int]) -> str:
    """ "64x3x7x7", or "scalar"."""
    return "x".join(str(side) for side in shape) or "scalar"
