"""Trackers see every epoch of every phase, a solved head included, and nothing runs unasked."""

from __future__ import annotations

import sys
from pathlib import Path

import pandas as pd
import pytest

import tlkit
from tlkit.errors import MissingPackageError
from tlkit.trackers import check


@pytest.fixture(scope="module")
def tracked(pictures: Path, tmp_path_factory: pytest.TempPathFactory) -> tlkit.Run:
    """A head that is solved, then an epoch and another of fine-tuning, with all trackers."""
    for package in ("tensorboard", "mlflow"):
        pytest.importorskip(package)
    with pytest.MonkeyPatch.context() as patch:
        patch.delenv("MLFLOW_TRACKING_URI", raising=False)
        return tlkit.finetune(
            pictures,
            output=tmp_path_factory.mktemp("runs"),
            name="tracked",
            img_size=64,
            epochs=2,
            insight=False,
            track=["csv", "tensorboard", "mlflow"],
        )


def phases(run: tlkit.Run) -> dict[str, pd.DataFrame]:
    return {str(name): rows for name, rows in run.history.groupby("phase", sort=False)}


def test_csv_holds_every_epoch(tracked: tlkit.Run) -> None:
    assert set(phases(tracked)) == {"head", "fine-tune"}
    for name, rows in phases(tracked).items():
        table = pd.read_csv(tracked.folder / "csv" / f"{name}.csv")
        assert table["val_loss"].tolist() == pytest.approx(rows["val_loss"].tolist(), rel=1e-5)


def test_tensorboard_holds_every_epoch(tracked: tlkit.Run) -> None:
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    for name, rows in phases(tracked).items():
        events = EventAccumulator(str(tracked.folder / "tensorboard" / name / "validation"))
        events.Reload()
        steps = [event.step for event in events.Tensors("epoch_loss")]
        assert steps == list(range(len(rows)))


def test_mlflow_counts_on_over_the_phases(tracked: tlkit.Run) -> None:
    import mlflow

    client = mlflow.MlflowClient((tracked.folder.parent / "mlruns").as_uri())
    experiment = client.get_experiment_by_name("tlkit")
    (run,) = client.search_runs([experiment.experiment_id])
    assert run.info.run_name == "tracked"
    assert run.info.status == "FINISHED"
    assert run.data.params["backbone"] == "efficientnet_lite0"
    seen = client.get_metric_history(run.info.run_id, "val_loss")
    assert [point.value for point in seen] == pytest.approx(tracked.history["val_loss"].tolist())
    assert [point.step for point in seen] == list(range(1, len(seen) + 1))


def test_nothing_is_tracked_unasked(run: tlkit.Run) -> None:
    assert not {"csv", "tensorboard", "mlruns"} & {path.name for path in run.folder.iterdir()}
    assert not (run.folder.parent / "mlruns").exists()


def test_a_missing_package_is_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "mlflow", None)
    check(["csv"])
    with pytest.raises(MissingPackageError, match=r"pip install 'tlkit\[mlflow\]'"):
        check(["csv", "mlflow"])
