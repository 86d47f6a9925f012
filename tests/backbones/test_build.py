"""A network alone: `build_backbone` and its errors; VGG's and EfficientNet-Lite's own rules."""

from __future__ import annotations

import keras
import numpy as np
import pytest

from tlkit.backbones import apply_backbone, apply_top, build_backbone, get_backbone
from tlkit.backbones.vgg import fully_connected
from tlkit.complexity import shapes_only
from tlkit.errors import BackboneError


def test_from_pixels_to_logits_or_to_a_map():
    with shapes_only():
        assert build_backbone("resnet18").output.shape == (None, 1000)
        assert build_backbone("resnet18", classes=7).output.shape == (None, 7)
        features = build_backbone("resnet18", include_top=False, input_size=(64, 96))
        assert features.output.shape == (None, 2, 3, 512)


def test_one_grey_channel_and_ten_classes_where_the_row_says_so():
    with shapes_only():
        model = build_backbone("lenet")
        assert (model.input.shape, model.output.shape) == ((None, 28, 28, 1), (None, 10))


def test_arguments_override_the_rows():
    with shapes_only():
        model = build_backbone("resnet18", drop_path_rate=0.2, include_top=False)
        assert model.get_layer("stage4_block2_drop").rate == pytest.approx(0.2)


def test_the_same_seed_gives_the_same_network():
    images = np.ones((1, 32, 32, 3), "float32")
    answers = []
    for _ in range(2):
        keras.utils.set_random_seed(3)
        model = build_backbone("cnn_cifar")
        answers.append(keras.ops.convert_to_numpy(model(images)))
    np.testing.assert_array_equal(*answers)


@pytest.mark.parametrize("weights", [None, "none"])
def test_no_weights_is_no_file(weights):
    with shapes_only():
        build_backbone("cnn_cifar", weights=weights)


def test_too_small_an_image_names_the_size_that_fits():
    with shapes_only(), pytest.raises(BackboneError, match=r"16x16 pixels .* vgg11: .* 224"):
        build_backbone("vgg11", input_size=16)


def test_auxiliary_heads_only_where_there_are_some():
    with pytest.raises(BackboneError, match="resnet18 has no auxiliary"):
        build_backbone("resnet18", aux=True)


def test_a_top_without_classes_ends_at_the_features():
    row = get_backbone("vgg11")
    with shapes_only():
        features = keras.Input((7, 7, 512))
        assert apply_top(row, features, None).shape == (None, 4096)


@pytest.mark.parametrize("side", [1, 2, 5, 7, 8, 14])
def test_vgg_averages_another_map_to_7x7_as_torch_does(side):
    features = np.random.default_rng(0).normal(size=(1, side, side, 4)).astype("float32")
    with shapes_only():
        image = keras.Input((side, side, 4))
        graph = keras.Model(image, fully_connected(image, 10))
        names = [layer.name for layer in graph.layers]
    assert ("top_pool" in names) == (side != 7)
    pool = keras.layers.AdaptiveAveragePooling2D(7)
    arrived = keras.ops.convert_to_numpy(pool(features))
    for i in range(7):
        for j in range(7):
            rows = slice(i * side // 7, -(-(i + 1) * side // 7))
            columns = slice(j * side // 7, -(-(j + 1) * side // 7))
            expected = features[:, rows, columns].mean(axis=(1, 2))
            np.testing.assert_allclose(arrived[:, i, j], expected, atol=1e-6)


def test_lite_scales_depth_but_not_its_first_and_last_stage():
    with shapes_only():
        blocks = {}
        for name in ("efficientnet_lite0", "efficientnet_lite2"):
            layers = build_backbone(name, include_top=False).layers
            ends = [layer.name for layer in layers if layer.name.endswith("_project_conv")]
            blocks[name] = [sum(e.startswith(f"stage{s}_") for e in ends) for s in range(1, 8)]
    assert blocks["efficientnet_lite0"] == [1, 2, 2, 3, 3, 4, 1]
    assert blocks["efficientnet_lite2"] == [1, 3, 3, 4, 4, 5, 1]


def test_layers_join_the_graph_they_are_put_on():
    with shapes_only():
        image = keras.Input((32, 32, 3), name="image")
        scaled = keras.layers.Rescaling(2.0, name="preprocess_rescale")(image)
        model = keras.Model(image, apply_backbone(get_backbone("resnet18"), scaled))
        assert not any(isinstance(layer, keras.Model) for layer in model.layers)
        assert [layer.name for layer in model.layers[:2]] == ["image", "preprocess_rescale"]
