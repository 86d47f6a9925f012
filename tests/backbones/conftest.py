"""What the tests of weights share: empty caches, a hub on loopback, a tiny network."""

import pytest
import tiny_net
from loopback_hub import FILE, serve
from safetensors.numpy import save

from tlkit.backbones._registry import BACKBONES


@pytest.fixture
def house(monkeypatch, tmp_path):
    """Empty caches, no server, and the tiny row in the registry."""
    for name in ("TLKIT_OFFLINE", "HF_HUB_OFFLINE", "HF_HUB_CACHE", "TRANSFORMERS_OFFLINE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HF_HOME", str(tmp_path / "hf"))
    monkeypatch.setenv("TLKIT_CACHE", str(tmp_path / "tlkit"))
    monkeypatch.setenv("KERAS_HOME", str(tmp_path / "keras"))
    monkeypatch.setenv("HF_ENDPOINT", "http://127.0.0.1:9")  # discard: nobody listens
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    monkeypatch.setitem(BACKBONES, "tiny", tiny_net.ROW)


@pytest.fixture
def hub(house, monkeypatch):
    """A hub that serves the tiny network's checkpoint."""
    with serve({FILE: save(tiny_net.state())}) as hub:
        monkeypatch.setenv("HF_ENDPOINT", hub.url)
        yield hub
