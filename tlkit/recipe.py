"""The recipe: everything that decides a run, as plain checked data.

A recipe is read from TOML, flags override it, `resolve()` fills in what depends on something else (the
backbone's input size, the rates of the phases) and refuses a setting that would have no effect. The resolved
recipe in the run folder repeats the run.
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


class _Config(BaseModel):
    model_config = ConfigDict(extra="forbid", validate_assignment=True, use_attribute_docstrings=True)


class DataConfig(_Config):
    """Which images, and how they become training, validation and test batches."""

    root: Path | None = None
    """A folder of class folders, a folder of train/val/test folders, or a CSV manifest."""
    val_split: float = Field(0.2, ge=0, lt=1)
    """Share of the training images held out for validation, where the folder has no `val` of its own."""
    test_split: float = Field(0.0, ge=0, lt=1)
    """Share held out for the test, where the folder has no `test` of its own."""
    img_size: int | None = Field(None, ge=8, le=4096)
    """Side of the square the network sees, in pixels; the backbone's own when absent."""
    resize: Resize = "crop"
    augment: Augment = "none"
    on_bad_image: Literal["skip", "error"] = "skip"


class HeadConfig(_Config):
    """The new layers on top of the backbone."""

    kind: HeadKind = "linear"
    dropout: float = Field(0.2, ge=0, lt=1)
    hidden: int | None = Field(None, ge=1)
    """Units of the hidden layer; only for kind = "mlp"."""


class TrainConfig(_Config):
    """The phases: the head alone on a frozen backbone, then fine-tuning; or everything from scratch."""

    freeze_epochs: int | None = Field(None, ge=0)
    """Epochs of the head on the frozen backbone."""
    epochs: int | None = Field(None, ge=0)
    """Epochs after unfreezing (0 stops after the four steps); without weights, epochs from scratch."""
    unfreeze: str | None = None
    """What fine-tuning trains: "last", a number of stages, "all", or a stage's name."""
    batch_size: int = Field(32, ge=1)
    optimizer: Optimizer = "adam"
    schedule: Schedule = "constant"
    head_lr: float | None = Field(None, gt=0)
    lr: float | None = Field(None, gt=0)
    """Rate of fine-tuning, or of training from scratch."""
    patience: int = Field(5, ge=1)
    """Epochs without a better validation loss before a phase ends."""
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
    data: DataConfig = Field(default_factory=DataConfig)
    head: HeadConfig = Field(default_factory=HeadConfig)
    train: TrainConfig = Field(default_factory=TrainConfig)
