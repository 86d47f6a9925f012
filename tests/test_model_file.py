"""model.keras files that ask for more than a network: nothing runs, the message names the file."""

import inspect
import io
import json
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import keras
import numpy as np
import pytest

from tlkit.classifier import build_classifier, load_classifier
from tlkit.errors import RunError
from tlkit.model_file import REFUSED, read_facts
from tlkit.runs import Run


@pytest.fixture(scope="module")
def sound(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("sound") / "model.keras"
    build_classifier("lenet5_modern", ("a", "b"), weights="none").save(path)
    return path


Members = dict[str, bytes]


def changed(sound: Path, folder: Path, change: Callable[[Members], None]) -> Path:
    with zipfile.ZipFile(sound) as archive:
        members = {name: archive.read(name) for name in archive.namelist()}
    change(members)
    path = folder / "model.keras"
    with zipfile.ZipFile(path, "w") as archive:
        for name, data in members.items():
            archive.writestr(name, data)
    return path


def refusal(path: Path) -> str:
    messages = set()
    run = Run(path.parent)
    for load in (read_facts, load_classifier, lambda _: run.model):
        with pytest.raises(RunError) as error:
            load(path)
        messages.add(str(error.value))
    assert len(messages) == 1
    (message,) = messages
    assert "model.keras" in message
    assert "\n" not in message
    return message


def described(**layer: Any) -> Callable[[Members], None]:
    """The first activation becomes something else."""

    def change(members: Members) -> None:
        config = json.loads(members["config.json"])
        layers = config["config"]["layers"]
        place = next(x for x in layers if x["class_name"] not in ("InputLayer", "Functional"))
        place.update(layer)
        members["config.json"] = json.dumps(config).encode()

    return change


def test_a_sound_file_is_read(sound: Path) -> None:
    assert read_facts(sound)["classes"] == ["a", "b"]
    assert load_classifier(sound).model.output_shape == (None, 2)


CODE = {"class_name": "__lambda__", "config": {"code": "4wEAAAA=", "defaults": None}}
HOSTILE = {
    "lambda": described(module="keras.layers", class_name="Lambda", config={"function": CODE}),
    "lambda below": described(config={"activation": CODE}),
    "os": described(module="os", class_name="system", config={"command": "touch proof"}),
    "builtins": described(module="builtins", class_name="eval", config="1"),
    "function": described(config={"f": {"module": "subprocess", "class_name": "function"}}),
    "get_file": described(module="keras.utils", class_name="get_file", config={"origin": "file:"}),
    "lookup": described(
        module="keras.layers", class_name="StringLookup", config={"vocabulary": "/etc/passwd"}
    ),
    "saved model": described(module="keras.layers", class_name="TFSMLayer", config={}),
    "own module": described(module="tlkit.pipeline", class_name="finetune", config={}),
    "internal": described(module="keras.src.saving.saving_lib", class_name="load_model", config={}),
}


@pytest.mark.parametrize("what", HOSTILE)
def test_classes_that_do_more_than_compute_are_refused(
    what: str, sound: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def loaded(*_: object, **__: object) -> None:
        raise AssertionError("Keras saw it")

    monkeypatch.setattr(keras.saving, "load_model", loaded)
    monkeypatch.chdir(tmp_path)
    assert "not run" in refusal(changed(sound, tmp_path, HOSTILE[what]))
    assert not (tmp_path / "proof").exists()


def test_every_layer_that_takes_code_or_files_is_known() -> None:
    """A new Keras may bring new ones: then this test fails."""
    telling = {"vocabulary", "fn", "function", "module", "filepath", "call_fn", "path", "file"}
    for name in dir(keras.layers):
        layer = getattr(keras.layers, name)
        if inspect.isclass(layer) and telling & set(inspect.signature(layer).parameters):
            assert name in REFUSED


@pytest.mark.parametrize(
    "name", ["../escaped", "/tmp/escaped", "assets/../../escaped", "notes.txt", "C:\\escaped"]
)
def test_other_members_are_refused(name: str, sound: Path, tmp_path: Path) -> None:
    folder = tmp_path / "run"
    folder.mkdir()
    path = changed(sound, folder, lambda members: members.update({name: b"x"}))
    assert repr(name) in refusal(path)
    assert [p.name for p in tmp_path.rglob("*")] == ["run", "model.keras"]


def test_compressed_and_double_members_are_refused(sound: Path, tmp_path: Path) -> None:
    path = changed(sound, tmp_path, lambda members: None)
    with zipfile.ZipFile(path, "a") as archive, pytest.warns(UserWarning, match="Duplicate"):
        archive.writestr("config.json", b"{}")
    assert "more than its size" in refusal(path)
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("config.json", b"[" + b" " * 10_000_000 + b"]")
    assert "more than its size" in refusal(path)


def numbers_from(write: Callable[[h5py.Group, str], None]) -> Callable[[Members], None]:
    def change(members: Members) -> None:
        file = io.BytesIO(members["model.weights.h5"])
        with h5py.File(file, "r+") as h5:
            groups = []
            h5.visit(lambda name: groups.append(name) if name.endswith("/vars/0") else None)
            group, _, name = groups[0].rpartition("/")
            del h5[groups[0]]
            write(h5[group], name)
        members["model.weights.h5"] = file.getvalue()

    return change


def external_link(group: h5py.Group, name: str) -> None:
    group[name] = h5py.ExternalLink("secret.h5", "w")


def external_storage(group: h5py.Group, name: str) -> None:
    group.create_dataset(name, (5, 5, 3, 6), "u1", external=[("secret.h5", 0, 450)])


@pytest.mark.parametrize("write", [external_link, external_storage])
def test_numbers_of_other_files_are_refused(
    write: Callable[[h5py.Group, str], None],
    sound: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(tmp_path)
    with h5py.File("secret.h5", "w") as h5:
        h5["w"] = np.ones((5, 5, 3, 6), np.float32)
    path = changed(sound, tmp_path, numbers_from(write))
    with pytest.raises(RunError, match=r"model\.keras is not a model that tlkit saved") as error:
        load_classifier(path)
    assert "\n" not in str(error.value)


def facts(**new: Any) -> Callable[[Members], None]:
    def change(members: Members) -> None:
        old = json.loads(members["tlkit.json"])
        members["tlkit.json"] = json.dumps(old | new).encode()

    return change


@pytest.mark.parametrize(
    "change",
    [
        facts(classes=None),
        facts(classes=[1, 2]),
        facts(img_size="32"),
        facts(img_size=True),
        facts(temperature="hot"),
        facts(backbone=["x"]),
        lambda members: members.pop("tlkit.json"),
        lambda members: members.pop("config.json"),
        lambda members: members.update({"tlkit.json": b"[" * 100_000}),
        lambda members: members.update({"config.json": b"\xff"}),
        lambda members: members.update({"tlkit.json": b"3"}),
    ],
)
def test_facts_of_other_types_are_refused(
    change: Callable[[Members], Any], sound: Path, tmp_path: Path
) -> None:
    refusal(changed(sound, tmp_path, change))


@pytest.mark.parametrize("change", [facts(classes=["a"]), facts(img_size=33)])
def test_facts_that_do_not_fit_the_network(
    change: Callable[[Members], Any], sound: Path, tmp_path: Path
) -> None:
    with pytest.raises(RunError, match="other classes or another size than it says"):
        load_classifier(changed(sound, tmp_path, change))


def test_a_truncated_file_is_refused(sound: Path, tmp_path: Path) -> None:
    data, path = sound.read_bytes(), tmp_path / "model.keras"
    for share in (0, 0.1, 0.5, 0.9, 0.99):
        path.write_bytes(data[: int(len(data) * share)])
        refusal(path)
