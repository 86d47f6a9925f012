"""How a checkpoint's tensors become the weights of Keras layers."""

import numpy as np
import pytest
import tiny_net
from safetensors.numpy import save_file
from torch_writer import save_legacy, save_zip, tensors

import tlkit
from tlkit.backbones._registry import BACKBONES
from tlkit.backbones._state_dict import load_state_dict
from tlkit.backbones._weights import load_weights
from tlkit.errors import WeightsError


@pytest.fixture(autouse=True)
def tiny(monkeypatch):
    monkeypatch.setitem(BACKBONES, "tiny", tiny_net.ROW)


@pytest.fixture
def build():
    def build(state=None, path=None, **options):
        if state is not None:
            save_file(state, path)
        return tlkit.build_backbone("tiny", weights=path, **options)

    return build


def misfit(build, state, path, **options) -> str:
    with pytest.raises(WeightsError) as error:
        build(state, path, **options)
    assert "\n" not in str(error.value)
    return str(error.value)


def test_the_row_counts_its_parameters(build):
    model = build()
    trainable = sum(np.prod(w.shape) for w in model.trainable_weights)
    assert trainable == tiny_net.ROW.parameters


def test_every_kind_of_layer(build, tmp_path):
    state = tiny_net.state()
    model = build(state, tmp_path / "net.safetensors")

    def weight(layer, i=0):
        return np.asarray(model.get_layer(layer).get_weights()[i])

    conv = weight("stem_conv")  # height, width, in, out
    assert conv[0, 2, 1, 3] == state["conv1.weight"][3, 1, 0, 2]
    grouped = weight("stage1_grouped")
    assert grouped.shape == (1, 1, 4, 6)
    assert grouped[0, 0, 2, 5] == state["layer1.grouped.weight"][5, 2, 0, 0]
    depthwise = weight("stage1_depthwise")  # height, width, channel, multiplier
    assert depthwise[1, 2, 3, 1] == state["layer1.dw.weight"][3 * 2 + 1, 0, 1, 2]
    for i, part in enumerate(("weight", "bias", "running_mean", "running_var")):
        np.testing.assert_array_equal(weight("stem_bn", i), state[f"bn1.{part}"])
    for i, part in enumerate(("weight", "bias")):
        np.testing.assert_array_equal(weight("stage1_norm", i), state[f"layer1.norm.{part}"])
    np.testing.assert_array_equal(weight("top_fc"), state["fc1.weight"].T)
    np.testing.assert_array_equal(weight("top_logits", 1), state["fc2.bias"])


def test_depthwise_outputs_come_in_torchs_order(build, tmp_path):
    """Each output channel of PyTorch, computed by hand, is the same channel in Keras."""
    import keras

    state = tiny_net.state()
    model = build(state, tmp_path / "net.safetensors", include_top=False)
    stem, depthwise = model.get_layer("stem_bn").output, model.get_layer("stage1_depthwise").output
    image = np.random.default_rng(0).normal(size=(1, 6, 6, 3)).astype(np.float32)
    before, after = keras.Model(model.input, [stem, depthwise]).predict(image, verbose=0)
    for channel in range(8):
        window = np.asarray(before)[0, :3, :3, channel // 2]
        expected = (window * state["layer1.dw.weight"][channel, 0]).sum()
        expected += state["layer1.dw.bias"][channel]
        assert after[0, 0, 0, channel] == pytest.approx(expected, rel=1e-5)


SPELLING = dict(tiny_net.MODULES.values())


@pytest.mark.parametrize("kind", ["safetensors", "legacy", "zip", "wrapped", "timm"])
def test_the_spellings_and_formats_agree(kind, build, tmp_path):
    state = tiny_net.state()
    expected = build(state, tmp_path / "net.safetensors").get_weights()
    path = tmp_path / "other.safetensors"
    if kind == "timm":
        state = {
            f"{SPELLING[module]}.{part}": array
            for (module, _, part), array in zip(
                (key.rpartition(".") for key in state), state.values(), strict=True
            )
        }
        # timm keeps VGG's first Linear as a convolution over the whole map
        state["pre.fc.weight"] = state["pre.fc.weight"].reshape(5, 6, 4, 4)
        save_file(state, path)
    elif kind == "wrapped":
        save_file({f"_orig_mod.module.{key}": array for key, array in state.items()}, path)
    elif kind == "safetensors":
        save_file(dict(reversed(state.items())), path)
    else:
        path = tmp_path / "other.pth"
        (save_legacy if kind == "legacy" else save_zip)(path, tensors(state))
    for loaded, wanted in zip(build(path=path).get_weights(), expected, strict=True):
        np.testing.assert_array_equal(loaded, wanted)


def test_half_precision_is_widened(build, tmp_path):
    half = {key: array.astype(np.float16) for key, array in tiny_net.state().items()}
    kernel = build(half, tmp_path / "half.safetensors").get_layer("top_fc").get_weights()[0]
    assert kernel.dtype == np.float32
    np.testing.assert_array_equal(kernel, half["fc1.weight"].T.astype(np.float32))


def test_bfloat16_safetensors(tmp_path):
    import ml_dtypes

    path = tmp_path / "net.safetensors"
    save_file({"w": np.array([1.5, -2], ml_dtypes.bfloat16)}, path)
    loaded = load_state_dict(path)["w"]
    assert loaded.dtype == np.float32
    np.testing.assert_array_equal(loaded, [1.5, -2])


def test_without_a_top_only_the_top_may_be_left_over(build, tmp_path):
    state = tiny_net.state()
    build(state, tmp_path / "net.safetensors", include_top=False)
    deeper = {**state, "layer1.second.weight": np.ones((6, 6, 3, 3), np.float32)}
    message = misfit(build, deeper, tmp_path / "deeper.safetensors", include_top=False)
    assert "1 tensors have no place (layer1.second.weight)" in message


def test_own_classes_are_welcome_without_the_top(build, tmp_path):
    path = tmp_path / "own.safetensors"
    own = tiny_net.state(classes=3)
    build(own, path, include_top=False)
    assert build(path=path, classes=3).output.shape == (None, 3)
    message = misfit(build, own, path)
    assert "3 classes" in message
    assert "classes=3" in message


def test_a_new_last_layer_is_skipped(build, tmp_path):
    import keras

    path = tmp_path / "net.safetensors"
    save_file(tiny_net.state(), path)
    image = keras.Input((6, 6, 3))
    x = tiny_net.top(tiny_net.features(image), classes=None)
    model = keras.Model(image, keras.layers.Dense(2, name="head_logits")(x))
    head = [np.array(w) for w in model.get_layer("head_logits").get_weights()]
    load_weights(model, tiny_net.ROW, path, skip=frozenset({"head_logits"}))
    kernel = model.get_layer("top_fc").get_weights()[0]
    np.testing.assert_array_equal(kernel, tiny_net.state()["fc1.weight"].T)
    for before, after in zip(head, model.get_layer("head_logits").get_weights(), strict=True):
        np.testing.assert_array_equal(before, after)


def test_auxiliary_heads(build, tmp_path):
    plain, both = tiny_net.state(), tiny_net.state(**tiny_net.AUX_SHAPES)
    build(both, tmp_path / "both.safetensors")  # dropped when the model has none
    model = build(both, tmp_path / "both.safetensors", aux=True)
    kernel = model.get_layer("aux_logits").get_weights()[0]
    np.testing.assert_array_equal(kernel, both["aux.fc.weight"].T)
    assert "aux_logits is missing" in misfit(build, plain, tmp_path / "p.safetensors", aux=True)


def test_a_misfit_counts_names_and_changes_nothing(tmp_path):
    model = tlkit.build_backbone("tiny")
    before = model.get_weights()
    state = tiny_net.state()
    state["conv1.weight"] = np.ones((4, 3, 7, 7), np.float32)
    del state["bn1.weight"], state["fc1.weight"], state["fc1.bias"]
    path = tmp_path / "net.safetensors"
    save_file({**state, "extra.weight": np.ones(3, np.float32)}, path)
    with pytest.raises(WeightsError) as error:
        load_weights(model, tiny_net.ROW, path)
    message = str(error.value)
    assert "3 of 7 layers do not fit" in message
    assert "stem_conv expects 4x3x3x3 at conv1.weight, arrived 4x3x7x7" in message
    assert "stem_bn expects 4 at bn1.weight, arrived nothing" in message
    assert "top_fc is missing (fc1 or pre.fc)" in message
    assert "1 tensors have no place (extra.weight)" in message
    for old, new in zip(before, model.get_weights(), strict=True):
        np.testing.assert_array_equal(old, new)


@pytest.mark.parametrize("classes", [7, 11])
def test_says_what_a_wrong_checkpoint_looks_like(classes, tmp_path):
    path = tmp_path / "net.safetensors"
    save_file(tiny_net.state(classes), path)
    with pytest.raises(WeightsError, match="looks like tiny: take --backbone tiny"):
        tlkit.build_backbone("squeezenet1_1", weights=path, include_top=False, input_size=64)


def test_a_deeper_resnet_is_not_taken_for_a_shallower_one(tmp_path):
    """Without its top every tensor of the shallower one would be found."""
    model = tlkit.build_backbone("resnet18", include_top=False, input_size=32)
    from tlkit.backbones.resnet import keys

    state = {}
    for layer in model.layers:
        for variable in layer.weights:
            part = {"kernel": "weight", "gamma": "weight", "beta": "bias"}.get(
                variable.name, variable.name.replace("moving_", "running_").replace("iance", "")
            )
            shape = tuple(variable.shape)
            shape = (shape[3], shape[2], *shape[:2]) if len(shape) == 4 else shape
            state[f"{keys([layer.name])[layer.name][0]}.{part}"] = np.zeros(shape, np.float32)
    path = tmp_path / "net.safetensors"
    save_file({**state, "fc.weight": np.zeros((2, 512), np.float32)}, path)
    load_weights(model, BACKBONES["resnet18"], path)
    save_file({**state, "layer4.2.conv1.weight": np.zeros((512, 512, 3, 3), np.float32)}, path)
    with pytest.raises(WeightsError, match=r"no place \(layer4\.2\.conv1\.weight\)"):
        load_weights(model, BACKBONES["resnet18"], path)


@pytest.mark.parametrize("content", [b"", b"\xff" * 20, b"\x02\0\0\0\0\0\0\0{}"])
def test_damaged_safetensors(content, tmp_path):
    path = tmp_path / "net.safetensors"
    path.write_bytes(content)
    with pytest.raises(WeightsError, match=r"net\.safetensors"):
        load_state_dict(path)


def test_truncated_safetensors(tmp_path):
    path = tmp_path / "net.safetensors"
    save_file(tiny_net.state(), path)
    path.write_bytes(path.read_bytes()[:-1])
    with pytest.raises(WeightsError, match="truncated"):
        load_state_dict(path)


def test_rows_without_a_published_state_dict_say_so(tmp_path):
    path = tmp_path / "net.safetensors"
    save_file(tiny_net.state(), path)
    without = next(row for row in BACKBONES.values() if row.keys is None and not row.weights)
    model = tlkit.build_backbone("tiny")
    with pytest.raises(WeightsError, match="no published state dict"):
        load_weights(model, without, path)
