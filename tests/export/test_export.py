"""Every format, run by its own runtime, says what Keras says; one that does not is not kept."""

from __future__ import annotations

import hashlib
import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

import tlkit
from tlkit.errors import DataError, ExportError, MissingPackageError
from tlkit.export import formats, proof


@pytest.fixture(scope="module")
def run(pictures: Path, tmp_path_factory: pytest.TempPathFactory) -> tlkit.Run:
    """A small network, so that ten conversions are quick."""
    settings = {"backbone": "cnn_cifar", "weights": "none", "epochs": 2, "batch_size": 8}
    output = tmp_path_factory.mktemp("runs")
    return tlkit.finetune(pictures, output=output, insight=False, **settings)


@pytest.mark.parametrize("name", list(formats.FORMATS))
def test_an_export_answers_as_keras(run: tlkit.Run, tmp_path: Path, name: str) -> None:
    done = tlkit.export_run(run, name, output=tmp_path / name)
    assert done.folder == tmp_path / name
    facts = json.loads((done.folder / "proof.json").read_text())
    assert facts["images"] == (run.split["split"] == "val").sum() > 0
    assert facts["largest_difference"] <= 1e-4
    assert facts["flips"] == 0
    assert facts["accuracy"] == facts["accuracy_keras"]
    for file, digest in facts["files"].items():
        assert hashlib.sha256((done.folder / file).read_bytes()).hexdigest() == digest
    assert (done.folder / "labels.txt").read_text() == "blue\nred\n"
    about = formats.FORMATS[name].about(done.model)
    assert about["classes"] == ["blue", "red"]
    assert about["img_size"] == 32
    assert [path.name for path in tmp_path.iterdir()] == [name], "no other file is left"


@pytest.mark.parametrize("name", ["openvino", "litert"])
def test_int8_is_calibrated_on_training_images_and_small(
    run: tlkit.Run, tmp_path: Path, name: str
) -> None:
    whole = tlkit.export_run(run, name, output=tmp_path / "float")
    small = tlkit.export_run(run, name, int8=True, output=tmp_path / "int8")
    assert small.size < whole.size / 2.5
    facts = json.loads((small.folder / "proof.json").read_text())
    assert facts["int8"]
    assert facts["mean_difference"] <= facts["tolerance"]["mean"]
    assert facts["largest_difference"] > 1e-6, "it is not the float32 network"


def test_an_export_that_differs_leaves_nothing(
    run: tlkit.Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    sound = formats.FORMATS["keras"]
    off = replace(sound, load=lambda file: lambda x: sound.load(file)(x) + np.float32(2e-4))
    tlkit.export_run(run, "keras", output=tmp_path / "deep" / "first")
    before = (tmp_path / "deep" / "first" / "proof.json").read_bytes()
    monkeypatch.setitem(formats.FORMATS, "keras", off)
    for name in ("deep/first", "other/second"):
        with pytest.raises(
            ExportError, match=r"not kept.*difference from Keras 2\.\de-04.*--format"
        ):
            tlkit.export_run(run, "keras", output=tmp_path / name)
    assert [path.name for path in tmp_path.iterdir()] == ["deep"]
    assert [path.name for path in (tmp_path / "deep").iterdir()] == ["first"]
    assert (tmp_path / "deep/first/proof.json").read_bytes() == before, "the sound one stays"


def test_a_converter_that_fails_is_one_line(
    run: tlkit.Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*arguments: object) -> None:
        raise RuntimeError("no such operation\n" * 100)

    monkeypatch.setitem(formats.FORMATS, "keras", replace(formats.FORMATS["keras"], write=fail))
    with pytest.raises(ExportError, match=r"RuntimeError: no such operation no such") as caught:
        tlkit.export_run(run, "keras", output=tmp_path / "out")
    assert len(str(caught.value)) < 450
    assert not list(tmp_path.iterdir())


def test_an_export_that_forgets_its_classes_is_refused(
    run: tlkit.Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    mute = replace(formats.FORMATS["keras"], about=lambda file: {"classes": []})
    monkeypatch.setitem(formats.FORMATS, "keras", mute)
    with pytest.raises(ExportError, match="classes"):
        tlkit.export_run(run, "keras", output=tmp_path / "out")
    assert not list(tmp_path.iterdir())


def test_what_cannot_be_exported_is_said_in_one_line(
    run: tlkit.Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(ExportError, match=r"'onx'. Did you mean 'onnx'\?"):
        tlkit.export_run(run, "onx")
    with pytest.raises(ExportError, match="--int8 is for --format openvino or litert"):
        tlkit.export_run(run, "onnx", int8=True)
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "photo.jpg").write_bytes(b"x")
    with pytest.raises(ExportError, match="not an export of tlkit"):
        tlkit.export_run(run, "keras", output=tmp_path / "mine")
    assert (tmp_path / "mine" / "photo.jpg").is_file()
    with pytest.raises(DataError, match="--data DIR"):
        tlkit.export_run(run, "keras", data=tmp_path)
    monkeypatch.setitem(sys.modules, "tf2onnx", None)
    with pytest.raises(MissingPackageError, match=r"tf2onnx.*pip install 'tlkit\[export\]'"):
        tlkit.export_run(run, "onnx", output=tmp_path / "onnx")
    assert not (run.folder / "exports").exists()


def test_the_tolerance_of_int8_counts_whole_images() -> None:
    made = proof.Proof("x", 30, "val", 0.4, 0.01, 1, 1, 1, proof.INT8)
    assert made.holds, "one answer of thirty may change"
    assert not replace(made, flips=2).holds
    assert not replace(made, mean_difference=0.03).holds
    assert not replace(made, largest_difference=float("nan")).holds


def test_an_onnx_file_needs_nothing_of_tlkit(
    run: tlkit.Run, pictures: Path, tmp_path: Path
) -> None:
    done = tlkit.export_run(run, "onnx", output=tmp_path / "onnx")
    code = """
import json, sys, numpy as np, onnxruntime
session = onnxruntime.InferenceSession(sys.argv[1])
image = np.full((1, 32, 32, 3), (200, 60, 40), np.float32)
p = session.run(None, {"image": image})[0][0]
about = session.get_modelmeta().custom_metadata_map
print(json.loads(about["classes"])[p.argmax()])
assert "keras" not in sys.modules and "tlkit" not in sys.modules
"""
    said = subprocess.run(
        [sys.executable, "-c", code, done.model],
        capture_output=True, text=True, check=True, cwd=tmp_path,
    )  # fmt: skip
    assert said.stdout == "red\n"
