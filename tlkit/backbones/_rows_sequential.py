"""Rows of the networks without branches, LeNet to VGG, in the order of their papers.

Only `alexnet` has published weights here (VGG's stand with the other published ones); the rest is
built as the papers and the lessons build it, and starts from random weights.
"""

from __future__ import annotations

from dataclasses import replace
from functools import partial

from tlkit.backbones._row import CIFAR, IMAGENET, UNIT, Backbone, Preprocess, numbered, torchvision

# Background -0.1, ink 1.175, so that the mean is about 0 and the variance about 1 (section II.A).
DIGITS = Preprocess(mean=(0.1 / 1.275,), std=(1 / 1.275,), crop=1.0)


_lenet5 = partial(
    Backbone,
    features=120,
    stages=("c1", "s2", "c3", "s4", "c5"),
    year=1998,
    paper="LeCun et al., Proc. IEEE 86(11)",
    preprocess=DIGITS,
    input_size=32,
    channels=1,
    classes=10,
)
_cifar = partial(Backbone, preprocess=CIFAR, input_size=32, classes=10)
_alexnet = partial(
    Backbone,
    top="tlkit.backbones.alexnet:fully_connected",
    features=256,
    stages=numbered(5),
    year=2012,
    paper="Krizhevsky, Sutskever & Hinton, NIPS 2012",
)
_vgg = partial(
    Backbone,
    builder="tlkit.backbones.vgg:vgg",
    top="tlkit.backbones.vgg:fully_connected",
    features=512,
    stages=numbered(5),
    year=2014,
    paper="Simonyan & Zisserman, arXiv:1409.1556",
)

ROWS: tuple[Backbone, ...] = (
    _lenet5(
        "lenet5",
        builder="tlkit.backbones.lenet:lenet5",
        top="tlkit.backbones.lenet:f6_rbf",
        parameters=60_000,
        macs=327_256,
    ),
    _lenet5(
        "lenet5_modern",
        builder="tlkit.backbones.lenet:lenet5_modern",
        top="tlkit.backbones.lenet:f6_linear",
        stages=("c1", "c3", "c5"),  # its pools have no weights
        parameters=61_706,
        macs=416_520,
    ),
    _lenet5(
        "lenet",
        builder="tlkit.backbones.lenet:lenet",
        top="tlkit.backbones.lenet:fc500",
        parameters=1_256_080,
        macs=6_522_000,
        features=50,
        stages=numbered(2),
        preprocess=UNIT,
        input_size=28,
    ),
    _alexnet(
        "alexnet_2012",
        builder="tlkit.backbones.alexnet:alexnet_2012",
        parameters=60_965_224,
        macs=724_406_816,
        preprocess=replace(IMAGENET, crop=227 / 256),
        input_size=227,
    ),
    _alexnet(
        "alexnet",
        builder="tlkit.backbones.alexnet:alexnet",
        top_arguments={"dropout_first": True},
        keys="tlkit.backbones.alexnet:keys",
        parameters=61_100_840,
        macs=714_188_480,
        weights=torchvision("alexnet-owt-7be5be79.pth"),
        year=2014,
        paper="Krizhevsky, arXiv:1404.5997",
    ),
    _alexnet(
        "alexnet_cifar",
        builder="tlkit.backbones.alexnet:alexnet_cifar",
        top_arguments={"units": 1024, "side": 1},
        parameters=2_913_034,
        macs=53_452_288,
        preprocess=CIFAR,
        input_size=64,
        classes=10,
    ),
    _alexnet(
        "zfnet",
        builder="tlkit.backbones.zfnet:zfnet",
        parameters=107_627_624,
        macs=2_476_704_896,
        features=512,
        year=2013,
        paper="Zeiler & Fergus, arXiv:1311.2901",
    ),
    _cifar(
        "nin",
        builder="tlkit.backbones.nin:nin",
        top="tlkit.backbones.nin:class_maps",
        parameters=966_986,
        macs=222_486_528,
        features=192,
        stages=numbered(3),
        year=2013,
        paper="Lin, Chen & Yan, arXiv:1312.4400",
    ),
    _vgg(
        "vgg11_lrn",
        arguments={"depth": 11, "lrn": True},
        parameters=132_863_336,
        macs=7_609_090_048,
    ),
    _vgg(
        "vgg16_c",
        arguments={"depth": 16, "pointwise": True},
        parameters=133_638_952,
        macs=11_770_888_192,
    ),
    _vgg(
        "vgg16_blockbn",
        arguments={"depth": 16, "block_norm": True},
        parameters=138_360_488,
        macs=15_470_264_320,
    ),
    _vgg(
        "se_vgg16",
        arguments={"depth": 16, "se_reduction": 16},
        parameters=138_588_336,
        macs=15_470_490_624,
        year=2017,
        paper="Hu et al., arXiv:1709.01507",
    ),
    _cifar(
        "vgg_cifar",
        builder="tlkit.backbones.vgg:vgg_cifar",
        top="tlkit.backbones.vgg:fc512",
        parameters=1_252_266,
        macs=20_741_120,
        features=64,
        stages=numbered(2),
        year=2014,
        paper="after Simonyan & Zisserman, arXiv:1409.1556",
    ),
    _cifar(
        "cnn_cifar",
        builder="tlkit.backbones.cifar:cnn",
        top="tlkit.backbones.cifar:fc64",
        parameters=122_570,
        macs=4_548_608,
        features=64,
        stages=numbered(3),
        preprocess=UNIT,
        year=2019,
        paper="TensorFlow tutorial, Convolutional Neural Network (CNN)",
    ),
)
