"""SqueezeNet: AlexNet's accuracy with 50 times fewer parameters (Iandola et al., arXiv:1602.07360).

Table 1 of the paper: no fully connected layer, but fire modules, which squeeze a map with 1x1
filters before they expand it with 1x1 and 3x3 filters. `squeezenet1_1` is the authors' later
release with the pools moved forward: as accurate at 2.4 times less computation.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

from keras import layers

from tlkit.backbones._blocks import activate, ceil_max_pool, conv

# filters and kernel of the first convolution; then the fire modules between two pools
VERSIONS = {
    "1_0": (
        (96, 7),
        (("fire2", "fire3", "fire4"), ("fire5", "fire6", "fire7", "fire8"), ("fire9",)),
    ),
    "1_1": (
        (64, 3),
        (("fire2", "fire3"), ("fire4", "fire5"), ("fire6", "fire7", "fire8", "fire9")),
    ),
}
FIRE = {  # squeezed | expanded by 1x1 and, as many again, by 3x3 filters
    "fire2": (16, 64),
    "fire3": (16, 64),
    "fire4": (32, 128),
    "fire5": (32, 128),
    "fire6": (48, 192),
    "fire7": (48, 192),
    "fire8": (64, 256),
    "fire9": (64, 256),
}


def squeezenet(x: Any, version: str = "1_1") -> Any:
    """From pixels to the last map, 13x13x512 of 224x224 pixels.

    Args:
        x: normalised pixels.
        version: one of VERSIONS.
    """
    (filters, kernel), stages = VERSIONS[version]
    x = conv(x, filters, kernel, 2, 0, name="stem_conv", use_bias=True, activation="relu")
    x = ceil_max_pool(x, 3, 2, name="stem_pool")
    for stage, modules in enumerate(stages, start=1):
        for module in modules:
            x = fire(x, *FIRE[module], name=f"stage{stage}_{module}")
        if stage < len(stages):
            x = ceil_max_pool(x, 3, 2, name=f"stage{stage}_pool")
    return x


def fire(x: Any, squeezed: int, expanded: int, *, name: str) -> Any:
    """Squeeze, then expand to `expanded` channels by 1x1 and as many by 3x3 (figure 1)."""
    s = conv(x, squeezed, 1, name=f"{name}_squeeze", use_bias=True, activation="relu")
    one = conv(s, expanded, 1, name=f"{name}_expand1x1", use_bias=True, activation="relu")
    three = conv(s, expanded, 3, name=f"{name}_expand3x3", use_bias=True, activation="relu")
    return layers.Concatenate(name=f"{name}_concat")([one, three])


def convolutional_top(x: Any, classes: int | None, dropout: float = 0.5) -> Any:
    """conv10: one 1x1 filter and a ReLU per class, then the mean over the map; no dense layer."""
    if classes is not None:
        x = layers.Dropout(dropout, name="top_dropout")(x)
        x = conv(x, classes, 1, name="top_logits", use_bias=True)
        x = activate(x, "relu", name="top_relu")
    return layers.GlobalAveragePooling2D(name="top_pool")(x)


def keys(names: Sequence[str]) -> dict[str, tuple[str, ...]]:
    """Module names in a state dict: torchvision counts fire modules, ReLUs and pools in one row."""
    modules = {"stem_conv": ("features.0",), "top_logits": ("classifier.1",)}
    for name in names:
        if place := re.fullmatch(r"stage(\d)_fire(\d)_(\w+)", name):
            stage, fire_module, part = place.groups()
            # fire2 comes third, after the first convolution, its ReLU and its pool
            modules[name] = (f"features.{int(fire_module) + int(stage)}.{part}",)
    return {name: modules[name] for name in names}
