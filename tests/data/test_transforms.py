import copy
import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor

import cv2
import numpy as np
import pytest
from pictures import quadrants
from PIL import Image

from tlkit.data.transforms import (
    MOST_VIEWS,
    Augmentation,
    Evaluation,
    TestTimeViews,
    augmentation,
    decode_size,
    resize,
)

READY_MADE = ["light", "standard", "strong"]
AUGMENTS = [
    *READY_MADE,
    "rotate 20, shift 0.2, flip, flip-vertical",
    "random-crop, flip, colour-pca 0.1",
    "pad-crop 8, randaugment 9",
]
COLOURS = {tuple(colour) for colour in quadrants(2, 2).reshape(-1, 3)}


def smooth(width: int = 300, height: int = 200) -> np.ndarray:
    values = np.random.default_rng(0).integers(0, 256, (height, width, 3), dtype=np.uint8)
    return cv2.GaussianBlur(values, (15, 15), 5)


@pytest.mark.parametrize("mode", ["crop", "pad", "stretch"])
@pytest.mark.parametrize(
    "shape", [(1, 1), (3, 20_000), (40_000, 2), (224, 224), (256, 300), (97, 31), (1200, 900)]
)
def test_every_shape_becomes_the_square(mode: str, shape: tuple[int, int]) -> None:
    for size in (8, 224):
        square = resize(np.full((*shape, 3), 77, np.uint8), size, mode)
        assert square.shape == (size, size, 3)
        assert square.dtype == np.uint8
        if mode != "pad":
            assert (square == 77).all()


def test_crop_is_the_centre_square() -> None:
    image = smooth(300, 200)
    square = cv2.resize(image[12:187, 62:237], (224, 224), interpolation=cv2.INTER_CUBIC)
    np.testing.assert_array_equal(resize(image, 224), square)
    np.testing.assert_array_equal(resize(image, 200, crop=1.0), image[:, 50:250])


@pytest.mark.parametrize("size", [(640, 480), (500, 375), (300, 200)])
def test_crop_shows_what_two_steps_show(size: tuple[int, int]) -> None:
    """Short side to 256, then the centre of 224, as the published networks were evaluated."""
    image = smooth(*size)
    scaled = (round(256 * size[0] / min(size)), 256)
    two_steps = np.asarray(Image.fromarray(image).resize(scaled, Image.Resampling.BICUBIC))
    left = (scaled[0] - 224) // 2
    expected = two_steps[16:240, left : left + 224].astype(int)
    assert np.abs(resize(image, 224).astype(int) - expected).mean() < 2


def test_pad_keeps_the_whole_picture_on_grey() -> None:
    square = resize(quadrants(100, 50), 40, "pad")
    assert (square[:10] == (124, 116, 104)).all()
    assert (square[30:] == (124, 116, 104)).all()
    corners = [tuple(square[y, x]) for y in (10, 29) for x in (0, 39)]
    assert set(corners) == COLOURS


def test_stretch_shows_all_corners() -> None:
    square = resize(quadrants(100, 50), 40, "stretch")
    assert {tuple(square[y, x]) for y in (0, 39) for x in (0, 39)} == COLOURS


@pytest.mark.parametrize("side", [300, 450, 700, 3000])
def test_shrinking_does_not_alias(side: int) -> None:
    lines = np.zeros((side, side, 3), np.uint8)
    lines[:, ::2] = 255
    square = resize(lines, 224, crop=224 / 256)
    if side >= 512:  # far finer than the result can show: grey
        assert square.std() < 30  # the lines' own is 127
    assert abs(square.mean() - 127.5) < 4


def test_decode_size_is_what_resizing_needs() -> None:
    assert decode_size(224) == 256
    assert decode_size(224, "pad") == decode_size(224, "stretch") == 224
    assert decode_size(28, "crop", 1.0) == 28


@pytest.mark.parametrize("name", AUGMENTS)
@pytest.mark.parametrize("mode", ["crop", "pad", "stretch"])
def test_a_view_depends_on_its_seed_alone(name: str, mode: str) -> None:
    image = smooth()
    transform = Augmentation(name, 64, mode)
    views = [transform(image, seed) for seed in range(12)]
    assert all(view.shape == (64, 64, 3) and view.dtype == np.uint8 for view in views)
    assert len({view.tobytes() for view in views}) == 12
    with ThreadPoolExecutor(4) as threads:
        again = list(threads.map(lambda seed: transform(image, seed), reversed(range(12))))
    for one, two in zip(views, reversed(again), strict=True):
        np.testing.assert_array_equal(one, two)
    np.testing.assert_array_equal(Augmentation(name, 64, mode)(image, 3), views[3])


@pytest.mark.parametrize("name", ["none", *AUGMENTS])
def test_the_training_transform_is_never_the_evaluation_one(name: str) -> None:
    """The lesson's trap: one object, whose change for training changed validation, too."""
    evaluation, training = Evaluation(64), augmentation(name, 64)
    assert evaluation is not training
    image = smooth()
    before = evaluation(image).copy()
    for seed in range(5):
        training(image, seed)
        copy.deepcopy(training)(image, seed)
    np.testing.assert_array_equal(evaluation(image, 1), before)
    np.testing.assert_array_equal(evaluation(image, 2), before)
    assert np.array_equal(training(image, 1), before) == (name == "none")


def test_light_turns_by_at_most_five_degrees_and_flips_half() -> None:
    image = np.zeros((256, 256, 3), np.uint8)
    image[:, :128] = 200  # an upright edge in the middle
    angles, flipped = [], 0
    transform = Augmentation("light", 224)
    for seed in range(200):
        view = transform(image, seed)[:, :, 0] > 100
        flipped += bool(view[112, 200])
        edges = view.sum(axis=1) if view[112, 20] else 224 - view.sum(axis=1)
        angles.append(np.degrees(np.arctan2(edges[200] - edges[20], 180)))
    assert max(np.abs(angles)) < 5.5
    assert np.ptp(angles) > 8
    assert 70 < flipped < 130


def test_pad_crop_moves_the_picture_over_black() -> None:
    """He et al. 2015, section 4.2: pad 4 on each side, and take a random crop of 32."""
    image = np.random.default_rng(0).integers(1, 256, (32, 32, 3), dtype=np.uint8)
    padded = np.pad(image, ((4, 4), (4, 4), (0, 0)))
    transform = Augmentation("pad-crop 4", 32, crop=1.0)
    crops = {padded[y : y + 32, x : x + 32].tobytes(): (y, x) for y in range(9) for x in range(9)}
    found = {crops[transform(image, seed).tobytes()] for seed in range(200)}
    assert {y for y, _ in found} == {x for _, x in found} == set(range(9))


def test_random_crop_takes_its_square_from_the_whole() -> None:
    image = smooth(80, 80)
    transform = Augmentation("random-crop", 64, crop=0.8)
    crops = {image[y : y + 64, x : x + 64].tobytes() for y in range(17) for x in range(17)}
    found = {transform(image, seed).tobytes() for seed in range(50)}
    assert found <= crops
    assert len(found) > 30


def test_colour_pca_moves_all_pixels_alike() -> None:
    image = np.clip(smooth(64, 64), 60, 190)  # nothing is cut off at black or white
    transform = Augmentation("colour-pca 0.1", 64, crop=1.0)
    moves = np.stack([transform(image, seed).astype(int) - image for seed in range(200)])
    assert np.ptp(moves, axis=(1, 2)).max() == 0
    # 255 * 0.1 * 0.2175 along an axis that is almost grey: 3.2 for each channel
    assert moves[:, 0, 0].std(axis=0) == pytest.approx([3.2, 3.2, 3.2], rel=0.25)


@pytest.mark.parametrize("name", READY_MADE)
def test_views_keep_most_of_the_picture(name: str) -> None:
    """A mean view that is far from the picture would train on something else."""
    image = quadrants(256, 256)
    transform = Augmentation(name, 64)
    mean = np.mean([transform(image, seed) for seed in range(60)], axis=0)
    plain = (resize(image, 64).astype(float) + resize(image, 64)[:, ::-1]) / 2
    assert np.abs(mean - plain).mean() < {"light": 8, "standard": 14, "strong": 25}[name]


def test_padding_stays_in_the_frame_of_a_light_view() -> None:
    view = Augmentation("light", 64, "pad")(quadrants(128, 32), seed=1)
    assert (view[2, 20:40] == (124, 116, 104)).all()
    assert (view[-3, 20:40] == (124, 116, 104)).all()


def test_albumentations_asks_no_network_and_is_imported_when_needed() -> None:
    code = (
        "import sys, numpy as np\n"
        "from tlkit.data.transforms import Augmentation, augmentation\n"
        "image = np.zeros((9, 9, 3), np.uint8)\n"
        "augmentation('none', 8)(image)\n"
        "assert 'albumentations' not in sys.modules\n"
        "import urllib.request\n"
        "urllib.request.OpenerDirector.open = None\n"
        "augmentation('light', 8)(image)\n"
        "assert 'albumentations' in sys.modules\n"
    )
    environment = {k: v for k, v in os.environ.items() if k != "NO_ALBUMENTATIONS_UPDATE"}
    command = [sys.executable, "-W", "error", "-c", code]
    subprocess.run(command, check=True, env=environment)


@pytest.mark.parametrize("mode", ["crop", "pad", "stretch"])
def test_test_time_views_are_the_centre_and_the_corners_with_their_mirror_images(mode: str) -> None:
    image, plain = smooth(), Evaluation(56, mode)
    views = TestTimeViews(MOST_VIEWS, 56, mode)
    seen = [views(image, number) for number in range(MOST_VIEWS)]
    np.testing.assert_array_equal(seen[0], plain(image))
    for number in range(0, MOST_VIEWS, 2):
        assert seen[number].shape == (56, 56, 3)
        np.testing.assert_array_equal(seen[number + 1], seen[number][:, ::-1])
    whole = resize(image, 64, mode, crop=1.0)
    for number, (top, left) in enumerate([(0, 0), (0, 8), (8, 0), (8, 8)], start=1):
        np.testing.assert_array_equal(seen[2 * number], whole[top : top + 56, left : left + 56])
    assert len({view.tobytes() for view in seen}) == MOST_VIEWS
    assert TestTimeViews(2, 56, mode).at_least == plain.at_least
