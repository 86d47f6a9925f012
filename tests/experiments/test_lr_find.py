"""The range test: the loss falls at useful rates, the test ends when it blows up."""

from __future__ import annotations

import re
import signal
from pathlib import Path
from types import SimpleNamespace

import pytest

import tlkit
from tlkit.errors import RecipeError
from tlkit.experiments.lr_find import find_rate
from tlkit.report.rates import advice, write_rates

SMALL = {"img_size": 64, "batch_size": 8}


def test_a_head_has_a_rate_at_which_its_loss_falls(pictures: Path, tmp_path: Path) -> None:
    curve = find_rate(pictures, steps=40, low=1e-5, high=100, optimizer="sgd", **SMALL)
    assert curve.phase == "head"
    assert curve.used == 1e-2
    assert 1e-5 < curve.suggestion <= curve.lowest / 10
    assert curve.losses.min() < 0.5 * curve.losses[0]
    page = write_rates(curve, tmp_path / "rates.html").read_text()
    assert advice(curve)[1:] in re.sub("</?code[^>]*>", "", page)
    shown = [float(rate) for rate in re.findall(r'<data value="([^"]+)">', page)]
    assert shown == curve.rates.tolist()
    assert len(re.findall(r'<polyline points="[^"]+"', page)) == 2
    assert not list(pictures.parent.glob("*/checkpoint"))


def test_fine_tuning_begins_with_a_trained_head(pictures: Path) -> None:
    curve = find_rate(pictures, phase="fine-tune", steps=12, low=1e-6, high=1e-3, **SMALL)
    assert curve.phase == "fine-tune"
    assert len(curve.rates) == 12
    assert curve.raw[0] < 0.4, "a new head of two classes would begin at 0.69"


@pytest.mark.parametrize("last", [50.0, float("nan")])
def test_it_ends_when_the_loss_blows_up(last: float) -> None:
    from tlkit.experiments.rising_rate import RisingRate

    model = SimpleNamespace(
        optimizer=SimpleNamespace(learning_rate=0.0),
        reset_metrics=lambda: None,
        stop_training=False,
    )
    test = RisingRate([1e-3, 1e-2, 1e-1, 1.0])
    test.set_model(model)
    for step, loss in enumerate([1.0, 0.5, last]):
        assert not model.stop_training
        test.on_train_batch_begin(0)
        assert model.optimizer.learning_rate == test.rates[step]
        test.on_train_batch_end(0, {"loss": loss})
    assert model.stop_training
    assert len(test.losses) == 3


def test_ctrl_c_ends_it(pictures: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of a run, it would end the phase, and the next one would never begin."""
    from tlkit.experiments.rising_rate import RisingRate

    def interrupted(self: RisingRate, batch: int, logs: object = None) -> None:
        signal.raise_signal(signal.SIGINT)

    monkeypatch.setattr(RisingRate, "on_train_batch_end", interrupted)
    with pytest.raises(KeyboardInterrupt):
        find_rate(pictures, steps=10, **SMALL)


def test_what_cannot_be_tested_is_refused(pictures: Path) -> None:
    with pytest.raises(RecipeError, match="0 < low < high"):
        find_rate(pictures, low=1, high=0.1)
    with pytest.raises(RecipeError, match="must be one of head, fine-tune"):
        find_rate(pictures, phase="tail")
    with pytest.raises(RecipeError, match="must be one of scratch"):
        find_rate(pictures, phase="head", backbone="lenet5", weights="none")


def test_it_is_public() -> None:
    assert tlkit.find_rate is find_rate
