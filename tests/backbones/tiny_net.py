"""A network of a few hundred parameters with every kind of layer that checkpoints fill."""

from __future__ import annotations

import numpy as np
from keras import layers

from tlkit.backbones._row import Backbone, Weights

MODULES = {
    "stem_conv": ("conv1", "features.0"),
    "stem_bn": ("bn1", "features.1"),
    "stage1_depthwise": ("layer1.dw", "features.3"),
    "stage1_grouped": ("layer1.grouped", "features.4"),
    "stage1_norm": ("layer1.norm", "features.5"),
    "top_fc": ("fc1", "pre.fc"),
    "top_logits": ("fc2", "head.fc"),
    "aux_logits": ("aux.fc", "AuxLogits.fc"),
}


def features(x):
    x = layers.Conv2D(4, 3, padding="same", use_bias=False, name="stem_conv")(x)
    x = layers.BatchNormalization(name="stem_bn")(x)
    x = layers.DepthwiseConv2D(3, depth_multiplier=2, name="stage1_depthwise")(x)
    x = layers.Conv2D(6, 1, groups=2, name="stage1_grouped")(x)
    return layers.LayerNormalization(name="stage1_norm")(x)


def top(x, classes):
    x = layers.Permute((3, 1, 2), name="top_chw")(x)
    x = layers.Flatten(name="top_flatten")(x)
    x = layers.Dense(5, name="top_fc")(x)
    return x if classes is None else layers.Dense(classes, name="top_logits")(x)


def aux(tap, classes):
    x = layers.GlobalAveragePooling2D(name="aux_pool")(tap("stem_bn"))
    return [layers.Dense(classes, name="aux_logits")(x)]


def keys(names):
    return {name: MODULES[name] for name in names}


ROW = Backbone(
    name="tiny",
    builder="tiny_net:features",
    top="tiny_net:top",
    aux="tiny_net:aux",
    keys="tiny_net:keys",
    parameters=4 * 27 + 8 + 8 * 10 + 6 * 4 + 6 + 12 + 5 * (6 * 16 + 1) + 7 * 6,
    macs=0,
    features=6,
    stages=("stem", "stage1"),
    year=2024,
    paper="none",
    weights=Weights(hub="acme/tiny", licence="MIT"),
    input_size=6,
    classes=7,
)

SHAPES = {
    "conv1.weight": (4, 3, 3, 3),
    "bn1.weight": (4,),
    "bn1.bias": (4,),
    "bn1.running_mean": (4,),
    "bn1.running_var": (4,),
    "bn1.num_batches_tracked": (),
    "layer1.dw.weight": (8, 1, 3, 3),
    "layer1.dw.bias": (8,),
    "layer1.grouped.weight": (6, 4, 1, 1),
    "layer1.grouped.bias": (6,),
    "layer1.norm.weight": (6,),
    "layer1.norm.bias": (6,),
    "fc1.weight": (5, 96),
    "fc1.bias": (5,),
    "fc2.weight": (7, 5),
    "fc2.bias": (7,),
}
AUX_SHAPES = {"aux.fc.weight": (7, 4), "aux.fc.bias": (7,)}


def state(classes=7, **more):
    """A checkpoint in PyTorch's layout; the same on every call."""
    rng = np.random.default_rng(0)
    shapes = {**SHAPES, "fc2.weight": (classes, 5), "fc2.bias": (classes,), **more}
    return {k: rng.uniform(0.5, 1.5, shape).astype(np.float32) for k, shape in shapes.items()}
