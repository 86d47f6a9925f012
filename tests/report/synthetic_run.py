"""Synthetic runs: generated pictures, made-up probabilities, real files."""

from pathlib import Path

import cv2
import numpy as np
import pandas as pd

from tlkit.evaluation.metrics import score
from tlkit.runs import Run

STEPS = [
    {"step": 1, "title": "Take the layers of a trained model", "detail": "tiny, <imagenet>",
     "parameters": 23_587_712, "frozen": 0, "trainable": 23_587_712},
    {"step": 2, "title": "Freeze them", "detail": "they keep what they know",
     "parameters": 23_587_712, "frozen": 23_587_712, "trainable": 0},
    {"step": 3, "title": "Add new, trainable layers", "detail": "dense",
     "parameters": 23_591_810, "frozen": 23_587_712, "trainable": 4_098},
    {"step": 4, "title": "Train only the new layers", "detail": "3 epochs",
     "parameters": 23_591_810, "frozen": 23_587_712, "trainable": 4_098},
]  # fmt: skip


def make_predictions(classes, counts, seed=0, skill=2.5):
    """`counts`: split to images per class. File names are safe; the class names need not be."""
    random = np.random.default_rng(seed)
    rows = [
        (f"{split}/class {i}/{n:03}.jpg", split, i)
        for split, count in counts.items()
        for i in range(len(classes))
        for n in range(count)
    ]
    truth = np.array([i for _, _, i in rows])
    logits = random.normal(size=(len(rows), len(classes)))
    logits[np.arange(len(rows)), truth] += skill
    p = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    table = pd.DataFrame(
        {
            "path": [path for path, _, _ in rows],
            "split": [split for _, split, _ in rows],
            "label": [classes[i] for i in truth],
            "predicted": [classes[i] for i in p.argmax(axis=1)],
            "confidence": p.max(axis=1),
            "loss": -np.log(p[np.arange(len(rows)), truth]),
        }
    )
    return pd.concat([table, pd.DataFrame(p, columns=[f"p_{name}" for name in classes])], axis=1)


def make_history():
    return pd.DataFrame(
        {
            "phase": ["head"] * 3 + ["fine-tune"] * 2,
            "epoch": [1, 2, 3, 1, 2],
            "loss": [0.9, 0.5, 0.3, 0.2, 0.1],
            "accuracy": [0.55, 0.7, 0.8, 0.9, 1],
            "val_loss": [0.8, 0.4, 0.6, 0.35, 0.3],
            "val_accuracy": [0.6, 0.8, 0.7, 0.9, 0.95],
            "lr": [1e-3] * 5,
            "seconds": [1.5] * 5,
        }
    )


def draw_pictures(root: Path, paths):
    """A small picture for each path: wide, its left half red, its right half blue."""
    picture = np.zeros((36, 48, 3), np.uint8)
    picture[:, :24], picture[:, 24:] = (0, 0, 220), (220, 0, 0)  # blue, green, red
    _, encoded = cv2.imencode(".jpg", picture)
    for path in paths:
        (root / path).parent.mkdir(parents=True, exist_ok=True)
        (root / path).write_bytes(encoded.tobytes())


def make_run(
    folder: Path, classes, counts, pictures=True, extra=True, name="my run", **kwargs
) -> Run:
    """A finished run folder and, beside it, the data it was made from."""
    root = folder / "data & <pictures>"
    run = Run.create(folder / "runs", name)
    predictions = make_predictions(classes, counts, **kwargs)
    if pictures:
        draw_pictures(root, predictions["path"])
    metrics = score(predictions, classes)
    if extra:
        metrics |= {
            "steps": STEPS,
            "model": {
                "backbone": "resnet50.keras", "parameters": 23_591_810, "frozen": 23_587_712,
                "trainable": 4_098, "input_size": 224,
                "weights": {"source": "imagenet", "sha256": "ab" * 32},
            },
            "timings": {"scan": 0.5, "train": 61.0},
            "versions": {"tlkit": "0.1.0", "keras": "3.15.1"},
            "data": {"root": str(root), "images": len(predictions), "sha256": "cd" * 32,
                     "skipped": 1},
        }  # fmt: skip
        run.write_table(
            "skipped", pd.DataFrame({"path": ["a/<b>.jpg"], "reason": ["truncated JPEG"]})
        )
    run.write_text(run.recipe_file, '# <recipe>\nbackbone = "resnet50.keras"\n')
    run.write_table("predictions", predictions)
    run.write_table("split", predictions[["path", "label", "split"]].assign(
        sha256=[f"{i:064x}" for i in range(len(predictions))]
    ))  # fmt: skip
    run.write_table("history", make_history())
    run.write_metrics(metrics)
    return run
