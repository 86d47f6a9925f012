"""Small pictures, runs and the browser that many tests share."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from PIL import Image

import tlkit

if TYPE_CHECKING:
    from tests.victim import Victim


@pytest.fixture(scope="session", autouse=True)
def _own_cache(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """No test reads or fills the cache of whoever runs the tests."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("TLKIT_CACHE", str(tmp_path_factory.mktemp("cache")))
        yield


COLOURS = {"blue": (40, 60, 200), "red": (200, 60, 40)}


def make_pictures(root: Path, per_class: int = 12, size: tuple[int, int] = (80, 60)) -> Path:
    """Class folders of noisy one-coloured JPEGs: easy to tell apart, none like another."""
    rng = np.random.default_rng(0)
    for name, colour in COLOURS.items():
        folder = root / name
        folder.mkdir(parents=True)
        for i in range(per_class):
            noise = rng.normal(colour, 40, (size[1], size[0], 3))
            Image.fromarray(noise.clip(0, 255).astype(np.uint8)).save(folder / f"{i:02}.jpg")
    return root


@pytest.fixture(scope="session")
def pictures(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the classes blue and red, twelve pictures each."""
    return make_pictures(tmp_path_factory.mktemp("pictures") / "colours")


TINY = {"img_size": 64, "freeze_epochs": 3, "batch_size": 8, "head_lr": 0.01}


@pytest.fixture(scope="session")
def trained(pictures: Path, tmp_path_factory: pytest.TempPathFactory) -> tlkit.Run:
    """A finished run of the default backbone on `pictures`, at 64 pixels; to be copied."""
    return tlkit.finetune(pictures, output=tmp_path_factory.mktemp("runs"), name="tiny", **TINY)


@pytest.fixture(scope="module")
def run(trained: tlkit.Run, tmp_path_factory: pytest.TempPathFactory) -> tlkit.Run:
    """A copy of `trained` for each file of tests: some write into it."""
    folder = tmp_path_factory.mktemp("runs") / trained.folder.name
    shutil.copytree(trained.folder, folder)
    return tlkit.Run(folder)


@pytest.fixture(scope="session")
def victim(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Victim]:
    """A run in processes of its own, to kill."""
    from tests.forked import Forks
    from tests.victim import Victim

    with Forks() as forks:
        yield Victim(tmp_path_factory.mktemp("victim"), forks)


FLAGS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]


@pytest.fixture(scope="session")
def browser() -> Iterator[Any]:
    """The system's Chromium, headless."""
    chromium = shutil.which("chromium") or shutil.which("chromium-browser")
    if chromium is None:
        pytest.skip("no chromium on this machine; .ci/run installs it")
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        started = playwright.chromium.launch(executable_path=chromium, args=FLAGS)
        yield started
        started.close()
