"""Every runbook has the same form, is drilled, and needs nothing that the example does not have."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tests.runbooks.runbook import FOLDER, SECTIONS, Block, Line, blocks, cases, run_lines, sections

RUNBOOKS = sorted(path.stem for path in FOLDER.glob("*.md") if path.stem != "README")
QUIET = ("export ", "tail ", "cp ", "mkdir ", "sed -i ", "printf ", "for n in ", "strongroom ceremony plan ")
"""Commands that print nothing, or only into a file."""


def text_of(runbook: str) -> str:
    return (FOLDER / f"{runbook}.md").read_text(encoding="utf-8")


def test_the_runbooks_of_the_readme_are_those_there_are() -> None:
    linked = set(re.findall(r"\]\(([a-z-]+)\.md\)", text_of("README")))
    assert linked == set(RUNBOOKS)
    assert {"lost-token", "lost-custodian", "leaked-release-key", "hsm-vendor-migration", "lost-log-or-store"} <= linked


@pytest.mark.parametrize("runbook", RUNBOOKS)
def test_it_has_every_section_once_and_in_order(runbook: str) -> None:
    assert tuple(sections(text_of(runbook))) == SECTIONS
    steps = text_of(runbook).split("## Steps\n")[1].split("\n## ")[0]
    assert cases(runbook) or steps.lstrip().startswith("1. ")


@pytest.mark.parametrize("runbook", RUNBOOKS)
def test_every_command_says_what_it_prints(runbook: str) -> None:
    lines = [line for block in blocks(text_of(runbook)) for line in block.lines]
    assert len(lines) >= 10
    silent = [line.command for line in lines if not line.printed and not line.command.startswith(QUIET)]
    assert [command for command in silent if "||" not in command] == []


@pytest.mark.parametrize("runbook", RUNBOOKS)
def test_links_lead_to_runbooks(runbook: str) -> None:
    for name in re.findall(r"\]\(([^)]+)\)", text_of(runbook)):
        assert (FOLDER / name).is_file(), name


@pytest.mark.parametrize("runbook", RUNBOOKS)
def test_every_runbook_is_drilled(runbook: str) -> None:
    """By a file of its name; a case without commands (what people do by hand) has nothing to drill."""
    drill = (Path(__file__).parent / f"test_{runbook.replace('-', '_')}.py").read_text(encoding="utf-8")
    assert "drill.hold(" in drill
    with_commands = {block.case for block in blocks(text_of(runbook)) if block.case}
    assert with_commands <= set(cases(runbook))
    assert drill.count("drill.hold(") == max(1, len(with_commands))


def test_blocks_are_read_as_they_stand() -> None:
    text = (
        "# T\n## Steps\n1. One:\n\n   ```sh\n   one --x \\\n       --y   # says one\n   two\n   ```\n"
        "### A. Case\n```sh\nthree '#4' || echo no\n```\n```yaml\nnot: run\n```\n"
        "## It worked if\n```sh\nfour  # 4 # 5\n```\n"
    )
    assert blocks(text) == [
        Block("Steps", "", (Line("one --x         --y", "says one"), Line("two", ""))),
        Block("Steps", "A. Case", (Line("three '#4' || echo no", ""),)),
        Block("It worked if", "", (Line("four", "4 # 5"),)),
    ]


def test_a_drill_stops_at_what_fails_and_at_what_prints_something_else(tmp_path: Path) -> None:
    assert len(run_lines([Line("x=1", ""), Line('echo "$x"', "1")], tmp_path, {})) == 3
    with pytest.raises(AssertionError, match="the drill stopped at: false"):
        run_lines([Line("true", ""), Line("false", ""), Line("echo late", "late")], tmp_path, {})
    with pytest.raises(AssertionError, match="was to print 'one', but printed:\ntwo"):
        run_lines([Line("echo two", "one")], tmp_path, {})
    with pytest.raises(AssertionError, match="no command of its own"):
        run_lines([Line("for x in 1 2; do", ""), Line("echo $x", "1"), Line("done", "")], tmp_path, {})
