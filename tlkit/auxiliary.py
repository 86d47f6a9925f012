"""Auxiliary classifiers: they train along from random weights and are left out of what is saved.

Szegedy et al. 2014, section 5: small classifiers half-way send gradients into the lower layers;
"their loss gets added to the total loss of the network with a discount weight", and "at inference
time, these auxiliary networks are discarded".
"""

from __future__ import annotations

from typing import Any

import keras
from keras import layers, ops

from tlkit.backbones import apply_aux
from tlkit.classifier import Classifier


class TrainedTogether(keras.Model):
    """A classifier and its auxiliary ones: probabilities side by side in one output.

    Everything but the training loss sees the classifier's own answers only, so that an epoch's
    validation is that of the network which stays.
    """

    outputs_each: int
    discount: float

    def compute_loss(
        self,
        x: Any = None,
        y: Any = None,
        y_pred: Any = None,
        sample_weight: Any = None,
        training: bool = True,
    ) -> Any:
        """The classifier's loss, and in training the discounted ones of the auxiliary heads."""
        main, *auxiliary = self._apart(y_pred)
        loss = super().compute_loss(x, y, main, sample_weight, training)
        if training:
            for answers in auxiliary:
                loss = loss + self.discount * self.loss(y, answers, sample_weight)
        return loss

    def compute_metrics(self, x: Any, y: Any, y_pred: Any, sample_weight: Any = None) -> Any:
        """Those of the classifier's own answers."""
        return super().compute_metrics(x, y, self._apart(y_pred)[0], sample_weight)

    def _apart(self, y_pred: Any) -> list[Any]:
        return ops.split(y_pred, y_pred.shape[-1] // self.outputs_each, axis=-1)


def with_auxiliary(classifier: Classifier) -> keras.Model:
    """A model for training that shares the classifier's layers.

    Args:
        classifier: its row has auxiliary classifiers.

    Raises:
        BackboneError: the image is too small for them.
    """
    model, row = classifier.model, classifier.row
    heads = apply_aux(row, model.input, model.output, len(classifier.classes))
    answers = [
        layers.Activation("softmax", name=f"aux{i}_probabilities")(logits)
        for i, logits in enumerate(heads, start=1)
    ]
    joined = layers.Concatenate(name="all_probabilities")([model.output, *answers])
    together = TrainedTogether(model.input, joined, name=f"{model.name}_auxiliary")
    together.outputs_each, together.discount = len(classifier.classes), row.aux_weight
    return together
