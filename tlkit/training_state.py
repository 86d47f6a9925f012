"""The state of training between two epochs, as plain arrays: taken from Keras, and put back.

It holds what may have changed since the run began: the variables of every layer that trains and
the random states of all layers (dropout draws from them), the optimizer's variables (step, rate,
moments), the counters of the callbacks and the best epoch's weights, the number of the next epoch,
which decides its order and views, the history, and the random states of Python and NumPy. Frozen
weights are not in it: they come from where the run got them.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from typing import Any

import keras
import numpy as np

from tlkit.checkpoint import Arrays, Checkpoint
from tlkit.classifier import Classifier
from tlkit.data.loader import Datasets
from tlkit.errors import RunError
from tlkit.features import Cut
from tlkit.memory import set_batch_size

State = tuple[Arrays, dict[str, Any]]


class SaveEpochs(keras.callbacks.Callback):
    """Hands the state after each epoch to the checkpoint; begins with a saved one, if given.

    It must be the last of the callbacks, so that it sees what they have done.

    Args:
        checkpoint: of the run.
        phase: name of the phase.
        done: names of the finished phases.
        classifier: whose layers train.
        datasets: the images; their order goes on from phase to phase.
        rows: the history, in place.
        saved: where this phase was left.

    Attributes:
        initial_epoch: where `fit` has to begin.
    """

    def __init__(
        self,
        checkpoint: Checkpoint,
        phase: str,
        done: list[str],
        classifier: Classifier,
        datasets: Datasets,
        rows: list[dict[str, Any]],
        saved: State | None = None,
    ):
        super().__init__()
        self.checkpoint, self.phase, self.done = checkpoint, phase, done
        self.classifier, self.datasets, self.rows = classifier, datasets, rows
        self.saved = saved
        self.initial_epoch: int = saved[1]["epoch"] if saved else 0

    def follow(self, cut: Cut, callbacks: Sequence[keras.callbacks.Callback]) -> None:
        """Say what is known only once the phase is set up.

        Args:
            cut: model and batches of this phase.
            callbacks: those whose counters matter.
        """
        self.cut, self.callbacks = cut, tuple(callbacks)

    def on_train_begin(self, logs: Any = None) -> None:
        """Put the saved state in place of what the other callbacks and Keras have just set up."""
        if self.saved is None:
            return
        arrays, facts = self.saved
        put_back(self.saved, self.classifier, self.datasets)
        self.cut.train.epoch = facts["next_order"]
        optimizer = self.model.optimizer
        if not optimizer.built:
            optimizer.build(self.model.trainable_variables)
        _assign(optimizer.variables, arrays, "optimizer")
        for callback, state in zip(self.callbacks, facts["callbacks"], strict=True):
            vars(callback).update(state)
            if state.get("has_best_weights"):
                named = changing(self.classifier.trained).items()
                changed = {id(variable): f"best/{name}" for name, variable in named}
                callback.best_weights = [
                    arrays.get(changed.get(id(variable), ""), np.asarray(variable))
                    for variable in self.model.weights
                ]
        self.saved = None

    def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
        """Keep the state, unless this was the phase's last epoch."""
        if not self.model.stop_training:
            self.checkpoint.keep_training(*self._state(epoch + 1))

    def _state(self, epoch: int) -> State:
        arrays, facts = take(self.classifier, self.datasets, self.rows)
        arrays |= {
            f"optimizer/{number}": _copy(variable)
            for number, variable in enumerate(self.model.optimizer.variables)
        }
        named = changing(self.classifier.trained).items()
        changed = {id(variable): name for name, variable in named}
        counters = []
        for callback in self.callbacks:
            own = {
                name: value
                for name, value in vars(callback).items()
                if type(value) in (int, float, bool) and not name.startswith("_")
            }
            if getattr(callback, "best_weights", None) is not None:
                own["has_best_weights"] = True
                for variable, value in zip(self.model.weights, callback.best_weights, strict=True):
                    if id(variable) in changed:
                        arrays[f"best/{changed[id(variable)]}"] = value
            counters.append(own)
        facts |= {
            "phase": self.phase,
            "done": list(self.done),
            "epoch": epoch,
            "next_order": self.cut.train.epoch,
            "callbacks": counters,
        }
        return arrays, facts


def take(classifier: Classifier, datasets: Datasets, rows: list[dict[str, Any]]) -> State:
    """What stays from one phase to the next."""
    named = changing(classifier.trained).items()
    arrays = {f"model/{name}": _copy(variable) for name, variable in named}
    version, numbers, gauss = random.getstate()
    kind, keys, *rest = np.random.get_state(legacy=True)
    arrays |= {"random/python": np.array(numbers, np.uint32), "random/numpy": np.asarray(keys)}
    facts = {
        "next_image_order": datasets.train.epoch,
        "batch_size": datasets.train.batch_size,
        "history": list(rows),
        "random": {"python": [version, gauss], "numpy": [kind, *rest]},
    }
    return arrays, facts


def put_back(state: State, classifier: Classifier, datasets: Datasets) -> None:
    """Undo what happened since `take`; the history is the caller's.

    Raises:
        RunError: the state is that of another network.
    """
    arrays, facts = state
    variables = changing(classifier.trained)
    saved = {name.removeprefix("model/") for name in arrays if name.startswith("model/")}
    if unknown := saved - set(variables):
        raise RunError(
            f"The checkpoint holds {min(unknown)}, which this network does not train; start "
            "again without --resume."
        )
    for name, variable in variables.items():  # a phase may train more than the one before it
        if name in saved:
            _set(variable, arrays[f"model/{name}"])
    datasets.train.epoch = facts["next_image_order"]
    set_batch_size(datasets, facts["batch_size"])
    version, gauss = facts["random"]["python"]
    random.setstate((version, tuple(arrays["random/python"].tolist()), gauss))
    kind, *rest = facts["random"]["numpy"]
    np.random.set_state((kind, arrays["random/numpy"], *rest))


def changing(model: keras.Model) -> dict[str, keras.Variable]:
    """The variables that training changes: whole layers that train, and every random state.

    Their names are the layer's and a number: Keras numbers random states by how many there have
    been in this process, which another one knows nothing of.
    """
    found = {}
    for layer in model.layers:
        fixed = () if layer.trainable_weights else {id(weight) for weight in layer.weights}
        for number, variable in enumerate(layer.variables):
            if id(variable) not in fixed:
                found[f"{layer.name}/{number}"] = variable
    return found


def _assign(variables: Sequence[keras.Variable], arrays: Arrays, prefix: str) -> None:
    saved = sum(name.startswith(f"{prefix}/") for name in arrays)
    if saved != len(variables):
        raise RunError(
            f"The checkpoint holds {saved} {prefix} variables, not {len(variables)}; start again "
            "without --resume."
        )
    for number, variable in enumerate(variables):
        _set(variable, arrays[f"{prefix}/{number}"])


def _set(variable: keras.Variable, value: Any) -> None:
    if tuple(variable.shape) != value.shape:
        raise RunError(
            f"The checkpoint's {variable.path} has the shape {value.shape}, not "
            f"{tuple(variable.shape)}; start again without --resume."
        )
    variable.assign(value)


def _copy(variable: keras.Variable) -> Any:
    return np.array(keras.ops.convert_to_numpy(variable.value))
