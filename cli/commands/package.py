"""`strongroom package`: the list of its commands. package_write.py writes, package_read.py reads."""

from __future__ import annotations

import typer

from cli.commands import package_read, package_write

app = typer.Typer(
    no_args_is_help=True,
    add_completion=False,
    epilog="Example: strongroom package inspect app-1.1.0.srp",
)


@app.callback()
def package() -> None:
    """Prepare, sign, verify and compare firmware packages."""


_EXAMPLES = (
    (
        "prepare",
        package_write.prepare,
        "prepare -p pump-x2 app.elf --version 1.1.0 --security-version 2 -o app-1.1.0.prepared.srp",
    ),
    ("sign", package_write.sign, "sign app-1.1.0.prepared.srp -p pump-x2 -o app-1.1.0.srp"),
    (
        "build",
        package_write.build,
        "build -p pump-x2 app.elf --version 1.1.0 --security-version 2 --sbom app.cdx.json -o app-1.1.0.srp",
    ),
    ("verify", package_read.verify, "verify app-1.1.0.srp --device device.img"),
    ("inspect", package_read.inspect, "inspect app-1.1.0.srp --json"),
    ("diff", package_read.diff, "diff app-1.0.0.srp app-1.1.0.srp"),
)

for _name, _command, _example in _EXAMPLES:
    app.command(_name, epilog=f"Example: strongroom package {_example}")(_command)
