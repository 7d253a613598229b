"""Plain text tables. Cells may come from a token, so nothing in them can move the cursor or hide what follows."""

from __future__ import annotations

from collections.abc import Sequence


def printable(text: str) -> str:
    """The text with control, bidirectional and unassigned characters escaped as in Python."""
    return "".join(character if character.isprintable() else ascii(character)[1:-1] for character in text)


def text_table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Columns two spaces apart, as wide as their longest cell; every line ends with a line feed."""
    lines = [list(header)] + [[printable(cell) for cell in row] for row in rows]
    widths = [max(len(line[column]) for line in lines) for column in range(len(header))]
    return "".join(
        "  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip() + "\n" for line in lines
    )
