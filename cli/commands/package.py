"""`strongroom package`: the list of its commands. package_*.py have them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar

import typer

from cli.late_group import LateGroup

_WRITE = "cli.commands.package_write"
_READ = "cli.commands.package_read"
_RELEASE = "cli.commands.package_release"
_REQUEST = "cli.commands.package_request"


class _Package(LateGroup):
    FUNCTIONS: ClassVar[Mapping[str, tuple[str, str]]] = {
        "prepare": (
            _WRITE,
            "prepare -p pump-x2 app.elf --version 1.1.0 --security-version 2 -o app.prepared.srp",
        ),
        "request": (
            _REQUEST,
            "request app.prepared.srp -p pump-x2 --as rita --ssh-key rita.pub --sbom app.cdx.json -o app.request.json",
        ),
        "show": (_REQUEST, "show app.request.json"),
        "sign": (_WRITE, "sign app.prepared.srp --request app.request.json --approval ben.approval.json"),
        "release": (_RELEASE, "release app.request.json -o app-1.1.0.srp"),
        "verify-evidence": (_RELEASE, "verify-evidence app-1.1.0.evidence.json app-1.1.0.srp"),
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
