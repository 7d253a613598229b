"""`strongroom grant`: the list of its commands. grant_*.py have them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar

import typer

from cli.late_group import LateGroup

_MAKE = "cli.commands.grant_make"
_REQUEST = "cli.commands.grant_request"
_READ = "cli.commands.grant_read"
_SEND = "cli.commands.grant_send"


class _Grant(LateGroup):
    FUNCTIONS: ClassVar[Mapping[str, tuple[str, str]]] = {
        "issue": (_MAKE, "issue --package app-1.1.0.srp --devices query.csv -o grants.srg"),
        "prepare": (_MAKE, "prepare --package app-1.1.0.srp --devices query.csv -o grants.prepared.srg"),
        "request": (
            _REQUEST,
            "request grants.prepared.srg --package app-1.1.0.srp --as rita --ssh-key rita.pub -o grants.request.json",
        ),
        "sign": (
            _REQUEST,
            "sign grants.prepared.srg --package app-1.1.0.srp --request grants.request.json "
            "--approval ben.approval.json -o grants.srg",
        ),
        "show": (_READ, "show grants.srg --uid 3b0028000f51373235363537"),
        "verify": (_READ, "verify grants.srg"),
        "extract": (_READ, "extract grants.srg --uid 3b0028000f51373235363537 -o device.grant"),
        "send": (_SEND, "send grants.srg --via serial:/dev/ttyUSB0"),
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
