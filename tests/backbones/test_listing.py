"""`tlkit backbones`: the registry as a table, without a framework."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest

from tlkit.backbones import BACKBONES, backbones_table
from tlkit.backbones._listing import as_json, readable
from tlkit.errors import BackboneError


def test_every_row_is_listed_with_its_facts():
    table = backbones_table()
    assert table["name"].tolist() == list(BACKBONES)
    vgg = table.set_index("name").loc["vgg11_bn"]
    assert vgg["parameters"] == 132_868_840
    assert vgg["weights"] == "hub timm/vgg11_bn.tv_in1k"


def test_packaged_weights_are_here_and_missing_ones_are_not(monkeypatch, tmp_path):
    monkeypatch.setenv("TLKIT_CACHE", str(tmp_path))
    table = backbones_table("*net*").set_index("name")
    assert table.loc["efficientnet_lite0", "here"]
    assert not table.loc["alexnet", "here"]
    assert table.loc["lenet5", "weights"] == "none"


def test_json_holds_what_the_table_holds():
    table = backbones_table("alexnet*")
    rows = json.loads(as_json(table))
    assert [row["name"] for row in rows] == ["alexnet_2012", "alexnet", "alexnet_cifar"]
    assert rows[1]["macs"] == 714_188_480
    assert rows[1]["here"] in (True, False)


def test_text_is_aligned_and_short():
    header, line = readable(backbones_table("vgg16_c")).splitlines()
    assert header.split()[:5] == ["name", "year", "parameters", "MACs", "input"]
    assert line.split() == ["vgg16_c", "2014", "133.6", "M", "11.8", "G", "224x224x3", "none"]


def test_a_pattern_without_a_match_says_what_to_try():
    with pytest.raises(BackboneError, match=r"No backbone matches 'gg1\*'; try 'gg1'"):
        backbones_table("gg1*")
    with pytest.raises(BackboneError, match="lists all"):
        backbones_table("nothing*")


def test_listing_imports_no_framework():
    code = (
        "import sys; from tlkit.backbones import backbones_table; backbones_table();"
        "print([m for m in ('keras', 'tensorflow') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
