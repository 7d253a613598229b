"""A command group that imports and converts a command only when it is asked for: what the others cost is not paid."""

from __future__ import annotations

import importlib
import keyword
from collections.abc import Mapping
from typing import Any, ClassVar

import click
import typer
from typer.core import TyperGroup


class LateGroup(TyperGroup):
    """`FUNCTIONS` maps each command's name to (module, example); the function in the module has the same name.

    Hyphens of the name are underscores there, and a keyword of Python's has one behind it. Converting a function with
    many options takes typer milliseconds, which every use of its neighbours would pay.
    """

    FUNCTIONS: ClassVar[Mapping[str, tuple[str, str]]] = {}

    def list_commands(self, _: click.Context) -> list[str]:
        """Every command, in the order of the table."""
        return list(self.FUNCTIONS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """The command, made when first asked for; None for an unknown name."""
        if cmd_name in self.FUNCTIONS and cmd_name not in self.commands:
            self.commands[cmd_name] = self._converted(cmd_name)
        return super().get_command(ctx, cmd_name)

    def _converted(self, name: str) -> click.Command:
        module, example = self.FUNCTIONS[name]
        written = name.replace("-", "_") + ("_" if keyword.iskeyword(name) else "")
        function: Any = getattr(importlib.import_module(module), written)
        single = typer.Typer(add_completion=False)
        single.command(name, epilog=f"Example: strongroom {self.name} {example}")(function)
        return typer.main.get_command(single)
