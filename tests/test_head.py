import keras
import numpy as np
import pytest

from tlkit.errors import RecipeError
from tlkit.head import add_head
from tlkit.recipe import HeadConfig


def model_of(
    config: HeadConfig, shape: tuple[int, ...] = (4, 4, 8), classes: int = 3
) -> keras.Model:
    x = keras.Input(shape)
    return keras.Model(x, add_head(x, classes, config))


def test_linear_is_pool_dropout_dense() -> None:
    model = model_of(HeadConfig())
    assert [layer.name for layer in model.layers[1:]] == [
        "head_pool",
        "head_dropout",
        "head_logits",
        "head_probabilities",
    ]
    assert model.count_params() == 8 * 3 + 3


def test_mlp_has_one_hidden_layer() -> None:
    assert model_of(HeadConfig(kind="mlp", hidden=16)).count_params() == (8 * 16 + 16) + (
        16 * 3 + 3
    )


def test_a_new_head_starts_near_the_uniform_distribution() -> None:
    x = np.random.default_rng(0).normal(size=(5, 4, 4, 8)).astype(np.float32)
    p = model_of(HeadConfig()).predict(x, verbose=0)
    np.testing.assert_allclose(p.sum(axis=1), 1, rtol=1e-6)
    assert np.abs(p - 1 / 3).max() < 0.05


def test_classifier_needs_a_feature_vector() -> None:
    with pytest.raises(RecipeError, match="fully connected"):
        model_of(HeadConfig(kind="classifier"))
    assert model_of(HeadConfig(kind="classifier"), shape=(8,)).count_params() == 8 * 3 + 3
