import logging
from pathlib import Path

import pytest

import tlkit
from tlkit.evaluation.agreement import agreement


def test_a_run_keeps_its_promise(run: tlkit.Run) -> None:
    found = agreement(run.model_file, run.predictions, Path(run.metrics["data"]["root"]))
    assert found["val"]["images"] == 5
    assert found["val"]["largest_difference"] < 1e-4
    assert found["train"]["images"] == 8
    assert found["train"]["largest_difference"] < 2e-2


def test_a_lie_is_found(run: tlkit.Run, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.WARNING, "tlkit")
    table = run.predictions
    table.loc[table["split"] == "val", "p_blue"] += 0.01
    found = agreement(run.model_file, table, Path(run.metrics["data"]["root"]))
    assert found["val"]["largest_difference"] == pytest.approx(0.01, abs=1e-3)
    assert "more than the promised" in caplog.text


def test_images_that_are_gone_are_left_out(run: tlkit.Run, tmp_path: Path) -> None:
    assert agreement(run.model_file, run.predictions, tmp_path) == {}
