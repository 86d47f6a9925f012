"""Thumbnails: from disk, within the budget, and without losing count of what is gone."""

import base64
from pathlib import Path

import cv2
import numpy as np
from synthetic_run import draw_pictures

from tlkit.report.pictures import inline_thumbnails, relative_address


def decode(encoded):
    return cv2.imdecode(np.frombuffer(base64.b64decode(encoded), np.uint8), cv2.IMREAD_COLOR_RGB)


def test_thumbnails_keep_colours_and_shape(tmp_path):
    draw_pictures(tmp_path, ["a.jpg"])
    picture = decode(inline_thumbnails(tmp_path, ["a.jpg"], 24, 10**6)["a.jpg"])
    assert picture.shape == (18, 24, 3)
    red, _, blue = picture[9, 2].astype(int)
    assert red > 180 > 60 > blue


def test_missing_and_broken_files_are_none_not_an_error(tmp_path):
    draw_pictures(tmp_path, ["a.jpg"])
    (tmp_path / "broken.jpg").write_bytes(b"\xff\xd8\xff\xe0 nothing")
    found = inline_thumbnails(tmp_path, ["gone.jpg", "broken.jpg", "a.jpg"], 24, 10**6)
    assert list(found) == ["gone.jpg", "broken.jpg", "a.jpg"]
    assert found["gone.jpg"] is None
    assert found["broken.jpg"] is None
    assert found["a.jpg"]
    assert inline_thumbnails(None, ["a.jpg"], 24, 10**6) == {"a.jpg": None}


def test_the_budget_ends_the_list_and_repeats_count_once(tmp_path):
    names = [f"{i:03}.jpg" for i in range(50)]
    draw_pictures(tmp_path, names)
    (size,) = {len(text) for text in inline_thumbnails(tmp_path, names[:1], 24, 10**6).values()}
    found = inline_thumbnails(tmp_path, [*names, *names], 24, budget=20 * size, workers=2)
    assert list(found) == names[:20]


def test_relative_address_is_percent_encoded(tmp_path):
    root, folder = tmp_path / "my data #1", tmp_path / "runs" / "one"
    assert relative_address(root, folder) == "../../my%20data%20%231/"
    assert relative_address(None, folder) == ""
    assert relative_address(Path(folder), folder) == "./"
