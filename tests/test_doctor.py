"""The table of what a machine has, on machines that lack some of it."""

from __future__ import annotations

import importlib.metadata
from pathlib import Path

import pytest

from tlkit import doctor


@pytest.fixture
def found(monkeypatch: pytest.MonkeyPatch) -> dict[str, doctor.Finding]:
    """The findings of a machine with one extra of three, offline by order."""
    lines = [
        "numpy<3,>=2.0",
        'rich>=14; extra == "whole"',
        'rich>=14; extra == "half"',
        'no-such-package>=1; extra == "half"',
        'pytest>=8.3; extra == "test"',
    ]
    monkeypatch.setattr(importlib.metadata, "requires", lambda name: lines)
    monkeypatch.setenv("TLKIT_OFFLINE", "1")
    return {finding.what: finding for finding in doctor.examine()}


def test_every_part_has_its_row(found: dict[str, doctor.Finding]) -> None:
    assert found["backend"].found.startswith("tensorflow 2.")
    assert found["GPUs"].good
    assert "efficientnet_lite0" in found["weights here"].found
    assert found["OpenVINO"].good
    assert found["network"].found == "not used: TLKIT_OFFLINE is set"
    assert found["tlkit[whole]"].good
    half = found["tlkit[half]"]
    assert half.good is None
    assert half.found == "without no-such-package: pip install 'tlkit[half]'"
    assert "tlkit[test]" not in found


def test_a_broken_part_is_a_row(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    def broken() -> None:
        raise ImportError("libopenvino.so: cannot open\nshared object file")

    monkeypatch.setenv("COLUMNS", "200")
    monkeypatch.setattr(doctor, "openvino_core", broken)
    monkeypatch.setattr(doctor, "offline", lambda: None)
    monkeypatch.setattr(doctor, "connection_problem", lambda url: "huggingface.co: no route")
    monkeypatch.setenv("TLKIT_CACHE", str(tmp_path / "not" / "there"))
    doctor.show(doctor.examine())
    said = capsys.readouterr().out
    assert "does not start: ImportError: libopenvino.so: cannot open shared" in said
    assert "huggingface.co: no route; weights that are here still work" in said
    assert said.count("✗") == 2
    assert not (tmp_path / "not").exists(), "looking makes nothing"


def test_the_command_ends_well(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    from tlkit.cli import app

    monkeypatch.setenv("TLKIT_OFFLINE", "1")
    assert app(["doctor"], standalone_mode=False) in (None, 0)
    assert "Python" in capsys.readouterr().out
