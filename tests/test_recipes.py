"""Every recipe of the repository: its header, its names, and one step of training."""

from pathlib import Path
from typing import Any

import pytest

import tlkit
from tlkit import classifier
from tlkit.backbones import get_backbone
from tlkit.backbones._weights import WeightsFile
from tlkit.recipe import load_recipe

RECIPES = sorted((Path(__file__).parents[1] / "recipes").glob("*.toml"))
QUICK = ("cnn_cifar", "lenet_digits", "small_folder")
# No picture is larger than it must be for the network to have a map left.
SMALL = {
    "googlenet": 64, "resnet50": 64, "senet": 64, "small_folder": 64,
    "resnet50_cats_dogs": 64, "vgg11_bn_cats_dogs": 64,
}  # fmt: skip


def test_there_are_recipes() -> None:
    assert set(QUICK) < {file.stem for file in RECIPES}
    assert set(SMALL) < {file.stem for file in RECIPES}


@pytest.mark.parametrize("file", RECIPES, ids=lambda file: file.stem)
def test_a_recipe_says_how_to_run_it_and_what_came_of_it(file: Path) -> None:
    header = file.read_text().partition("\n\n")[0].splitlines()
    assert all(line.startswith("#") for line in header)
    assert any(f"tlkit finetune recipes/{file.name} --data " in line for line in header)
    assert any("Measured: " in line or "Not run" in line for line in header)
    assert "@@" not in file.read_text()


@pytest.mark.parametrize("file", RECIPES, ids=lambda file: file.stem)
def test_a_recipe_has_no_setting_without_effect(file: Path) -> None:
    recipe = load_recipe(file)
    row = get_backbone(recipe.backbone)
    resolved = recipe.resolve(row.input_size, row.own_top, row.aux is not None)
    assert resolved.train.epochs or resolved.train.freeze_epochs or resolved.pretrained
    assert resolved.pretrained <= (row.weights is not None)


@pytest.mark.parametrize(
    "file",
    [
        pytest.param(file, marks=() if file.stem in QUICK else pytest.mark.recipes, id=file.stem)
        for file in RECIPES
    ],
)
def test_a_recipe_trains_for_a_step(
    file: Path, pictures: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    recipe = load_recipe(file)
    less: dict[str, Any] = {"batch_size": 64, "img_size": SMALL.get(file.stem), "insight": False}
    if not recipe.pretrained:
        less["epochs"] = 1
    elif recipe.train.solver != "lbfgs":
        less["freeze_epochs"] = 1
    if get_backbone(recipe.backbone).weights and not recipe.backbone.startswith("efficientnet"):
        # Published weights need a download; where they would go, random ones do for a step.
        somewhere = WeightsFile(tmp_path / "none", sha256="0" * 64, source="random")
        monkeypatch.setattr(classifier, "find_weights", lambda row, weights: somewhere)
        monkeypatch.setattr(classifier, "load_weights", lambda *arguments, **more: None)
    run = tlkit.finetune(pictures, recipe=file, output=tmp_path, **less)
    assert run.history["loss"].notna().all()
    assert len(run.model.outputs) == 1
    if recipe.train.solver != "lbfgs":
        assert len(run.history) == 1
