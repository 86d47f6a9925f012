from pathlib import Path

import pytest
import tomli_w
from hypothesis import given, settings
from hypothesis import strategies as st

from tlkit.errors import RecipeError
from tlkit.recipe import Recipe, flat, load_recipe


def test_the_resolved_recipe_repeats_itself(tmp_path: Path) -> None:
    resolved = load_recipe(data=tmp_path, epochs=3, head="mlp").resolve(224)
    file = tmp_path / "recipe.toml"
    file.write_text(resolved.to_toml())
    assert load_recipe(file).resolve(224) == resolved


@pytest.mark.parametrize(
    "settings",
    [
        {"optimizer": "sgd", "epochs": 2, "schedule": "plateau", "gradual": True},
        {"schedule": "step", "decay_epochs": "3,5", "weights": "none", "backbone": "googlenet"},
        {"schedule": "polynomial", "mixup": 0.2, "cutmix": 1.0, "ema": 0.99},
        {"schedule": "exponential", "augment": "rotate 20, flip"},
        {"optimizer": "adamw", "epochs": 1},
    ],
)
def test_what_is_filled_in_is_no_new_setting(settings: dict[str, object], tmp_path: Path) -> None:
    resolved = load_recipe(data=tmp_path, **settings).resolve(224, auxiliary=True)
    file = tmp_path / "recipe.toml"
    file.write_text(resolved.to_toml())
    assert load_recipe(file).resolve(224, auxiliary=True) == resolved


def test_auxiliary_classifiers_train_from_scratch_by_default() -> None:
    def auxiliary(**settings: object) -> bool | None:
        return load_recipe(**settings).resolve(224, auxiliary=True).train.auxiliary

    assert auxiliary(weights="none") is True
    assert auxiliary(weights="none", auxiliary=False) is False
    assert auxiliary() is False


def test_defaults_stop_after_the_four_steps() -> None:
    train = load_recipe().resolve(224).train
    assert (train.freeze_epochs, train.epochs, train.unfreeze, train.lr) == (None, 0, None, None)


@pytest.mark.parametrize(
    ("settings", "solver", "epochs", "rate"),
    [
        ({}, "auto", None, None),
        ({"solver": "lbfgs", "epochs": 2}, "lbfgs", None, None),
        ({"solver": "sgd"}, "sgd", 20, 1e-3),
        ({"freeze_epochs": 7}, "sgd", 7, 1e-3),
        ({"head_lr": 0.1}, "sgd", 20, 0.1),
        ({"head": "mlp"}, "sgd", 20, 1e-3),
        ({"optimizer": "sgd"}, "sgd", 20, 1e-2),
        ({"dropout": 0.5}, "sgd", 20, 1e-3),
        ({"label_smoothing": 0.1}, "sgd", 20, 1e-3),
        ({"mixup": 0.2, "epochs": 1}, "auto", None, None),
        ({"optimizer": "sgd", "epochs": 1}, "auto", None, None),
        ({"freeze_epochs": 0, "epochs": 1}, "sgd", 0, None),
        ({"weights": "none"}, "sgd", 0, None),
    ],
)
def test_the_head_is_solved_unless_its_training_is_described(
    settings: dict[str, object], solver: str, epochs: int | None, rate: float | None
) -> None:
    train = load_recipe(**settings).resolve(224).train
    assert (train.solver, train.freeze_epochs, train.head_lr) == (solver, epochs, rate)


@pytest.mark.parametrize(
    "settings", [{"head": "mlp"}, {"weights": "none"}, {"freeze_epochs": 0, "epochs": 1}]
)
def test_what_cannot_be_solved(settings: dict[str, object]) -> None:
    with pytest.raises(RecipeError, match="solver = 'lbfgs' finds a linear head"):
        load_recipe(solver="lbfgs", **settings).resolve(224)


def test_without_weights_everything_trains_from_scratch() -> None:
    train = load_recipe(weights="none", epochs=1).resolve(224).train
    assert (train.freeze_epochs, train.epochs, train.head_lr) == (0, 1, None)


@pytest.mark.parametrize(
    ("settings", "views"),
    [
        ({}, None),
        ({"augment": "light"}, 4),
        ({"augment": "light", "freeze_epochs": 2}, 2),
        ({"augment": "light", "freeze_epochs": 2, "epochs": 3}, 3),
        ({"augment": "light", "views": 7}, 7),
        ({"augment": "light", "weights": "none"}, None),
    ],
)
def test_views(settings: dict[str, object], views: int | None) -> None:
    assert load_recipe(**settings).resolve(224).train.views == views


@pytest.mark.parametrize("settings", [{}, {"augment": "light", "weights": "none"}])
def test_views_without_effect_are_refused(settings: dict[str, object]) -> None:
    with pytest.raises(RecipeError, match="views = 3 has no effect"):
        load_recipe(views=3, **settings).resolve(224)


def test_flags_override_the_file(tmp_path: Path) -> None:
    file = tmp_path / "r.toml"
    file.write_text('backbone = "vgg11"\n[train]\nbatch_size = 8\n')
    recipe = load_recipe(file, batch_size=4, backbone=None)
    assert recipe.backbone == "vgg11"
    assert recipe.train.batch_size == 4


@pytest.mark.parametrize(
    ("settings", "says"),
    [
        ({"unfreeze": "all"}, "no effect"),
        ({"lr": 1e-3}, "no effect"),
        ({"weights": "none", "head_lr": 1e-3}, "no effect"),
        ({"weights": "none", "freeze_epochs": 3}, "no effect"),
        ({"hidden": 64}, "no effect"),
        ({"solver": "lbfgs", "freeze_epochs": 3}, "no effect"),
        ({"solver": "lbfgs", "head_lr": 1e-3}, "no effect"),
        ({"freeze_epochs": 0}, "Nothing to train"),
        ({"freeze_epochs": 0, "epochs": 1, "head_lr": 0.1}, "no effect"),
        ({"momentum": 0.9}, "momentum = 0.9 has no effect with train.optimizer = 'adam'"),
        ({"optimizer": "rmsprop", "nesterov": True}, "no effect"),
        ({"optimizer": "sgd", "momentum": 0.0, "nesterov": True}, "no effect"),
        ({"decay_rate": 0.5}, "no effect with train.schedule = 'constant'"),
        ({"schedule": "cosine", "power": 2.0}, "no effect"),
        ({"schedule": "plateau", "warmup": 2}, "no effect"),
        ({"schedule": "step"}, "needs train.decay_epochs"),
        ({"schedule": "exponential", "decay_epochs": "2,3"}, "takes one number"),
        ({"schedule": "step", "decay_epochs": "3,2"}, "must rise"),
        ({"schedule": "step", "decay_epochs": 2, "decay_rate": "0.1,0.2"}, "same length"),
        ({"epochs": 3, "warmup": 3}, "leaves nothing"),
        ({"solver": "lbfgs", "mixup": 0.2}, "no effect"),
        ({"solver": "lbfgs", "optimizer": "sgd"}, "no effect"),
        ({"gradual": True}, "no effect while train.epochs is 0"),
        ({"gradual": True, "epochs": 1, "unfreeze": "last"}, "which is one stage"),
        ({"layer_decay": 0.5}, "no effect"),
        ({"weights": "none", "layer_decay": 0.5}, "no effect"),
        ({"drop_path": 0.1}, "the whole backbone is frozen"),
        ({"normalise": "per-image"}, "expect the pixels"),
        ({"auxiliary": True}, "for training from scratch"),
        ({"weights": "none", "auxiliary": True}, "has no auxiliary classifiers"),
    ],
)
def test_a_setting_without_effect_is_refused(settings: dict[str, object], says: str) -> None:
    with pytest.raises(RecipeError, match=says):
        load_recipe(**settings).resolve(224)


@pytest.mark.parametrize(
    ("text", "says"),
    [
        (
            "[train]\nepoch = 3\n",
            r"Unknown recipe key 'train.epoch' in .*Did you mean 'train.epochs'\?",
        ),
        ("[train]\nepochs = -1\n", r"'train.epochs'.*greater than or equal to 0; got -1"),
        ("[data]\nresize = 'zoom'\n", r"'data.resize'.*'crop', 'pad' or 'stretch'; got 'zoom'"),
        ("epochs 3", "not valid TOML"),
        ("a = " + "[" * 100_000, "not valid TOML"),
        ("a = " + "9" * 10_000, "not valid TOML"),
        ("data = 3", "'data'"),
    ],
)
def test_a_wrong_recipe_is_one_line_that_names_the_key(
    tmp_path: Path, text: str, says: str
) -> None:
    file = tmp_path / "r.toml"
    file.write_text(text)
    with pytest.raises(RecipeError, match=says) as error:
        load_recipe(file)
    assert "\n" not in str(error.value)


def test_a_table_that_is_a_value_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "r.toml"
    file.write_text("train = 3")
    with pytest.raises(RecipeError, match="must be a table"):
        load_recipe(file, epochs=1)


def test_an_unknown_setting_has_a_suggestion() -> None:
    with pytest.raises(RecipeError, match="Did you mean 'batch_size'"):
        load_recipe(batchsize=3)


KEYS = sorted({part for key in flat(Recipe()) for part in key.split(".")} | {"epoch", "root "})
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers(-5, 2**70) | st.floats() | st.text(max_size=8)
    | st.sampled_from(["all", "last", "none", "lbfgs", "mlp", "classifier", "linear", "sgd"]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(KEYS), inner),
    max_leaves=8,
)  # fmt: skip


def as_said(work, *arguments, **named):
    """What `work` gives; None where it refuses in one line."""
    try:
        return work(*arguments, **named)
    except RecipeError as error:
        assert len(str(error).splitlines()) == 1  # noqa: PT017
        return None


@settings(deadline=None, max_examples=300)
@given(values=st.dictionaries(st.sampled_from(KEYS), VALUES), own_top=st.booleans())
def test_any_settings_are_a_recipe_or_one_line(values, own_top):
    known = {key.rpartition(".")[2] for key in flat(Recipe())} - {"root", "kind"} | {"data"}
    recipe = as_said(load_recipe, **{key: values[key] for key in known & set(values)})
    resolved = recipe and as_said(recipe.resolve, 224, own_top)
    if resolved:
        assert resolved.resolve(224, own_top) == resolved


@settings(deadline=None)
@given(st.text(max_size=80) | st.dictionaries(st.sampled_from(KEYS), VALUES) | st.binary())
def test_any_file_is_a_recipe_or_one_line(tmp_path_factory, content):
    file = tmp_path_factory.getbasetemp() / "r.toml"
    if isinstance(content, dict):
        content = tomli_w.dumps(without_none(content))
    file.write_bytes(content if isinstance(content, bytes) else content.encode())
    assert isinstance(as_said(load_recipe, file), Recipe | None)


def without_none(value):
    if isinstance(value, dict):
        return {k: without_none(v) for k, v in value.items() if v is not None}
    if isinstance(value, list):
        return [without_none(v) for v in value if v is not None]
    return value
