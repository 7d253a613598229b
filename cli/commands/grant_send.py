"""`strongroom grant send`: bring grants to devices alone, where another program brings the package."""

from __future__ import annotations

import secrets
from contextlib import closing
from pathlib import Path
from typing import Annotated, Any

import typer

from cli.commands.grant_read import FileArgument
from cli.device_links import bring_into_update_mode
from cli.options import JsonOption
from cli.output import emit
from pki.errors import StrongroomError
from rpc.addresses import open_links
from rpc.client import NONCE_SIZE_BYTES, DeviceClient
from rpc.link import Link
from rpc.objects.signed_status import SignedStatus


def send(
    file: FileArgument,
    via: Annotated[
        list[str], typer.Option(metavar="ADDRESS", help="As `strongroom update --via`; repeat for more devices.")
    ],
    as_json: JsonOption = False,
) -> None:
    """Give each device behind the addresses its grant, in update mode, and leave it there for the package.

    For those who send packages with another SMP client; `strongroom update --grants` does both. A device keeps one
    grant, also without power. Exit code 3 if a device has none, 11 if it refuses, 15 if it does not answer; the
    greatest, of several.
    """
    from cli.exit_codes import ExitCode, exit_code_of

    done: list[dict[str, Any]] = []
    worst = ExitCode.OK
    for node in [node for address in via for node in open_links(address)]:
        try:
            with closing(node.link):
                done.append({"via": node.name, **_send(node.link, file)})
        except StrongroomError as error:
            done.append({"via": node.name, "sent": False, "text": str(error)})
            worst = max(worst, exit_code_of(error))
    emit(done, as_json, "\n".join(f"{entry['via']}: {entry['text']}" for entry in done))
    raise typer.Exit(worst)


def _send(link: Link, file: Path) -> dict[str, Any]:
    """One device. Whose grant it is, the device itself decides; what it says of itself only finds it in the file."""
    from signer.grants.lookup import grant_of

    client = DeviceClient(link)
    status = SignedStatus.parse(client.signed_status(secrets.token_bytes(NONCE_SIZE_BYTES)))
    grant = grant_of(file, status.uid)
    bring_into_update_mode(client)
    client.send_grant(grant)
    uid = status.uid.hex()
    return {"sent": True, "uid": uid, "size_bytes": len(grant), "text": f"device {uid} has its grant; send the package"}
