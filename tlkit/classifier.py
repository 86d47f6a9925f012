"""The classifier: preprocessing -> backbone -> head, one flat keras.Model that takes raw 0-255 RGB.

The model is flat (no model inside a model), so that it can be cut at any layer: to keep the output
of its frozen part, and to explain what a stage saw.
"""

from __future__ import annotations

import inspect
import json
import zipfile
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import keras
import numpy as np
from numpy.typing import NDArray

from tlkit import freezing
from tlkit.backbones import Backbone, apply_backbone, apply_top, get_backbone, load
from tlkit.backbones._keras_file import check_readable
from tlkit.backbones._preprocess import preprocess
from tlkit.backbones._weights import WeightsFile, find_weights, load_weights
from tlkit.complexity import numbers
from tlkit.data.transforms import Evaluation
from tlkit.errors import BackboneError, RunError
from tlkit.head import add_head, probabilities
from tlkit.model_file import FACTS, read_facts
from tlkit.recipe import HeadConfig, Normalise, Resize


@dataclass(frozen=True)
class Step:
    """One step of the four-step recipe, as the terminal and the report show it. Counts are
    parameters: of the layers that step 1 takes, and of the whole network from step 3 on."""

    step: int
    title: str
    detail: str
    parameters: int
    frozen: int
    trainable: int

    def __str__(self) -> str:
        """One line for the terminal."""
        counts = f"{self.frozen:,} parameters frozen, {self.trainable:,} trainable"
        return f"{self.step}  {self.title}: {self.detail} ({counts})"


@dataclass
class Classifier:
    """A model with what is needed to use it: its classes and how a picture becomes its input.

    Attributes:
        model: float32 (batch, size, size, 3) 0-255 RGB -> float32 (batch, classes) probabilities.
        row: the backbone's row.
        classes: names, in the order of the model's outputs.
        size: side of the input, pixels.
        resize: crop, pad or stretch.
        weights: where the backbone's weights came from; None when it starts from random ones.
        steps: what was done so far, for the report.
        temperature: what the logits are divided by before the softmax; 1 before calibration.
        multi_label: whether an image may show several classes: a sigmoid each, and no softmax.
        auxiliary: the same layers with auxiliary classifiers, while those train along.
    """

    model: keras.Model
    row: Backbone
    classes: tuple[str, ...]
    size: int
    resize: Resize = "crop"
    weights: WeightsFile | None = None
    steps: tuple[Step, ...] = ()
    temperature: float = 1.0
    multi_label: bool = False
    auxiliary: keras.Model | None = None

    @property
    def view(self) -> Evaluation:
        """How a picture becomes the model's input."""
        return Evaluation(self.size, self.resize, self.row.preprocess.crop)

    @property
    def trained(self) -> keras.Model:
        """What training changes: the model, or all that trains along with it."""
        return self.auxiliary or self.model

    def prefix(self, boundary: str) -> keras.Model:
        """From the image to the output of the layer `boundary`."""
        return keras.Model(self.model.input, self.model.get_layer(boundary).output, name="prefix")

    def tail(self, boundary: str) -> keras.Model:
        """From the output of the layer `boundary` to the probabilities; shares the classifier's
        layers."""
        return keras.Model(self.model.get_layer(boundary).output, self.model.output, name="tail")

    def answer(self, pictures: NDArray[np.uint8]) -> NDArray[np.float32]:
        """Probabilities of pictures as the network takes them, by Keras.

        Args:
            pictures: uint8, (pictures, size, size, 3), RGB.

        Returns:
            float32, (pictures, classes).
        """
        return np.asarray(self.model.predict_on_batch(pictures.astype(np.float32)))

    def with_temperature(self, temperature: float) -> Classifier:
        """The same network with its logits divided by `temperature` before the softmax.

        A layer of its own (`head_temperature`) does it, whatever the network ends with: the model
        is calibrated wherever it goes, and its weights stay as they were trained.
        """
        if temperature == 1:
            return self
        logits = self.model.get_layer("head_probabilities").input
        scaled = keras.layers.Rescaling(1 / temperature, name="head_temperature")
        output = probabilities(scaled(logits), self.multi_label)
        model = keras.Model(self.model.input, output, name=self.model.name)
        return replace(self, model=model, temperature=temperature)

    @property
    def about(self) -> dict[str, Any]:
        """What a user of the model must know beside its weights: tlkit.json."""
        return {
            "backbone": self.row.name,
            "classes": list(self.classes),
            "img_size": self.size,
            "resize": self.resize,
            "crop": self.row.preprocess.crop,
            "temperature": self.temperature,
            "multi_label": self.multi_label,
            "input": "float32 (batch, img_size, img_size, 3), RGB 0-255",
            "output": "float32 (batch, classes), probabilities in the order of `classes`",
        }

    def save(self, path: Path) -> None:
        """Write a .keras file that loads with nothing but Keras; the class names travel as
        tlkit.json in it."""
        # A fresh Model over the same layers was never compiled: the file has no optimizer state.
        keras.Model(self.model.input, self.model.output, name=self.model.name).save(path)
        with zipfile.ZipFile(path, "a") as archive:
            archive.writestr(FACTS, json.dumps(self.about, ensure_ascii=False, indent=2))


def build_classifier(
    backbone: str,
    classes: Sequence[str],
    head: HeadConfig | None = None,
    *,
    weights: str | Path = "imagenet",
    img_size: int | None = None,
    resize: Resize = "crop",
    normalise: Normalise = "backbone",
    drop_path: float | None = None,
    multi_label: bool = False,
) -> Classifier:
    """The first three of the four steps: take a trained model's layers, freeze them, add new ones.

    Args:
        backbone: a name of the registry.
        classes: class names, in the order of the outputs.
        head: linear by default.
        weights: "imagenet", "none" (nothing is frozen then), or a file.
        img_size: side of the input, pixels; the backbone's own when None.
        resize: how pictures will be cut to size; kept with the model.
        normalise: the backbone's way, or each image for itself.
        drop_path: rate of stochastic depth, for a backbone that has it.
        multi_label: whether an image may show several classes: each has a probability of its own.

    Raises:
        BackboneError: an unknown backbone, an image too small for it, or no stochastic depth in it.
        WeightsError: the weights cannot be had, or do not fit.
    """
    row = get_backbone(backbone)
    if normalise == "per-image":
        row = replace(row, preprocess=replace(row.preprocess, per_image=True))
    if drop_path is not None:
        row = _with_drop_path(row, drop_path)
    head = head or HeadConfig()
    size = img_size or row.input_size
    pretrained = str(weights) != "none"
    # Before any network is built: weights that cannot be had are an error within a second.
    file = find_weights(row, weights) if pretrained else None
    model = _connect(row, classes, head, size, pretrained, multi_label)
    source = "random weights"
    if file is not None:
        load_weights(
            model,
            row,
            file.path,
            skip=frozenset(layer.name for layer in model.layers if layer.name.startswith("head_")),
        )
        source = file.source
    return Classifier(
        model,
        row,
        tuple(classes),
        size,
        resize,
        file,
        _first_steps(model, row, head, source, pretrained),
        multi_label=multi_label,
    )


def _first_steps(
    model: keras.Model, row: Backbone, head: HeadConfig, source: str, pretrained: bool
) -> tuple[Step, ...]:
    """Steps 1 to 4; freezes what step 2 freezes."""
    new = [layer for layer in model.layers if layer.name.startswith("head_")]
    body = model.count_params() - sum(layer.count_params() for layer in new)
    layers = sum(not layer.name.startswith(("head_", "preprocess_")) for layer in model.layers)
    stages = len(freezing.stages_of(model, row))
    first = Step(
        1, "take the layers of a trained model", f"{row.name}, {source}: {layers} layers",
        body, 0, body,
    )  # fmt: skip
    if pretrained:
        freezing.freeze(model, row)
        second = Step(2, "freeze them", f"all {stages} stages keep what they know", body, body, 0)
    else:
        second = Step(2, "freeze nothing", "random weights: every layer will train", body, 0, body)
    frozen = numbers(model.non_trainable_weights)
    trainable = numbers(model.trainable_weights)
    whole = (frozen + trainable, frozen, trainable)
    names = ", ".join(layer.name.removeprefix("head_") for layer in new)
    third = Step(3, "add new layers", f"{head.kind or 'linear'} head: {names}", *whole)
    fourth = Step(4, "train", "the new layers only" if pretrained else "every layer", *whole)
    return first, second, third, fourth


def load_classifier(path: Path) -> Classifier:
    """Read back what `Classifier.save` wrote.

    Raises:
        RunError: not a tlkit model file, or one that asks for more than a network.
    """
    facts = read_facts(path)
    try:
        check_readable(path)
        model = keras.saving.load_model(path, compile=False)
        if (facts["img_size"], len(facts["classes"])) != (
            model.input_shape[1],
            model.output_shape[-1],
        ):
            raise ValueError("its network has other classes or another size than it says")
    except Exception as error:  # Keras raises whatever a description or its numbers lead to
        reason = (str(error) or type(error).__name__).splitlines()[0][:200]
        raise RunError(
            f"{path} is not a model that tlkit saved: {reason}. `tlkit finetune` makes one."
        ) from error
    return Classifier(
        model,
        get_backbone(facts["backbone"]),
        tuple(facts["classes"]),
        facts["img_size"],
        facts["resize"],
        temperature=facts.get("temperature", 1.0),
        multi_label=facts.get("multi_label", False),
    )


def _connect(
    row: Backbone,
    classes: Sequence[str],
    head: HeadConfig,
    size: int,
    pretrained: bool,
    multi_label: bool,
) -> keras.Model:
    image = keras.Input((size, size, 3), name="image")
    x = apply_backbone(row, preprocess(image, row))
    if head.kind == "classifier":
        if not row.own_top:
            raise BackboneError(
                "--head classifier keeps a backbone's own fully connected layers, and "
                f"{row.name} has none here; use --head linear or mlp, or a VGG or AlexNet."
            )
        # From random weights there is nothing to keep: the network ends as its paper ends it.
        x = apply_top(row, x, classes=None if pretrained else len(classes))
    new = pretrained or head.kind != "classifier"
    output = add_head(x, len(classes), head, new, multi_label)
    return keras.Model(image, output, name=row.name.replace(".", "_"))


def _with_drop_path(row: Backbone, rate: float) -> Backbone:
    if "drop_path_rate" not in inspect.signature(load(row.builder)).parameters:
        raise BackboneError(
            f"drop_path = {rate:g} has no effect with {row.name}, which has no residual blocks to "
            "skip; leave it out."
        )
    return replace(row, arguments={**row.arguments, "drop_path_rate": rate})
