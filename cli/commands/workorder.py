"""`strongroom workorder`: the list of its commands. workorder_*.py have them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar

import typer

from cli.late_group import LateGroup

_MAKE = "cli.commands.workorder_make"
_READ = "cli.commands.workorder_read"
_PREPARE = (
    "prepare -p pump-x2 --lot LOT-2026-11 --quota 300 --station st1.pem=300 --lot-key sr:lot:pump-x2:0001 "
    "--issuing-ca lot-ca.pem --trust-bundle-min 2 --not-after 60d -o lot.prepared.srw"
)


class _WorkOrder(LateGroup):
    FUNCTIONS: ClassVar[Mapping[str, tuple[str, str]]] = {
        "prepare": (_MAKE, _PREPARE),
        "request": (_MAKE, "request lot.prepared.srw --as pia --ssh-key pia.pub -o lot.request.json"),
        "sign": (
            _MAKE,
            "sign lot.prepared.srw --request lot.request.json --approval eve.approval.json "
            "--approval quinn.approval.json -o lot.srw",
        ),
        "issue": (_MAKE, "issue lot.prepared.srw -o lot.srw"),
        "show": (_READ, "show lot.srw"),
        "verify": (_READ, "verify lot.srw"),
    }


app = typer.Typer(
    cls=_WorkOrder,
    name="workorder",
    no_args_is_help=True,
    add_completion=False,
    epilog="Example: strongroom workorder show lot.srw",
)


@app.callback()
def workorder() -> None:
    """Order devices: which lot, how many, at which stations, until when."""
