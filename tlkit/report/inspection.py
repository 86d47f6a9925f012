"""The page of `tlkit inspect`: what was found in a folder, with thumbnails; one file, offline."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from tlkit.atomic import write_atomically
from tlkit.data.lint import Copies, Inspection
from tlkit.errors import DataError
from tlkit.report.pictures import inline_thumbnails
from tlkit.report.render import render
from tlkit.report.words import SPLIT_NAMES

SIDE = 192
BUDGET = 11_000_000
"""Characters of base64 for thumbnails: the page stays under 15 MB."""
MOST_GROUPS, MOST_OF_GROUP, MOST_OF_PROBLEM = 60, 12, 48
"""What is shown of each list; the rest is counted."""

PROBLEMS = {
    "blank": ("Blank", "One tone all over: a failed export, or a placeholder."),
    "dark": ("Dark", "Even the brightest parts are dark."),
    "bright": ("Bright", "Even the darkest parts are bright."),
    "blurred": ("Blurred", "Far less sharp than the rest of the folder, at network size."),
    "tiny": ("Tiny", "Enlarged for the network, they show less than the others."),
    "shape": ("Odd shape", "The centre square, which the network sees, leaves much of them out."),
}


def write_inspection(found: Inspection, file: Path) -> Path:
    """Write the page.

    Raises:
        DataError: the file cannot be written.
    """
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        page = _page(found)
        write_atomically(file, lambda path: _write(path, page))
    except OSError as error:
        raise DataError(f"Cannot write {file}: {error.strerror}; choose another --html.") from None
    return file


def _write(path: Path, page: str) -> None:
    path.write_text(page, encoding="utf-8", newline="\n")


def _page(found: Inspection) -> str:
    rest = [g for g in found.copies if len(g.splits) < 2 and len(g.labels) < 2]
    groups = {
        "leaks": found.leaks,
        "contradictions": [g for g in found.contradictions if len(g.splits) < 2],
        "copies": rest,
    }
    odd = {
        problem: found.odd[found.odd["problem"] == problem].to_dict("records")
        for problem in PROBLEMS
        if (found.odd["problem"] == problem).any()
    }
    shown = [p for gs in groups.values() for g in gs[:MOST_GROUPS] for p in g.paths[:MOST_OF_GROUP]]
    shown += [row["path"] for rows in odd.values() for row in rows[:MOST_OF_PROBLEM]]
    return render(
        "inspect.html",
        title=found.root.resolve().name,
        root=str(found.root),
        total=int(found.counts.to_numpy().sum()),
        size=found.size,
        splits=[SPLIT_NAMES.get(name, "pictures").capitalize() for name in found.counts.columns],
        counts=[
            {"class": str(name), "counts": [int(n) for n in row], "total": int(row.sum())}
            for name, row in zip(found.counts.index, found.counts.to_numpy(), strict=True)
        ],
        largest=max(1, int(found.counts.sum(axis=1).max())),
        groups={name: [_shown(g) for g in gs] for name, gs in groups.items()},
        odd=odd,
        problems=PROBLEMS,
        skipped=found.skipped.to_dict("records"),
        empty=found.empty_classes,
        uneven=found.uneven,
        most={"groups": MOST_GROUPS, "group": MOST_OF_GROUP, "problem": MOST_OF_PROBLEM},
        thumbnails=inline_thumbnails(found.root, shown, SIDE, BUDGET),
    )


def _shown(group: Copies) -> dict[str, Any]:
    kind = "the same file" if group.exact else "the same picture"
    splits = [SPLIT_NAMES.get(name, name) for name in group.splits] if len(group.splits) > 1 else []
    return {"paths": group.paths, "kind": kind, "splits": splits, "labels": group.labels}
