"""What a measurement found, held against its target; and how figures are shown and kept."""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum
from pathlib import Path


class Bound(Enum):
    """On which side of its target a figure has to be."""

    AT_LEAST = "≥"
    AT_MOST = "≤"


@dataclass(frozen=True, slots=True)
class Figure:
    """One measured number. Without a target it is context for the others."""

    name: str
    value: float
    unit: str
    bound: Bound | None = None
    target: float | None = None

    def __post_init__(self) -> None:
        if (self.bound is None) is not (self.target is None):
            raise ValueError(f"{self.name}: a target and the side it bounds go together")

    @property
    def met(self) -> bool | None:
        """Whether the target is met; None where there is none."""
        if self.target is None:
            return None
        return self.value >= self.target if self.bound is Bound.AT_LEAST else self.value <= self.target


def table(figures: Sequence[Figure]) -> str:
    """Aligned columns for people."""
    rows = [("figure", "value", "unit", "target", "met")]
    rows += [
        (
            figure.name,
            _shown(figure.value),
            figure.unit,
            f"{figure.bound.value} {_shown(figure.target)}" if figure.bound and figure.target is not None else "",
            {None: "", True: "yes", False: "NO"}[figure.met],
        )
        for figure in figures
    ]
    widths = [max(len(row[column]) for row in rows) for column in range(5)]
    rows.insert(1, tuple("-" * width for width in widths))  # type: ignore[arg-type]
    return "\n".join(
        "  ".join(
            cell.rjust(width) if column == 1 else cell.ljust(width)
            for column, (cell, width) in enumerate(zip(row, widths, strict=True))
        ).rstrip()
        for row in rows
    )


def write_json(figures: Sequence[Figure], path: Path) -> None:
    """A list of {name, value, unit, target, met}; replaces what an earlier run wrote."""
    rows = [
        {"name": figure.name, "value": figure.value, "unit": figure.unit, "target": figure.target, "met": figure.met}
        for figure in figures
    ]
    temporary = path.with_name(f".{path.name}.{os.getpid()}.part")
    with temporary.open("w", encoding="utf-8") as stream:
        stream.write(json.dumps(rows, indent=2, ensure_ascii=False, allow_nan=False) + "\n")
        stream.flush()
        os.fsync(stream.fileno())
    temporary.replace(path)


def missed(figures: Sequence[Figure]) -> list[Figure]:
    """The figures on the wrong side of their targets."""
    return [figure for figure in figures if figure.met is False]


def _shown(value: float) -> str:
    return f"{value:,.0f}" if abs(value) >= 100 else f"{value:.3g}"
