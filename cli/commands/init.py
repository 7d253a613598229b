"""`strongroom init`: a new authority repository."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from cli.options import JsonOption
from cli.output import emit
from pki.errors import ConfigurationError
from signer.authority.model import Environment
from signer.authority.policy_folder import shipped_policies
from signer.authority.scaffold import NewAuthority, scaffold
from signer.tokens import TokenError, find_module

app = typer.Typer(add_completion=False)

_SOFTHSM = "softhsm"
_NEXT_STEPS = """\
Next:
  cd {root}
  people.toml, allowed_signers, policies/: say who is who, and who may have what signed; strongroom policy check
  strongroom token init root-1 --module softhsm --label root-1 --write     (and root-2, root-3, release, log)
  strongroom key generate log --token log --activate, [log] in strongroom.toml, strongroom audit init
  strongroom product new NAME --board {board}
  strongroom key generate application-release --product NAME --token release --activate    (and production, compat)
  strongroom ceremony list                                                 (root-genesis makes roots and trust bundle)
  strongroom doctor"""


@app.command(epilog="Example: strongroom init pumps --name 'Example Pumps' --environment development")
def init(
    folder: Annotated[Path, typer.Argument(metavar="DIR", help="The folder to make; it must not exist, or be empty.")],
    name: Annotated[str, typer.Option(help="The authority's name, for people.")],
    environment: Annotated[
        Environment, typer.Option(help="Production refuses test keys and simulated devices.")
    ] = Environment.DEVELOPMENT,
    as_json: JsonOption = False,
) -> None:
    """Make a new authority repository: its files, the shipped boards and policies, and an empty key store."""
    from signer.store.maintenance import create_key_store

    root = folder.absolute()
    boards = _shipped_boards()
    settings = NewAuthority(name, environment, boards, _installed_modules(), shipped_policies())
    files = scaffold(root, settings, create_key_store)
    data = {"root": str(root), "environment": environment.value, "files": [str(path) for path in files]}
    text = f"made {root} ({environment.value}), {len(files)} files\n\n"
    emit(data, as_json, text + _NEXT_STEPS.format(root=folder, board=min(boards)))


def _shipped_boards() -> dict[str, str]:
    """The board files that come with the bootloader."""
    import bootloader

    folder = Path(bootloader.__file__).parent / "boards"
    boards = {path.stem: path.read_text(encoding="utf-8") for path in sorted(folder.glob("*.toml"))}
    if not boards:
        raise ConfigurationError(f"{folder} has no board files: install Strongroom anew, it is not whole")
    return boards


def _installed_modules() -> dict[str, str]:
    """SoftHSM, the default module, if it is installed."""
    try:
        return {_SOFTHSM: find_module("softhsm2")}
    except TokenError:
        return {}
