"""`strongroom service`: the list of its commands. service_make.py and service_link.py have them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar

import typer

from cli.late_group import LateGroup

_MAKE = "cli.commands.service_make"
_LINK = "cli.commands.service_link"


class _Service(LateGroup):
    FUNCTIONS: ClassVar[Mapping[str, tuple[str, str]]] = {
        "challenge": (_LINK, "challenge --via serial:/dev/ttyUSB0 -o pump.challenge"),
        "prepare": (_MAKE, "prepare return-for-repair -p pump-x2 --challenge pump.challenge -o rma.prepared.srv"),
        "request": (_MAKE, "request rma.prepared.srv --as stan --ssh-key stan.pub -o rma.request.json"),
        "sign": (
            _MAKE,
            "sign rma.prepared.srv --request rma.request.json --approval quinn.approval.json -o rma.srv",
        ),
        "issue": (_MAKE, "issue rma.prepared.srv -o rma.srv"),
        "send": (_LINK, "send rma.srv --via serial:/dev/ttyUSB0 -o rma.receipt"),
        "show": (_MAKE, "show rma.srv"),
    }


app = typer.Typer(
    cls=_Service,
    name="service",
    no_args_is_help=True,
    add_completion=False,
    epilog="Example: strongroom service show rma.srv",
)


@app.callback()
def service() -> None:
    """Order service of one device: repair, decommissioning, re-provisioning, reinstallation."""
