"""`strongroom update`: one package to many devices, over any link (docs/spec/update.md)."""

from __future__ import annotations

import json
import secrets
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from cli.options import JsonOption
from cli.output import emit, say
from rpc.update.limits import PARALLEL

if TYPE_CHECKING:
    from rpc.update.identity import IdentityKeys

app = typer.Typer(add_completion=False)

_WAIT_SECONDS = 60.0
_WAIT_LINK_SECONDS = 30.0


@app.command(
    epilog="Example: strongroom update pump-1.3.0.srp --via tcp://10.0.0.7 --via chain:serial:/dev/ttyUSB0 "
    "--registry sqlite:///registry.sqlite --bundles public --report update.json"
)
def update(
    package: Annotated[Path, typer.Argument(metavar="PACKAGE", help="The package (.srp).")],
    via: Annotated[
        list[str],
        typer.Option(
            metavar="ADDRESS",
            help="serial:PATH[@BAUD], udp://HOST[:PORT], tcp://…, chain:PORT, bus:PORT#1,2,5-9, star:ADDRESS,…; repeat "
            "for more.",
        ),
    ],
    bundles: Annotated[
        list[Path] | None,
        typer.Option(metavar="PATH", help="A trust bundle, or a folder of them (.srb); repeat for more."),
    ] = None,
    grants: Annotated[Path | None, typer.Option(metavar="FILE", help="The grants for this package (.srg).")] = None,
    registry: Annotated[
        str | None,
        typer.Option(metavar="URL", help="Take identity keys from this registry: sqlite:///PATH, or postgresql://…"),
    ] = None,
    devices: Annotated[
        list[Path] | None,
        typer.Option(metavar="PATH", help="Take them from a public device file, or a folder of them; repeat for more."),
    ] = None,
    unverified: Annotated[
        bool, typer.Option("--unverified", help="Believe what the links say of devices. The report says so.")
    ] = False,
    board: Annotated[
        list[Path] | None,
        typer.Option(metavar="TOML", help="A board file, for boards that do not come with Strongroom."),
    ] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Show what would be done; do nothing.")] = False,
    reinstall: Annotated[
        bool, typer.Option("--reinstall", help="Send the same or an older version: a service order has permitted it.")
    ] = False,
    wait_safe: Annotated[
        float, typer.Option(min=0, metavar="SECONDS", help="How long an application may take to its safe state.")
    ] = _WAIT_SECONDS,
    wait_confirmed: Annotated[
        float, typer.Option(min=0, metavar="SECONDS", help="How long it may take to confirm itself.")
    ] = _WAIT_SECONDS,
    wait_link: Annotated[
        float, typer.Option(min=0, metavar="SECONDS", help="How long a device may be silent before it is given up.")
    ] = _WAIT_LINK_SECONDS,
    parallel: Annotated[int, typer.Option(min=1, max=1_024, help="How many devices at a time.")] = PARALLEL,
    report: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Write the report (JSON); it must not exist yet.")
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Update every device behind the given addresses, side by side; a device that fails holds up no other.

    Looks before it touches anything: a device that would refuse is left alone, and so is one in use. Running it again
    ends what was interrupted. Exit code 0 if all are as they should be, else 3, 4, 5, 11 or 15, as the report explains.
    """
    from cli.exit_codes import ExitCode
    from cli.update_display import readable, watching
    from cli.update_material import GrantsInFile, copy_finder, read_bundles
    from rpc.update.fleet import update_devices
    from rpc.update.job import Job
    from rpc.update.package_facts import read_package
    from rpc.update.sources import Patience
    from signer.new_file import NewFile

    file = read_package(package)
    with ExitStack() as stack:
        out = None if report is None else stack.enter_context(NewFile(report))
        observer = stack.enter_context(watching())
        job = Job(
            package=file,
            bundles=read_bundles(bundles or [], file.facts.product_id),
            keys=_identity_keys(stack, registry, devices, file.facts.product_id, unverified=unverified),
            grants=None if grants is None else GrantsInFile(grants),
            copy_of=copy_finder(board or []),
            random_bytes=secrets.token_bytes,
            observer=observer,
            patience=Patience(safe_seconds=wait_safe, confirmed_seconds=wait_confirmed, link_seconds=wait_link),
            is_dry_run=dry_run,
            reinstalls=reinstall,
        )
        done = update_devices(via, job, _now, parallel)
        if out is not None:
            out.write_at(0, (json.dumps(done.as_json(), indent=2) + "\n").encode())
            out.publish()
    emit(done.as_json(), as_json, readable(done))
    if job.stop.is_set:
        raise typer.Abort
    raise typer.Exit(ExitCode[done.exit_code_name])


def _now() -> str:
    from cli.context import now

    return now().isoformat(timespec="seconds").replace("+00:00", "Z")


def _identity_keys(
    stack: ExitStack, registry: str | None, devices: list[Path] | None, product_id: bytes, *, unverified: bool
) -> IdentityKeys | None:
    """Where keys come from; exactly one source is named."""
    if (registry is not None) + bool(devices) + unverified != 1:
        raise typer.BadParameter(
            "say how devices are known: --registry URL, --devices FILE, or --unverified (whatever key a device shows "
            "itself proves nothing)"
        )
    if registry is not None:
        from cli.registry_access import open_registry_at
        from cli.update_material import RegisteredDevices

        return RegisteredDevices(stack.enter_context(open_registry_at(registry)), product_id)
    if devices:
        from cli.update_material import known_devices

        return known_devices(devices)
    say("WARNING: --unverified: nothing that devices say of themselves is verified.")
    return None
