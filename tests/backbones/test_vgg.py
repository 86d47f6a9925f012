"""VGG's variants: what distinguishes each from the published ones."""

from __future__ import annotations

import keras

from tlkit.backbones import build_backbone
from tlkit.complexity import layer_table, shapes_only


def table_of(name):
    with shapes_only():
        return layer_table(build_backbone(name)).set_index("layer")


def test_a_lrn_has_the_weights_of_a():
    assert table_of("vgg11_lrn")["parameters"].sum() == 132_863_336
    with shapes_only():
        model = build_backbone("vgg11_lrn", include_top=False)
        operations = [type(o).__name__ for o in model.operations]
    assert operations.count("Power") == 1
    assert operations.index("Power") < operations.index("MaxPooling2D")


def test_c_has_pointwise_convolutions():
    with shapes_only():
        model = build_backbone("vgg16_c")
        kernels = {la.name: la.kernel_size for la in model.layers if hasattr(la, "kernel_size")}
        parameters = model.count_params()
    pointwise = [name for name, kernel in kernels.items() if kernel == (1, 1)]
    assert pointwise == ["stage3_conv3", "stage4_conv3", "stage5_conv3"]
    assert len(kernels) == 13
    assert round(parameters / 1e6) == 134


def test_blockbn_ends_each_block_with_batch_norm():
    table = table_of("vgg16_blockbn")
    norms = table[table["kind"] == "BatchNormalization"]
    assert norms.index.tolist() == [f"stage{i}_bn" for i in range(1, 6)]
    after = [table.index[table.index.get_loc(name) - 1] for name in norms.index]
    assert after == [f"stage{i}_pool" for i in range(1, 6)]


def test_se_follows_every_activation():
    table = table_of("se_vgg16")
    squeezed = table[table.index.str.match(r"stage\d_se\d_fc1")]
    assert [shape[-1] for shape in squeezed["output_shape"]] == [
        *(4, 4, 8, 8, 16, 16, 16),
        *([32] * 6),
    ]
    extra = sum(2 * c * c // 16 + c // 16 + c for c in (64, 64, 128, 128, *[256] * 3, *[512] * 6))
    assert table["parameters"].sum() == 138_357_544 + extra


def test_the_reduction_is_an_argument():
    with shapes_only():
        model = build_backbone("se_vgg16", include_top=False, se_reduction=8)
        assert model.get_layer("stage1_se1_fc1").output.shape[-1] == 8


def test_vgg_cifar_counts_its_statistics_too():
    table = table_of("vgg_cifar")
    assert table["parameters"].sum() == 1_253_674
    assert table.loc["top_flatten", "output_shape"] == (2304,)
    with shapes_only():
        rates = [
            layer.rate
            for layer in build_backbone("vgg_cifar").layers
            if isinstance(layer, keras.layers.Dropout)
        ]
    assert rates == [0.25, 0.25, 0.5]
