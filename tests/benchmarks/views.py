"""How many augmented views are worth their time: accuracy of the solved head by their number.

    python tests/benchmarks/views.py FOLDER [--per-class 20] [--draws 8] [--augment light]

The frozen default backbone computes ten views of every picture once; then heads are solved on
random draws of the pictures and asked about all others, as they are without augmentation. The last
column, ten views, is a fresh view for each of ten epochs.
"""

from __future__ import annotations

import argparse
import tempfile
from pathlib import Path

import numpy as np

from tlkit import device
from tlkit.backbones import get_backbone
from tlkit.recipe import HeadConfig, load_recipe

VIEWS = (0, 1, 2, 4, 6, 10)
"""0: the picture as evaluation sees it."""


def main() -> None:
    """Print a table: views, mean accuracy and log-loss, and the standard error of both."""
    parser = argparse.ArgumentParser()
    parser.add_argument("folder", type=Path)
    parser.add_argument("--per-class", type=int, default=20)
    parser.add_argument("--draws", type=int, default=8)
    parser.add_argument("--augment", default="light")
    options = parser.parse_args()
    device.prepare("cpu")
    from tlkit.solver import solve

    plain, views, labels = features(options.folder, options.augment)
    scores: dict[int, list[tuple[float, float]]] = {count: [] for count in VIEWS}
    for draw in range(options.draws):
        rng = np.random.default_rng(draw)
        rows = [rng.permutation(np.flatnonzero(labels == c)) for c in np.unique(labels)]
        learned = np.concatenate([row[: options.per_class] for row in rows])
        asked = np.setdiff1d(np.arange(len(labels)), learned)
        for count in VIEWS:
            seen = [view[learned] for view in views[:count]] or [plain[learned]]
            head = solve(seen, labels[learned], labels.max() + 1, seed=draw)
            logits = plain[asked] @ head.kernel + head.bias
            logits -= logits.max(axis=1, keepdims=True)
            chances = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
            right = chances[np.arange(len(asked)), labels[asked]]
            scores[count].append(
                ((chances.argmax(1) == labels[asked]).mean(), -np.log(right.clip(1e-12)).mean())
            )
    print("views  accuracy         log-loss")
    for count, pairs in scores.items():
        (accuracy, loss), error = np.mean(pairs, axis=0), np.std(pairs, axis=0, ddof=1)
        error /= len(pairs) ** 0.5
        print(f"{count:5}  {accuracy:.4f} ± {error[0]:.4f}  {loss:.4f} ± {error[1]:.4f}")


def features(folder: Path, augment: str) -> tuple[np.ndarray, list[np.ndarray], np.ndarray]:
    """Of all pictures: plain float32 (pictures, features), ten views of the same, labels."""
    from tlkit.classifier import build_classifier
    from tlkit.data.folder import ImageFolder
    from tlkit.data.loader import make_datasets
    from tlkit.feature_cache import FeatureCache
    from tlkit.features import FrozenFeatures

    recipe = load_recipe(None, data=folder, augment=augment)
    images = ImageFolder(folder)
    split = images.samples.assign(split="train")
    classifier = build_classifier(recipe.backbone, images.classes, HeadConfig(kind="linear"))
    datasets = make_datasets(split, recipe, get_backbone(recipe.backbone))
    with tempfile.TemporaryDirectory() as place:
        kept = FrozenFeatures(classifier, datasets, FeatureCache(Path(place)), max(VIEWS))
        views = [view[:] for view in kept.cut().train.views]
        plain = kept.kept(datasets.train_eval)
        assert plain is not None
        return plain[:], views, datasets.train.labels


if __name__ == "__main__":
    main()
