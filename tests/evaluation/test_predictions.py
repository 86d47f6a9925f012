"""Files stream through: whatever their number, only a few batches are on their way."""

from pathlib import Path
from types import SimpleNamespace

import numpy as np

from tests.conftest import make_pictures
from tlkit.data.images import read_image
from tlkit.data.transforms import TestTimeViews
from tlkit.evaluation.predictions import Warming, answer_files


class MeanColour:
    """Stands for a network; one that saw a wrong picture would give it away."""

    def predict_on_batch(self, batch: np.ndarray) -> np.ndarray:
        red = batch[..., 0].mean(axis=(1, 2)) / 255
        return np.stack([1 - red, red], axis=1)


def stand_in() -> SimpleNamespace:
    row = SimpleNamespace(preprocess=SimpleNamespace(crop=0.875))
    return SimpleNamespace(
        model=MeanColour(), row=row, size=16, resize="crop", classes=("blue", "red")
    )


def test_a_long_list_is_read_no_faster_than_it_is_answered(tmp_path: Path) -> None:
    folder = make_pictures(tmp_path, per_class=1)
    consumed = 0

    def endless():
        nonlocal consumed
        while True:
            consumed += 1
            yield folder / ("red" if consumed % 2 else "blue") / "00.jpg"

    answers = answer_files(Warming(stand_in()), endless(), batch_size=8, workers=2)
    for number in range(1, 801):
        answer = next(answers)
        assert answer.probabilities is not None
        assert (answer.probabilities[1] > 0.5) == ("red" in answer.path)
        assert consumed < number + 100
    answers.close()


def test_bad_files_keep_their_place(tmp_path: Path) -> None:
    folder = make_pictures(tmp_path, per_class=3)
    files = sorted(folder.rglob("*.jpg"))
    files[1].write_bytes(b"")
    files[4].unlink()
    answers = list(answer_files(Warming(stand_in()), iter(files), batch_size=3))
    assert [answer.path for answer in answers] == [str(file) for file in files]
    assert [answer.error for answer in answers] == [
        *("", "empty file", "", "", "no such file or directory", "")
    ]
    only_bad = list(answer_files(Warming(stand_in()), iter([files[1]])))
    assert only_bad[0].probabilities is None


def test_views_of_a_picture_are_averaged(tmp_path: Path) -> None:
    folder = make_pictures(tmp_path, per_class=4)
    bad = folder / "bad.jpg"
    bad.write_bytes(b"no picture")
    files = [*sorted(folder.glob("*/*.jpg"))[:5], bad, *sorted(folder.glob("*/*.jpg"))[5:]]
    answers = list(answer_files(Warming(stand_in()), iter(files), batch_size=8, views=3))
    assert [answer.path for answer in answers] == [str(file) for file in files]
    assert [bool(answer.error) for answer in answers] == [file == bad for file in files]
    views = TestTimeViews(3, 16)
    for answer, file in zip(answers, files, strict=True):
        if file != bad:
            picture = read_image(file, views.at_least)
            seen = np.stack([views(picture, number) for number in range(3)]).astype(np.float32)
            expected = MeanColour().predict_on_batch(seen).mean(axis=0)
            np.testing.assert_allclose(answer.probabilities, expected, rtol=1e-6)
