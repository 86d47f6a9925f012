"""Weights in Keras' own files, and those of keras.applications."""

import contextlib
import json
import random
import zipfile
from pathlib import Path

import h5py
import keras
import numpy as np
import pytest
import tiny_net

import tlkit
from tlkit.backbones import _keras_file
from tlkit.backbones._keras_file import (
    assign_application,
    cached_application,
    fetch_application,
    read_keras_file,
)
from tlkit.backbones._registry import BACKBONES, get_backbone
from tlkit.backbones._weights import find_weights, load_weights
from tlkit.errors import WeightsError

SUFFIXES = pytest.mark.parametrize("suffix", [".keras", ".weights.h5", ".h5"])


@pytest.fixture(autouse=True)
def tiny(monkeypatch, tmp_path):
    monkeypatch.setitem(BACKBONES, "tiny", tiny_net.ROW)
    monkeypatch.setenv("KERAS_HOME", str(tmp_path / "keras"))


def save(model: keras.Model, path: Path) -> Path:
    if path.name.endswith(".weights.h5"):
        model.save_weights(path)
    else:
        model.save(path)
    return path


def scrambled(model: keras.Model) -> keras.Model:
    rng = np.random.default_rng(0)
    model.set_weights([rng.uniform(0.5, 1.5, w.shape) for w in model.get_weights()])
    return model


def refusal(function, *arguments, **options) -> str:
    with pytest.raises(WeightsError) as error:
        function(*arguments, **options)
    assert "\n" not in str(error.value)
    return str(error.value)


@SUFFIXES
@pytest.mark.filterwarnings("ignore:You are saving your model as an HDF5")
def test_round_trip_by_names(suffix, tmp_path):
    model = scrambled(tlkit.build_backbone("tiny"))
    path = save(model, tmp_path / f"net{suffix}")
    for include_top in (True, False):
        loaded = tlkit.build_backbone("tiny", weights=path, include_top=include_top)
        for layer in loaded.layers:
            wanted = model.get_layer(layer.name).get_weights()
            for old, new in zip(wanted, layer.get_weights(), strict=True):
                np.testing.assert_array_equal(old, new)


@SUFFIXES
@pytest.mark.filterwarnings("ignore:You are saving your model as an HDF5")
def test_a_misfit_changes_nothing(suffix, tmp_path):
    path = save(tlkit.build_backbone("tiny", classes=3), tmp_path / f"net{suffix}")
    model = tlkit.build_backbone("tiny")
    before = model.get_weights()
    message = refusal(load_weights, model, tiny_net.ROW, path)
    assert "1 of 7 layers do not fit" in message
    assert "top_logits expects [(5, 7), (7,)], arrived [(5, 3), (3,)]" in message
    for old, new in zip(before, model.get_weights(), strict=True):
        np.testing.assert_array_equal(old, new)
    other = refusal(tlkit.build_backbone, "squeezenet1_1", weights=path, include_top=False)
    assert "is missing" in other


@SUFFIXES
@pytest.mark.filterwarnings("ignore:You are saving your model as an HDF5")
def test_truncated(suffix, tmp_path):
    data = save(tlkit.build_backbone("tiny"), tmp_path / f"net{suffix}").read_bytes()
    path = tmp_path / f"part{suffix}"
    for share in (0, 0.1, 0.5, 0.9):
        path.write_bytes(data[: int(len(data) * share)])
        assert path.name in refusal(read_keras_file, path)


@pytest.mark.filterwarnings("ignore:You are saving your model as an HDF5")
def test_damaged_anywhere(tmp_path):
    """h5py raises whatever it stumbles over, and its C library was seen to crash."""
    dice, model = random.Random(0), tlkit.build_backbone("tiny")
    for suffix in (".keras", ".weights.h5", ".h5"):
        data = save(model, tmp_path / f"net{suffix}").read_bytes()
        path = tmp_path / f"damaged{suffix}"
        for _ in range(20):
            changed = bytearray(data)
            for _ in range(dice.randrange(1, 12)):
                changed[dice.randrange(len(data))] = dice.choice((0, 1, 127, 128, 254, 255))
            path.write_bytes(changed)
            with contextlib.suppress(WeightsError):
                read_keras_file(path)


def test_nothing_that_a_keras_file_describes_is_built(tmp_path):
    """Its config asks for a class that runs a command; only the numbers are read."""
    path = save(tlkit.build_backbone("tiny"), tmp_path / "net.keras")
    hostile = tmp_path / "hostile.keras"
    proof = tmp_path / "proof"
    command = {"module": "os", "class_name": "system", "config": {"command": f"touch {proof}"}}
    with zipfile.ZipFile(path) as old, zipfile.ZipFile(hostile, "w") as new:
        for name in old.namelist():
            new.writestr(name, json.dumps(command) if name == "config.json" else old.read(name))
    tlkit.build_backbone("tiny", weights=hostile)
    assert not proof.exists()


def layer_group(file: h5py.File) -> h5py.Group:
    group = file.create_group("layers/dense/vars")
    group.attrs["name"] = "top_fc"
    return group


def external_link(group, secret):
    group["0"] = h5py.ExternalLink(str(secret), "w")


def soft_link(group, secret):
    group["0"] = h5py.SoftLink("/elsewhere")
    group.file["elsewhere"] = np.ones(3)


def external_storage(group, secret):
    group.create_dataset("0", (3,), "u1", external=[(str(secret), 0, 3)])


def bomb(group, secret):
    group.create_dataset("0", (10**12,), "f4", chunks=(10**6,), compression="gzip")


def compressed(group, secret):
    group.create_dataset("0", data=np.zeros(100_000), compression="gzip")


@pytest.mark.parametrize(
    "write",
    [external_link, soft_link, external_storage, bomb, compressed],
    ids=lambda f: f.__name__,
)
def test_numbers_from_elsewhere_are_refused(write, tmp_path):
    secret = tmp_path / "secret.h5"
    with h5py.File(secret, "w") as file:
        file["w"] = np.ones(3)
    path = tmp_path / "net.weights.h5"
    with h5py.File(path, "w") as file:
        write(layer_group(file), secret)
    message = refusal(read_keras_file, path)
    assert "is a link" in message or "not in the file" in message


def test_layers_of_the_legacy_format_behind_a_link(tmp_path):
    path = tmp_path / "net.h5"
    with h5py.File(path, "w") as file:
        file.attrs["layer_names"] = ["top_fc"]
        file["top_fc"] = h5py.ExternalLink(str(tmp_path / "secret.h5"), "w")
    assert "is a link" in refusal(read_keras_file, path)


def test_other_files(tmp_path):
    path = tmp_path / "net.h5"
    with h5py.File(path, "w") as file:
        file["x"] = np.ones(3)
    assert "no weights of layers" in refusal(read_keras_file, path)


# --- keras.applications ---

ROW_NAMES = ["mobilenet_v2.keras", "mobilenet_v3_small.keras"]


def without_download(monkeypatch, name, fail=None):
    """keras.applications as if the network's files were here: scrambled weights, no download."""
    model = get_backbone(name).arguments["model"]
    function = getattr(keras.applications, model)
    made = {}

    def application(include_top, weights):
        assert weights == "imagenet"
        if fail:
            raise fail
        made["network"] = scrambled(function(include_top=include_top, weights=None))
        return made["network"]

    monkeypatch.setattr(keras.applications, model, application)
    return made


@pytest.mark.slow
@pytest.mark.parametrize("include_top", [True, False])
@pytest.mark.parametrize("name", ROW_NAMES)
def test_applications_give_their_own_output(name, include_top, monkeypatch, tmp_path):
    row = get_backbone(name)
    stem = row.arguments["model"].lower()
    path = tmp_path / "keras" / "models" / f"weights_{stem}_no_top.h5"
    path.parent.mkdir(parents=True)
    for file in (path, path.with_name(f"weights_{stem}.h5")):
        file.write_bytes(b"Keras reads it, not tlkit")
    model = tlkit.build_backbone(name, include_top=include_top)
    made = without_download(monkeypatch, name)
    assert find_weights(row, "imagenet").path == path
    load_weights(model, row, path)
    image = np.random.default_rng(0).uniform(0, 1, (1, *model.input_shape[1:])).astype(np.float32)
    published = keras.Model(made["network"].input, made["network"].layers[-1].output)
    if include_top:
        made["network"].layers[-1].activation = keras.activations.linear
    np.testing.assert_allclose(
        model.predict(image, verbose=0), published.predict(image, verbose=0), rtol=1e-4, atol=1e-5
    )


def test_a_top_that_is_not_here_needs_the_network(monkeypatch, tmp_path):
    monkeypatch.setenv("TLKIT_OFFLINE", "1")
    path = tmp_path / "keras" / "models" / PUBLISHED["MobileNetV2"]
    path.parent.mkdir(parents=True)
    path.touch()
    row = get_backbone("mobilenet_v2.keras")
    without_download(monkeypatch, row.name, fail=Exception("reached Keras"))
    assert "reached Keras" in refusal(fetch_application, row)
    message = refusal(fetch_application, row, include_top=True)
    assert "TLKIT_OFFLINE is set" in message
    assert "--weights none" in message


def test_applications_whose_download_fails(monkeypatch):
    monkeypatch.setattr(_keras_file, "check_reachable", lambda *_: None)
    row = get_backbone("mobilenet_v2.keras")
    without_download(monkeypatch, row.name, fail=Exception("URL fetch failure on x:\nmore"))
    message = refusal(assign_application, tlkit.build_backbone("tiny"), row)
    assert "URL fetch failure on x" in message
    assert "--weights FILE" in message


PUBLISHED = {
    "ResNet50": "resnet50_weights_tf_dim_ordering_tf_kernels_notop.h5",
    "ResNet50V2": "resnet50v2_weights_tf_dim_ordering_tf_kernels_notop.h5",
    "MobileNet": "mobilenet_1_0_224_tf_no_top.h5",
    "MobileNetV2": "mobilenet_v2_weights_tf_dim_ordering_tf_kernels_1.0_224_no_top.h5",
    "MobileNetV3Small": "weights_mobilenet_v3_small_224_1.0_float_no_top_v2.h5",
    "EfficientNetB0": "efficientnetb0_notop.h5",
    "EfficientNetV2B0": "efficientnetv2-b0_notop.h5",
    "ConvNeXtTiny": "convnext_tiny_notop.h5",
    "NASNetMobile": "nasnet_mobile_no_top.h5",
    "InceptionResNetV2": "inception_resnet_v2_weights_tf_dim_ordering_tf_kernels_notop.h5",
    "Xception": "xception_weights_tf_dim_ordering_tf_kernels_notop.h5",
    "VGG16": "vgg16_weights_tf_dim_ordering_tf_kernels_notop.h5",
}


def test_what_keras_has_downloaded_is_found(tmp_path):
    rows = {
        row.arguments["model"]: row
        for row in BACKBONES.values()
        if row.weights and row.weights.keras
    }
    folder = tmp_path / "keras" / "models"
    folder.mkdir(parents=True)
    assert all(cached_application(row) is None for row in rows.values())
    for name in PUBLISHED.values():
        (folder / name).touch()
        (folder / name.replace("notop", "").replace("no_top", "")).touch()
    for model, row in rows.items():
        found = cached_application(row)
        assert (found.name if found else None) == PUBLISHED.get(model)


def test_a_published_file_is_read_in_order(tmp_path):
    """Under another name, so that it is a local file: its layers are named Keras' way."""
    row = get_backbone("mobilenet_v2.keras")
    model = tlkit.build_backbone("mobilenet_v2.keras", include_top=False, input_size=32)
    layers = [layer for layer in model.layers if layer.weights]
    path = tmp_path / "mine.h5"
    with h5py.File(path, "w") as file:
        names = [f"keras_{i}" for i in range(len(layers) + 1)]  # the last one is a top
        file.attrs["layer_names"] = names
        for i, name in enumerate(names):
            group = file.create_group(name)
            weights = layers[i].get_weights() if i < len(layers) else [np.ones((3, 3))]
            group.attrs["weight_names"] = [f"{name}/w{j}:0" for j in range(len(weights))]
            for j, weight in enumerate(weights):
                group[f"{name}/w{j}:0"] = np.full(weight.shape, i + j, np.float32)
    load_weights(model, row, path)
    for i, layer in enumerate(layers):
        for j, weight in enumerate(layer.get_weights()):
            assert (weight == i + j).all()
