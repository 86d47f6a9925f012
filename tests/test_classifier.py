import json
import zipfile
from pathlib import Path

import keras
import numpy as np
import pytest

from tlkit import freezing
from tlkit.classifier import build_classifier, load_classifier
from tlkit.errors import BackboneError, RunError, WeightsError
from tlkit.recipe import HeadConfig


def sizes(weights: list[keras.Variable]) -> int:
    return sum(int(np.prod(weight.shape)) for weight in weights)


def test_the_four_steps_of_the_lesson() -> None:
    """ResNet50 for two classes: the lesson's 23,587,712 frozen and 4,098 trainable parameters."""
    made = build_classifier("resnet50.keras", ["cat", "dog"], weights="none", img_size=32)
    assert made.model.count_params() == 23_587_712 + 4_098
    freezing.freeze(made.model, made.row)
    assert sizes(made.model.non_trainable_weights) == 23_587_712
    assert sizes(made.model.trainable_weights) == 4_098


def test_the_default_backbone_is_frozen_with_real_weights() -> None:
    made = build_classifier("efficientnet_lite0", ["a", "b", "c"], img_size=64)
    assert made.weights is not None
    assert [step.title.split()[0] for step in made.steps] == ["take", "freeze", "add", "train"]
    assert sizes(made.model.trainable_weights) == 1280 * 3 + 3
    first, second, third, fourth = made.steps
    assert (first.trainable, second.frozen) == (first.parameters, first.parameters)
    assert (third.frozen, third.trainable) == (first.parameters, 1280 * 3 + 3)
    assert (fourth.frozen, fourth.trainable) == (third.frozen, third.trainable)
    assert str(third).startswith("3  add new layers: linear head: pool, dropout, logits")
    assert str(third).endswith("(3,413,024 parameters frozen, 3,843 trainable)")
    assert made.model.input_shape == (None, 64, 64, 3)
    assert not any(isinstance(layer, keras.Model) for layer in made.model.layers), "flat"


def test_raw_pixels_go_in() -> None:
    """The same picture, normalised by hand, through the bare network gives the same features."""
    from tlkit.backbones import build_backbone

    made = build_classifier("efficientnet_lite0", ["a", "b"], img_size=64)
    x = np.random.default_rng(0).integers(0, 256, (2, 64, 64, 3)).astype(np.float32)
    bare = build_backbone("efficientnet_lite0", "imagenet", include_top=False, input_size=64)
    expected = bare.predict((x - 127) / 128, verbose=0).mean(axis=(1, 2))
    got = made.prefix("head_pool").predict(x, verbose=0)
    np.testing.assert_allclose(got, expected, rtol=1e-4, atol=1e-5)


def test_save_and_load(tmp_path: Path) -> None:
    made = build_classifier("efficientnet_lite0", ["é", "<b>"], img_size=64, resize="pad")
    made.model.compile(optimizer="adam", loss="categorical_crossentropy")
    made.save(tmp_path / "model.keras")
    back = load_classifier(tmp_path / "model.keras")
    assert (back.classes, back.size, back.resize) == (("é", "<b>"), 64, "pad")
    x = np.random.default_rng(0).integers(0, 256, (1, 64, 64, 3)).astype(np.float32)
    assert (back.model.predict(x, verbose=0) == made.model.predict(x, verbose=0)).all()
    assert "tlkit.json" in zipfile.ZipFile(tmp_path / "model.keras").namelist()


def test_a_temperature_is_part_of_the_saved_model(tmp_path: Path) -> None:
    made = build_classifier("lenet5", ["a", "b", "c"], weights="none", img_size=32)
    x = np.random.default_rng(0).integers(0, 256, (4, 32, 32, 3)).astype(np.float32)
    before = made.model.predict(x, verbose=0)
    assert made.with_temperature(1) is made
    made.with_temperature(2.5).save(tmp_path / "model.keras")
    back = load_classifier(tmp_path / "model.keras")
    assert back.temperature == 2.5
    scaled = before ** (1 / 2.5)
    np.testing.assert_allclose(
        back.model.predict(x, verbose=0), scaled / scaled.sum(axis=1, keepdims=True), atol=1e-6
    )
    for old, new in zip(made.model.weights, back.model.weights, strict=True):
        np.testing.assert_array_equal(old, new)


@pytest.mark.parametrize("content", [b"", b"no zip", "zip without metadata"])
def test_not_a_model_of_ours(tmp_path: Path, content: bytes | str) -> None:
    path = tmp_path / "model.keras"
    if isinstance(content, bytes):
        path.write_bytes(content)
    else:
        with zipfile.ZipFile(path, "w") as archive:
            archive.writestr("config.json", json.dumps({}))
    with pytest.raises(RunError, match="not a model that tlkit saved"):
        load_classifier(path)


def test_a_missing_file_of_weights() -> None:
    with pytest.raises(WeightsError, match=r"nothing\.pth"):
        build_classifier("vgg11", ["a", "b"], weights="nothing.pth")


def test_head_classifier_needs_fully_connected_layers() -> None:
    with pytest.raises(BackboneError, match="--head linear"):
        build_classifier(
            "resnet18", ["a", "b"], HeadConfig(kind="classifier"), weights="none", img_size=32
        )


def test_from_random_weights_a_network_ends_as_its_paper_ends_it() -> None:
    made = build_classifier(
        "lenet", [str(i) for i in range(10)], HeadConfig(kind="classifier"), weights="none"
    )
    assert sizes(made.model.trainable_weights) == 1_256_080
    assert made.model.layers[-2].name == "top_logits"


def test_images_can_be_normalised_one_by_one() -> None:
    classifier = build_classifier(
        "lenet5_modern", ["a", "b"], weights="none", normalise="per-image"
    )
    layer = classifier.model.get_layer("preprocess_standardise")
    pixels = keras.Model(classifier.model.input, layer.output)
    rng = np.random.default_rng(0)
    images = rng.uniform(0, 255, (2, 32, 32, 3)).astype(np.float32) * [[[[0.1]]], [[[1.0]]]]
    seen = pixels.predict(images.astype(np.float32), verbose=0)
    np.testing.assert_allclose(seen.mean(axis=(1, 2, 3)), 0, atol=1e-4)
    np.testing.assert_allclose(seen.std(axis=(1, 2, 3)), 1, atol=1e-3)
    black = pixels.predict(np.zeros((1, 32, 32, 3), np.float32), verbose=0)
    assert not black.any(), "a flat image is 0, not infinite"
