import base64
import json
from pathlib import Path

import cv2
import keras
import numpy as np
import pytest

import tlkit
from tlkit.backbones import BACKBONES
from tlkit.classifier import build_classifier, load_classifier
from tlkit.errors import BackboneError
from tlkit.evaluation.explain import (
    explain,
    first_filters,
    grad_cam,
    last_map,
    mosaic,
    overlay,
    worth_explaining,
)
from tlkit.recipe import HeadConfig


def noise(n: int, size: int) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (n, size, size, 3)).astype(np.uint8)


def test_on_a_linear_head_it_is_the_class_activation_map() -> None:
    """Behind a global average the gradient is the class' own weights (Grad-CAM, section 3.1)."""
    made = build_classifier("efficientnet_lite0", ["a", "b", "c"], img_size=64)
    kernel = made.model.get_layer("head_logits").kernel
    kernel.assign(np.random.default_rng(1).uniform(0.1, 1, kernel.shape))
    images = noise(2, 64)
    maps = made.prefix(last_map(made)).predict(images.astype(np.float32), verbose=0)
    cam = np.maximum(np.einsum("nhwc,nc->nhw", maps, np.asarray(kernel).T[[2, 0]]), 0)
    cam /= cam.max(axis=(1, 2), keepdims=True)
    heat = grad_cam(made, images, [2, 0])
    assert heat.shape == (2, 64, 64)
    expected = [np.clip(cv2.resize(c, (64, 64), interpolation=cv2.INTER_CUBIC), 0, 1) for c in cam]
    np.testing.assert_allclose(heat, expected, atol=1e-3)


def small_rows() -> list[str]:
    """The smallest row of each builder, and one of keras.applications."""
    own = [row for row in BACKBONES.values() if not row.name.endswith(".keras")]
    own.sort(key=lambda row: -row.parameters)
    return [row.name for row in {row.builder: row for row in own}.values()] + ["mobilenet.keras"]


QUICK = {"lenet5", "squeezenet1_1", "efficientnet_lite0"}


@pytest.mark.parametrize(
    "name", [n if n in QUICK else pytest.param(n, marks=pytest.mark.slow) for n in small_rows()]
)
def test_every_family_can_be_explained(name: str) -> None:
    row = BACKBONES[name]
    for size in (min(row.input_size, 64), 96, 128, row.input_size):
        try:
            kind = "classifier" if row.own_top and row.parameters < 10e6 else "linear"
            made = build_classifier(
                name, ["a", "b"], HeadConfig(kind=kind), weights="none", img_size=size
            )
            break
        except BackboneError:
            continue
    shape = made.model.get_layer(last_map(made)).output.shape
    assert len(shape) == 4
    assert shape[1:3] != (1, 1), "a map of one place says nothing about where"
    heat = grad_cam(made, noise(1, size), [1])
    assert heat.shape == (1, size, size)
    assert np.isfinite(heat).all()
    assert 0 <= heat.min() <= heat.max() <= 1
    filters = first_filters(made)
    assert filters is not None
    assert filters.dtype == np.uint8
    keras.utils.clear_session()


def test_a_run_is_explained_in_its_report(run: tlkit.Run) -> None:
    known = run.explanations
    assert known is not None
    wrong = run.predictions.query("split == 'val' and label != predicted")
    assert [image["path"] for image in known["images"]][: len(wrong)] == wrong["path"].tolist()
    for image in known["images"]:
        seen = cv2.imdecode(np.frombuffer(base64.b64decode(image["seen"]), np.uint8), 1)
        assert seen.shape == (64, 64, 3)
        assert image["stages"][0]["name"] == "stem"
    page = run.report.read_text("utf-8")
    assert 'id="explained"' in page
    assert known["images"][0]["looked"] in page


def test_explain_is_ready_for_json(run: tlkit.Run) -> None:
    classifier = load_classifier(run.model_file)
    table = worth_explaining(run.predictions)
    values = explain(classifier, table, Path(run.metrics["data"]["root"]))
    assert json.loads(json.dumps(values)) == values
    assert len(values["images"]) == len(table)
    assert values["places"] == [2, 2]
    assert [image["right"] for image in values["images"]] == (
        table["label"] == table["predicted"]
    ).tolist()


def test_the_overlay_colours_only_what_spoke() -> None:
    image = noise(1, 8)[0]
    heat = np.zeros((8, 8), np.float32)
    heat[2, 3] = 1
    seen = overlay(image, heat)
    grey = seen.min(axis=2) == seen.max(axis=2)
    assert not grey[2, 3]
    assert grey.sum() == 63


def test_a_mosaic_keeps_its_tiles_apart() -> None:
    sheet = mosaic([np.zeros((2, 2), np.uint8)] * 3, side=4)
    assert sheet.shape == (9, 9, 3)
    assert (sheet[4] == 128).all()
    assert (sheet[:4, :4] == 0).all()
