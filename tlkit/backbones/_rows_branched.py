"""Rows of the networks whose modules split and join the map: GoogLeNet to MobileNetV2."""

from __future__ import annotations

from dataclasses import replace
from functools import partial

from tlkit.backbones._row import CIFAR, INCEPTION, Backbone, timm, torchvision

HERE = "tlkit.backbones"


_googlenet = partial(
    Backbone,
    builder=f"{HERE}.googlenet:googlenet",
    top_arguments={"dropout": 0.2},
    features=1024,
    stages=("stem", "stage3", "stage4", "stage5"),
    year=2014,
    paper="Szegedy et al., arXiv:1409.4842",
    # torchvision's weights were ported from TensorFlow (`transform_input`)
    preprocess=INCEPTION,
)
_inception = partial(
    Backbone,
    stages=("stem", "stage5", "stage6", "stage7"),
    preprocess=INCEPTION,
    input_size=299,
)
_densenet = partial(
    Backbone,
    builder=f"{HERE}.densenet:densenet",
    keys=f"{HERE}.densenet:keys",
    stages=("stem", "stage1", "stage2", "stage3", "stage4"),
    year=2016,
    paper="Huang et al., arXiv:1608.06993",
)
_squeezenet = partial(
    Backbone,
    builder=f"{HERE}.squeezenet:squeezenet",
    top=f"{HERE}.squeezenet:convolutional_top",
    keys=f"{HERE}.squeezenet:keys",
    features=512,
    stages=("stem", "stage1", "stage2", "stage3"),
    year=2016,
    paper="Iandola et al., arXiv:1602.07360",
)

ROWS: tuple[Backbone, ...] = (
    _googlenet(
        "googlenet",
        arguments={"large_kernel": 3, "last_pool": 2},
        aux=f"{HERE}.googlenet:auxiliary",
        keys=f"{HERE}.googlenet:keys",
        parameters=6_624_904,
        macs=1_498_376_192,
        weights=torchvision("googlenet-1378be20.pth"),
    ),
    _googlenet(
        "googlenet_bn",
        top_arguments={"dropout": 0.4},  # the paper's
        parameters=7_005_832,
        macs=1_582_671_872,
    ),
    _googlenet(
        "se_googlenet",
        arguments={"large_kernel": 3, "last_pool": 2, "se_reduction": 16},
        aux=f"{HERE}.googlenet:se_auxiliary",
        parameters=7_105_007,
        macs=1_498_850_464,
        year=2017,
        paper="Hu et al., arXiv:1709.01507",
    ),
    Backbone(
        "mini_googlenet",
        builder=f"{HERE}.googlenet:mini_googlenet",
        top_arguments={"dropout": 0.5},
        parameters=5_959_050,  # 5,963,658 with batch norm's statistics
        macs=940_050_080,
        features=528,
        stages=("stem", "stage1", "stage2", "stage3"),
        year=2016,
        paper="Zhang et al., arXiv:1611.03530",
        preprocess=CIFAR,
        input_size=32,
        classes=10,
    ),
    _inception(
        "inception_v3",
        builder=f"{HERE}.inception:inception_v3",
        top_arguments={"dropout": 0.5},
        aux=f"{HERE}.inception:auxiliary",
        aux_weight=0.4,  # of the authors' code; the paper is silent
        keys=f"{HERE}.inception:keys_v3",
        parameters=23_834_568,
        macs=5_713_216_096,
        features=2048,
        year=2015,
        paper="Szegedy et al., arXiv:1512.00567",
        weights=timm("inception_v3.tv_in1k", "BSD-3-Clause"),
    ),
    _inception(
        "inception_v4",
        builder=f"{HERE}.inception:inception_v4",
        top_arguments={"dropout": 0.2},
        keys=f"{HERE}.inception:keys_v4",
        parameters=42_679_816,
        macs=12_253_974_624,
        features=1536,
        year=2016,
        paper="Szegedy et al., arXiv:1602.07261",
        weights=timm("inception_v4.tf_in1k", "Apache-2.0"),
    ),
    _inception(
        "inception_resnet_v2",
        builder=f"{HERE}.inception:inception_resnet_v2",
        top_arguments={"dropout": 0.2},
        keys=f"{HERE}.inception:keys_resnet_v2",
        parameters=55_843_464,
        macs=13_155_794_016,
        features=1536,
        stages=("stem", "stage5", "stage6", "stage7", "final"),
        year=2016,
        paper="Szegedy et al., arXiv:1602.07261",
        weights=timm("inception_resnet_v2.tf_in1k", "Apache-2.0"),
        preprocess=replace(INCEPTION, crop=0.8975),
    ),
    _squeezenet(
        "squeezenet1_0",
        arguments={"version": "1_0"},
        parameters=1_248_424,
        macs=818_924_576,
        weights=torchvision("squeezenet1_0-b66bff10.pth"),
    ),
    _squeezenet(
        "squeezenet1_1",
        arguments={"version": "1_1"},
        parameters=1_235_496,
        macs=349_151_936,
        weights=torchvision("squeezenet1_1-b8a52dc0.pth"),
    ),
    _densenet(
        "densenet121",
        arguments={"depth": 121},
        parameters=7_978_856,
        macs=2_834_161_664,
        features=1024,
        weights=timm("densenet121.tv_in1k", "BSD-3-Clause"),
    ),
    _densenet(
        "densenet161",
        arguments={"depth": 161},
        parameters=28_681_000,
        macs=7_727_907_072,
        features=2208,
        weights=timm("densenet161.tv_in1k", "BSD-3-Clause"),
    ),
    _densenet(
        "densenet169",
        arguments={"depth": 169},
        parameters=14_149_480,
        macs=3_359_843_328,
        features=1664,
        weights=timm("densenet169.tv_in1k", "BSD-3-Clause"),
    ),
    _densenet(
        "densenet201",
        arguments={"depth": 201},
        parameters=20_013_928,
        macs=4_291_365_888,
        features=1920,
        weights=timm("densenet201.tv_in1k", "BSD-3-Clause"),
    ),
    _densenet(
        "densenet_bc100_12",
        builder=f"{HERE}.densenet:densenet_cifar",
        arguments={"depth": 100, "growth": 12},
        keys=None,
        parameters=769_162,
        macs=287_929_692,
        features=342,
        stages=("stem", "stage1", "stage2", "stage3"),
        preprocess=CIFAR,
        input_size=32,
        classes=10,
    ),
    Backbone(
        "mobilenet_v2",
        builder=f"{HERE}.mobilenet:mobilenet_v2",
        top_arguments={"dropout": 0.2},
        keys=f"{HERE}.mobilenet:keys",
        parameters=3_504_872,
        macs=300_774_272,
        features=1280,
        stages=("stem", *(f"stage{i}" for i in range(1, 8)), "final"),
        year=2018,
        paper="Sandler et al., arXiv:1801.04381",
        weights=timm("mobilenetv2_100.ra_in1k", "Apache-2.0"),
    ),
)
