"""`strongroom package`: the list of its commands. package_write.py writes packages, package_read.py reads them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar

import typer

from cli.late_group import LateGroup

_WRITE = "cli.commands.package_write"
_READ = "cli.commands.package_read"


class _Package(LateGroup):
    FUNCTIONS: ClassVar[Mapping[str, tuple[str, str]]] = {
        "prepare": (
            _WRITE,
            "prepare -p pump-x2 app.elf --version 1.1.0 --security-version 2 -o app.prepared.srp",
        ),
        "sign": (_WRITE, "sign app.prepared.srp -p pump-x2 -o app-1.1.0.srp"),
        "build": (
            _WRITE,
            "build -p pump-x2 app.elf --version 1.1.0 --security-version 2 --for-device device.json -o app-1.1.0.srp",
        ),
        "verify": (_READ, "verify app-1.1.0.srp --device device.img"),
        "inspect": (_READ, "inspect app-1.1.0.srp --json"),
        "diff": (_READ, "diff app-1.0.0.srp app-1.1.0.srp"),
    }


app = typer.Typer(
    cls=_Package,
    name="package",
    no_args_is_help=True,
    add_completion=False,
    epilog="Example: strongroom package inspect app-1.1.0.srp",
)


@app.callback()
def package() -> None:
    """Prepare, sign, verify and compare firmware packages."""
