"""`tlkit summary`: the lecture's accounting of a network of the registry."""

from __future__ import annotations

import io

import pytest
from rich.console import Console

from tlkit.backbones import get_backbone
from tlkit.errors import BackboneError
from tlkit.summary import bar, summarise


def test_alexnet_is_the_lectures():
    table = summarise("alexnet", input_size=227).table.set_index("layer")
    conv1, pool1 = table.loc["stage1_conv"], table.loc["stage1_pool"]
    assert conv1[["output_shape", "memory_kb", "parameters", "operations"]].tolist() == [
        *("56x56x64", 784, 23_296, 72_855_552)
    ]
    assert pool1[["output_shape", "memory_kb", "parameters", "operations"]].tolist() == [
        *("27x27x64", 182.25, 0, 419_904)
    ]
    assert table.loc["top_flatten", "output_shape"] == "9216"
    assert table.loc["top_fc1", "operations"] == 37_748_736


@pytest.mark.parametrize("name", ["lenet5", "resnet18", "googlenet", "densenet121"])
def test_totals_are_the_rows(name):
    row, table = get_backbone(name), summarise(name).table
    assert table["trainable"].sum() == row.parameters
    assert table["macs"].sum() == row.macs


def test_what_works_in_place_has_no_memory_of_its_own():
    table = summarise("resnet18").table
    memory = table.groupby("kind")["memory_kb"].sum()
    assert memory["BatchNormalization"] == memory["Activation"] == 0
    assert memory["Conv2D"] > 0
    assert memory["Add"] > 0


@pytest.mark.parametrize(
    ("name", "channels", "convolutions", "cost"), [("resnet18", 64, 2, 18), ("resnet50", 64, 3, 17)]
)
def test_residual_blocks_cost_what_the_lecture_says(name, channels, convolutions, cost):
    """18 HWC^2 for a basic block, 17 HWC^2 for a bottleneck (on 4 C channels)."""
    table = summarise(name).table.set_index("layer")
    block = [f"stage1_block2_conv{i}" for i in range(1, convolutions + 1)]
    assert table.loc[block, "macs"].sum() == cost * 56 * 56 * channels**2


def test_shares_say_where_the_costs_sit():
    shares = summarise("vgg16").shares()
    assert list(shares.index) == [*(f"stage{i}" for i in range(1, 6)), "top"]
    assert shares.sum().tolist() == pytest.approx([1, 1, 1])
    assert shares["memory_kb"].idxmax() == "stage1"
    assert shares.loc["top", "parameters"] == pytest.approx(0.894, abs=0.001)


def test_classes_and_input_change_the_counts():
    table = summarise("lenet5_modern", input_size=64, classes=3).table.set_index("layer")
    assert table.loc["top_logits", "parameters"] == 84 * 3 + 3
    assert table.loc["c1_conv", "output_shape"] == "60x60x6"


def test_the_tables_show_totals_and_bars():
    console = Console(width=100, record=True, file=io.StringIO())
    console.print(summarise("lenet"))
    text = console.export_text()
    assert "1,256,080" in text
    assert "6,522,000 MACs" in text
    assert bar(0.5) == "██████        50%"
    assert "stage2" in text


def test_impossible_sizes_are_clear_errors():
    with pytest.raises(BackboneError, match="too small for alexnet"):
        summarise("alexnet", input_size=20)
    with pytest.raises(BackboneError, match="start at 1"):
        summarise("alexnet", classes=0)
