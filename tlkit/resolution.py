"""From what a recipe says to what a run does: defaults that hang on other settings, and refusals.

A setting that would have no effect is refused rather than ignored: whoever wrote it expected one.
"""

from __future__ import annotations

from pathlib import Path

from pydantic import BaseModel

from tlkit.errors import RecipeError
from tlkit.recipe import HeadConfig, Recipe, TrainConfig

# Starting rates by optimizer: (head on frozen features, fine-tuning, from scratch).
RATES: dict[str, tuple[float, float, float]] = {
    "adam": (1e-3, 1e-4, 1e-3),
    "adamw": (1e-3, 1e-4, 1e-3),
    "rmsprop": (1e-3, 1e-4, 1e-3),
    "sgd": (1e-2, 1e-3, 1e-2),
    "lion": (1e-4, 1e-5, 1e-4),  # a third to a tenth of Adam's (Chen et al. 2023, section 5)
}
HEAD_EPOCHS = 20
"""Epochs of the head phase where the recipe leaves them open."""
DEFAULT_VIEWS = 4

GRADIENT_DESCENT = (
    *("momentum", "nesterov", "weight_decay", "l2", "clip_norm", "accumulate", "ema"),
    *("warmup", "decay_epochs", "decay_rate", "end_lr", "power"),
    *("label_smoothing", "focal_gamma", "mixup", "cutmix"),
)
"""Settings of training in batches: a head that is solved has none of it."""
DECAYS: dict[str, tuple[str, ...]] = {
    "step": ("decay_epochs", "decay_rate", "warmup"),
    "exponential": ("decay_epochs", "decay_rate", "warmup"),
    "plateau": ("decay_epochs", "decay_rate"),
    "polynomial": ("end_lr", "power", "warmup"),
    "cosine": ("warmup",),
    "constant": ("warmup",),
    "one-cycle": (),
}
"""Which settings a schedule has."""


def resolve(recipe: Recipe, input_size: int, own_top: bool, auxiliary: bool) -> Recipe:
    """A copy of the recipe with nothing left open; see `Recipe.resolve`."""
    recipe = recipe.model_copy(deep=True)
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
    if recipe.data.multi_label:
        _resolve_multi_label(recipe)
    _resolve_solver(recipe)
    _resolve_phases(recipe.train, recipe.pretrained)
    _resolve_optimizer(recipe.train)
    _resolve_schedule(recipe.train)
    _resolve_views(recipe)
    _resolve_network(recipe, auxiliary)
    return recipe


def _resolve_multi_label(recipe: Recipe) -> None:
    """Refuse what counts on one class for each image."""
    why = "with data.multi_label, where an image has no single class"
    _refuse_given(recipe.data, ("fixes",), why)
    _refuse_given(recipe.train, ("class_weights",), why, allow=("none",))
    _refuse_given(recipe.train, ("auxiliary",), why, allow=(False,))


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
        if not train.epochs:
            why = "with train.solver = 'lbfgs' and no fine-tuning (--epochs N)"
            _refuse_given(train, GRADIENT_DESCENT, why)
            filled = ("adam", "constant", "auto")
            _refuse_given(train, ("optimizer", "schedule", "precision"), why, allow=filled)
        return
    own = train.freeze_epochs is not None or train.head_lr is not None
    # What fine-tuning shares with the head, but for what is filled in by itself.
    shared = (train.optimizer, train.schedule) != ("adam", "constant") or any(
        getattr(train, key) is not None for key in GRADIENT_DESCENT
    )
    if own or (shared and not train.epochs) or recipe.head.dropout != HeadConfig().dropout:
        train.solver = "sgd"
    if train.solver == "auto" and not train.epochs:
        why = "on a head that is solved (--epochs N fine-tunes, --solver sgd trains the head)"
        _refuse_given(train, ("precision",), why, allow=("auto",))


def _resolve_phases(train: TrainConfig, pretrained: bool) -> None:
    head_lr, fine_lr, scratch_lr = RATES[train.optimizer]
    if not pretrained:
        _refuse_given(
            train,
            ("freeze_epochs", "head_lr", "unfreeze", "gradual", "layer_decay"),
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
            train.unfreeze = train.unfreeze or ("all" if train.gradual else "last")
            train.lr = train.lr or fine_lr
            if train.unfreeze in ("last", "1"):
                why = f"with train.unfreeze = {train.unfreeze!r}, which is one stage"
                _refuse_given(train, ("gradual",), why, allow=(False,))
        else:
            _refuse_given(
                train,
                ("unfreeze", "lr", "gradual", "layer_decay"),
                "while train.epochs is 0 (add --epochs N to fine-tune)",
                allow=(False,),
            )
    if train.freeze_epochs == 0 and not train.epochs:
        raise RecipeError("Nothing to train: train.freeze_epochs and train.epochs are both 0.")


def _resolve_optimizer(train: TrainConfig) -> None:
    why = f"with train.optimizer = {train.optimizer!r}"
    if train.optimizer not in ("sgd", "rmsprop"):
        _refuse_given(train, ("momentum",), why)
    if train.optimizer == "adamw":
        train.weight_decay = train.weight_decay or 0.004  # Keras' own, written down
    if train.optimizer != "sgd":
        _refuse_given(train, ("nesterov",), why)
        return
    train.momentum = 0.9 if train.momentum is None else train.momentum
    train.nesterov = train.momentum > 0 if train.nesterov is None else train.nesterov
    if not train.momentum:
        _refuse_given(train, ("nesterov",), "with train.momentum = 0", allow=(False,))


def _resolve_schedule(train: TrainConfig) -> None:
    settings = {key for keys in DECAYS.values() for key in keys}
    others = settings.difference(DECAYS[train.schedule])
    _refuse_given(train, tuple(sorted(others)), f"with train.schedule = {train.schedule!r}")
    if train.schedule == "polynomial":
        train.power = train.power or 1.0
        train.end_lr = train.end_lr or 0.0
    elif train.schedule == "plateau":
        train.decay_rate = train.decay_rate or 0.3
        train.decay_epochs = train.decay_epochs or max(1, train.patience // 2)
    elif train.schedule == "exponential":
        train.decay_rate = train.decay_rate or 0.95
        train.decay_epochs = train.decay_epochs or 1
    elif train.schedule == "step":
        train.decay_rate = train.decay_rate or 0.1
        if train.decay_epochs is None:
            raise RecipeError(
                "train.schedule = 'step' needs train.decay_epochs: lower the rate every so many "
                "epochs (10), or after these ([10, 15])."
            )
    drops, factors = train.decay_epochs, train.decay_rate
    if train.schedule != "step" and (isinstance(drops, list) or isinstance(factors, list)):
        raise RecipeError(
            "Lists of train.decay_epochs and train.decay_rate are for train.schedule = 'step'; "
            f"{train.schedule!r} takes one number."
        )
    if isinstance(drops, list) and drops != sorted(set(drops)):
        raise RecipeError(f"train.decay_epochs must rise from one to the next, got {drops}.")
    if isinstance(factors, list) and (not isinstance(drops, list) or len(factors) != len(drops)):
        raise RecipeError(
            "A list of train.decay_rate needs a list of train.decay_epochs of the same length, got "
            f"{factors} and {drops}."
        )
    if train.warmup and train.epochs and train.warmup >= train.epochs:
        raise RecipeError(
            f"train.warmup = {train.warmup} leaves nothing of train.epochs = {train.epochs}."
        )


def _resolve_views(recipe: Recipe) -> None:
    train = recipe.train
    if recipe.data.augment == "none":
        _refuse_given(train, ("views",), "with data.augment = 'none'")
    elif not recipe.pretrained:
        _refuse_given(train, ("views",), "with weights = 'none': each epoch has its own views")
    else:
        head = HEAD_EPOCHS if train.freeze_epochs is None else train.freeze_epochs
        train.views = min(train.views or DEFAULT_VIEWS, max(head, train.epochs or 0))


def _resolve_network(recipe: Recipe, auxiliary: bool) -> None:
    """What changes the network itself, and fits random weights only or a backbone that trains."""
    if recipe.pretrained:
        why = "with trained weights, which expect the pixels as they were trained"
        _refuse_given(recipe.data, ("normalise",), why, allow=("backbone",))
        why = "with trained weights; they are for training from scratch (weights = 'none')"
        _refuse_given(recipe.train, ("auxiliary",), why, allow=(False,))
        if not recipe.train.epochs:
            _refuse_given(recipe, ("drop_path",), "while the whole backbone is frozen")
    elif not auxiliary:
        why = f"with {recipe.backbone}, which has no auxiliary classifiers"
        _refuse_given(recipe.train, ("auxiliary",), why, allow=(False,))
    recipe.train.auxiliary = (
        auxiliary and not recipe.pretrained and recipe.train.auxiliary is not False
    )


def _refuse_given(
    config: BaseModel, keys: tuple[str, ...], why: str, allow: tuple[object, ...] = ()
) -> None:
    for key in keys:
        value = getattr(config, key)
        if value is not None and value not in allow:
            raise RecipeError(f"{key} = {value!r} has no effect {why}; leave it out.")
