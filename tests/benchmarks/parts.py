"""The parts that are no training: the loader alone, and predicting, beside what tf.data users do.

    python tests/benchmarks/parts.py loader FOLDER [--side 500] [--pictures 400]
    python tests/benchmarks/parts.py predict RUN FOLDER
    python tests/benchmarks/parts.py limit BACKBONE FOLDER WEIGHTS

`loader` enlarges the folder's photos to `--side` pixels (4000 makes 12 megapixels at 4:3), with the
noise of a sensor, and lets both sides read, cut and batch them at 224 pixels, in turns, three times
each. `predict` runs two whole processes in turns: `tlkit predict`, and a script that loads the
run's model.keras and predicts with tf.data; the first `tlkit predict` of a model stands apart.
`limit` compares a whole frozen run of ten epochs with what it cannot do without: importing
TensorFlow, decoding each image once, and one forward pass of each at the engine's own rate.
"""

from __future__ import annotations

import argparse
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

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
    parser.add_argument("part", choices=("loader", "predict", "limit"))
    parser.add_argument("places", nargs="+")
    parser.add_argument("--side", type=int, default=500)
    parser.add_argument("--pictures", type=int, default=400)
    args = parser.parse_args()
    if args.part == "loader":
        with tempfile.TemporaryDirectory() as folder:
            loader(Path(args.places[0]), Path(folder), args.side, args.pictures)
    else:
        {"predict": predict, "limit": limit}[args.part](*args.places)


def loader(photos: Path, folder: Path, side: int, pictures: int) -> None:
    """Pictures a second of tlkit's loader and of tf.data."""
    import tensorflow as tf

    from tlkit.data.loader import ImageBatches

    rng = np.random.default_rng(0)
    height, width = round(side * 3 / 4), side
    noise = rng.normal(0, 4, (height, width, 3)).astype(np.float32)
    files = sorted(photos.rglob("*.jpg"))
    names = [f"{number:05}.jpg" for number in range(pictures)]
    for number, name in enumerate(names):
        photo = cv2.imread(str(files[number % len(files)]))
        large = cv2.resize(photo, (width, height), interpolation=cv2.INTER_CUBIC) + noise
        written = large.clip(0, 255).astype(np.uint8)
        cv2.imwrite(str(folder / name), written, [cv2.IMWRITE_JPEG_QUALITY, 90])
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
        cache = os.environ | {"TLKIT_CACHE": place}
        first = whole(command, cache)
        seconds: dict[str, list[float]] = {"tlkit": [], "tf.data": []}
        for _ in range(REPEATS):
            seconds["tlkit"].append(whole(command, cache))
            seconds["tf.data"].append(whole(script))
        count = len(pd.read_csv(f"{place}/answers.csv"))
    print(f"predict, the first time: {first:.2f} s")
    report("predict, whole process", seconds, count)


def limit(backbone: str, folder: str, weights: str) -> None:
    """A whole run over the sum of what it cannot do without."""
    from tlkit.device import import_keras

    import_keras()
    from tlkit.data.stream import stream_images
    from tlkit.data.transforms import Evaluation
    from tlkit.engines import AT_A_TIME, compile_graph, graph_of, with_weights

    imports, runs = [], []
    flags = ["--backbone", backbone, "--weights", weights, "--freeze-epochs", "10"]
    for _ in range(REPEATS):
        imports.append(whole([sys.executable, "-c", "import tensorflow"]))
        with tempfile.TemporaryDirectory() as place:
            command = [sys.executable, "-m", "tlkit.cli", "finetune", "--data", folder, *flags]
            where = ["--patience", "10", "--output", place, "--name", "limit"]
            runs.append(whole([*command, *where], os.environ | {"TLKIT_CACHE": place}))
            split = pd.read_csv(f"{place}/limit/split.csv")
    paths = [Path(folder) / path for path in split["path"]]
    start = time.perf_counter()
    for _ in stream_images(paths, Evaluation(224)):
        pass
    decode = time.perf_counter() - start

    network = classifier_front(backbone, weights)
    graph = with_weights(graph_of(network), network)
    batch = np.random.default_rng(0).integers(0, 256, (AT_A_TIME, 224, 224, 3), np.uint8)
    forward = 0.0
    for precision, images in split["split"].eq("train").value_counts().items():
        run = compile_graph(graph, "bfloat16" if precision else "float32")
        assert run is not None, "this processor has no bfloat16"
        seconds = []
        for _ in range(12):
            start = time.perf_counter()
            run(batch)
            seconds.append(time.perf_counter() - start)
        forward += images * statistics.median(seconds) / AT_A_TIME
    least = statistics.median(imports) + decode + forward
    whole_run = statistics.median(runs)
    print(
        f"{backbone}: run {whole_run:.1f} s, limit {least:.1f} s (import "
        f"{statistics.median(imports):.1f}, decode {decode:.1f}, forward {forward:.1f}), "
        f"ratio {whole_run / least:.2f}"
    )


def classifier_front(backbone: str, weights: str) -> Any:
    """What a frozen run computes once: images to pooled features."""
    from tlkit import freezing
    from tlkit.classifier import build_classifier

    classifier = build_classifier(backbone, ["a", "b"], weights=weights)
    boundary = freezing.last_frozen(classifier.model, classifier.row)
    assert boundary is not None
    return classifier.prefix(boundary)


def whole(command: list[str], environment: dict[str, str] | None = None) -> float:
    """Seconds of a whole process."""
    start = time.perf_counter()
    subprocess.run(command, check=True, capture_output=True, env=environment)
    return time.perf_counter() - start


def report(what: str, seconds: dict[str, list[float]], pictures: int) -> None:
    """Print medians and their ratio."""
    mine, other = (statistics.median(seconds[name]) for name in ("tlkit", "tf.data"))
    print(
        f"{what}, {pictures} pictures: tlkit {mine:.2f} s ({pictures / mine:.0f} a second), "
        f"tf.data {other:.2f} s ({pictures / other:.0f}), ratio {other / mine:.2f}"
    )


if __name__ == "__main__":
    main()
