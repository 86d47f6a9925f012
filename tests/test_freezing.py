import keras
import numpy as np
import pytest

from tlkit import freezing
from tlkit.backbones import apply_backbone, apply_top, get_backbone
from tlkit.errors import RecipeError
from tlkit.head import add_head
from tlkit.recipe import HeadConfig

ROW = get_backbone("resnet18")


@pytest.fixture
def model() -> keras.Model:
    x = keras.Input((32, 32, 3), name="image")
    return keras.Model(x, add_head(apply_backbone(ROW, x), 2, HeadConfig()))


def trained(model: keras.Model) -> set[str]:
    where = freezing.parts(model, ROW)
    return {where[layer.name] for layer in model.layers if layer.trainable_weights}


def test_freeze_leaves_the_head_alone(model: keras.Model) -> None:
    freezing.freeze(model, ROW)
    assert trained(model) == {"head"}
    assert sum(int(np.prod(w.shape)) for w in model.trainable_weights) == 512 * 2 + 2
    assert freezing.last_frozen(model, ROW) == "head_pool"


@pytest.mark.parametrize(
    ("what", "stages"),
    [
        ("last", {"stage4"}),
        ("2", {"stage3", "stage4"}),
        ("stage2", {"stage2", "stage3", "stage4"}),
        ("all", {"stem", "stage1", "stage2", "stage3", "stage4"}),
    ],
)
def test_unfreeze_by_stage(model: keras.Model, what: str, stages: set[str]) -> None:
    freezing.unfreeze(model, ROW, what)
    assert trained(model) == stages | {"head"}


def test_the_boundary_is_the_end_of_the_last_frozen_stage(model: keras.Model) -> None:
    freezing.unfreeze(model, ROW, "last")
    boundary = freezing.last_frozen(model, ROW)
    assert boundary is not None
    assert boundary.startswith("stage3_")
    x = np.random.default_rng(0).normal(size=(2, 32, 32, 3)).astype(np.float32)
    prefix = keras.Model(model.input, model.get_layer(boundary).output)
    tail = keras.Model(model.get_layer(boundary).output, model.output)
    np.testing.assert_allclose(
        tail.predict(prefix.predict(x, verbose=0), verbose=0),
        model.predict(x, verbose=0),
        atol=1e-5,
    )
    assert {id(w) for w in tail.trainable_weights} == {id(w) for w in model.trainable_weights}


def test_with_everything_unfrozen_there_is_no_boundary(model: keras.Model) -> None:
    freezing.unfreeze(model, ROW, "all")
    assert freezing.last_frozen(model, ROW) is None


def test_batch_norm_stays_put_while_its_stage_trains(model: keras.Model) -> None:
    freezing.unfreeze(model, ROW, "all")
    norms = [layer for layer in model.layers if isinstance(layer, keras.layers.BatchNormalization)]
    before = [weight.numpy() for layer in norms for weight in layer.weights]
    kernel = model.get_layer("stage4_block2_conv2").kernel.numpy()
    model.compile(optimizer="sgd", loss="categorical_crossentropy")
    x = np.random.default_rng(0).normal(5, 3, size=(8, 32, 32, 3)).astype(np.float32)
    model.fit(x, np.eye(2, dtype=np.float32)[[0, 1] * 4], verbose=0)
    after = [weight.numpy() for layer in norms for weight in layer.weights]
    assert all((a == b).all() for a, b in zip(before, after, strict=True))
    assert (kernel != model.get_layer("stage4_block2_conv2").kernel.numpy()).any()


@pytest.mark.parametrize("what", ["stage9", "stag4", "0", "6", "-1"])
def test_no_such_stage(model: keras.Model, what: str) -> None:
    with pytest.raises(RecipeError, match=r"unfreeze.*stage4"):
        freezing.unfreeze(model, ROW, what)


def test_kept_fully_connected_layers_are_the_last_part() -> None:
    row = get_backbone("vgg11")
    x = keras.Input((32, 32, 3), name="image")
    # VGG's 4096-wide layers are heavy: a quarter of a gigabyte. Names are all that matters here.
    keep = apply_top(row, apply_backbone(row, x), classes=None)
    model = keras.Model(x, add_head(keep, 2, HeadConfig(kind="classifier")))
    freezing.freeze(model, row)
    assert freezing.last_frozen(model, row) is not None
    assert freezing.stages_of(model, row)[-1] == "top"
    freezing.unfreeze(model, row, "last")
    assert freezing.last_frozen(model, row) == "stage5_pool"


def test_rates_fall_stage_by_stage_from_the_head(model: keras.Model) -> None:
    freezing.unfreeze(model, ROW, "3")
    factors = freezing.rate_factors(model, ROW, 0.5)
    assert set(factors) == {weight.path for weight in model.trainable_weights}
    found = {path.partition("_")[0]: factor for path, factor in factors.items()}
    assert found == {"head": 1, "stage4": 0.5, "stage3": 0.25, "stage2": 0.125}
