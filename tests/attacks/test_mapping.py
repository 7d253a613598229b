"""docs/assurance/attacks.md names a test for every row that is answered, and every test named there exists."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
DOCUMENT = ROOT / "docs" / "assurance" / "attacks.md"
REFERENCE = re.compile(r"`(tests/[\w/]+\.py)(?:::(\w+))?`")


def rows() -> list[tuple[str, str]]:
    """(attack, tests or reason) of every row of the tables."""
    cells = [line.strip("| ").split(" | ") for line in DOCUMENT.read_text().splitlines() if line.startswith("| ")]
    return [(cell[0], cell[1]) for cell in cells if cell[0] not in ("attack", "---")]


def functions_in(path: Path) -> set[str]:
    tree = ast.parse(path.read_text())
    return {node.name for node in ast.walk(tree) if isinstance(node, ast.FunctionDef)}


def named_tests() -> list[tuple[str, str]]:
    return [(file, name) for _, answer in rows() for file, name in REFERENCE.findall(answer)]


@pytest.mark.parametrize(("file", "name"), named_tests())
def test_a_test_named_in_the_document_exists(file: str, name: str) -> None:
    path = ROOT / file
    assert path.is_file(), file
    assert not name or name in functions_in(path), f"{file} has no {name}"


def test_every_row_names_a_test_or_says_that_it_is_open() -> None:
    assert len(rows()) >= 30
    for attack, answer in rows():
        assert REFERENCE.search(answer) or answer.startswith("open: "), attack


def test_every_test_about_an_attack_stands_in_the_document() -> None:
    named = {name for _, name in named_tests()}
    for path in (ROOT / "tests" / "attacks").glob("test_*.py"):
        if path.name != Path(__file__).name:
            missing = {name for name in functions_in(path) if name.startswith("test_")} - named
            assert not missing, f"{path.name}: {sorted(missing)}"
