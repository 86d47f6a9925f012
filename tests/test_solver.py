import numpy as np
import pytest
from numpy.typing import NDArray
from sklearn.linear_model import LogisticRegression

from tlkit import solver
from tlkit.solver import fold, scaling, score, score_each, solve, solve_each


def blobs(
    classes: int, per_class: int = 30, seed: int = 0, apart: float = 1.5
) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
    """Gaussian clouds whose features have very different scales and offsets."""
    rng = np.random.default_rng(0)
    centres = rng.normal(0, apart, (classes, 20))
    labels = np.repeat(np.arange(classes), per_class)
    rows = np.random.default_rng(seed + 1).normal(centres[labels], 1.0)
    return (rows * np.logspace(-1, 1, 20) + 5).astype(np.float32), labels


def softmax(logits: NDArray[np.float32]) -> NDArray[np.float32]:
    logits = np.exp(logits - logits.max(axis=1, keepdims=True))
    return logits / logits.sum(axis=1, keepdims=True)


@pytest.mark.parametrize("classes", [2, 4])
def test_the_dense_layer_is_the_regression(classes: int) -> None:
    rows, labels = blobs(classes)
    head = solve([rows], labels, classes)
    middle, scale = scaling(rows)
    scaled = (rows - middle) / scale
    model = LogisticRegression(C=head.strength, max_iter=1000, tol=1e-4).fit(scaled, labels)
    kernel, bias = fold(model.coef_, model.intercept_, middle, scale, classes)
    np.testing.assert_allclose(
        softmax(rows @ kernel + bias), model.predict_proba(scaled), atol=2e-5
    )
    np.testing.assert_allclose(
        softmax(rows @ head.kernel + head.bias), model.predict_proba(scaled), atol=5e-3
    )
    assert head.kernel.dtype == head.bias.dtype == np.float32


def test_every_class_is_a_regression_of_its_own() -> None:
    rows, labels = blobs(4)
    targets = np.stack([labels < 2, labels % 2 == 0, labels == 9, labels < 9], axis=1)
    val = rows[::3], targets[::3].astype(np.float32)
    head = solve_each([rows], targets.astype(np.float32), val)
    p = 1 / (1 + np.exp(-(rows @ head.kernel + head.bias)))
    middle, scale = scaling(rows)
    for number in (0, 1):
        strength = solve([rows], targets[:, number].astype(int), 2).strength
        model = LogisticRegression(C=strength, max_iter=1000, tol=1e-4)
        model.fit((rows - middle) / scale, targets[:, number])
        truth = model.predict_proba((rows - middle) / scale)[:, 1]
        np.testing.assert_allclose(p[:, number], truth, atol=5e-3)
    np.testing.assert_allclose(p[:, 2], 1 / (len(rows) + 2), rtol=1e-5)  # nobody shows it
    np.testing.assert_allclose(p[:, 3], 1 - 1 / (len(rows) + 2), rtol=1e-5)
    (end,) = head.curve
    right = p.astype(float).clip(1e-9, 1 - 1e-9)
    loss = -np.where(targets, np.log(right), np.log(1 - right)).mean()
    assert end.loss == pytest.approx(loss, rel=1e-3)
    assert end.accuracy == ((p > 0.5) == targets).mean()
    assert (end.val_loss, end.val_accuracy) == score_each(*val, head.kernel, head.bias)


def test_it_generalises() -> None:
    rows, labels = blobs(3)
    val = blobs(3, seed=1)
    head = solve([rows], labels, 3, val=val)
    assert score(*val, head.kernel, head.bias)[1] > 0.95
    last = head.curve[-1]
    assert (last.val_loss, last.val_accuracy) == score(*val, head.kernel, head.bias)
    assert (last.loss, last.accuracy) == score(rows, labels, head.kernel, head.bias)


def test_the_curve_goes_down() -> None:
    head = solve([blobs(3)[0]], blobs(3)[1], 3)
    losses = [point.loss for point in head.curve]
    assert losses == sorted(losses, reverse=True)
    assert [point.iteration for point in head.curve][:4] == [1, 2, 3, 5]
    assert np.isnan(head.curve[0].val_loss)


def test_noise_is_regularised_more_than_signal() -> None:
    rows, labels = blobs(2, apart=1.0)
    noise = np.random.default_rng(1).normal(size=rows.shape).astype(np.float32)
    assert solve([noise], labels, 2).strength < solve([rows], labels, 2).strength


def test_few_images_do_not_blow_up_features_of_uncertain_scale() -> None:
    rows, labels = blobs(2, per_class=3)
    rows[:, 0] = 5.0  # never varies among these images
    head = solve([rows], labels, 2)
    assert np.isfinite(head.kernel).all()
    assert np.abs(head.kernel[0]).max() < 1e-3
    _, scale = scaling(rows)
    assert scale.min() > 0.1 * scale.max()
    single = solve([rows[[0, 5]]], np.array([0, 1]), 2)  # nothing to cross-validate with
    assert np.isfinite(single.bias).all()


def test_classes_of_one_image_are_no_reason_to_warn() -> None:
    rows, labels = blobs(30, per_class=1)  # scikit-learn warns from 21 images on
    head = solve([rows], labels, 30)
    assert score(rows, labels, head.kernel, head.bias)[1] > 0.9


def test_views_of_an_image_stay_on_one_side(monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(0)
    labels = np.repeat([0, 1], 20)
    rows = rng.normal(size=(40, 200)).astype(np.float32)  # nothing to learn but the image itself
    views = [rows + rng.normal(0, 0.01, rows.shape).astype(np.float32) for _ in range(3)]
    # Were a view of a held-out image among the known ones, weak regularisation would look best.
    with solver.single_thread():
        assert solver.choose_strength(views, labels) <= 1e-2


def test_class_weights_move_the_boundary() -> None:
    rows, labels = blobs(2, apart=0.3)
    plain = solve([rows], labels, 2)
    tilted = solve([rows], labels, 2, weights={0: 1.0, 1: 20.0})
    shares = [(rows @ h.kernel + h.bias).argmax(1).mean() for h in (plain, tilted)]
    assert shares[1] > shares[0]


def test_same_input_same_bits() -> None:
    rows, labels = blobs(3)
    first, second = solve([rows], labels, 3, seed=1), solve([rows], labels, 3, seed=1)
    assert first.kernel.tobytes() == second.kernel.tobytes()
