"""Rows of keras.applications: Keras' name in snake case, with the tag `.keras`.

The numbers were measured on the networks with their 1000-class tops (Keras 3.15).
"""

from __future__ import annotations

from tlkit.backbones._row import CAFFE, IMAGENET, INCEPTION, RAW, Backbone, Preprocess, Weights

_BLOCKS = "tlkit.backbones._blocks:"
_APPLICATIONS = "tlkit.backbones._applications:"

# Our name, Keras' name, input size, parameters, multiply-accumulates, features of the last map.
Variant = tuple[str, str, int, int, int, int]


def _family(
    paper: str,
    year: int,
    preprocess: Preprocess,
    *variants: Variant,
    top: str = _BLOCKS + "pooled_top",
    licence: str = "unknown",
    stages: int = 4,
    undo_scale: float | None = None,
    **top_arguments: int,
) -> tuple[Backbone, ...]:
    return tuple(
        Backbone(
            name=f"{name}.keras",
            builder=_APPLICATIONS + "application",
            arguments={"model": model, **({"undo_scale": undo_scale} if undo_scale else {})},
            parameters=parameters,
            macs=macs,
            features=features,
            stages=("stem", *(f"stage{i}" for i in range(1, stages + 1))),
            year=year,
            paper=paper,
            top=top,
            top_arguments=top_arguments,
            weights=Weights(keras=True, licence=licence),
            preprocess=preprocess,
            input_size=size,
        )
        for name, model, size, parameters, macs, features in variants
    )


ROWS: tuple[Backbone, ...] = (
    *_family(
        "Simonyan & Zisserman, arXiv:1409.1556",
        2014,
        CAFFE,
        ("vgg16", "VGG16", 224, 138_357_544, 15_470_264_320, 512),
        ("vgg19", "VGG19", 224, 143_667_240, 19_632_062_464, 512),
        top=_APPLICATIONS + "vgg_top",
        licence="CC-BY-4.0",
    ),
    *_family(
        "Szegedy et al., arXiv:1512.00567",
        2015,
        INCEPTION,
        ("inception_v3", "InceptionV3", 299, 23_817_352, 5_713_216_096, 2048),
        licence="Apache-2.0",
    ),
    *_family(
        "He et al., arXiv:1512.03385",
        2015,
        CAFFE,
        ("resnet50", "ResNet50", 224, 25_583_592, 3_857_973_248, 2048),
        ("resnet101", "ResNet101", 224, 44_601_832, 7_570_194_432, 2048),
        ("resnet152", "ResNet152", 224, 60_268_520, 11_282_415_616, 2048),
        licence="MIT",
    ),
    *_family(
        "Szegedy et al., arXiv:1602.07261",
        2016,
        INCEPTION,
        ("inception_resnet_v2", "InceptionResNetV2", 299, 55_813_192, 13_155_794_016, 1536),
        licence="Apache-2.0",
    ),
    *_family(
        "He et al., arXiv:1603.05027",
        2016,
        INCEPTION,
        ("resnet50_v2", "ResNet50V2", 224, 25_568_360, 3_482_255_360, 2048),
        ("resnet101_v2", "ResNet101V2", 224, 44_577_896, 7_194_476_544, 2048),
        ("resnet152_v2", "ResNet152V2", 224, 60_236_904, 10_906_697_728, 2048),
    ),
    *_family(
        "Huang et al., arXiv:1608.06993",
        2016,
        IMAGENET,
        ("densenet121", "DenseNet121", 224, 7_978_856, 2_834_161_664, 1024),
        ("densenet169", "DenseNet169", 224, 14_149_480, 3_359_843_328, 1664),
        ("densenet201", "DenseNet201", 224, 20_013_928, 4_291_365_888, 1920),
        licence="BSD-3-Clause",
    ),
    *_family(
        "Chollet, arXiv:1610.02357",
        2016,
        INCEPTION,
        ("xception", "Xception", 299, 22_855_952, 8_357_403_496, 2048),
        licence="MIT",
    ),
    *_family(
        "Howard et al., arXiv:1704.04861",
        2017,
        INCEPTION,
        ("mobilenet", "MobileNet", 224, 4_231_976, 568_740_352, 1024),
        licence="Apache-2.0",
    ),
    *_family(
        "Zoph et al., arXiv:1707.07012",
        2017,
        INCEPTION,
        ("nasnet_mobile", "NASNetMobile", 224, 5_289_978, 563_638_816, 1056),
        ("nasnet_large", "NASNetLarge", 331, 88_753_150, 23_783_414_658, 4032),
        licence="Apache-2.0",
    ),
    *_family(
        "Sandler et al., arXiv:1801.04381",
        2018,
        INCEPTION,
        ("mobilenet_v2", "MobileNetV2", 224, 3_504_872, 300_774_272, 1280),
        licence="Apache-2.0",
    ),
    *_family(
        "Howard et al., arXiv:1905.02244",
        2019,
        RAW,
        ("mobilenet_v3_small", "MobileNetV3Small", 224, 2_542_856, 56_510_400, 576),
        top=_APPLICATIONS + "mobilenet_v3_top",
        units=1024,
        licence="Apache-2.0",
    ),
    *_family(
        "Howard et al., arXiv:1905.02244",
        2019,
        RAW,
        ("mobilenet_v3_large", "MobileNetV3Large", 224, 5_483_032, 216_589_760, 960),
        top=_APPLICATIONS + "mobilenet_v3_top",
        units=1280,
        licence="Apache-2.0",
    ),
    *_family(
        "Tan & Le, arXiv:1905.11946",
        2019,
        IMAGENET,
        ("efficientnet_b0", "EfficientNetB0", 224, 5_288_548, 385_814_752, 1280),
        ("efficientnet_b1", "EfficientNetB1", 240, 7_794_184, 686_802_832, 1280),
        ("efficientnet_b2", "EfficientNetB2", 260, 9_109_994, 993_561_872, 1408),
        ("efficientnet_b3", "EfficientNetB3", 300, 12_233_232, 1_827_141_392, 1536),
        ("efficientnet_b4", "EfficientNetB4", 380, 19_341_616, 4_393_771_024, 1792),
        ("efficientnet_b5", "EfficientNetB5", 456, 30_389_784, 10_266_384_752, 2048),
        ("efficientnet_b6", "EfficientNetB6", 528, 43_040_704, 19_067_593_536, 2304),
        ("efficientnet_b7", "EfficientNetB7", 600, 66_347_960, 37_745_884_192, 2560),
        undo_scale=255.0,
        licence="Apache-2.0",
    ),
    *_family(
        "Tan & Le, arXiv:2104.00298",
        2021,
        RAW,
        ("efficientnetv2_b0", "EfficientNetV2B0", 224, 7_139_704, 718_086_176, 1280),
        ("efficientnetv2_b1", "EfficientNetV2B1", 240, 8_141_052, 1_196_819_360, 1280),
        ("efficientnetv2_b2", "EfficientNetV2B2", 260, 10_096_086, 1_697_542_832, 1408),
        ("efficientnetv2_b3", "EfficientNetV2B3", 300, 14_358_406, 3_011_458_816, 1536),
        ("efficientnetv2_s", "EfficientNetV2S", 384, 21_458_488, 8_365_617_152, 1280),
        ("efficientnetv2_m", "EfficientNetV2M", 480, 54_139_356, 24_582_460_384, 1280),
        ("efficientnetv2_l", "EfficientNetV2L", 480, 118_515_272, 56_079_699_008, 1280),
        licence="Apache-2.0",
    ),
    *_family(
        "Liu et al., arXiv:2201.03545",
        2022,
        RAW,
        ("convnext_tiny", "ConvNeXtTiny", 224, 28_589_128, 4_455_531_264, 768),
        ("convnext_small", "ConvNeXtSmall", 224, 50_223_688, 8_683_712_256, 768),
        ("convnext_base", "ConvNeXtBase", 224, 88_591_464, 15_354_729_472, 1024),
        ("convnext_large", "ConvNeXtLarge", 224, 197_767_336, 34_361_433_600, 1536),
        ("convnext_xlarge", "ConvNeXtXLarge", 224, 350_196_968, 60_921_030_656, 2048),
        top=_APPLICATIONS + "convnext_top",
        stages=3,
        licence="MIT",
    ),
)
