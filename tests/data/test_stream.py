import itertools
import threading
import time
from pathlib import Path

import numpy as np
import pytest
from pictures import fill

from tlkit.data.images import read_image
from tlkit.data.parallel import ordered_map, worker_count
from tlkit.data.stream import stream_images
from tlkit.data.transforms import Augmentation, Evaluation
from tlkit.errors import DataError


def test_results_come_in_order_and_not_far_ahead() -> None:
    started = []

    def work(number: int) -> int:
        started.append(number)
        time.sleep(0.002 * (number % 3))
        return number

    results = ordered_map(work, itertools.count(), workers=3, ahead=4)
    assert [next(results) for _ in range(20)] == list(range(20))
    assert len(started) <= 20 + 3 + 4
    results.close()
    before = len(started)
    time.sleep(0.05)
    assert len(started) == before
    assert not [t for t in threading.enumerate() if t.name.startswith("tlkit-data")]


def test_a_failed_call_is_raised_in_its_place() -> None:
    results = ordered_map(lambda n: 1 // (3 - n), range(9), workers=2)
    assert [next(results), next(results), next(results)] == [0, 0, 1]
    with pytest.raises(ZeroDivisionError):
        next(results)


def test_worker_count() -> None:
    assert worker_count(5) == 5
    assert worker_count() >= 1


@pytest.mark.parametrize("workers", [1, 3])
def test_batches_in_order(workers: int, tmp_path: Path) -> None:
    paths = sorted(fill(tmp_path, {"a": 21}).rglob("*.jpg"))
    transform = Evaluation(16)
    batches = list(stream_images(iter(paths), transform, batch_size=9, workers=workers))
    assert [(start, len(batch)) for start, batch in batches] == [(0, 9), (9, 9), (18, 3)]
    seen = np.concatenate([batch for _, batch in batches])
    assert seen.dtype == np.uint8
    for path, picture in zip(paths, seen, strict=True):
        np.testing.assert_array_equal(picture, transform(read_image(path)))


def test_seeds_reach_the_transform(tmp_path: Path) -> None:
    paths = [next(fill(tmp_path, {"a": 1}).rglob("*.jpg"))] * 3
    ((_, batch),) = stream_images(paths, Augmentation("light", 16), seeds=[4, 5, 4])
    np.testing.assert_array_equal(batch[0], batch[2])
    assert (batch[0] != batch[1]).any()


def test_a_bad_file_is_named_or_reported(tmp_path: Path) -> None:
    paths = sorted(fill(tmp_path, {"a": 12}).rglob("*.jpg"))
    paths[10].write_bytes(b"text")
    paths[3].unlink()
    with pytest.raises(DataError, match=r"003\.jpg: no such file"):
        list(stream_images(paths, Evaluation(16), batch_size=4))
    bad: dict[int, str] = {}
    reported = stream_images(
        paths, Evaluation(16), batch_size=4, on_bad=lambda n, error: bad.update({n: str(error)})
    )
    batches = dict(reported)
    assert list(batches) == [0, 4, 8]
    assert sorted(bad) == [3, 10]
    assert bad[10].endswith("010.jpg: not an image")
    assert not batches[8][2].any()
    assert batches[8][1].any()


def test_paths_are_taken_as_needed(tmp_path: Path) -> None:
    path = next(fill(tmp_path, {"a": 1}).rglob("*.jpg"))
    taken = itertools.count()
    endless = (path for _ in iter(lambda: next(taken), -1))
    batches = stream_images(endless, Evaluation(16), batch_size=8, workers=2)
    next(batches)
    assert next(taken) < 100
    batches.close()
