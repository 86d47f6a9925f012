"""The recipe: everything that decides a run, as plain checked data.

A recipe is read from TOML, flags override it, `resolve()` fills in what depends on something else
(the backbone's input size, the rates of the phases) and refuses a setting that would have no
effect. The resolved recipe in the run folder repeats the run.
"""

from __future__ import annotations

import tomllib
from pathlib import Path
from typing import Annotated, Any, Literal

import tomli_w
from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    ValidationError,
)

from tlkit import augmentations
from tlkit.errors import RecipeError, did_you_mean

Resize = Literal["crop", "pad", "stretch"]
Augment = Annotated[str, AfterValidator(augmentations.checked)]
Normalise = Literal["backbone", "per-image"]
HeadKind = Literal["linear", "mlp", "classifier"]
Optimizer = Literal["sgd", "adam", "adamw", "rmsprop", "lion"]
Schedule = Literal[
    "constant", "step", "exponential", "polynomial", "cosine", "one-cycle", "plateau"
]
Solver = Literal["auto", "sgd", "lbfgs"]
Tracker = Literal["csv", "tensorboard", "mlflow"]


def _listed(value: object) -> object:
    """The text of a flag as numbers: "2,5,8" is a list of three, "8" is one."""
    if not isinstance(value, str):
        return value
    parts = value.split(",")
    return parts if len(parts) > 1 else value


Epoch = Annotated[int, Field(ge=1)]
Factor = Annotated[float, Field(gt=0, lt=1)]
Epochs = Annotated[Epoch | list[Epoch], BeforeValidator(_listed)]
Factors = Annotated[Factor | list[Factor], BeforeValidator(_listed)]


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
    """none, light, standard, strong, or steps with their numbers: "rotate 20, shift 0.2, flip";
    rotate, shift, flip, flip-vertical, random-crop, pad-crop, colour-pca, randaugment."""
    normalise: Normalise = "backbone"
    """"backbone": as its row says; "per-image": each image to mean 0 and variance 1."""
    on_bad_image: Literal["skip", "error"] = "skip"
    multi_label: bool = False
    """Whether an image may show several classes, or none: the labels of a manifest are `a;b`."""
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
    gradual: bool = False
    """Unfreeze one stage after the other from the output, `epochs` with each."""
    layer_decay: float | None = Field(None, gt=0, lt=1)
    """The rate of a stage is this times the one after it; the head has the whole rate."""
    auxiliary: bool | None = None
    """Whether auxiliary classifiers train along; by default from scratch, where the network has
    any."""
    batch_size: int = Field(32, ge=1)
    solver: Solver = "auto"
    """How the head on frozen features is found: "lbfgs" solves for the best linear one, "sgd"
    trains any; "auto" solves, unless it is not linear, a setting of its training is given, or
    images, features and classes are so many that it would take minutes."""
    optimizer: Optimizer = "adam"
    momentum: float | None = Field(None, ge=0, lt=1)
    """Of SGD (0.9 when absent) or RMSprop (0)."""
    nesterov: bool | None = None
    """Of SGD; true when absent, unless momentum is 0."""
    weight_decay: float | None = Field(None, gt=0)
    """Share of each kernel, times the rate, that a step takes off it beside the gradient;
    AdamW's is 0.004 when absent."""
    l2: float | None = Field(None, gt=0)
    """Adds l2 * sum(kernel ** 2) to the loss, as Keras writes it: twice that in the gradient."""
    clip_norm: float | None = Field(None, gt=0)
    """Longest gradient, over all weights."""
    accumulate: int | None = Field(None, ge=2)
    """Batches whose gradients are averaged into one step."""
    ema: float | None = Field(None, gt=0, lt=1)
    """Momentum of a moving average of the weights, which is what is evaluated and saved."""
    schedule: Schedule = "constant"
    """How the rate moves over a phase; a head that is solved has none."""
    warmup: int | None = Field(None, ge=1)
    """Epochs in which the rate rises from 0 before the schedule begins."""
    decay_epochs: Epochs | None = None
    """step: every so many epochs, or after these; exponential: epochs to one decay_rate; plateau:
    epochs without a better validation loss."""
    decay_rate: Factors | None = None
    """What the rate is multiplied by then (one for each of decay_epochs, if it is a list)."""
    end_lr: float | None = Field(None, ge=0)
    """Last rate of the polynomial schedule."""
    power: float | None = Field(None, gt=0)
    """Of the polynomial schedule; 1 is a straight line."""
    label_smoothing: float | None = Field(None, gt=0, lt=1)
    """Share of each label that is spread over all classes."""
    focal_gamma: float | None = Field(None, gt=0)
    """Focal loss: how much less an image counts that is right already."""
    mixup: float | None = Field(None, gt=0, le=1)
    """MixUp with Beta(mixup, mixup): pairs of images are blended, and their labels alike."""
    cutmix: float | None = Field(None, gt=0, le=1)
    """CutMix with Beta(cutmix, cutmix): patches are exchanged; with mixup, batches take either."""
    head_lr: float | None = Field(None, gt=0)
    lr: float | None = Field(None, gt=0)
    """Rate of fine-tuning, or of training from scratch."""
    patience: int = Field(5, ge=1)
    """Epochs without a better validation loss before a phase ends."""
    precision: Literal["auto", "float32", "bfloat16", "float16"] = "auto"
    """Of the arithmetic in batches; weights and the finished model are float32. "auto" is float16
    on a GPU and float32 on a CPU."""
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
    drop_path: float | None = Field(None, gt=0, lt=1)
    """Stochastic depth: the chance that the last block is skipped in training; the first hardly
    is."""
    seed: int = Field(0, ge=0)
    backend: Literal["tensorflow", "jax"] | None = None
    """What Keras computes with; as KERAS_BACKEND or keras.json say when absent, else TensorFlow."""
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

    def resolve(self, input_size: int, own_top: bool = False, auxiliary: bool = False) -> Recipe:
        """A copy with every default filled in that depends on another setting.

        Args:
            input_size: the backbone's own image size, pixels.
            own_top: whether the backbone has fully connected layers of its own.
            auxiliary: whether it has auxiliary classifiers.

        Raises:
            RecipeError: a setting was given that would have no effect.
        """
        from tlkit.resolution import resolve

        return resolve(self, input_size, own_top, auxiliary)


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
    if file.is_dir() or file.suffix.lower() == ".csv":
        raise RecipeError(f"{file} is no recipe (a .toml file); give images with --data {file}.")
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
    # Where a value may be one of two kinds, pydantic adds the kind to the place.
    spelled = (".".join(map(str, first["loc"][:end])) for end in range(1, len(first["loc"]) + 1))
    key = next((key for key in spelled if key in _keys(Recipe)), ".".join(map(str, first["loc"])))
    where = f" in {file}" if file else ""
    if first["type"] == "extra_forbidden":
        known = _keys(Recipe)
        hint = did_you_mean(key, known)
        return f"Unknown recipe key {key!r}{where}.{hint} Known keys: {', '.join(known)}."
    message = first["msg"].removeprefix("Value error, ")
    message = message[0].lower() + message[1:]
    return f"Recipe key {key!r}{where}: {message}; got {first['input']!r}."


def _keys(config: type[BaseModel], prefix: str = "") -> list[str]:
    names = []
    for name, info in config.model_fields.items():
        kind: Any = info.annotation
        nested = isinstance(kind, type) and issubclass(kind, BaseModel)
        names += _keys(kind, f"{prefix}{name}.") if nested else [prefix + name]
    return names
