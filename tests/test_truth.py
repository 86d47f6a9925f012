"""What a run says of itself, against scikit-learn on its predictions.csv and against changed
inputs."""

import json
import re
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from PIL import Image
from sklearn import metrics as sklearn_metrics

import tlkit
from tests.victim import Victim
from tlkit.runs import Run

CLASSES = [f"class {i}" for i in range(7)]


@pytest.fixture(scope="module")
def hard(tmp_path_factory: pytest.TempPathFactory) -> Run:
    """A run on noise of seven classes, hence with mistakes of all kinds, and three splits."""
    folder, rng = tmp_path_factory.mktemp("hard"), np.random.default_rng(0)
    for number, name in enumerate(CLASSES):
        (folder / "data" / name).mkdir(parents=True)
        for image in range(20):
            pixels = rng.normal(100 + 10 * number, 40, (32, 32, 3)).clip(0, 255)
            file = folder / "data" / name / f"{image}.png"
            Image.fromarray(pixels.astype(np.uint8)).save(file)
    return tlkit.finetune(
        *(folder / "data",), output=folder / "runs", backbone="lenet5_modern", weights="none",
        epochs=2, test_split=0.3,
    )  # fmt: skip


def by_scikit_learn(table: pd.DataFrame) -> dict[str, Any]:
    """Every score of a split that is a plain number or table, from nothing but its predictions."""
    label, predicted = table["label"], table["predicted"]
    p = table[[f"p_{name}" for name in CLASSES]].to_numpy()
    own = np.stack([label == name for name in CLASSES])
    confusion = sklearn_metrics.confusion_matrix(label, predicted, labels=CLASSES)
    mistakes = sorted(
        (-int(confusion[i, j]), i, j)
        for i in range(7) for j in range(7) if i != j and confusion[i, j]
    )  # fmt: skip
    # ECE [Guo et al. 2017, section 2], for which scikit-learn has no function.
    place = np.minimum(np.ceil(p.max(1) * 15), 15)
    right = (label == predicted).to_numpy()
    ece = sum(abs((right - p.max(1))[place == b].sum()) for b in range(1, 16)) / len(table)
    precision, recall, f1, support = sklearn_metrics.precision_recall_fscore_support(
        label, predicted, labels=CLASSES, zero_division=np.nan
    )
    return {
        "images": len(table),
        "correct": int(right.sum()),
        "accuracy": sklearn_metrics.accuracy_score(label, predicted),
        "top5": sklearn_metrics.top_k_accuracy_score(label, p, k=5, labels=CLASSES),
        "loss": sklearn_metrics.log_loss(label, p / p.sum(1, keepdims=True), labels=CLASSES),
        "balanced_accuracy": sklearn_metrics.balanced_accuracy_score(label, predicted),
        "macro_f1": sklearn_metrics.f1_score(label, predicted, average="macro", zero_division=0),
        "ece": ece,
        "confusion_matrix": confusion.tolist(),
        "most_confused": [
            {"label": CLASSES[i], "predicted": CLASSES[j], "images": -n} for n, i, j in mistakes
        ],
        "per_class": [
            {
                "class": name,
                "images": int(support[i]),
                "precision": precision[i],
                "recall": recall[i],
                "f1": f1[i],
                "auc": sklearn_metrics.roc_auc_score(own[i], p[:, i]),
                "average_precision": sklearn_metrics.average_precision_score(own[i], p[:, i]),
            }
            for i, name in enumerate(CLASSES)
        ],
    }


# Intervals and chance are tested where they are made: tests/evaluation.
ELSEWHERE = re.compile(r".*_interval|ece_by_chance")


def agree(said: Any, true: Any, where: str) -> None:
    if isinstance(true, dict):
        assert {key for key in said if not ELSEWHERE.fullmatch(key)} == set(true), where
        for key in true:
            agree(said[key], true[key], f"{where}.{key}")
    elif isinstance(true, list):
        assert len(said) == len(true), where
        for number, (a, b) in enumerate(zip(said, true, strict=True)):
            agree(a, b, f"{where}[{number}]")
    elif isinstance(true, float) and np.isnan(true):
        assert said is None, where
    else:
        assert said == (pytest.approx(true, rel=1e-6) if isinstance(true, float) else true), where


@pytest.mark.parametrize("split", ["train", "val", "test"])
def test_every_number_of_metrics_json_is_scikit_learns(hard: Run, split: str) -> None:
    table = hard.predictions.query("split == @split")
    agree(hard.metrics["splits"][split], by_scikit_learn(table), split)


def test_the_run_counts_what_is_there(hard: Run) -> None:
    metrics, split = hard.metrics, hard.split
    assert metrics["evaluated"] == "test"
    assert metrics["accuracy"] == metrics["splits"]["test"]["accuracy"]
    assert metrics["data"]["images"] == len(split) == len(hard.predictions) == 140
    assert metrics["classes"] == CLASSES
    model = hard.model
    assert metrics["model"]["parameters"] == model.count_params()
    assert metrics["splits"]["test"]["accuracy"] < 1, "too easy to show anything"


def numbers_in(value: Any) -> set[float]:
    if isinstance(value, dict | list):
        return set().union(*map(numbers_in, value.values() if isinstance(value, dict) else value))
    return {float(value)} if isinstance(value, int | float) else set()


def test_every_number_of_the_report_is_in_the_runs_files(hard: Run) -> None:
    page = hard.report.read_text()
    shown = {float(value) for value in re.findall(r'<data value="([^"]+)">', page)}
    numeric = hard.predictions.select_dtypes("number").to_numpy().ravel()
    mean = float(hard.predictions.query("split == 'test'")["confidence"].mean())
    known = numbers_in(hard.metrics) | {float(number) for number in numeric} | {mean}
    assert len(shown) > 50
    assert shown <= known


@pytest.mark.parametrize("workers", [1, 2, 4])
def test_any_number_of_workers_gives_the_same_bytes(victim: Victim, workers: int) -> None:
    assert victim.run(f"workers-{workers}", {"workers": workers}) == 0
    assert victim.file(f"workers-{workers}", "predictions.csv") == victim.predictions


def passport(victim: Victim, name: str, **settings: object) -> tuple[str, str]:
    """The hashes of a short run: its data's, its weights'."""
    short = {"freeze_epochs": 1, "epochs": 0, "unfreeze": None, "schedule": None}
    assert victim.run(name, short | settings) == 0
    metrics = json.loads(victim.file(name, "metrics.json"))
    return metrics["data"]["sha256"], metrics["model"]["weights"]["sha256"]


@pytest.mark.slow
def test_a_changed_image_label_or_weight_changes_the_passport(
    victim: Victim, tmp_path: Path
) -> None:
    before = passport(victim, "passport")
    assert passport(victim, "passport-again") == before

    image = Path(shutil.copytree(victim.settings["data"], tmp_path / "image"))
    with (image / "red" / "03.jpg").open("ab") as file:
        file.write(b"\0")
    changed = passport(victim, "passport-image", data=str(image))
    assert changed[0] != before[0]
    assert changed[1] == before[1]

    label = Path(shutil.copytree(victim.settings["data"], tmp_path / "label"))
    (label / "red" / "03.jpg").rename(label / "blue" / "03-red.jpg")
    changed = passport(victim, "passport-label", data=str(label))
    assert changed[0] != before[0]
    assert changed[1] == before[1]

    weights = tmp_path / "other.weights.h5"
    net = tlkit.build_backbone("lenet5_modern", weights=victim.settings["weights"])
    kernel, *rest = net.get_weights()
    kernel.flat[0] += 1e-3
    net.set_weights([kernel, *rest])
    net.save_weights(weights)
    changed = passport(victim, "passport-weight", weights=str(weights))
    assert changed[0] == before[0]
    assert changed[1] != before[1]
