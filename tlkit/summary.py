"""What a network costs and where: the table of `tlkit summary`, counted as lectures count it.

Layers that work in place on the one before (activations, dropout, batch norm, padding) have no
memory of their own.
"""

from __future__ import annotations

from dataclasses import dataclass

import keras
import pandas as pd
from keras import layers
from rich.console import Console, ConsoleOptions, Group, RenderResult
from rich.table import Table

from tlkit.backbones import Backbone, apply_backbone, apply_top, get_backbone, stage_of
from tlkit.complexity import layer_table, shapes_only
from tlkit.errors import BackboneError

IN_PLACE = (
    layers.Activation,
    layers.BatchNormalization,
    layers.Dropout,
    layers.Permute,
    layers.ReLU,
    layers.Rescaling,
    layers.ZeroPadding2D,
)
COSTS = {"memory_kb": "memory", "parameters": "parameters", "operations": "operations"}
BAR = 12  # characters of a whole


@dataclass(frozen=True)
class Summary:
    """The costs of one network; printing it with rich draws the tables.

    Attributes:
        row: of the registry.
        input_size: side of the image, pixels.
        classes: outputs.
        table: one row per layer: layer, kind, output_shape ("55x55x96"), memory_kb, parameters,
            trainable, macs, operations (see `complexity.layer_table`), and part: the row's stage,
            or "top".
    """

    row: Backbone
    input_size: int
    classes: int
    table: pd.DataFrame

    def shares(self) -> pd.DataFrame:
        """By part, input to output: the share of memory, parameters and operations, 0 to 1."""
        costs = self.table.groupby("part", sort=False)[list(COSTS)].sum()
        return costs / costs.sum().clip(lower=1)

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        yield Group(self._layers(), self._bars())

    def _layers(self) -> Table:
        row, side = self.row, f"{self.input_size}x{self.input_size}x{self.row.channels}"
        table = Table(
            title=f"{row.name} ({row.paper}, {row.year}): {side}, {self.classes} classes",
            caption="Memory: float32 outputs of one image. Operations: multiply-accumulates of "
            "convolutions and dense layers; window times output of pools.",
            show_footer=True,
        )
        total = self.table[["memory_kb", "parameters", "trainable", "macs", "operations"]].sum()
        table.add_column("layer", "total", no_wrap=True)
        table.add_column("kind", f"{total.trainable:,.0f} trainable")
        table.add_column("output", no_wrap=True)
        for title, value in (
            ("memory, KB", f"{total.memory_kb:,.2f}"),
            ("parameters", f"{total.parameters:,.0f}"),
            ("operations", f"{total.operations:,.0f}\n{total.macs:,.0f} MACs"),
        ):
            table.add_column(title, value, justify="right", no_wrap=True)
        for layer in self.table.to_dict("records"):
            table.add_row(
                layer["layer"],
                layer["kind"],
                layer["output_shape"],
                f"{layer['memory_kb']:,.2f}" if layer["memory_kb"] else "",
                *(
                    f"{layer[cost]:,}" if layer[cost] else ""
                    for cost in ("parameters", "operations")
                ),
            )
        return table

    def _bars(self) -> Table:
        table = Table(title="where they sit")
        table.add_column("part", no_wrap=True)
        for title in COSTS.values():
            table.add_column(title, no_wrap=True)
        for part, shares in self.shares().iterrows():
            table.add_row(str(part), *(bar(shares[cost]) for cost in COSTS))
        return table


def show(summary: Summary) -> None:
    """Print the tables on stdout, whole also where stdout is a file and has no width."""
    console = Console()
    if not console.is_terminal:
        console.width = 120
    console.print(summary)


def bar(share: float) -> str:
    """A share of 1 as blocks and per cent."""
    return f"{'█' * round(BAR * share):{BAR}} {share:4.0%}"


def summarise(backbone: str, input_size: int | None = None, classes: int | None = None) -> Summary:
    """Count a network of the registry with its own top; it is built without its numbers.

    Args:
        backbone: a name of the registry.
        input_size: side of the image, pixels; the network's own when None.
        classes: outputs; the published number when None.

    Raises:
        BackboneError: an unknown backbone, or an image too small for it.
    """
    row = get_backbone(backbone)
    side = row.input_size if input_size is None else input_size
    outputs = row.classes if classes is None else classes
    if min(side, outputs) < 1:
        raise BackboneError(
            f"The input's side and the number of classes start at 1. Received: {side}, {outputs}."
        )
    with shapes_only():
        image = keras.Input((side, side, row.channels), name="image")
        model = keras.Model(image, apply_top(row, apply_backbone(row, image), outputs))
        table = layer_table(model)
        in_place = [isinstance(layer, IN_PLACE) for layer in model.layers]
    table.loc[in_place, "memory_kb"] = 0.0
    stages = stage_of(row, table["layer"])
    table["part"] = [stages.get(name, "top") for name in table["layer"]]
    table["output_shape"] = ["x".join(map(str, shape)) for shape in table["output_shape"]]
    table = table[table["kind"] != "InputLayer"].reset_index(drop=True)
    return Summary(row, side, outputs, table)
