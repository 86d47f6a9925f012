"""Flip some labels of a folder on purpose, and see which of them the label audit lists.

python tests/evaluation/flipped_labels.py FOLDER [SEEDS]
"""

import sys
import tempfile
from pathlib import Path

import numpy as np

import tlkit
from tlkit.data.folder import ImageFolder


def measure(data: Path, share: float, seed: int, work: Path) -> dict[str, float]:
    """Precision and recall of the whole list, and of its very doubtful part."""
    samples = ImageFolder(data).samples
    samples = samples[samples["split"] != "test"].reset_index(drop=True)
    classes = sorted(set(samples["label"]))
    rng = np.random.default_rng(seed)
    flipped = set(rng.choice(len(samples), round(share * len(samples)), replace=False).tolist())
    wrong, folder = set(), work / f"flipped-{seed}"
    for row in samples.itertuples():
        label = row.label
        if row.Index in flipped:
            label = str(rng.choice([name for name in classes if name != label]))
        path = f"{label}/{row.Index:05}{Path(row.path).suffix}"
        (folder / label).mkdir(parents=True, exist_ok=True)
        (folder / path).symlink_to((data / row.path).resolve())
        if label != row.label:
            wrong.add(path)
    found = tlkit.finetune(folder, output=work / "runs", name=f"seed-{seed}").metrics["audit"]
    listed = {row["path"] for row in found["list"]}
    very = {row["path"] for row in found["list"] if row["very"]}
    return {
        "images": len(samples),
        "flipped": len(wrong),
        "listed": len(listed),
        "precision": len(listed & wrong) / max(1, len(listed)),
        "recall": len(listed & wrong) / len(wrong),
        "very_listed": len(very),
        "very_precision": len(very & wrong) / max(1, len(very)),
        "very_recall": len(very & wrong) / len(wrong),
    }


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as place:
        for number in range(int(sys.argv[2]) if len(sys.argv) > 2 else 3):
            print(measure(Path(sys.argv[1]), 0.05, number, Path(place)))
