"""`strongroom registry`: the list of its commands; each is imported when it runs."""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar

import typer

from cli.late_group import LateGroup

_WRITE = "cli.commands.registry_write"
_READ = "cli.commands.registry_read"


class _Registry(LateGroup):
    FUNCTIONS: ClassVar[Mapping[str, tuple[str, str]]] = {
        "init": (_WRITE, "init --registry sqlite:///registry.sqlite"),
        "import": (_WRITE, "import line-1.births --bundle public/trust-2.srb --ca-certificates public/lot-ca.pem"),
        "status": (
            _WRITE,
            "status status.srs --nonce 00112233445566778899aabbccddeeff00112233445566778899aabbccddeeff",
        ),
        "list": (_READ, "list --product pump-x2 --lot 2026-48"),
        "show": (_READ, "show 0123456789abcdef01234567"),
        "orders": (_READ, "orders"),
        "reconcile": (_READ, "reconcile 0a1b2c3d-4e5f-4071-8293-a4b5c6d7e8f9"),
        "freezes": (_READ, "freezes --bundle 3 --product pump-x2"),
        "export": (_READ, "export --grants --product pump-x2 --out query.csv"),
        "upgrade": (_WRITE, "upgrade"),
    }


app = typer.Typer(
    cls=_Registry,
    name="registry",
    no_args_is_help=True,
    add_completion=False,
    epilog="Example: strongroom registry show 0123456789abcdef01234567",
)


@app.callback()
def registry() -> None:
    """Keep the central registry: devices, births, firmware, grants, states of life."""
