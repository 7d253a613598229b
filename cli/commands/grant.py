"""`strongroom grant`: the list of its commands. grant_*.py have them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar

import typer

from cli.late_group import LateGroup

_MAKE = "cli.commands.grant_make"
_READ = "cli.commands.grant_read"


class _Grant(LateGroup):
    FUNCTIONS: ClassVar[Mapping[str, tuple[str, str]]] = {
        "issue": (_MAKE, "issue --package app-1.1.0.srp --devices query.csv -o grants.srg"),
        "prepare": (_MAKE, "prepare --package app-1.1.0.srp --devices query.csv -o grants.prepared.srg"),
        "sign": (_MAKE, "sign grants.prepared.srg -o grants.srg"),
        "show": (_READ, "show grants.srg --uid 3b0028000f51373235363537"),
        "verify": (_READ, "verify grants.srg"),
        "extract": (_READ, "extract grants.srg --uid 3b0028000f51373235363537 -o device.grant"),
    }


app = typer.Typer(
    cls=_Grant,
    name="grant",
    no_args_is_help=True,
    add_completion=False,
    epilog="Example: strongroom grant issue --help",
)


@app.callback()
def grant() -> None:
    """Grant a package to devices: any number of them, under one signature."""
