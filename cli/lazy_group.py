"""A command group that imports a sub-command only when it runs, so that `strongroom --help` starts fast."""

from __future__ import annotations

import importlib
from collections.abc import Mapping
from typing import Any, ClassVar

import click
import typer
from typer.core import TyperGroup


class LazyGroup(TyperGroup):
    """Top-level group. `COMMANDS` maps each name to (module, one-line help); the module has a typer application `app`.

    Listing shows stand-ins that carry only the help line; resolving a command to run it imports the real one.
    """

    COMMANDS: ClassVar[Mapping[str, tuple[str, str]]] = {}

    def list_commands(self, _: click.Context) -> list[str]:
        """Every command, in the order of the table."""
        return list(self.COMMANDS)

    def get_command(self, _: click.Context, cmd_name: str) -> click.Command | None:
        """A stand-in for listings; None for an unknown name."""
        if cmd_name not in self.COMMANDS:
            return None
        return click.Command(cmd_name, help=self.COMMANDS[cmd_name][1])

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """The real command, imported now; an unknown name is a usage error that names near ones."""
        name, stand_in, rest = super().resolve_command(ctx, args)
        if name is None or stand_in is None:
            return name, stand_in, rest
        return name, self._load(name), rest

    def _load(self, name: str) -> click.Command:
        module: Any = importlib.import_module(self.COMMANDS[name][0])
        command = typer.main.get_command(module.app)
        command.name = name
        return command
