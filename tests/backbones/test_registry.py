"""The sweep over the registry: a new row enters it unasked.

Counts, names, stages and keys are checked on networks without numbers (`shapes_only`), which is
cheap for every row. What needs numbers (a training step, saving) runs on one small row of each
builder by default, on all rows under the marker `slow`.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import keras
import numpy as np
import pytest

from tlkit import freezing, model_file
from tlkit.backbones import BACKBONES, apply_backbone, apply_top, get_backbone
from tlkit.backbones._registry import list_backbones, load, stage_of
from tlkit.complexity import macs, shapes_only, trainable_parameters
from tlkit.errors import BackboneError
from tlkit.precision import computing_in

OWN = [name for name, row in BACKBONES.items() if not name.endswith(".keras")]
APPLICATIONS = [name for name in BACKBONES if name.endswith(".keras")]
DEEP = ["preact_resnet_cifar164", "densenet_bc100_12", "densenet121"]  # small, but many layers
SAMPLE = ["resnet50.keras", "mobilenet_v2.keras", "convnext_tiny.keras"]


def quick_of_each_builder():
    """The smallest row of each builder, where one step takes a few seconds."""
    rows = sorted((BACKBONES[name] for name in OWN), key=lambda row: row.parameters, reverse=True)
    smallest = {row.builder: row for row in rows}.values()
    return [r.name for r in smallest if r.parameters < 10e6 and r.name not in DEEP]


def slow_unless(chosen, names):
    return [n if n in chosen else pytest.param(n, marks=pytest.mark.slow) for n in names]


EACH = [*OWN, *slow_unless(SAMPLE, APPLICATIONS)]
FAMILIES = list({BACKBONES[name].paper: name for name in reversed(APPLICATIONS)}.values())
QUICK = slow_unless([*quick_of_each_builder(), "mobilenet_v2.keras"], [*OWN, *FAMILIES])


@pytest.fixture(scope="module", params=EACH)
def network(request):
    """(row, last feature map, network with its top), shapes only."""
    row = get_backbone(request.param)
    with shapes_only():
        image = keras.Input((row.input_size, row.input_size, row.channels), name="image")
        features = apply_backbone(row, image)
        model = keras.Model(image, apply_top(row, features, row.classes))
    return row, features, model


def test_counts_are_the_rows(network):
    row, features, model = network
    assert trainable_parameters(model) == row.parameters
    assert macs(model) == row.macs
    assert features.shape[-1] == row.features
    assert model.output.shape == (None, row.classes)


def test_a_saved_model_of_it_is_held_safe(network):
    model_file._check_classes(json.loads(network[2].to_json()))


def test_every_weighted_layer_is_of_a_stage_or_the_top(network):
    row, _, model = network
    weighted = [layer.name for layer in model.layers if layer.weights]
    stages = stage_of(row, weighted)
    rest = [name for name in weighted if name not in stages]
    assert all(name.startswith("top_") for name in rest)
    assert rest, "the top has no weights"
    assert set(stages.values()) == set(row.stages)


def test_stages_follow_each_other(network):
    """Freezing up to a stage is only right when nothing before it hangs on a later one."""
    row, _, model = network
    order = [*row.stages, "top"]
    reached = {}
    for operation in model.operations:
        inputs = keras.tree.flatten(operation.input)
        before = max((reached.get(id(tensor), 0) for tensor in inputs), default=0)
        stage = operation.name.partition("_")[0]
        here = order.index(stage) if stage in order else before
        if getattr(operation, "weights", None):
            assert here >= before, f"{operation.name} comes after stage {order[before]}"
        reached[id(operation.output)] = max(here, before)


def test_keys_name_a_module_of_its_own_for_every_layer(network):
    row, _, model = network
    if row.keys is None:
        assert row.weights is None or row.weights.keras
        pytest.skip("no published state dict")
    weighted = [layer.name for layer in model.layers if layer.weights]
    modules = load(row.keys)(weighted)
    assert set(modules) == set(weighted)
    for spelling in range(max(map(len, modules.values()))):
        named = [m[spelling] for m in modules.values() if len(m) > spelling]
        assert len(named) == len(set(named))


def test_every_stage_can_be_frozen(network):
    row, features, whole = network
    with shapes_only():
        head = keras.layers.Dense(2, name="head_logits")(features)
        model = keras.Model(whole.input, head)
    freezing.freeze(model, row)
    assert trained_layers(model) == {"head_logits"}
    learning = {la.name for la in model.layers if la.weights and not is_batch_norm(la)}
    stages = stage_of(row, learning)
    for i, stage in enumerate(row.stages):
        freezing.unfreeze(model, row, stage)
        later = {name for name, place in stages.items() if place in row.stages[i:]}
        assert trained_layers(model) <= later | {"head_logits"}
        assert all(model.get_layer(name).trainable for name in later)


@pytest.mark.parametrize("name", list(BACKBONES))
def test_a_wrong_number_of_channels_is_a_clear_error(name):
    row = get_backbone(name)
    wrong = keras.Input((row.input_size, row.input_size, row.channels + 1))
    with pytest.raises(BackboneError, match=rf"{name} takes images of {row.channels} channel"):
        apply_backbone(row, wrong)


@pytest.mark.parametrize("name", QUICK)
def test_too_small_an_image_is_a_clear_error(name):
    row = get_backbone(name)
    with shapes_only():
        for size in (1, 6):
            tiny = keras.Input((size, size, row.channels))
            reason = small_image_error(row, tiny)
            assert reason is None or "too small" in reason


@pytest.mark.parametrize("name", QUICK)
def test_training_moves_every_weight_and_fine_tuning_no_statistics(name):
    row = get_backbone(name)
    still: set[str] | None = None
    for seed in range(3):  # a ReLU may start dead, drop-path leaves columns out: others move then
        keras.utils.set_random_seed(seed)
        model = small_classifier(row)
        shape = (4, *model.input_shape[1:])
        images = np.random.default_rng(seed).normal(size=shape).astype("float32")
        if still is None:
            check_16_bits(model, images)
        start = values(model.trainable_weights)
        still = set(start) if still is None else still
        for _ in range(2):
            train(model, images)
            now = values(model.trainable_weights)
            still = {path for path in still if np.array_equal(start[path], now[path])}
            if not still:
                break
        if not still:
            break
    assert still == set()

    freezing.unfreeze(model, row, "all")
    norms = [w for la in model.layers if is_batch_norm(la) for w in la.weights]
    start = values(norms)
    train(model, images)
    assert [w.path for w in norms if not np.array_equal(start[w.path], w.numpy())] == []
    keras.utils.clear_session()


@pytest.mark.parametrize("names", [["efficientnet_lite0"]])
def test_a_saved_network_loads_with_nothing_but_keras(names, tmp_path):
    load_in_fresh_process(names, tmp_path)


@pytest.mark.slow
@pytest.mark.parametrize("first", range(0, len(OWN + FAMILIES), 10))
def test_every_saved_network_loads_with_nothing_but_keras(first, tmp_path):
    load_in_fresh_process((OWN + FAMILIES)[first : first + 10], tmp_path)


def test_a_network_trains_on_jax():
    code = """
import keras, numpy as np
from tlkit.backbones import build_backbone
model = build_backbone("cnn_cifar", classes=2)
model.compile("sgd", keras.losses.CategoricalCrossentropy(from_logits=True))
images = np.random.default_rng(0).normal(size=(4, 32, 32, 3))
first = model.train_on_batch(images, np.eye(2)[[0, 1, 0, 1]])
assert np.isfinite(first)
print(keras.backend.backend())
"""
    result = run_python(code, KERAS_BACKEND="jax")
    assert result == "jax"


def test_names_may_be_spelt_as_keras_spells_them():
    assert get_backbone("ResNet50V2.keras").name == "resnet50_v2.keras"
    assert get_backbone("VGG11-BN").name == "vgg11_bn"


def test_an_unknown_name_suggests_the_nearest():
    with pytest.raises(BackboneError, match=r"'vg11_bn'.* Did you mean 'vgg11_bn'\?"):
        get_backbone("vg11_bn")


def test_patterns_select_names():
    assert list_backbones("vgg1?_bn") == ["vgg11_bn", "vgg13_bn", "vgg16_bn", "vgg19_bn"]
    assert list_backbones("VGG19") == ["vgg19", "vgg19_bn", "vgg19.keras"]


def test_listing_imports_no_framework():
    code = (
        "import sys; from tlkit.backbones import list_backbones; list_backbones();"
        "print([m for m in ('keras', 'tensorflow') if m in sys.modules])"
    )
    assert run_python(code) == "[]"


# --- helpers ---


def small_image_error(row, image):
    """What the error says; None when a map comes out after all."""
    try:
        features = apply_backbone(row, image)
    except BackboneError as error:
        return str(error)
    return None if min(features.shape[1:]) >= 1 else "an empty map"


def small_classifier(row):
    """The network on an image as small as it takes, with its own top where that is small."""
    for size in (min(row.input_size, 64), 96, 128, 224, row.input_size):
        try:
            image = keras.Input((size, size, row.channels), name="image")
            x = apply_backbone(row, image)
        except BackboneError:
            continue
        if len(x.shape) == 4 and min(x.shape[1:3]) < 2 and size < row.input_size:
            continue  # batch norm over a single place has no gradient
        if row.parameters < 10e6:
            x = apply_top(row, x, 2)
        else:
            x = keras.layers.GlobalAveragePooling2D(name="head_pool")(x)
            x = keras.layers.Dense(2, name="head_logits")(x)
        return keras.Model(image, keras.layers.Softmax(name="head_probabilities")(x))
    raise AssertionError(f"no size fits {row.name}")


def train(model, images):
    """One step, eagerly: tracing a deep network would take longer."""
    loss = keras.losses.CategoricalCrossentropy()
    model.compile(keras.optimizers.SGD(0.1), loss, run_eagerly=True)
    model.train_on_batch(images, np.eye(2, dtype="float32")[[0, 1, 0, 1]])


def check_16_bits(model, images):
    """Every layer takes bfloat16, and is what it was afterwards."""
    before = np.asarray(model(images))
    with computing_in(model, "bfloat16"):
        assert np.isfinite(np.asarray(model(images), np.float32)).all()
    np.testing.assert_array_equal(np.asarray(model(images)), before)


def values(weights):
    return {w.path: keras.ops.convert_to_numpy(w).copy() for w in weights}


def trained_layers(model):
    return {layer.name for layer in model.layers if layer.trainable_weights}


def is_batch_norm(layer):
    return isinstance(layer, keras.layers.BatchNormalization)


def load_in_fresh_process(names, folder):
    expected = {}
    for name in names:
        model = small_classifier(get_backbone(name))
        path = folder / f"{name}.keras"
        model.save(path)
        images = np.full((1, *model.input_shape[1:]), 0.5, "float32")
        expected[str(path)] = keras.ops.convert_to_numpy(model(images, training=False))[0].tolist()
        keras.utils.clear_session()
    code = """
import json, sys, keras, numpy as np
result = {}
for path in json.loads(sys.stdin.read()):
    model = keras.saving.load_model(path)
    images = np.full((1, *model.input_shape[1:]), 0.5, "float32")
    result[path] = keras.ops.convert_to_numpy(model(images, training=False))[0].tolist()
    keras.utils.clear_session()
print(json.dumps(result))
"""
    arrived = json.loads(run_python(code, stdin=json.dumps(list(expected))))
    assert arrived.keys() == expected.keys()
    for path, probabilities in expected.items():
        assert arrived[path] == pytest.approx(probabilities, abs=1e-5), path
        Path(path).unlink()


def run_python(code, stdin="", **environment):
    environment = {**os.environ, "TF_CPP_MIN_LOG_LEVEL": "3", **environment}
    result = subprocess.run(
        [sys.executable, "-c", code], input=stdin, capture_output=True, text=True, env=environment
    )
    assert result.returncode == 0, result.stderr[-2000:]
    return result.stdout.strip().splitlines()[-1]
