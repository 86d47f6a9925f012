"""The recipe: everything that decides a run, as plain checked data.

A recipe is read from TOML, flags override it, `resolve()` fills in what depends on something else
(the backbone's input size, the rates of the phases) and refuses a setting that would have no
effect. The resolved recipe in the run folder repeats the run.
"""

from __future__ import annotations

import tomllib
from pathlib import Path
from typing import Any, Literal

import tomli_w
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from tlkit.errors import RecipeError, did_you_mean

Resize = Literal["crop", "pad", "stretch"]
Augment = Literal["none", "light", "standard", "strong"]
HeadKind = Literal["linear", "mlp", "classifier"]
Optimizer = Literal["sgd", "adam", "adamw", "rmsprop"]
Schedule = Literal["constant", "cosine", "plateau"]
Solver = Literal["auto", "sgd", "lbfgs"]
Tracker = Literal["csv", "tensorboard", "mlflow"]


class _Config(BaseModel):
    model_config = ConfigDict(
        extra="forbid", validate_assignment=True, use_attribute_docstrings=True
    )


class DataConfig(_Config):
    """Which images, and how they become training, validation and test batches."""

    root: Path | None = None
    """A folder of class folders, a folder of train/val/test folders, or a CSV manifest."""
    val_split: float = Field(0.2, ge=0, lt=1)
    """Share of the training images held out for validation, where the folder has no `val` of its
    own."""
    test_split: float = Field(0.0, ge=0, lt=1)
    """Share held out for the test, where the folder has no `test` of its own."""
    img_size: int | None = Field(None, ge=8, le=4096)
    """Side of the square the network sees, in pixels; the backbone's own when absent."""
    resize: Resize = "crop"
    augment: Augment = "none"
    on_bad_image: Literal["skip", "error"] = "skip"
    fixes: Path | None = None
    """A CSV file with the columns path,action,label: images to drop or relabel; no file is
    changed."""


class HeadConfig(_Config):
    """The new layers on top of the backbone."""

    kind: HeadKind | None = None
    """linear or mlp on pooled features, or "classifier": the network's own fully connected layers.
    When absent: linear on trained weights; from random ones the network as its paper ends it."""
    dropout: float = Field(0.2, ge=0, lt=1)
    hidden: int | None = Field(None, ge=1)
    """Units of the hidden layer; only for kind = "mlp"."""


class TrainConfig(_Config):
    """The phases: the head alone on a frozen backbone, then fine-tuning; or everything from
    scratch."""

    freeze_epochs: int | None = Field(None, ge=0)
    """Epochs of the head on the frozen backbone."""
    epochs: int | None = Field(None, ge=0)
    """Epochs after unfreezing (0 stops after the four steps); without weights, epochs from
    scratch."""
    unfreeze: str | None = None
    """What fine-tuning trains: "last", a number of stages, "all", or a stage's name."""
    batch_size: int = Field(32, ge=1)
    solver: Solver = "auto"
    """How the head on frozen features is found: "lbfgs" solves for the best linear one, "sgd"
    trains any; "auto" solves, unless it is not linear or a setting of its training is given."""
    optimizer: Optimizer = "adam"
    schedule: Schedule = "constant"
    head_lr: float | None = Field(None, gt=0)
    lr: float | None = Field(None, gt=0)
    """Rate of fine-tuning, or of training from scratch."""
    patience: int = Field(5, ge=1)
    """Epochs without a better validation loss before a phase ends."""
    views: int | None = Field(None, ge=1)
    """Augmented views of each training image that are computed and take turns over the epochs."""
    class_weights: str = "none"
    """"none", "auto" (inverse frequency), or a CSV file with the columns class,weight."""
    min_accuracy: float | None = Field(None, ge=0, le=1)
    """The run fails (exit code 1) when the headline accuracy is lower."""


class Recipe(_Config):
    """One run, whole."""

    backbone: str = "efficientnet_lite0"
    weights: str = "imagenet"
    """"imagenet", "none", or a file."""
    seed: int = Field(0, ge=0)
    device: Literal["auto", "cpu", "gpu"] = "auto"
    workers: int | None = Field(None, ge=1, le=256)
    """Threads that decode images; the number of processors when absent."""
    cache_size: float = Field(4.0, ge=0)
    """GiB of features that are kept on disk for later runs; 0 keeps none after the run."""
    insight: bool = True
    """Whether to audit the labels and to ask if more pictures would help (a few seconds)."""
    track: list[Tracker] = []
    """What else records the training, epoch by epoch: csv, tensorboard, mlflow."""
    data: DataConfig = DataConfig()
    head: HeadConfig = HeadConfig()
    train: TrainConfig = TrainConfig()

    @property
    def pretrained(self) -> bool:
        """Whether the backbone starts from trained weights."""
        return self.weights != "none"

    def to_toml(self) -> str:
        """The recipe as TOML text; settings that do not apply (None) are left out."""
        return tomli_w.dumps(self.model_dump(mode="json", exclude_none=True))

    def resolve(self, input_size: int, own_top: bool = False) -> Recipe:
        """A copy with every default filled in that depends on another setting.

        Args:
            input_size: the backbone's own image size, pixels.
            own_top: whether the backbone has fully connected layers of its own.

        Raises:
            RecipeError: a setting was given that would have no effect.
        """
        recipe = self.model_copy(deep=True)
        if recipe.data.root is not None:
            recipe.data.root = recipe.data.root.resolve()
        if recipe.data.fixes is not None:
            recipe.data.fixes = recipe.data.fixes.resolve()
        if recipe.weights not in ("imagenet", "none"):
            recipe.weights = str(Path(recipe.weights).resolve())
        recipe.data.img_size = recipe.data.img_size or input_size
        if recipe.head.kind is None:
            recipe.head.kind = "linear" if recipe.pretrained or not own_top else "classifier"
        if recipe.head.kind == "mlp":
            recipe.head.hidden = recipe.head.hidden or 256
        else:
            _refuse_given(recipe.head, ("hidden",), f"with head.kind = {recipe.head.kind!r}")
        _resolve_solver(recipe)
        _resolve_phases(recipe.train, recipe.pretrained)
        _resolve_views(recipe)
        return recipe


# Starting rates by optimizer: (head on frozen features, fine-tuning, from scratch).
RATES: dict[str, tuple[float, float, float]] = {
    "adam": (1e-3, 1e-4, 1e-3),
    "adamw": (1e-3, 1e-4, 1e-3),
    "rmsprop": (1e-3, 1e-4, 1e-3),
    "sgd": (1e-2, 1e-3, 1e-2),
}


HEAD_EPOCHS = 20
"""Epochs of the head phase where the recipe leaves them open."""


def _resolve_solver(recipe: Recipe) -> None:
    """Leave "auto" where the head may be solved; then its epochs and rate stay open."""
    train = recipe.train
    if not recipe.pretrained or train.freeze_epochs == 0 or recipe.head.kind != "linear":
        if train.solver == "lbfgs":
            raise RecipeError(
                "train.solver = 'lbfgs' finds a linear head on frozen features: it needs trained "
                "weights, head.kind = 'linear' and no train.freeze_epochs = 0."
            )
        train.solver = "sgd"
    if train.solver == "lbfgs":
        _refuse_given(train, ("freeze_epochs", "head_lr"), "with train.solver = 'lbfgs'")
        return
    own = train.freeze_epochs is not None or train.head_lr is not None
    shared = (train.optimizer, train.schedule) != ("adam", "constant")  # with fine-tuning
    if own or (shared and not train.epochs) or recipe.head.dropout != HeadConfig().dropout:
        train.solver = "sgd"


def _resolve_phases(train: TrainConfig, pretrained: bool) -> None:
    head_lr, fine_lr, scratch_lr = RATES[train.optimizer]
    if not pretrained:
        _refuse_given(
            train,
            ("freeze_epochs", "head_lr", "unfreeze"),
            "with weights = 'none'",
            allow=(0, "all"),
        )
        train.freeze_epochs = 0
        train.epochs = 30 if train.epochs is None else train.epochs
        train.lr = train.lr or scratch_lr
    else:
        if train.solver == "sgd":
            train.freeze_epochs = (
                HEAD_EPOCHS if train.freeze_epochs is None else train.freeze_epochs
            )
        train.epochs = train.epochs or 0
        if train.freeze_epochs is None:
            pass  # the solver has neither epochs nor a rate
        elif train.freeze_epochs:
            train.head_lr = train.head_lr or head_lr
        else:
            _refuse_given(train, ("head_lr",), "with train.freeze_epochs = 0")
        if train.epochs:
            train.unfreeze = train.unfreeze or "last"
            train.lr = train.lr or fine_lr
        else:
            _refuse_given(
                train, ("unfreeze", "lr"), "while train.epochs is 0 (add --epochs N to fine-tune)"
            )
    if train.freeze_epochs == 0 and not train.epochs:
        raise RecipeError("Nothing to train: train.freeze_epochs and train.epochs are both 0.")


DEFAULT_VIEWS = 4


def _resolve_views(recipe: Recipe) -> None:
    train = recipe.train
    if recipe.data.augment == "none":
        _refuse_given(train, ("views",), "with data.augment = 'none'")
    elif not recipe.pretrained:
        _refuse_given(train, ("views",), "with weights = 'none': each epoch has its own views")
    else:
        head = HEAD_EPOCHS if train.freeze_epochs is None else train.freeze_epochs
        train.views = min(train.views or DEFAULT_VIEWS, max(head, train.epochs or 0))


def _refuse_given(
    config: _Config, keys: tuple[str, ...], why: str, allow: tuple[object, ...] = ()
) -> None:
    for key in keys:
        value = getattr(config, key)
        if value is not None and value not in allow:
            raise RecipeError(f"{key} = {value!r} has no effect {why}; leave it out.")


def load_recipe(file: Path | None = None, **settings: Any) -> Recipe:
    """Read a recipe and let settings override it.

    Args:
        file: a TOML file; the defaults when None.
        settings: a key's last part and its value, as the flags of the command line: `epochs=5` sets
            train.epochs, `data` sets data.root, `head` sets head.kind. None overrides nothing.

    Raises:
        RecipeError: the file cannot be read, a key is unknown, or a value does not fit.
    """
    return make_recipe(read_toml(file) if file else {}, file, **settings)


def read_toml(file: Path) -> dict[str, Any]:
    """The tables of a recipe file, unchecked.

    Raises:
        RecipeError: it cannot be read, or is no TOML.
    """
    try:
        return tomllib.loads(file.read_text(encoding="utf-8"))
    except OSError as error:
        raise RecipeError(f"Cannot read the recipe {file}: {error.strerror}.") from None
    except (ValueError, RecursionError) as error:  # endless digits and brackets, too
        raise RecipeError(f"The recipe {file} is not valid TOML: {error}.") from None


def make_recipe(values: dict[str, Any], file: Path | None = None, **settings: Any) -> Recipe:
    """A recipe from the tables of a file and settings that override them.

    Args:
        values: as `read_toml` gives them; settings are written into them.
        file: where they came from, for messages.
        settings: as for `load_recipe`.

    Raises:
        RecipeError: a key is unknown, or a value does not fit.
    """
    known = {_flag(key): key for key in _keys(Recipe)}
    for flag, value in settings.items():
        if flag not in known:
            raise RecipeError(
                f"Unknown setting {flag!r}.{did_you_mean(flag, known)} Known: {', '.join(known)}."
            )
        if value is not None:
            set_key(values, known[flag], value)
    try:
        return Recipe.model_validate(values)
    except ValidationError as error:
        raise RecipeError(_explain(error, file)) from None


def flat(recipe: Recipe) -> dict[str, Any]:
    """Every key of the recipe, tables spelled out ("train.epochs"), with its value."""
    values = {}
    for key in _keys(Recipe):
        value: Any = recipe
        for part in key.split("."):
            value = getattr(value, part)
        values[key] = value
    return values


def _flag(key: str) -> str:
    """The flag of a recipe key: its last part, but --data and --head for what these tables are
    about."""
    return {"data.root": "data", "head.kind": "head"}.get(key, key.rpartition(".")[2])


def set_key(values: dict[str, Any], key: str, value: object) -> None:
    """Set a key that is spelled with its table ("train.lr") in the tables of a file."""
    *tables, last = key.split(".")
    for table in tables:
        values = values.setdefault(table, {})
        if not isinstance(values, dict):
            raise RecipeError(f"In the recipe, {table!r} must be a table, got {values!r}.")
    values[last] = value


def _explain(error: ValidationError, file: Path | None) -> str:
    """The first problem as one line that names the key, what arrived and what would fit."""
    first = error.errors()[0]
    key = ".".join(map(str, first["loc"]))
    where = f" in {file}" if file else ""
    if first["type"] == "extra_forbidden":
        known = _keys(Recipe)
        hint = did_you_mean(key, known)
        return f"Unknown recipe key {key!r}{where}.{hint} Known keys: {', '.join(known)}."
    message = first["msg"][0].lower() + first["msg"][1:]
    return f"Recipe key {key!r}{where}: {message}; got {first['input']!r}."


def _keys(config: type[BaseModel], prefix: str = "") -> list[str]:
    names = []
    for name, info in config.model_fields.items():
        kind: Any = info.annotation
        nested = isinstance(kind, type) and issubclass(kind, BaseModel)
        names += _keys(kind, f"{prefix}{name}.") if nested else [prefix + name]
    return names
