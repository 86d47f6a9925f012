"""The report: one HTML file that opens offline, made from the files of a run folder."""

from __future__ import annotations

import base64
import hashlib
import re
from collections.abc import Callable
from dataclasses import dataclass
from importlib import metadata, resources
from pathlib import Path
from typing import Any

import pandas as pd
from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from tlkit.atomic import write_atomically
from tlkit.errors import DataError, RunError
from tlkit.report import confidence, experiments, insight, sections, words
from tlkit.report.pictures import inline_thumbnails, relative_address
from tlkit.report.sections import Material
from tlkit.runs import Run

# Longest side of a picture, pixels: twice what a grid shows, for sharp screens.
LARGE, SMALL = 256, 128
# A gallery of up to this many pictures has them large, a bigger one small.
LARGE_GALLERY = 300
# Characters of base64 that the gallery may embed: with the rest, the file stays under 15 MB.
GALLERY_BUDGET = 11_000_000


@dataclass(frozen=True)
class Section:
    """A part of the page: its template is `<id>.html`, its values what `values` returns; a `title`
    among them takes the place of this one."""

    id: str
    title: str
    values: Callable[[Material], dict[str, Any] | None]


SECTIONS = (
    Section("summary", "Summary", sections.summary),
    Section("folds", "Fold by fold", experiments.folds),
    Section("ensemble", "The runs behind it", experiments.ensemble),
    Section("steps", "How it was made", sections.steps),
    Section("curves", "Learning curves", sections.curves),
    Section("confusion", "What it confuses", sections.confusion),
    Section("pictures", "Pictures worth a look", sections.pictures),
    Section("explained", "What the network saw", sections.explained),
    Section("gallery", "Gallery", sections.gallery),
    Section("per_class", "Class by class", sections.per_class),
    Section("thresholds", "Each class against the rest", confidence.thresholds),
    Section("calibration", "Can its confidence be trusted?", confidence.calibration),
    Section("coverage", "When it should say “don’t know”", confidence.coverage),
    Section("audit", "Doubtful labels", insight.audit),
    Section("data_curve", "Would more pictures help?", insight.data_curve),
    Section("baselines", "Beside trivial rules", insight.baselines),
    Section("data", "Data", sections.data),
    Section("passport", "Run passport", sections.passport),
)


def write_report(
    run: Run,
    predictions: pd.DataFrame,
    metrics: dict[str, Any],
    history: pd.DataFrame,
    root: Path | None = None,
) -> Path:
    """Write report.html into the run folder.

    Args:
        run: the run; its recipe.toml and skipped.csv are read where they exist.
        predictions: as in predictions.csv.
        metrics: as in metrics.json.
        history: as in history.csv.
        root: where the images are now; metrics["data"]["root"] when None.

    Returns:
        The report's path.
    """
    known = metrics.get("data", {}).get("root")
    material = Material(
        name=_name(run.folder.resolve()),
        recipe=run.recipe_file.read_text("utf-8") if run.recipe_file.is_file() else "",
        metrics=metrics,
        predictions=predictions,
        history=history,
        skipped=_skipped(run),
        root=root or (Path(known) if known else None),
        explanations=run.explanations,
    )
    run.write_text(run.report, _page(material, run.folder))
    return run.report


def render_run(run: Run) -> Path:
    """Write the report again from the run folder's files and the images; no network is loaded.

    Raises:
        RunError: the run did not finish.
    """
    return write_report(run, run.predictions, run.metrics, run.history_if_any())


def _page(material: Material, folder: Path) -> str:
    values = {section.id: section.values(material) for section in SECTIONS}
    large, small = _embed(material, values, folder)
    script = asset("report.js")
    return render(
        "report.html",
        name=material.name,
        classes=material.classes,
        sections=[
            {"id": section.id, "title": own.get("title", section.title)}
            for section in SECTIONS
            if (own := values[section.id]) is not None
        ],
        values=values,
        thumbnails=large,
        embedded=small,
        script=Markup(script),
        script_hash=script_hash(script),
    )


def _embed(
    material: Material, values: dict[str, Any], folder: Path
) -> tuple[dict[str, str | None], dict[str, Any]]:
    """Read the pictures: the grids' ones always, the gallery's while the budget lasts.

    Each image of the gallery gets one more value: its JPEG as base64 text, "" where the file is
    gone, 1 where a grid of the page holds it already, null where only a link is left.
    """
    grids = values["pictures"]["grids"].values()
    chosen = [image["path"] for grid in grids for image in grid]
    chosen += [row["path"] for row in (values["audit"] or {"rows": []})["rows"]]
    large = inline_thumbnails(material.root, chosen, LARGE, GALLERY_BUDGET)
    images = values["gallery"]["images"]
    side = LARGE if len(images) <= LARGE_GALLERY else SMALL
    rest = [image[0] for image in images if image[0] not in large]
    found = inline_thumbnails(material.root, rest, side, GALLERY_BUDGET)
    for image in images:
        path = image[0]
        if large.get(path):
            image.append(1)
        else:
            image.append((found[path] or "") if path in found else "" if path in large else None)
    values["gallery"]["root"] = relative_address(material.root, folder)
    links = sum(path not in found for path in rest)
    return large, {"links": links, "budget": GALLERY_BUDGET // 1_000_000}


def _name(folder: Path) -> str:
    """A run's name; an evaluation's tells whose it is."""
    kept = 3 if folder.parent.name == "evaluations" else 1
    return "/".join(folder.parts[-kept:])


def _skipped(run: Run) -> pd.DataFrame:
    """A table that a run may lack: empty then."""
    try:
        return run.skipped
    except RunError:
        return pd.DataFrame()


def write_page(page: str, path: Path) -> Path:
    """Write a page of its own to where the user asked for it (`--output`): all of it or nothing.

    Raises:
        DataError: the file cannot be written.
    """

    def write(temporary: Path) -> None:
        temporary.write_text(page, "utf-8", newline="\n")

    try:
        write_atomically(path, write)
    except OSError as error:
        raise DataError(
            f"Cannot write {path}: {error.strerror}. Choose another --output."
        ) from None
    return path


def render(template: str, **values: Any) -> str:
    """A page of the templates' folder with these values, tlkit's version and the common style."""
    return (
        environment()
        .get_template(template)
        .render(version=metadata.version("tlkit"), style=Markup(asset("report.css")), **values)
    )


def script_hash(script: str) -> str:
    """What a page's Content-Security-Policy calls the one script that may run."""
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    return f"sha256-{digest}"


def environment() -> Environment:
    """Jinja with escaping always on, and an error for every name a template does not get."""
    made = Environment(
        loader=PackageLoader("tlkit.report"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    made.filters.update(
        percent=words.percent,
        interval=words.interval,
        duration=words.duration,
        points=words.points,
        points_interval=words.points_interval,
        breakable=_breakable,
        flags=_flags,
    )
    return made


def asset(name: str) -> str:
    """A file of the templates' folder, as text."""
    return resources.files("tlkit.report").joinpath("templates", name).read_text("utf-8")


def _breakable(path: str) -> Markup:
    """A path with the places marked where a line may end."""
    return Markup("<wbr>").join(re.split(r"(?<=[/_-])", path))


def _flags(sentence: str) -> Markup:
    """A sentence whose flags, with their values, stand out and stay on one line."""
    parts = re.split(r"(--[a-z-]+(?: [\d.]+| auto| imagenet| \S+\.csv)?)", sentence)
    return Markup("").join(
        Markup('<code class="flag">{}</code>').format(part) if i % 2 else part
        for i, part in enumerate(parts)
    )
