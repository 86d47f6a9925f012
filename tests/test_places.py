from pathlib import Path

import pytest

from tlkit.places import cache_folder


def test_environment_variable_wins(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("TLKIT_CACHE", str(tmp_path))
    assert cache_folder("features") == tmp_path / "features"


@pytest.mark.parametrize(
    ("platform", "variable", "expected"),
    [
        ("linux", "XDG_CACHE_HOME", "tlkit/weights"),
        ("win32", "LOCALAPPDATA", "tlkit/weights"),
        ("darwin", "HOME", "Library/Caches/tlkit/weights"),
    ],
)
def test_platform_folder(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, platform: str, variable: str, expected: str
) -> None:
    monkeypatch.delenv("TLKIT_CACHE", raising=False)
    monkeypatch.setattr("sys.platform", platform)
    monkeypatch.setenv(variable, str(tmp_path))
    assert cache_folder("weights") == tmp_path / expected
