"""Rows of what grew out of ResNet, beside the published ones: SENet, pre-activation, CIFAR's.

FractalNet, which does without residuals, stands here for comparison.
"""

from __future__ import annotations

from dataclasses import replace
from functools import partial

from tlkit.backbones._row import CIFAR, INCEPTION, Backbone, numbered, timm

HERE = "tlkit.backbones"


_resnet = partial(
    Backbone,
    builder=f"{HERE}.resnet:resnet",
    stages=("stem", *numbered(4)),
    year=2015,
    paper="He et al., arXiv:1512.03385",
)
_plain = partial(_resnet, features=512)
_se_resnet = partial(
    _resnet,
    keys=f"{HERE}.resnet:keys",
    features=2048,
    year=2017,
    paper="Hu et al., arXiv:1709.01507",
)
_cifar = partial(
    Backbone,
    builder=f"{HERE}.resnet:resnet_cifar",
    features=64,
    stages=("stem", *numbered(3)),
    year=2015,
    paper="He et al., arXiv:1512.03385, section 4.2",
    preprocess=CIFAR,
    input_size=32,
    classes=10,
)
_wide = partial(
    _cifar,
    builder=f"{HERE}.wide_resnet:wide_resnet",
    stages=("stem", *numbered(3), "final"),
    year=2016,
    paper="Zagoruyko & Komodakis, arXiv:1605.07146",
)
_fractal = partial(
    _cifar,
    builder=f"{HERE}.fractalnet:fractalnet",
    stages=numbered(5),
    year=2016,
    paper="Larsson et al., arXiv:1605.07648",
)

ROWS: tuple[Backbone, ...] = (
    _plain(
        "plain18",
        arguments={"depth": 18, "shortcut": None},
        parameters=11_515_688,
        macs=1_794_805_760,
    ),
    _plain(
        "plain34",
        arguments={"depth": 34, "shortcut": None},
        parameters=21_623_848,
        macs=3_644_493_824,
    ),
    _cifar(
        "plain_cifar20",
        arguments={"depth": 20, "shortcut": None},
        parameters=269_722,
        macs=40_551_040,
    ),
    _cifar(
        "plain_cifar56",
        arguments={"depth": 56, "shortcut": None},
        parameters=853_018,
        macs=125_485_696,
    ),
    _cifar("resnet_cifar20", arguments={"depth": 20}, parameters=269_722, macs=40_551_040),
    _cifar("resnet_cifar32", arguments={"depth": 32}, parameters=464_154, macs=68_862_592),
    _cifar("resnet_cifar44", arguments={"depth": 44}, parameters=658_586, macs=97_174_144),
    _cifar("resnet_cifar56", arguments={"depth": 56}, parameters=853_018, macs=125_485_696),
    _cifar("resnet_cifar110", arguments={"depth": 110}, parameters=1_727_962, macs=252_887_680),
    _cifar(
        "resnet20_notebook",
        builder=f"{HERE}.resnet_notebook:resnet20",
        parameters=273_530,
        macs=10_601_088,
        paper="after He et al., arXiv:1512.03385",
    ),
    Backbone(
        "resnetv2_50",
        builder=f"{HERE}.preact_resnet:resnetv2",
        arguments={"depth": 50},
        keys=f"{HERE}.preact_resnet:keys",
        features=2048,
        stages=("stem", *numbered(4), "final"),
        parameters=25_549_352,
        macs=4_089_184_256,
        weights=timm("resnetv2_50.a1h_in1k", "Apache-2.0"),
        preprocess=replace(INCEPTION, crop=0.95),
        year=2016,
        paper="He et al., arXiv:1603.05027",
    ),
    _cifar(
        "preact_resnet_cifar164",
        builder=f"{HERE}.preact_resnet:preact_resnet_cifar",
        arguments={"depth": 164},
        features=256,
        stages=("stem", *numbered(3), "final"),
        parameters=1_703_258,
        macs=247_646_720,
        year=2016,
        paper="He et al., arXiv:1603.05027",
    ),
    _wide(
        "wide_resnet16_8",
        arguments={"depth": 16, "k": 8},
        features=512,
        parameters=10_961_370,
        macs=1_548_145_664,
    ),
    _wide(
        "wide_resnet28_10",
        arguments={"depth": 28, "k": 10},
        features=640,
        parameters=36_479_194,
        macs=5_243_328_768,
    ),
    _fractal(
        "fractalnet20",
        arguments={"columns": 3},
        features=512,
        parameters=38_649_034,
        macs=1_129_518_080,
    ),
    _fractal(
        "fractalnet40",
        arguments={"columns": 4, "widths": (64, 96, 144, 216, 324), "widened": (1,)},
        features=324,
        parameters=22_916_682,
        macs=1_163_325_288,
    ),
    _se_resnet(
        "se_resnet18",
        arguments={"depth": 18, "se_reduction": 16},
        features=512,
        parameters=11_778_592,
        macs=1_814_160_384,
    ),
    _se_resnet(
        "se_resnet34",
        arguments={"depth": 34, "se_reduction": 16},
        features=512,
        parameters=21_958_868,
        macs=3_663_918_592,
    ),
    _se_resnet(
        "se_resnet50",
        arguments={"depth": 50, "se_reduction": 16},
        parameters=28_088_024,
        macs=4_091_699_200,
    ),
    _se_resnet(
        "se_resnet101",
        arguments={"depth": 101, "se_reduction": 16},
        parameters=49_326_872,
        macs=7_806_148_608,
    ),
    _se_resnet(
        "se_resnet152",
        arguments={"depth": 152, "se_reduction": 16},
        parameters=66_821_848,
        macs=11_520_204_800,
    ),
    _se_resnet(
        "seresnet50",
        arguments={"depth": 50, "se_reduction": 16},
        parameters=28_088_024,
        macs=4_091_699_200,
        weights=timm("seresnet50.ra2_in1k", "Apache-2.0"),
    ),
    _se_resnet(
        "seresnext50_32x4d",
        arguments={"depth": 50, "se_reduction": 16, "groups": 32, "base_width": 4},
        parameters=27_559_896,
        macs=4_232_994_816,
        weights=timm("seresnext50_32x4d.racm_in1k", "Apache-2.0"),
    ),
    _se_resnet(
        "legacy_seresnet50",
        builder=f"{HERE}.senet:senet",
        keys=f"{HERE}.senet:keys",
        arguments={"depth": 50},
        parameters=28_088_024,
        macs=3_860_488_192,
        weights=timm("legacy_seresnet50.in1k", "Apache-2.0"),
    ),
    _se_resnet(
        "senet154",
        builder=f"{HERE}.senet:senet",
        keys=f"{HERE}.senet:keys",
        arguments={"depth": 154},
        top_arguments={"dropout": 0.2},
        parameters=115_088_984,
        macs=20_688_363_520,
        weights=timm("legacy_senet154.in1k", "Apache-2.0"),
    ),
)
