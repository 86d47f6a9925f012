import pytest

from tlkit.augmentations import checked, steps_of
from tlkit.errors import RecipeError
from tlkit.recipe import load_recipe


def test_steps_in_their_order_with_their_numbers() -> None:
    assert steps_of("rotate 20, shift 0.2, flip") == [("rotate", 20), ("shift", 0.2), ("flip", 0)]
    assert checked("strong") == "strong"


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("turn 20", "'turn' is neither ready-made"),
        ("rotate", "rotate takes a number from 0 to 180 .degrees.*got none"),
        ("rotate 200", "got 200"),
        ("rotate far", "got far"),
        ("pad-crop 2.5", "got 2.5"),
        ("flip 3", "takes no number"),
        ("flip, flip", "twice"),
        ("random-crop, pad-crop 4", "choose one"),
        ("flip,", "missing between commas"),
        ("", "missing"),
    ],
)
def test_what_is_no_augmentation(text: str, says: str) -> None:
    with pytest.raises(RecipeError, match=says) as error:
        load_recipe(augment=text)
    assert "data.augment" in str(error.value)
    assert "\n" not in str(error.value)
