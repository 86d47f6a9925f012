"""ZFNet (Zeiler & Fergus 2013, arXiv:1311.2901, figure 3): AlexNet after looking into its layers.

The first layer sees finer (7x7 at stride 2 instead of 11x11 at 4), so that the second has no
aliasing. Layers 3 to 5 have 384-384-256 maps in figure 3; 512-1024-512 is the larger model of
table 3, the better one, and the one that lectures show.
"""

from __future__ import annotations

from typing import Any

from keras import layers

from tlkit.backbones._blocks import ceil_max_pool, local_response_norm
from tlkit.backbones.alexnet import conv_relu


def zfnet(x: Any, widths: tuple[int, int, int] = (512, 1024, 512)) -> Any:
    """From pixels (224) to (batch, 6, 6, 512), by maps of 110, 55, 26 and 13.

    Args:
        x: normalised pixels.
        widths: maps of layers 3 to 5; (384, 384, 256) is figure 3.
    """
    x = conv_relu(x, 96, 7, 2, padding=1, name="stage1_conv")
    x = ceil_max_pool(x, 3, 2, name="stage1_pool")
    x = local_response_norm(x)
    x = conv_relu(x, 256, 5, 2, padding=0, name="stage2_conv")
    x = ceil_max_pool(x, 3, 2, name="stage2_pool")
    x = local_response_norm(x)
    for stage, width in enumerate(widths, start=3):
        x = conv_relu(x, width, 3, name=f"stage{stage}_conv")
    return layers.MaxPooling2D(3, 2, name="stage5_pool")(x)
