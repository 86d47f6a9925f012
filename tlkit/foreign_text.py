"""Names that strangers gave to files and classes, where they must do no harm: terminals, tables.

A spreadsheet takes a cell that begins with = + - @ (or a tab or carriage return before them) for a
formula. tlkit's tables therefore put an apostrophe before such a cell, and before one that begins
with apostrophes and then such a character, so that taking one apostrophe off gives the text back.
"""

from __future__ import annotations

import io
import re
import unicodedata
from typing import TextIO

_FORMULA = re.compile(r"'*[=+\-@\t\r\n]")
# What would turn the reading direction of a terminal's line.
_TURNS = set("\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069")


def to_cell(text: str) -> str:
    """`text` as tlkit's tables hold it: no spreadsheet takes it for a formula."""
    return f"'{text}" if _FORMULA.match(text) else text


def from_cell(cell: str) -> str:
    """The text that `to_cell` was given; a cell that needed no apostrophe stays as it is."""
    return cell[1:] if cell.startswith("'") and _FORMULA.match(cell) else cell


def printable(text: str) -> str:
    """Nothing that a terminal would obey, and no line break, comes from a name."""
    return "".join(
        "\N{REPLACEMENT CHARACTER}"
        if c in _TURNS or unicodedata.category(c) in ("Cc", "Cs", "Zl", "Zp")
        else c
        for c in text
    )


def takes_unicode(stream: TextIO) -> bool:
    """Whether a stream's encoding has every character; one without an encoding keeps text."""
    return (stream.encoding or "utf-8").lower().replace("-", "").startswith("utf")


def take_any_text(stream: TextIO) -> None:
    """Let a stream take whatever there is: what its encoding lacks (Windows, some containers) as an
    escape, the bytes of a file name that is not UTF-8 as they are where they may be."""
    if isinstance(stream, io.TextIOWrapper):
        stream.reconfigure(
            errors="surrogateescape" if takes_unicode(stream) else "backslashreplace"
        )
