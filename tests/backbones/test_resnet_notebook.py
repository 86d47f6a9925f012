"""The lesson's ResNet-20: the notebook's own numbers."""

from __future__ import annotations

import keras

from tlkit.backbones import build_backbone
from tlkit.complexity import shapes_only, trainable_parameters


def test_counts_and_maps_of_the_notebook():
    with shapes_only():
        model = build_backbone("resnet20_notebook")
        assert model.count_params() == 275_098
        assert trainable_parameters(model) == 273_530
        maps = [model.get_layer(f"stage{i}_block3_relu").output.shape[1:] for i in (1, 2, 3)]
    assert maps == [(16, 16, 16), (8, 8, 32), (4, 4, 64)]


def test_every_convolution_has_the_penalty():
    with shapes_only():
        model = build_backbone("resnet20_notebook", include_top=False)
        convolutions = [layer for layer in model.layers if isinstance(layer, keras.layers.Conv2D)]
        penalties = [float(layer.kernel_regularizer.l2) for layer in convolutions]
    assert len(penalties) == 22  # 19 of the branches and the stem, 3 projections
    assert all(abs(penalty - 1e-4) < 1e-9 for penalty in penalties)
