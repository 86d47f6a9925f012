"""From a classifier to the predictions table: one row per image."""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pandas as pd

from tlkit.classifier import Classifier
from tlkit.data.images import read_image
from tlkit.data.loader import Datasets, ImageBatches, original_data_error
from tlkit.data.transforms import decode_size, resize
from tlkit.errors import DataError
from tlkit.evaluation.predictions_table import predictions_table
from tlkit.features import FrozenFeatures
from tlkit.progress import track


def predict(features: FrozenFeatures, datasets: Datasets) -> pd.DataFrame:
    """The predictions for every image of every split, each under the evaluation transform.

    Returns:
        Columns path, split, label, predicted, confidence, loss, p_<class>...; rows in the order of
        split.csv.
    """
    parts = [
        part for part in (datasets.train_eval, datasets.val, datasets.test) if part is not None
    ]
    tables = []
    for part in parts:
        model, batches = features.for_prediction(part)
        with original_data_error(batches):
            probabilities = model.predict(batches, verbose=0)
        tables.append(predictions_table(part.samples, probabilities, features.classifier.classes))
    return pd.concat(tables).sort_index()


def predict_images(classifier: Classifier, images: ImageBatches) -> pd.DataFrame:
    """The predictions for one table of images, by the whole model; columns as for `predict`."""
    with original_data_error(images):
        probabilities = classifier.model.predict(images, verbose=0)
    return predictions_table(images.samples, probabilities, classifier.classes)


def predict_files(
    classifier: Classifier, paths: Sequence[Path], batch_size: int = 32
) -> pd.DataFrame:
    """Classify files that have no label.

    Args:
        classifier: a loaded classifier.
        paths: files, or folders that are searched for images.
        batch_size: images per forward pass.

    Returns:
        Columns path, predicted, confidence, error, p_<class>...; a file that cannot be read has an
        error and no prediction.

    Raises:
        DataError: a path does not exist, or there is no file at all.
    """
    files = _files(paths)
    crop = classifier.row.preprocess.crop
    least = decode_size(classifier.size, classifier.resize, crop)

    def read(path: Path) -> np.ndarray | str:
        try:
            return resize(read_image(path, least), classifier.size, classifier.resize, crop)
        except DataError as error:
            return str(error)

    rows: list[dict[str, object]] = []
    starts = range(0, len(files), batch_size)
    with ThreadPoolExecutor() as threads:
        for start in track(starts, "images", total=len(starts)):
            chunk = files[start : start + batch_size]
            images = list(threads.map(read, chunk))
            good = [image for image in images if not isinstance(image, str)]
            answers = iter(
                classifier.model.predict_on_batch(np.stack(good).astype(np.float32)) if good else []
            )
            for path, image in zip(chunk, images, strict=True):
                row: dict[str, object] = {
                    "path": str(path),
                    "predicted": "",
                    "confidence": np.nan,
                    "error": "",
                }
                if isinstance(image, str):
                    row["error"] = image
                else:
                    answer = next(answers)
                    row["predicted"] = classifier.classes[int(answer.argmax())]
                    row["confidence"] = float(answer.max())
                    row |= {
                        f"p_{name}": float(p)
                        for name, p in zip(classifier.classes, answer, strict=True)
                    }
                rows.append(row)
    columns = [
        "path",
        "predicted",
        "confidence",
        "error",
        *(f"p_{name}" for name in classifier.classes),
    ]
    return pd.DataFrame(rows, columns=columns)


def _files(paths: Sequence[Path]) -> list[Path]:
    files: list[Path] = []
    for path in map(Path, paths):
        if path.is_dir():
            inside = (file for file in sorted(path.rglob("*")) if file.is_file())
            files += [
                file
                for file in inside
                if not any(part.startswith(".") for part in file.relative_to(path).parts)
            ]
        elif path.exists():
            files.append(path)
        else:
            raise DataError(f"No such file or folder: {path}; name images, or folders with images.")
    if not files:
        raise DataError(
            f"No files in {', '.join(map(str, paths))}; name images, or folders with images."
        )
    return files
