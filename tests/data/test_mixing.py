from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from tlkit.data.folder import ImageFolder
from tlkit.data.loader import ImageBatches
from tlkit.data.mixing import MixedBatches

SHADES = {"black": 0, "white": 255}


@pytest.fixture(scope="module")
def samples(tmp_path_factory: pytest.TempPathFactory) -> tuple[pd.DataFrame, Path]:
    """Black pictures and white ones: what a blend holds of each can be seen in it."""
    root = tmp_path_factory.mktemp("shades")
    for name, shade in SHADES.items():
        (root / name).mkdir()
        for i in range(8):
            colour = (shade, shade, min(255, shade + i))  # no two files alike
            Image.new("RGB", (16, 16), colour).save(root / name / f"{i}.png")
    return ImageFolder(root).samples, root


def mixed(samples: tuple[pd.DataFrame, Path], **alphas: float) -> MixedBatches:
    table, root = samples
    images = ImageBatches(table, root, ["black", "white"], 16, batch_size=8, shuffle=True, seed=1)
    return MixedBatches(images, alphas.get("mixup"), alphas.get("cutmix"))


@pytest.mark.parametrize("kind", ["mixup", "cutmix"])
def test_labels_say_what_the_image_holds(samples: tuple[pd.DataFrame, Path], kind: str) -> None:
    images, labels = map(np.concatenate, zip(*mixed(samples, **{kind: 1.0}), strict=True))
    assert images.dtype == labels.dtype == np.float32
    np.testing.assert_allclose(labels.sum(axis=1), 1, atol=1e-6)
    white = images[..., 0].mean(axis=(1, 2)) / 255
    # CutMix moves whole pixels, so its label is right to a pixel's row.
    np.testing.assert_allclose(labels[:, 1], white, atol=1e-5 if kind == "mixup" else 0.13)
    between = (labels[:, 1] > 0.05) & (labels[:, 1] < 0.95)
    assert between.sum() >= 3
    if kind == "cutmix":
        assert set(np.unique(images[..., 0])) <= {0.0, 255.0}


def test_a_batch_depends_on_seed_epoch_and_number_alone(
    samples: tuple[pd.DataFrame, Path],
) -> None:
    batches = mixed(samples, mixup=0.4, cutmix=1.0)
    assert len(batches) == 2
    first, second = batches[0], batches[1]
    with ThreadPoolExecutor(2) as threads:
        again = list(threads.map(mixed(samples, mixup=0.4, cutmix=1.0).__getitem__, [1, 0]))
    np.testing.assert_array_equal(again[0][0], second[0])
    np.testing.assert_array_equal(again[1][1], first[1])
    batches.on_epoch_end()
    assert batches.epoch == batches.images.epoch == 1
    assert not np.array_equal(batches[0][0], first[0])
