"""Downloads from a hub on loopback: resumed, shared, checked; and machines without a network."""

import hashlib
import os
import socket
import subprocess
import sys
import threading
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import tiny_net
from loopback_hub import COMMIT, FILE
from safetensors.numpy import save

import tlkit
from tlkit.backbones import _download
from tlkit.backbones._registry import get_backbone
from tlkit.backbones._row import Weights
from tlkit.backbones._weights import fetch, find_weights, list_weights, verify
from tlkit.errors import WeightsError

pytestmark = pytest.mark.usefixtures("house")
CHECKPOINT = save(tiny_net.state())


def refusal(function, *arguments) -> str:
    with pytest.raises(WeightsError) as error:
        function(*arguments)
    assert "\n" not in str(error.value)
    return str(error.value)


def test_first_from_the_network_then_from_the_cache(hub, monkeypatch):
    file = find_weights(tiny_net.ROW, "imagenet")
    assert file.path.read_bytes() == CHECKPOINT
    assert file.sha256 == hashlib.sha256(CHECKPOINT).hexdigest()
    assert file.source == "hub acme/tiny"
    assert hub.count("GET") == 1
    hub.log.clear()
    monkeypatch.setenv("TLKIT_OFFLINE", "1")
    assert find_weights(tiny_net.ROW, "imagenet") == file
    assert not hub.log
    model = tlkit.build_backbone("tiny", weights="imagenet")
    kernel = model.get_layer("top_fc").get_weights()[0]
    np.testing.assert_array_equal(kernel, tiny_net.state()["fc1.weight"].T)


def test_the_cache_is_the_hubs_own(hub, tmp_path):
    from huggingface_hub import hf_hub_download

    path = hf_hub_download(
        "acme/tiny", "model.safetensors", cache_dir=tmp_path / "hf" / "hub", endpoint=hub.url
    )
    hub.log.clear()
    assert find_weights(tiny_net.ROW, "imagenet").path == Path(path)
    assert not hub.log
    assert COMMIT in path


def test_a_broken_connection_is_taken_up_again(hub, monkeypatch):
    monkeypatch.setattr(_download.time, "sleep", lambda _: None)
    hub.cut = 2000
    assert find_weights(tiny_net.ROW, "imagenet").path.read_bytes() == CHECKPOINT
    asked = [entry[2] for entry in hub.log if entry[0] == "GET"]
    assert asked == [None, "bytes=2000-", "bytes=4000-"]


def test_a_connection_that_brings_nothing_is_given_up(hub, monkeypatch, tmp_path):
    monkeypatch.setattr(_download.time, "sleep", lambda _: None)
    hub.cut = 0
    message = refusal(find_weights, tiny_net.ROW, "imagenet")
    assert "0 bytes are kept" in message
    assert hub.count("GET") == _download.ATTEMPTS


def test_an_interrupted_download_goes_on_in_the_next_attempt(hub, tmp_path, monkeypatch):
    hub.cut = 1000
    with monkeypatch.context() as patch:

        def interrupt(_):
            raise KeyboardInterrupt

        patch.setattr(_download.time, "sleep", interrupt)
        with pytest.raises(KeyboardInterrupt):
            find_weights(tiny_net.ROW, "imagenet")
    (part,) = tmp_path.rglob("*.part")
    assert part.stat().st_size == 1000
    assert not list_weights().set_index("name").loc["tiny", "cached"]
    hub.cut = None
    hub.log.clear()
    assert find_weights(tiny_net.ROW, "imagenet").path.read_bytes() == CHECKPOINT
    assert [entry[2] for entry in hub.log if entry[0] == "GET"] == ["bytes=1000-"]
    assert not list(tmp_path.rglob("*.part"))


def test_a_server_without_ranges(hub, tmp_path):
    blobs = tmp_path / "hf" / "hub" / "models--acme--tiny" / "blobs"
    blobs.mkdir(parents=True)
    (blobs / f"{hashlib.sha256(CHECKPOINT).hexdigest()}.part").write_bytes(CHECKPOINT[:1000])
    hub.ranges = False
    assert find_weights(tiny_net.ROW, "imagenet").path.read_bytes() == CHECKPOINT


@pytest.mark.parametrize("start", [b"x" * 1000, b"x" * (len(CHECKPOINT) + 5)])
def test_a_spoilt_part_does_not_spoil_the_file(start, hub, tmp_path):
    blobs = tmp_path / "hf" / "hub" / "models--acme--tiny" / "blobs"
    blobs.mkdir(parents=True)
    (blobs / f"{hashlib.sha256(CHECKPOINT).hexdigest()}.part").write_bytes(start)
    if len(start) < len(CHECKPOINT):
        assert "wrong bytes" in refusal(find_weights, tiny_net.ROW, "imagenet")
    assert find_weights(tiny_net.ROW, "imagenet").path.read_bytes() == CHECKPOINT


def test_wrong_bytes_are_refused(hub, tmp_path):
    hub.etag = "ab" * 32
    message = refusal(find_weights, tiny_net.ROW, "imagenet")
    assert "wrong bytes" in message
    assert "ab" * 32 in message
    assert not [path for path in tmp_path.rglob("*") if path.is_file() and path.stat().st_size]


def test_another_file_than_the_row_knows_is_refused_before_it_is_fetched(hub):
    row = replace(tiny_net.ROW, weights=Weights(hub="acme/tiny", sha256="cd" * 32))
    assert "not the file that tlkit knows" in refusal(find_weights, row, "imagenet")
    assert hub.count("GET") == 0


def test_small_files_are_checked_by_gits_hash(hub):
    hub.etag = hashlib.sha1(b"blob %d\0" % len(CHECKPOINT) + CHECKPOINT).hexdigest()
    assert find_weights(tiny_net.ROW, "imagenet").path.read_bytes() == CHECKPOINT


@pytest.mark.parametrize("status", [401, 403, 404, 500])
def test_a_refusing_hub(status, hub, monkeypatch):
    hub.status = status
    message = refusal(find_weights, tiny_net.ROW, "imagenet")
    assert str(status) in message
    assert "--weights FILE" in message


def test_a_damaged_cached_file_is_named_and_can_be_fetched_again(hub):
    path = find_weights(tiny_net.ROW, "imagenet").path
    path.resolve().write_bytes(CHECKPOINT[:-5])
    for function in (verify, tlkit.build_backbone):
        message = refusal(function, "tiny", *(["imagenet"] if function is not verify else []))
        assert str(path) in message
        assert "`tlkit weights fetch tiny`" in message
    assert fetch("tiny").path.read_bytes() == CHECKPOINT
    assert verify("tiny").path == path


DOWNLOAD = """
import sys
sys.path.insert(0, {tests!r})
from tlkit.backbones._hub import fetch
print(fetch("acme/tiny", "model.safetensors", "tiny"))
"""


def start_download() -> subprocess.Popen:
    code = DOWNLOAD.format(tests=str(Path(__file__).parent))
    return subprocess.Popen(
        [sys.executable, "-c", code], text=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )


def wait_for(condition, seconds=20.0) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.02)


def test_two_processes_at_once(hub):
    hub.pause = threading.Event()
    both = [start_download(), start_download()]
    wait_for(lambda: hub.count("HEAD") == 2 and hub.count("GET"))
    time.sleep(1.5)  # the second waits for the lock and says so
    hub.pause.set()
    outputs = [process.communicate(timeout=30) for process in both]
    assert [process.returncode for process in both] == [0, 0], outputs
    assert hub.count("GET") == 1
    assert sum("waiting for it" in error for _, error in outputs) == 1
    assert outputs[0][0] == outputs[1][0]


def test_a_killed_process_leaves_what_the_next_one_uses(hub, tmp_path):
    big = save({"w": np.arange(200_000, dtype=np.float32)})
    hub.files[FILE] = big
    hub.cut, hub.stall = 500_000, threading.Event()
    process = start_download()
    wait_for(lambda: any(path.stat().st_size > 400_000 for path in tmp_path.rglob("*.part")))
    process.kill()
    process.communicate()
    hub.stall.set()
    hub.cut, hub.stall = None, None
    hub.log.clear()
    assert find_weights(tiny_net.ROW, "imagenet").path.read_bytes() == big
    (asked,) = [entry[2] for entry in hub.log if entry[0] == "GET"]
    assert int(asked.removeprefix("bytes=").removesuffix("-")) > 400_000


# --- no network ---


@pytest.mark.parametrize("swallow", ["create_connection", "getaddrinfo"])
def test_a_network_that_swallows_everything(swallow, monkeypatch):
    """Without a time limit of ours, looking up a name may hang for minutes."""
    released = threading.Event()

    def hang(*_, **__):
        released.wait(10)
        raise OSError("released")

    monkeypatch.setattr(_download, "PATIENCE", 0.2)
    monkeypatch.setattr(socket, swallow, hang)
    start = time.monotonic()
    assert "does not answer" in refusal(find_weights, tiny_net.ROW, "imagenet")
    assert time.monotonic() - start < 5
    released.set()


def test_the_proxy_is_asked_where_there_is_one(monkeypatch):
    monkeypatch.delenv("NO_PROXY", raising=False)
    asked = []

    def connect(address, timeout):
        asked.append(address)
        raise ConnectionRefusedError

    monkeypatch.setattr(socket, "create_connection", connect)
    for proxy in ("http://proxy.test:3128", "proxy.test:3128"):
        monkeypatch.setenv("https_proxy", proxy)
        assert "proxy.test" in refusal(_download.check_reachable, "https://hub.test", "tiny")
    assert asked == [("proxy.test", 3128)] * 2


@pytest.mark.slow
def test_vgg11_bn_from_a_hub(hub, tmp_path):
    """Half a gigabyte over loopback: what `--weights imagenet` does where there is a network."""
    from tlkit.backbones._state_dict import PARAMETERS, _torch_shape
    from tlkit.backbones.vgg import keys

    layers = [layer for layer in tlkit.build_backbone("vgg11_bn").layers if layer.weights]
    modules = keys([layer.name for layer in layers])
    rng = np.random.default_rng(0)
    state = {}
    for layer in layers:
        for variable in layer.weights:
            key = f"{modules[layer.name][0]}.{PARAMETERS[variable.name]}"
            shape = _torch_shape(layer, tuple(variable.shape))
            state[key] = rng.standard_normal(shape, np.float32)
    hub.files["timm/vgg11_bn.tv_in1k/model.safetensors"] = save(state)
    loaded = tlkit.build_backbone("vgg11_bn", weights="imagenet")
    kernel = loaded.get_layer("stage1_conv1").get_weights()[0]
    np.testing.assert_array_equal(kernel, state["features.0.weight"].transpose(2, 3, 1, 0))
    kernel = loaded.get_layer("top_logits").get_weights()[0]
    np.testing.assert_array_equal(kernel, state["classifier.6.weight"].T)
    assert os.environ["HF_HOME"] in str(find_weights(get_backbone("vgg11_bn"), "imagenet").path)
