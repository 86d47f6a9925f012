"""Flip some labels on purpose, and see which of them the label audit lists.

python tests/evaluation/flipped_labels.py FOLDER [SEEDS]        one label an image
python tests/evaluation/flipped_labels.py LABELS.csv [SEEDS]    several, as for --multi-label
python tests/evaluation/flipped_labels.py mosaics [SEEDS]       several, of 400 mosaics of drawings
"""

import sys
import tempfile
from collections.abc import Hashable
from pathlib import Path

import cv2
import numpy as np
import pandas as pd

import tlkit
from tlkit.data.folder import ImageFolder
from tlkit.data.images import read_image
from tlkit.labels import join_labels, multi_hot

CLIPART = Path(__file__).parents[2] / "sample_data" / "clipart"


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
    listed = {row["path"]: row["very"] for row in found["list"]}
    return {"images": len(samples)} | _shares(listed, wrong)


def measure_decisions(manifest: Path, share: float, seed: int, work: Path) -> dict[str, float]:
    """The same where an image may show several classes: single decisions are flipped."""
    folder = ImageFolder(manifest, multi_label=True)
    classes, samples = np.array(folder.classes), folder.samples
    truth = multi_hot(samples["label"], folder.classes) > 0
    rng = np.random.default_rng(seed)
    flipped = np.zeros(truth.size, bool)
    flipped[rng.choice(truth.size, round(share * truth.size), replace=False)] = True
    flipped = flipped.reshape(truth.shape)
    place = work / f"flipped-{seed}"
    place.mkdir()
    names = [f"{number:05}{Path(path).suffix}" for number, path in enumerate(samples["path"])]
    for name, path in zip(names, samples["path"], strict=True):
        (place / name).symlink_to((folder.root / path).resolve())
    cells = [join_labels(classes[own]) for own in truth ^ flipped]
    pd.DataFrame({"path": names, "label": cells}).to_csv(place / "labels.csv", index=False)
    run = tlkit.finetune(
        place / "labels.csv", output=work / "runs", name=f"seed-{seed}", multi_label=True
    )
    listed = {(row["path"], row["class"]): row["very"] for row in run.metrics["audit"]["list"]}
    wrong = {(names[image], classes[c]) for image, c in np.argwhere(flipped)}
    return {"decisions": truth.size} | _shares(listed, wrong)


def _shares(listed: dict[Hashable, bool], wrong: set[Hashable]) -> dict[str, float]:
    very = {what for what, is_very in listed.items() if is_very}
    return {
        "flipped": len(wrong),
        "listed": len(listed),
        "precision": len(set(listed) & wrong) / max(1, len(listed)),
        "recall": len(set(listed) & wrong) / len(wrong),
        "very_listed": len(very),
        "very_precision": len(very & wrong) / max(1, len(very)),
        "very_recall": len(very & wrong) / len(wrong),
    }


def make_mosaics(folder: Path, images: int = 400, seed: int = 0) -> Path:
    """A manifest and its images: up to four drawings of different classes on a white page each."""
    drawings = ImageFolder(CLIPART)
    files = {name: group["path"].tolist() for name, group in drawings.samples.groupby("label")}
    rng = np.random.default_rng(seed)
    folder.mkdir(parents=True)
    rows = []
    for number in range(images):
        names = rng.choice(sorted(files), rng.integers(0, min(4, len(files)) + 1), replace=False)
        page = np.full((320, 320, 3), 255, np.uint8)
        for name, place in zip(names, rng.permutation(4), strict=False):
            drawing = read_image(drawings.root / files[name][rng.integers(len(files[name]))])
            y, x = (160 * part + 5 for part in divmod(int(place), 2))
            page[y : y + 150, x : x + 150] = cv2.resize(
                drawing, (150, 150), interpolation=cv2.INTER_AREA
            )
        cv2.imwrite(str(folder / f"{number:03}.png"), page[..., ::-1])
        rows.append((f"{number:03}.png", join_labels(names)))
    pd.DataFrame(rows, columns=["path", "label"]).to_csv(folder / "labels.csv", index=False)
    return folder / "labels.csv"


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as scratch:
        what, work = sys.argv[1], Path(scratch)
        data = make_mosaics(work / "mosaics") if what == "mosaics" else Path(what)
        judge = measure_decisions if data.suffix == ".csv" else measure
        for number in range(int(sys.argv[2]) if len(sys.argv) > 2 else 3):
            print(judge(data, 0.05, number, work))
