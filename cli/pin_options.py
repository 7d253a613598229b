"""Options that say where a PIN comes from, for tokens that are not in a site file yet. Never the PIN itself."""

from __future__ import annotations

import hmac
import shlex
from pathlib import Path

import typer

from cli.context import ask_secret
from signer.authority.model import PinConfig
from signer.tokens import PinCommand, PinFile, PinSource, PromptedPin
from signer.tokens.errors import PinSourceError


def chosen_pin_source(file: Path | None, command: str | None, prompt: str, options: str) -> PinSource:
    """The one source that the options give; without any, the terminal, twice. Raises typer.BadParameter, TokenError."""
    if file is not None and command is not None:
        raise typer.BadParameter(f"give one of {options}, not both")
    if file is not None:
        return PinFile(_absolute(file))
    if command is not None:
        return PinCommand(_split(command))
    return PromptedPin(_ask_twice, prompt)


def pin_config(file: Path | None, command: str | None, root: Path) -> PinConfig:
    """The same choice as the site file of the repository at `root` has it."""
    if file is not None:
        path = _absolute(file)
        return PinConfig(source="file", path=str(path.relative_to(root) if path.is_relative_to(root) else path))
    if command is not None:
        return PinConfig(source="command", argv=list(_split(command)))
    return PinConfig(source="prompt")


def _absolute(file: Path) -> Path:
    """Without `..`; but the file itself may not be a symbolic link, so it is not followed here."""
    return file.parent.resolve() / file.name


def _ask_twice(prompt: str) -> str:
    first = ask_secret(prompt)
    if not hmac.compare_digest(first.encode(), ask_secret(f"{prompt.rstrip(': ')} again: ").encode()):
        raise PinSourceError("the two PINs differ; nothing was done")
    return first


def _split(command: str) -> tuple[str, ...]:
    """As a shell would split it, but no shell runs it."""
    try:
        return tuple(shlex.split(command))
    except ValueError:
        raise PinSourceError("the PIN command has an open quotation mark") from None
