"""Numerically the published network: the same logits, parameters and multiply-accumulates."""

from __future__ import annotations

import gc
import math

import keras
import numpy as np
import pytest
from synthetic import NAMES, REAL_NAMES, draw_images, draw_state, golden, row_name

from tlkit.backbones import BACKBONES, build_backbone, get_backbone
from tlkit.backbones._state_dict import assign_state_dict
from tlkit.complexity import layer_table

TOLERANCE = 2e-5  # of the largest logit; float32 in another order of summation costs up to 5e-6

pytestmark = pytest.mark.golden


@pytest.fixture(autouse=True)
def _free_memory():
    yield
    keras.utils.clear_session()
    gc.collect()


@pytest.mark.parametrize("name", NAMES)
def test_network_is_the_published_one(name, record_golden):
    facts = golden(name)
    row = get_backbone(row_name(name, BACKBONES))
    model = build_backbone(row.name, aux=row.aux is not None)
    assign_state_dict(model, row, draw_state(name), f"{name}.json")
    table = layer_table(model)
    auxiliary = table["layer"].str.startswith("aux")
    parameters = int(table["trainable"].sum())
    macs = int(table.loc[~auxiliary, "macs"].sum())

    outputs = run(model, draw_images(facts["input_size"]))

    worst = error(outputs[0], facts["logits"])
    record_golden(name, parameters, macs, worst)
    assert worst <= TOLERANCE
    assert parameters == facts["parameters"]
    assert int(table.loc[~auxiliary, "trainable"].sum()) == row.parameters
    assert macs == facts["macs"] == row.macs
    assert row.features == facts["feature_shape"][0]
    if row.aux:
        expected = facts["aux_logits"]
        expected = list(expected.values()) if isinstance(expected, dict) else expected
        assert len(outputs) == 1 + len(expected)
        for ours, theirs in zip(outputs[1:], expected, strict=True):
            assert error(ours, theirs) <= TOLERANCE


@pytest.mark.parametrize("name", REAL_NAMES)
def test_packaged_weights_give_the_published_logits(name, record_golden):
    facts = golden(name)
    row = get_backbone(row_name(name, BACKBONES))
    model = build_backbone(row.name, weights="imagenet")

    outputs = run(model, draw_images(facts["input_size"]))

    worst = error(outputs[0], facts["logits"])
    record_golden(name, sum(math.prod(w.shape) for w in model.trainable_weights), row.macs, worst)
    assert worst <= TOLERANCE
    assert row.weights.sha256 == facts["sha256"]


def run(model, images):
    """The outputs as a list; eagerly, because tracing takes longer than one run."""
    outputs = model(images, training=False)
    outputs = outputs if isinstance(outputs, list) else [outputs]
    return [keras.ops.convert_to_numpy(output) for output in outputs]


def error(logits, expected):
    expected = np.asarray(expected)
    return float(np.abs(logits - expected).max() / np.abs(expected).max())
