"""Help of every command, shell completion, and the document of the exit codes."""

from __future__ import annotations

import os
import re
import shlex
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import click
import pytest
import typer

from cli.exit_codes import ExitCode, exit_code_of
from cli.main import app
from pki import errors
from signer.store.errors import KeyStoreBusy
from signer.tokens.errors import PinIncorrect
from tests.cli.world import PROGRAM

ROOT = Path(__file__).resolve().parents[2]


def commands() -> Iterator[tuple[str, click.Command]]:
    """Every command and group of the tree, loaded as they are when they run."""
    root = typer.main.get_command(app)
    assert isinstance(root, click.Group)
    yield "strongroom", root
    for name in root.list_commands(click.Context(root)):
        _, command, _ = root.resolve_command(click.Context(root), [name])
        assert command is not None
        yield f"strongroom {name}", command
        if isinstance(command, click.Group):
            for sub_name in command.list_commands(click.Context(command)):
                sub_command = command.get_command(click.Context(command), sub_name)
                assert sub_command is not None
                yield f"strongroom {name} {sub_name}", sub_command


TREE = dict(commands())
LEAVES = {name: command for name, command in TREE.items() if not isinstance(command, click.Group)}


def test_the_tree_has_the_commands_of_the_issue() -> None:
    expected = (
        "init doctor; product new list; token init list info; "
        "key generate list show state audit expiring cbom export destroy; "
        "cert root-ca csr production-ca code-signing device-identity crl show verify; "
        "policy init check list explain; "
        "bundle genesis show verify; package prepare sign build verify inspect diff; "
        "device new install boot status factory-image"
    )
    first, *groups = (part.split() for part in expected.split(";"))
    wanted = {f"strongroom {name}" for name in first}
    wanted |= {f"strongroom {group} {name}" for group, *names in groups for name in names}
    assert wanted <= set(LEAVES)


@pytest.mark.parametrize("name", TREE)
def test_help_has_an_example_that_parses(name: str) -> None:
    epilog = TREE[name].epilog or ""
    assert epilog.startswith("Example: strongroom "), f"{name} has no example"
    words = shlex.split(epilog.removeprefix("Example: strongroom "))
    path = name.split()[1:]
    if name in LEAVES:
        assert words[: len(path)] == path, "the example is of another command"
        LEAVES[name].make_context(name, words[len(path) :])


@pytest.mark.parametrize("name", LEAVES)
def test_every_command_says_what_it_does_and_prints_json(name: str) -> None:
    command = LEAVES[name]
    assert (command.help or "").strip().endswith("."), f"{name} has no help text"
    options = {option for parameter in command.params for option in parameter.opts}
    assert "--json" in options


@pytest.mark.parametrize("name", LEAVES)
def test_every_option_is_explained_and_none_takes_a_pin(name: str) -> None:
    for parameter in LEAVES[name].params:
        if isinstance(parameter, click.Option) and parameter.name != "help":
            assert parameter.help, f"{name} {parameter.opts}"
            assert "--pin" not in parameter.opts
            assert "--so-pin" not in parameter.opts


def complete(words: str, index: int) -> list[str]:
    environment = {"_STRONGROOM_COMPLETE": "complete_bash", "COMP_WORDS": words, "COMP_CWORD": str(index)}
    done = subprocess.run(
        [PROGRAM], env={**os.environ, **environment}, capture_output=True, text=True, timeout=60, check=True
    )
    assert done.stderr == ""
    return done.stdout.split()


def test_shell_completion_of_groups_commands_and_options() -> None:
    assert "token" in complete("strongroom ", 1)
    assert complete("strongroom prod", 1) == ["product"]
    assert {"generate", "audit", "cbom"} <= set(complete("strongroom key ", 2))
    assert complete("strongroom key exp", 2) == ["expiring", "export"]
    assert "--reason" in complete("strongroom key state --re", 3)


def test_shell_completion_can_be_shown() -> None:
    done = subprocess.run(
        [PROGRAM, "--show-completion", "bash"], capture_output=True, text=True, timeout=60, check=False
    )
    assert "_STRONGROOM_COMPLETE=complete_bash" in done.stdout + done.stderr


def test_help_starts_no_heavy_module() -> None:
    code = (
        "import sys\nfrom cli.main import run\nrun(['--help'])\n"
        "heavy = {'sqlalchemy', 'pkcs11', 'cryptography', 'msgspec', 'asn1crypto', 'alembic', 'pydantic'}\n"
        "sys.stderr.write(' '.join(sorted(heavy & set(sys.modules))))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=True)
    assert done.stderr == ""


def test_what_signs_starts_no_heavy_module() -> None:
    code = (
        "import sys\nimport cli.context, signer.store.signing_gate, signer.tokens.token\n"
        "heavy = {'sqlalchemy', 'alembic', 'pydantic', 'rich', 'cryptography.x509', 'cyclonedx'}\n"
        "sys.stderr.write(' '.join(sorted(heavy & set(sys.modules))))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=True)
    assert done.stderr == ""


# Exit codes


def test_the_document_and_the_exit_codes_agree() -> None:
    text = (ROOT / "docs" / "spec" / "exit-codes.md").read_text(encoding="utf-8")
    rows = re.findall(r"^\| (\d+) \| ([A-Z_]+) \|", text, re.MULTILINE)
    assert [(int(number), name) for number, name in rows] == [(code.value, code.name) for code in ExitCode]


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (errors.FormatError("head", 0, "short"), ExitCode.INPUT),
        (errors.InputRefused("x"), ExitCode.INPUT),
        (errors.ConfigurationError("x"), ExitCode.CONFIGURATION),
        (errors.OutputError("x"), ExitCode.OUTPUT),
        (errors.PolicyViolation("X-1", "x"), ExitCode.POLICY),
        (errors.Expired("x"), ExitCode.VERIFICATION),
        (errors.WrongTarget("x"), ExitCode.VERIFICATION),
        (PinIncorrect("x"), ExitCode.TOKEN),
        (KeyStoreBusy("x"), ExitCode.KEY_STORE),
    ],
)
def test_each_branch_of_the_errors_has_its_code(error: errors.StrongroomError, code: ExitCode) -> None:
    assert exit_code_of(error) is code


def _subclasses(kind: type[errors.StrongroomError]) -> Iterator[type[errors.StrongroomError]]:
    for sub in kind.__subclasses__():
        yield sub
        yield from _subclasses(sub)


def test_no_error_of_ours_ends_as_a_defect() -> None:
    kinds = list(_subclasses(errors.StrongroomError))
    assert len(kinds) > 30
    for kind in kinds:
        assert exit_code_of(kind.__new__(kind)) is not ExitCode.INTERNAL, kind
