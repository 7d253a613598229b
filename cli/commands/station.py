"""`strongroom station`: the list of its commands, each imported when it is used."""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar

import typer

from cli.late_group import LateGroup


class _StationGroup(LateGroup):
    FUNCTIONS: ClassVar[Mapping[str, tuple[str, str]]] = {
        "init": (
            "cli.commands.station_make",
            "init line-1 --token station -p pump-x2 --order lot-7.srw --issuing-ca lot-ca.pem --bundle trust-1.srb "
            "--factory-image factory.hex --hardware-type 1.3.6.1.4.1.99999.1",
        ),
        "run": ("cli.commands.station_run", "run line-1 --fixture fixture.sock --links 8"),
        "status": ("cli.commands.station_read", "status line-1 --verify"),
        "export": ("cli.commands.station_read", "export line-1 -o lot-7-line-1.births"),
        "scrap": ("cli.commands.station_read", 'scrap line-1 31ff6b064d4e383012471843 --reason "cracked housing"'),
        "bundle": ("cli.commands.station_make", "bundle line-1 trust-2.srb"),
        "backup": ("cli.commands.station_keep", "backup line-1 line-1.backup"),
        "restore": ("cli.commands.station_keep", "restore line-1.backup line-1 --births lot-7-line-1.births"),
    }


app = typer.Typer(
    cls=_StationGroup,
    name="station",
    no_args_is_help=True,
    add_completion=False,
    epilog="Example: strongroom station run line-1 --fixture fixture.sock",
)


@app.callback()
def station() -> None:
    """Provision boards under a signed work order: counted, recorded, exactly once each."""
