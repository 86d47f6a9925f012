import hashlib
import multiprocessing
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from tlkit import feature_cache
from tlkit.feature_cache import FeatureCache, Space, fits_float16

SHAPE = (3, 5)


def digests(count: int, start: int = 0) -> list[bytes]:
    return [hashlib.sha256(str(number).encode()).digest() for number in range(start, start + count)]


def truth(digest: bytes) -> NDArray[np.float32]:
    """What the network of these tests makes of an image."""
    return np.random.default_rng(list(digest)).normal(size=SHAPE).astype(np.float32)


class Network:
    """Computes rows and counts them."""

    def __init__(self, images: list[bytes], portion: int = 4, scale: float = 1.0):
        self.images, self.portion, self.scale, self.computed = images, portion, scale, 0

    def __call__(
        self, missing: NDArray[np.intp]
    ) -> Iterator[tuple[NDArray[np.intp], NDArray[np.float32]]]:
        for start in range(0, len(missing), self.portion):
            some = missing[start : start + self.portion]
            self.computed += len(some)
            yield some, self.scale * np.stack([truth(self.images[index]) for index in some])


def get(cache: FeatureCache, images: list[bytes], space: Space) -> tuple[NDArray[np.float32], int]:
    """The rows of these images, and how many had to be computed."""
    network = Network(images)
    rows = cache.rows(space, images, network)
    return rows[np.arange(len(images))], network.computed


EXACT = Space({"backbone": "tiny"}, SHAPE, exact=True)
SMALL = Space({"backbone": "tiny"}, SHAPE)


def shards(root: Path) -> list[Path]:
    return sorted(root.glob("features/*/*.npy"))


def test_second_run_computes_nothing_and_gets_the_same(tmp_path: Path) -> None:
    images = digests(10)
    first, computed = get(FeatureCache(tmp_path), images, SMALL)
    again, recomputed = get(FeatureCache(tmp_path), images, SMALL)
    assert (computed, recomputed) == (10, 0)
    np.testing.assert_array_equal(first, again)
    np.testing.assert_allclose(first, [truth(image) for image in images], rtol=2**-10, atol=2**-10)


def test_exact_rows_are_kept_bit_for_bit(tmp_path: Path) -> None:
    images = digests(3)
    rows, _ = get(FeatureCache(tmp_path), images, EXACT)
    np.testing.assert_array_equal(rows, [truth(image) for image in images])


def test_only_new_images_are_computed_in_any_order(tmp_path: Path) -> None:
    get(FeatureCache(tmp_path), digests(10), EXACT)
    more = [*digests(2, start=10), *digests(10)[::-1]]
    rows, computed = get(FeatureCache(tmp_path), more, EXACT)
    assert computed == 2
    np.testing.assert_array_equal(rows, [truth(image) for image in more])


def test_copies_are_computed_once(tmp_path: Path) -> None:
    images = digests(2) * 3
    rows, computed = get(FeatureCache(tmp_path), images, EXACT)
    assert computed == 2
    np.testing.assert_array_equal(rows, [truth(image) for image in images])


def test_another_space_knows_nothing(tmp_path: Path) -> None:
    get(FeatureCache(tmp_path), digests(4), EXACT)
    for other in (SMALL, Space({"backbone": "tiny", "boundary": "stem"}, SHAPE, exact=True)):
        assert get(FeatureCache(tmp_path), digests(4), other)[1] == 4


def test_many_shards(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(feature_cache, "SHARD_BYTES", 3 * 4 * 15)
    monkeypatch.setattr(feature_cache, "DROP_AFTER", 100)
    images = digests(10)
    rows, _ = get(FeatureCache(tmp_path), images, EXACT)
    assert len(shards(tmp_path)) == 4
    np.testing.assert_array_equal(rows, [truth(image) for image in images])
    kept = FeatureCache(tmp_path).rows(EXACT, images, Network(images))
    np.testing.assert_array_equal(kept[np.array([9, 0, 4])], rows[[9, 0, 4]])
    np.testing.assert_array_equal(kept[2:7], rows[2:7])


@pytest.mark.parametrize("offset", [-1, -40, 200, 0, 8])
def test_a_flipped_bit_is_found_and_the_rows_recomputed(tmp_path: Path, offset: int) -> None:
    images = digests(5)
    get(FeatureCache(tmp_path), images, EXACT)
    (shard,) = shards(tmp_path)
    data = bytearray(shard.read_bytes())
    data[offset] ^= 16
    shard.write_bytes(data)
    rows, computed = get(FeatureCache(tmp_path), images, EXACT)
    assert computed > 0
    np.testing.assert_array_equal(rows, [truth(image) for image in images])


@pytest.mark.parametrize("size", [0, 50, 128, 300])
def test_a_truncated_shard_is_recomputed(tmp_path: Path, size: int) -> None:
    images = digests(5)
    get(FeatureCache(tmp_path), images, EXACT)
    (shard,) = shards(tmp_path)
    os.truncate(shard, size)
    rows, computed = get(FeatureCache(tmp_path), images, EXACT)
    assert computed == 5
    np.testing.assert_array_equal(rows, [truth(image) for image in images])


def test_rows_of_another_image_are_not_trusted(tmp_path: Path) -> None:
    images = digests(2)
    get(FeatureCache(tmp_path), images, EXACT)
    (shard,) = shards(tmp_path)
    records = np.load(shard)
    records["row"] = records["row"][::-1]
    np.save(shard, records)
    rows, computed = get(FeatureCache(tmp_path), images, EXACT)
    assert computed == 2
    np.testing.assert_array_equal(rows, [truth(image) for image in images])


def test_float16_only_where_it_holds_the_values(tmp_path: Path) -> None:
    assert fits_float16(np.ones((2, 3), np.float32))
    for bad in (1e5, np.nan, 1e-5):
        assert not fits_float16(np.array([[1.0, 1.0], [bad, 0.0]], np.float32))
    images = digests(3)
    rows = FeatureCache(tmp_path).rows(SMALL, images, Network(images, scale=1e6))
    np.testing.assert_array_equal(rows[np.arange(3)], 1e6 * np.stack([truth(i) for i in images]))


def test_least_recently_used_goes_first(tmp_path: Path) -> None:
    spaces = [Space({"backbone": name}, SHAPE) for name in "abc"]
    for age, space in zip((30, 20, 10), spaces, strict=True):
        get(FeatureCache(tmp_path), digests(10), space)
        for path in (tmp_path / "features" / space.name).glob("*.npy"):
            os.utime(path, (time.time() - age,) * 2)
    size = shards(tmp_path)[0].stat().st_size
    small = FeatureCache(tmp_path, limit=3 * size)
    assert get(small, digests(10), spaces[0])[1] == 0  # now "a" was used last, "b" is the oldest
    get(small, digests(10), Space({"backbone": "d"}, SHAPE))
    assert [FeatureCache(tmp_path).missing(space, digests(10)) for space in spaces] == [0, 10, 10]


def test_what_a_run_uses_stays_though_it_exceeds_the_limit(tmp_path: Path) -> None:
    cache = FeatureCache(tmp_path, limit=100)
    rows, _ = get(cache, digests(10), EXACT)
    np.testing.assert_array_equal(rows, [truth(image) for image in digests(10)])
    assert len(shards(tmp_path)) == 1


def test_rest_of_a_killed_process_is_removed(tmp_path: Path) -> None:
    get(FeatureCache(tmp_path), digests(2), EXACT)
    rest = shards(tmp_path)[0].with_name(".half-a.npy")
    rest.write_bytes(b"half")
    cache = FeatureCache(tmp_path)
    cache.trim()
    assert rest.exists()
    os.utime(rest, (time.time() - 7200,) * 2)
    cache.trim()
    assert not rest.exists()


def test_a_failing_computation_leaves_nothing_half_written(tmp_path: Path) -> None:
    def fail(missing: NDArray[np.intp]) -> Iterator[tuple[NDArray[np.intp], NDArray[np.float32]]]:
        yield missing[:1], np.zeros((1, *SHAPE), np.float32)
        raise RuntimeError("pulled the plug")

    with pytest.raises(RuntimeError, match="plug"):
        FeatureCache(tmp_path).rows(EXACT, digests(4), fail)
    assert [path.name for path in tmp_path.rglob("*") if path.is_file()] == ["space.json"]


def test_no_limit_keeps_nothing_and_an_unwritable_folder_does_not_stop_a_run(
    tmp_path: Path,
) -> None:
    images = digests(3)
    (tmp_path / "file").write_text("in the way")
    for folder, limit in (("a", 0), ("file/b", 1000)):
        cache = FeatureCache(tmp_path / folder, limit)
        rows, _ = get(cache, images, EXACT)
        np.testing.assert_array_equal(rows, [truth(image) for image in images])
        place = cache.root
        del cache
        assert not place.exists()
    assert not (tmp_path / "a").exists()


def test_info_and_clear(tmp_path: Path) -> None:
    cache = FeatureCache(tmp_path)
    facts = {"backbone": "tiny", "boundary": "head_pool", "precision": "float32", "view": 2}
    get(cache, digests(4), Space(facts, SHAPE))
    get(cache, digests(2, start=4), Space(facts, SHAPE))
    (row,) = cache.info().to_dict("records")
    assert (row["backbone"], row["view"], row["images"]) == ("tiny", 2, 6)
    assert 0 < row["bytes"] <= cache.size()
    before = cache.size()
    assert cache.clear() == before
    assert cache.size() == 0
    assert cache.info().empty
    assert not list(tmp_path.rglob("*.npy"))


def test_info_of_a_damaged_cache(tmp_path: Path) -> None:
    cache = FeatureCache(tmp_path)
    get(cache, digests(4), EXACT)
    get(cache, digests(2, start=4), EXACT)
    get(cache, digests(2), SMALL)
    os.truncate(min(shards(tmp_path), key=lambda path: path.parent.name != EXACT.name), 50)
    (tmp_path / "features" / SMALL.name / "space.json").write_text("{")
    (row,) = cache.info().to_dict("records")
    assert row["images"] in (2, 4), "one of two shards is sound"
    assert len(shards(tmp_path)) == 2, "the other is gone"


def _work(root: Path, start: int) -> bool:
    images = digests(40, start=start)
    cache = FeatureCache(root, limit=12_000)  # too small for all: they drop each other's shards
    for _ in range(5):
        rows, _ = get(cache, images, EXACT)
        if not (rows == np.stack([truth(image) for image in images])).all():
            return False
        cache = FeatureCache(root, limit=12_000)
    return True


def test_four_processes_at_once(tmp_path: Path) -> None:
    with multiprocessing.get_context("spawn").Pool(4) as pool:
        assert all(pool.starmap(_work, [(tmp_path, 10 * number) for number in range(4)]))


def test_cache_from_the_terminal_without_tensorflow(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TLKIT_CACHE", str(tmp_path))
    get(FeatureCache(tmp_path), digests(4), Space({"backbone": "tiny"}, SHAPE))

    def cache(command: str) -> str:
        code = (
            "import sys; from tlkit.cli import app;"
            f"app(['cache', {command!r}], standalone_mode=False);"
            "assert not {'tensorflow', 'keras'} & set(sys.modules)"
        )
        done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
        return done.stdout

    assert str(tmp_path) in cache("info")
    assert "tiny" in cache("info")
    assert "freed" in cache("clear")
    assert "tiny" not in cache("info")
