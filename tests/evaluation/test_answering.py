"""Files stream through: whatever their number, only a few batches are on their way."""

import json
import logging
import subprocess
import sys
import zipfile
from pathlib import Path

import numpy as np
import pytest

import tlkit
from tests.conftest import make_pictures
from tlkit.data.images import read_image
from tlkit.data.transforms import TestTimeViews
from tlkit.engines import WORTH, proven
from tlkit.evaluation.answering import SavedNetwork, answer_files


class MeanColour:
    """Stands for a network; one that saw a wrong picture would give it away."""

    classes, size, resize, crop, expected = ("blue", "red"), 16, "crop", 0.875, 0

    def __call__(self, batch: np.ndarray) -> np.ndarray:
        red = batch[..., 0].mean(axis=(1, 2)) / 255
        return np.stack([1 - red, red], axis=1)


def test_a_long_list_is_read_no_faster_than_it_is_answered(tmp_path: Path) -> None:
    folder = make_pictures(tmp_path, per_class=1)
    consumed = 0

    def endless():
        nonlocal consumed
        while True:
            consumed += 1
            yield folder / ("red" if consumed % 2 else "blue") / "00.jpg"

    answers = answer_files(MeanColour(), endless(), batch_size=8, workers=2)
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
    answers = list(answer_files(MeanColour(), iter(files), batch_size=3))
    assert [answer.path for answer in answers] == [str(file) for file in files]
    assert [answer.error for answer in answers] == [
        *("", "empty file", "", "", "no such file or directory", "")
    ]
    only_bad = list(answer_files(MeanColour(), iter([files[1]])))
    assert only_bad[0].probabilities is None


def test_views_of_a_picture_are_averaged(tmp_path: Path) -> None:
    folder = make_pictures(tmp_path, per_class=4)
    bad = folder / "bad.jpg"
    bad.write_bytes(b"no picture")
    files = [*sorted(folder.glob("*/*.jpg"))[:5], bad, *sorted(folder.glob("*/*.jpg"))[5:]]
    answers = list(answer_files(MeanColour(), iter(files), batch_size=8, views=3))
    assert [answer.path for answer in answers] == [str(file) for file in files]
    assert [bool(answer.error) for answer in answers] == [file == bad for file in files]
    views = TestTimeViews(3, 16)
    for answer, file in zip(answers, files, strict=True):
        if file != bad:
            picture = read_image(file, views.at_least)
            seen = np.stack([views(picture, number) for number in range(3)]).astype(np.float32)
            expected = MeanColour()(seen).mean(axis=0)
            np.testing.assert_allclose(answer.probabilities, expected, rtol=1e-6)


def test_the_crop_is_the_backbones_whatever_the_file_says(run: tlkit.Run, tmp_path: Path) -> None:
    other = tmp_path / "model.keras"
    with zipfile.ZipFile(run.model_file) as known, zipfile.ZipFile(other, "w") as written:
        for name in known.namelist():
            content = known.read(name)
            if name == "tlkit.json":
                facts = json.loads(content)
                facts.pop("crop")
                content = json.dumps(facts).encode()
            written.writestr(name, content)
    assert SavedNetwork(other).crop == SavedNetwork(run.model_file).crop == 0.875


LIGHT = """
import sys
from pathlib import Path
import numpy as np
from tlkit.evaluation.answering import SavedNetwork
network = SavedNetwork(Path(sys.argv[1]))
np.save(sys.argv[3], network(np.load(sys.argv[2])))
print(network.classes, {"keras", "tensorflow"} & set(sys.modules))
"""


def test_a_proven_network_needs_no_keras(
    run: tlkit.Run,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    monkeypatch.setenv("TLKIT_CACHE", str(tmp_path / "cache"))
    pictures = np.random.default_rng(0).integers(0, 256, (11, 64, 64, 3), np.uint8)
    few = SavedNetwork(run.model_file)(pictures)
    assert proven(run.model_file) is None, "converting does not pay for a few"
    many = SavedNetwork(run.model_file)
    many.expected = WORTH
    answers = many(pictures)
    np.testing.assert_allclose(answers, few, atol=1e-4)

    np.save(tmp_path / "pictures.npy", pictures)
    files = [str(tmp_path / name) for name in ("pictures.npy", "answers.npy")]
    said = subprocess.run(
        [sys.executable, "-c", LIGHT, str(run.model_file), *files],
        capture_output=True,
        text=True,
        check=True,
    )
    assert said.stdout.strip() == "('blue', 'red') set()"
    np.testing.assert_array_equal(np.load(tmp_path / "answers.npy"), answers)

    other = tmp_path / "other.keras"
    other.write_bytes(run.model_file.read_bytes() + b"more")
    assert proven(other) is None, "what was proven was another file"
    for kept in (tmp_path / "cache" / "networks").iterdir():
        kept.write_bytes(kept.read_bytes()[:-1000])
    caplog.set_level(logging.WARNING, "tlkit")
    np.testing.assert_array_equal(SavedNetwork(run.model_file)(pictures), few)
    assert "damaged network" in caplog.text
    caplog.clear()
    np.testing.assert_array_equal(SavedNetwork(run.model_file)(pictures), few)
    assert not caplog.text, "it is gone, and not told of again"
