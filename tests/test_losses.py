from pathlib import Path

import keras
import numpy as np
import pytest

from tlkit.errors import DataError
from tlkit.losses import class_weights, make_loss, penalise_kernels
from tlkit.recipe import load_recipe


def test_class_weights(tmp_path: Path) -> None:
    labels = np.array([0, 0, 0, 1])
    assert class_weights("none", ("a", "b"), labels) is None
    assert class_weights("auto", ("a", "b"), labels) == {0: 4 / 6, 1: 2.0}
    file = tmp_path / "w.csv"
    file.write_text("class,weight\nb,2\na,1\n")
    assert class_weights(str(file), ("a", "b"), labels) == {0: 1.0, 1: 2.0}
    file.write_text("class,weight\nb,2\n")
    with pytest.raises(DataError, match="'a'"):
        class_weights(str(file), ("a", "b"), labels)
    file.write_text("name\nb\n")
    with pytest.raises(DataError, match="class,weight"):
        class_weights(str(file), ("a", "b"), labels)


@pytest.mark.parametrize(
    ("rows", "says"), [("=a,1\n=a,2\nb,1", "two rows for '=a'"), ("'=a,inf\nb,1", "'=a'")]
)
def test_weights_that_say_two_things_or_too_much(rows: str, says: str, tmp_path: Path) -> None:
    file = tmp_path / "weights.csv"
    file.write_text(f"class,weight\n{rows}\n")
    with pytest.raises(DataError, match=says):
        class_weights(str(file), ("=a", "b"), np.array([0, 1]))


def test_smoothed_and_focal_losses() -> None:
    answers, labels = np.array([[0.8, 0.2], [0.4, 0.6]]), np.eye(2)[[0, 0]]

    def loss(**settings: float) -> float:
        train = load_recipe(weights="none", epochs=1, **settings).resolve(32).train
        return float(make_loss(train)(labels, answers))

    right = answers[:, 0]
    assert loss() == pytest.approx(-np.log(right).mean(), rel=1e-5)
    focal = -((1 - right) ** 2 * np.log(right)).mean()
    assert loss(focal_gamma=2.0) == pytest.approx(focal, rel=1e-5)
    smooth = -(0.9 * np.log(right) + 0.1 * np.log(1 - right)).mean()
    assert loss(label_smoothing=0.2) == pytest.approx(smooth, rel=1e-5)


def test_the_penalty_is_of_kernels_that_train() -> None:
    x = keras.Input((3,))
    model = keras.Model(x, keras.layers.Dense(2, name="b")(keras.layers.Dense(4, name="a")(x)))
    model.get_layer("a").trainable = False
    penalise_kernels(model, 0.1)
    kernel = model.get_layer("b").kernel.numpy()
    assert sum(map(float, model.losses)) == pytest.approx(0.1 * (kernel**2).sum(), rel=1e-5)
