"""The small data sets of the lessons as image folders: `keras.datasets` downloads and checks them,
tlkit writes PNG files."""

from __future__ import annotations

import contextlib
import io
import socket
import sys
from collections.abc import Iterator
from itertools import chain
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from tlkit.data.parallel import ordered_map
from tlkit.errors import DataError, did_you_mean
from tlkit.new_folder import new_folder
from tlkit.progress import console, track

# In the order of the alphabet, as the labels are.
_CIFAR100 = """
apple aquarium_fish baby bear beaver bed bee beetle bicycle bottle bowl boy bridge bus
butterfly camel can castle caterpillar cattle chair chimpanzee clock cloud cockroach couch
crab crocodile cup dinosaur dolphin elephant flatfish forest fox girl hamster house kangaroo
keyboard lamp lawn_mower leopard lion lizard lobster man maple_tree motorcycle mountain
mouse mushroom oak_tree orange orchid otter palm_tree pear pickup_truck pine_tree plain
plate poppy porcupine possum rabbit raccoon ray road rocket rose sea seal shark shrew skunk
skyscraper snail snake spider squirrel streetcar sunflower sweet_pepper table tank telephone
television tiger tractor train trout tulip turtle wardrobe whale willow_tree wolf woman
worm"""
CLASSES: dict[str, tuple[str, ...]] = {
    "mnist": tuple("0123456789"),
    "fashion_mnist": (
        "t-shirt", "trouser", "pullover", "dress", "coat", "sandal", "shirt", "sneaker", "bag",
        "ankle_boot",
    ),
    "cifar10": (
        "airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck",
    ),
    "cifar100": tuple(_CIFAR100.split()),
}  # fmt: skip
"""Data set to its classes, in the order of its labels (the data sets' own lists)."""
PATIENCE = 30
"""Seconds without a byte after which a download is given up."""
_CHUNK = 256  # pictures per task


def fetch(name: str, folder: Path | str) -> Path:
    """Download a data set, unless Keras has it already, and write it as an image folder.

    Args:
        name: mnist, fashion_mnist, cifar10 or cifar100.
        folder: must not exist, or be empty; gets train/<class>/00000.png ... and test/.

    Returns:
        The folder.

    Raises:
        DataError: an unknown name, a folder that is taken, or no connection.
    """
    target = Path(folder).expanduser()
    if name not in CLASSES:
        raise DataError(
            f"Unknown data set {name!r}.{did_you_mean(name, CLASSES)} "
            f"Known are {', '.join(CLASSES)}."
        )
    refuse_taken(target)
    parts = _load(name)
    tasks = list(chain(*(_tasks(part, *arrays, name) for part, arrays in parts.items())))
    with new_folder(target) as new:
        for path in {path.parent for path, _ in chain(*tasks)}:
            (new / path).mkdir(parents=True)

        def write(task: list[tuple[Path, NDArray[np.uint8]]]) -> None:
            for path, picture in task:
                (new / path).write_bytes(_png(picture))

        for _ in track(ordered_map(write, tasks), "writing pictures", len(tasks)):
            pass
    return target


def refuse_taken(target: Path) -> None:
    """Only a new or an empty folder is written to.

    Raises:
        DataError: there is something already.
    """
    if target.exists() and not (target.is_dir() and not any(target.iterdir())):
        raise DataError(f"{target} exists already; name a new folder.")


def _load(name: str) -> dict[str, tuple[NDArray[np.uint8], NDArray[Any]]]:
    import keras

    before = socket.getdefaulttimeout()
    socket.setdefaulttimeout(PATIENCE)
    shown = sys.stderr if console.is_terminal else io.StringIO()  # Keras' own progress bar
    try:
        with contextlib.redirect_stdout(shown):
            train, test = getattr(keras.datasets, name).load_data()
    except Exception as error:  # Keras raises a plain Exception for whatever goes wrong
        reason = " ".join(str(error).split())[:200]
        raise DataError(
            f"Cannot fetch {name}: {reason}. It needs the network once; Keras then keeps it in "
            "~/.keras/datasets, which may also be copied from another machine."
        ) from None
    finally:
        socket.setdefaulttimeout(before)
    return {"train": train, "test": test}


def _tasks(
    part: str, images: NDArray[np.uint8], labels: NDArray[Any], name: str
) -> Iterator[list[tuple[Path, NDArray[np.uint8]]]]:
    classes = CLASSES[name]
    pictures = [
        (Path(part, classes[int(label)], f"{number:05}.png"), image)
        for number, (image, label) in enumerate(zip(images, labels.reshape(-1), strict=True))
    ]
    for start in range(0, len(pictures), _CHUNK):
        yield pictures[start : start + _CHUNK]


def _png(picture: NDArray[np.uint8]) -> bytes:
    bgr = cv2.cvtColor(picture, cv2.COLOR_RGB2BGR) if picture.ndim == 3 else picture
    return cv2.imencode(".png", bgr)[1].tobytes()
