"""The parts that are no training: the loader alone, and predicting, beside what tf.data users do.

    python tests/benchmarks/parts.py loader [--side 500] [--pictures 400]
    python tests/benchmarks/parts.py predict RUN FOLDER

`loader` writes noisy JPEGs of `--side` pixels (4000 makes 12 megapixels at 4:3) and lets both sides
read, cut and batch them at 224 pixels, in turns, three times each. `predict` runs two whole
processes in turns: `tlkit predict`, and a script that loads the run's model.keras and predicts with
tf.data.
"""

from __future__ import annotations

import argparse
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import cv2
import numpy as np
import pandas as pd

REPEATS = 3

THEIRS = """
import sys
from pathlib import Path
import keras, tensorflow as tf

def read(path):
    image = tf.io.decode_image(tf.io.read_file(path), 3, expand_animations=False)
    return tf.image.resize(image, (size, size))

model = keras.saving.load_model(sys.argv[1])
size = model.input_shape[1]
files = [str(path) for path in sorted(Path(sys.argv[2]).rglob("*")) if path.is_file()]
images = tf.data.Dataset.from_tensor_slices(files).map(read, tf.data.AUTOTUNE).batch(32)
print(model.predict(images.prefetch(2), verbose=0).argmax(1).shape)
"""


def main() -> None:
    """Measure the part that is asked for and print its ratio."""
    parser = argparse.ArgumentParser()
    parser.add_argument("part", choices=("loader", "predict"))
    parser.add_argument("places", nargs="*")
    parser.add_argument("--side", type=int, default=500)
    parser.add_argument("--pictures", type=int, default=400)
    args = parser.parse_args()
    if args.part == "loader":
        with tempfile.TemporaryDirectory() as folder:
            loader(Path(folder), args.side, args.pictures)
    else:
        predict(*args.places)


def loader(folder: Path, side: int, pictures: int) -> None:
    """Pictures a second of tlkit's loader and of tf.data."""
    import tensorflow as tf

    from tlkit.data.loader import ImageBatches

    rng = np.random.default_rng(0)
    height, width = round(side * 3 / 4), side
    small = rng.integers(0, 256, (height // 8, width // 8, 3), np.uint8)
    picture = cv2.resize(small, (width, height), interpolation=cv2.INTER_CUBIC)
    names = [f"{number:05}.jpg" for number in range(pictures)]
    for name in names:
        cv2.imwrite(str(folder / name), picture, [cv2.IMWRITE_JPEG_QUALITY, 90])
    samples = pd.DataFrame({"path": names, "label": "a", "split": "val", "sha256": ""})

    def ours() -> int:
        batches = ImageBatches(samples, folder, ["a"], 224)
        return sum(len(batch) for _, batch in batches.iter_images())

    def read(path: tf.Tensor) -> tf.Tensor:
        image = tf.io.decode_jpeg(tf.io.read_file(path), 3)
        return tf.image.resize(image, (224, 224))

    def theirs() -> int:
        files = [str(folder / name) for name in names]
        images = tf.data.Dataset.from_tensor_slices(files).map(read, tf.data.AUTOTUNE)
        return sum(len(batch) for batch in images.batch(32).prefetch(2))

    seconds: dict[str, list[float]] = {"tlkit": [], "tf.data": []}
    for _ in range(REPEATS):
        for name, work in (("tlkit", ours), ("tf.data", theirs)):
            start = time.perf_counter()
            assert work() == pictures
            seconds[name].append(time.perf_counter() - start)
    report(f"{width} x {height} JPEGs", seconds, pictures)


def predict(run: str, folder: str) -> None:
    """Seconds of two whole processes."""
    script = [sys.executable, "-c", THEIRS, f"{run}/model.keras", folder]
    with tempfile.TemporaryDirectory() as place:
        answers = ["--output", f"{place}/answers.csv"]
        command = [sys.executable, "-m", "tlkit.cli", "predict", run, folder, *answers]
        seconds: dict[str, list[float]] = {"tlkit": [], "tf.data": []}
        for _ in range(REPEATS):
            for name, line in (("tlkit", command), ("tf.data", script)):
                start = time.perf_counter()
                subprocess.run(line, check=True, capture_output=True)
                seconds[name].append(time.perf_counter() - start)
        count = len(pd.read_csv(f"{place}/answers.csv"))
    report("predict, whole process", seconds, count)


def report(what: str, seconds: dict[str, list[float]], pictures: int) -> None:
    """Print medians and their ratio."""
    mine, other = (statistics.median(seconds[name]) for name in ("tlkit", "tf.data"))
    print(
        f"{what}, {pictures} pictures: tlkit {mine:.2f} s ({pictures / mine:.0f} a second), "
        f"tf.data {other:.2f} s ({pictures / other:.0f}), ratio {other / mine:.2f}"
    )


if __name__ == "__main__":
    main()
