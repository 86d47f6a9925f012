import keras
import numpy as np
import pytest

from tlkit.optimizers import KINDS, make_optimizer, make_schedule
from tlkit.recipe import TrainConfig, load_recipe


def config(**settings: object) -> TrainConfig:
    return load_recipe(weights="none", **settings).resolve(32).train


def rates(epochs: int = 14, **settings: object) -> list[float]:
    """The rate of the last step of each epoch of ten steps."""
    train = config(epochs=epochs, lr=1.0, **settings)
    schedule = make_schedule(train, train.lr or 0.0, epochs, 10)
    steps = range(9, 10 * epochs, 10)
    return [float(schedule(step)) if callable(schedule) else schedule for step in steps]


@pytest.mark.parametrize(
    ("settings", "expected"),
    [
        ({}, [1.0] * 14),
        ({"schedule": "plateau"}, [1.0] * 14),  # a callback lowers it
        ({"schedule": "step", "decay_epochs": 5}, [1] * 5 + [0.1] * 5 + [0.01] * 4),
        ({"schedule": "step", "decay_epochs": 20}, [1] * 14),
        (
            # LeCun et al. 1998, section III.A: 5, 2, 1, 0.5 and 0.1 (times 1e-4)
            {"schedule": "step", "decay_epochs": "2,5,8,12", "decay_rate": "0.4,0.5,0.5,0.2"},
            [1] * 2 + [0.4] * 3 + [0.2] * 3 + [0.1] * 4 + [0.02] * 2,
        ),
        ({"schedule": "step", "decay_epochs": 4, "warmup": 2}, [0.5] + [1] * 3 + [0.1] * 4
            + [0.01] * 4 + [0.001] * 2),
        ({"warmup": 4}, [0.25, 0.5, 0.75] + [1] * 11),
    ],
)  # fmt: skip
def test_schedules_epoch_by_epoch(settings: dict[str, object], expected: list[float]) -> None:
    assert rates(**settings) == pytest.approx(expected)


def test_schedules_that_fall_smoothly() -> None:
    polynomial = rates(schedule="polynomial", end_lr=0.1)
    assert np.allclose(np.diff(polynomial), np.diff(polynomial)[0])
    assert polynomial[-1] == pytest.approx(0.1, abs=0.01)
    assert rates(schedule="exponential", decay_rate=0.5, decay_epochs=2)[3::2] == pytest.approx(
        [0.5**2 * 2**0.05 * 0.5**k for k in range(6)]  # the last step, a tenth of an epoch early
    )
    cosine = rates(schedule="cosine", warmup=2)
    assert cosine[:2] == pytest.approx([0.45, 0.95])
    assert cosine[2:] == sorted(cosine[2:], reverse=True)
    assert cosine[-1] < 1e-3
    cycle = rates(schedule="one-cycle")
    top = int(np.argmax(cycle))
    assert top == 4  # 30 % of the way
    assert cycle[:top] == sorted(cycle[:top])
    assert cycle[0] < 0.3
    assert cycle[top:] == sorted(cycle[top:], reverse=True)
    assert cycle[-1] < 1e-3


@pytest.mark.parametrize("kind", KINDS)
def test_every_optimizer_takes_the_common_settings(kind: str) -> None:
    train = config(
        epochs=1, optimizer=kind, clip_norm=1.0, accumulate=2, ema=0.9, weight_decay=1e-3
    )
    optimizer = make_optimizer(train, 0.1)
    assert type(optimizer) is KINDS[kind]
    assert optimizer.global_clipnorm == 1.0
    assert optimizer.gradient_accumulation_steps == 2
    assert (optimizer.use_ema, optimizer.ema_momentum) == (True, 0.9)


def step(train: TrainConfig, factors: dict[str, float] | None = None, gradient: float = 1.0):
    """How far one step moves a kernel and a bias that start at 1."""
    variables = [keras.Variable(np.ones(3), name=name) for name in ("kernel", "bias")]
    optimizer = make_optimizer(train, 0.1, factors)
    optimizer.build(variables)
    optimizer.apply([keras.ops.full((3,), gradient)] * 2)
    return [1 - float(variable.value[0]) for variable in variables]


def test_sgd_has_nesterov_momentum_unless_told_otherwise() -> None:
    assert step(config(epochs=1, optimizer="sgd")) == pytest.approx([0.19, 0.19])
    assert step(config(epochs=1, optimizer="sgd", nesterov=False))[0] == pytest.approx(0.1)
    assert step(config(epochs=1, optimizer="sgd", momentum=0.0))[0] == pytest.approx(0.1)


@pytest.mark.parametrize("kind", ["sgd", "adam", "lion"])
def test_a_layers_own_rate(kind: str) -> None:
    kernel, bias = step(config(epochs=1, optimizer=kind), {"kernel": 0.5})
    assert kernel == pytest.approx(bias / 2, rel=1e-4)
    assert bias == pytest.approx(step(config(epochs=1, optimizer=kind))[1])


def test_weight_decay_leaves_biases_alone() -> None:
    train = config(epochs=1, optimizer="sgd", weight_decay=0.5)
    assert step(train, gradient=0.0) == pytest.approx([0.05, 0.0])


def test_the_longest_gradient_is_over_all_weights() -> None:
    train = config(epochs=1, optimizer="sgd", momentum=0.0, clip_norm=1.0)
    moved = np.array(step(train, gradient=100.0))
    assert np.sqrt(3 * (moved**2).sum()) == pytest.approx(0.1, rel=1e-4)
