"""`strongroom service`: orders to one device, from its challenge to the signed order."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from cli.commands.package_request import NotAfterOption, PersonOption, SshKeyOption
from cli.commands.workorder_make import ApprovalOption, PreparedArgument, RequestOption
from cli.context import now, repository_of
from cli.options import JsonOption, OutputOption, ProductOption
from cli.output import emit, read_input, write_new_file
from pki.errors import FormatError, InputRefused, WrongTarget

if TYPE_CHECKING:
    from signer.device_objects.service_order import ServiceOrder

_SIZE_BYTES_MAX = 4096
_ACTIONS = "return-for-repair, decommission, re-provision or permit-reinstallation"


def prepare(
    context: typer.Context,
    action: Annotated[str, typer.Argument(metavar="ACTION", help=f"What is to be done: {_ACTIONS}.")],
    product: ProductOption,
    out: OutputOption,
    challenge: Annotated[
        Path | None, typer.Option(help="The device's challenge (512 bytes), just read.", show_default=False)
    ] = None,
    uid: Annotated[str | None, typer.Option(help="Or: its UID, hexadecimal, with --nonce.", show_default=False)] = None,
    nonce: Annotated[
        str | None, typer.Option(help="The nonce of its challenge, 64 hexadecimal digits.", show_default=False)
    ] = None,
    lot: Annotated[
        str, typer.Option(help="re-provision: the lot that it belongs to from now on.", show_default=False)
    ] = "",
    hardware_revision: Annotated[
        int, typer.Option(help="re-provision: its hardware revision.", show_default=False)
    ] = 0,
    floor: Annotated[
        list[int] | None,
        typer.Option(help="re-provision: lowest security versions of application, bootloader, factory test."),
    ] = None,
    signer: Annotated[
        str | None,
        typer.Option(help="Label of the service key; by default the first that may sign.", show_default=False),
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Write an unsigned service order for one device and its fresh challenge.

    Without a readable state a device names no product: then the product is taken from --product alone.
    """
    from cli.commands.workorder_make import signer_of
    from signer.device_objects.service_order import ServiceAction, ServiceOrder

    repository = repository_of(context)
    config = repository.product(product)
    actions = {item.text: item for item in ServiceAction}
    if action not in actions:
        raise InputRefused(f"there is no action {action[:40]!r}; use {_ACTIONS}")
    floors = list(floor or (0, 0, 0))
    if len(floors) != 3:
        raise InputRefused("--floor is given three times: application, bootloader, factory test")
    device = _device(challenge, uid, nonce, config.id_bytes)
    order = ServiceOrder(
        action=actions[action],
        uid=device[0],
        nonce=device[1],
        product_id=config.id_bytes,
        signer_key_id=signer_of(repository, config, "service", signer, now()).key_id,
        lot=lot,
        hardware_revision=hardware_revision,
        floors=(floors[0], floors[1], floors[2]),
    )
    write_new_file(out, order.prepared())
    text = "\n".join([f"wrote {out}, not signed yet", *_lines(order)])
    emit({"file": str(out), "order": _fields(order)}, as_json, text)


def request(
    context: typer.Context,
    prepared: PreparedArgument,
    person: PersonOption,
    ssh_key: SshKeyOption,
    out: OutputOption,
    not_after: NotAfterOption = "7d",
    as_json: JsonOption = False,
) -> None:
    """Ask for the signature of exactly this service order: write a request, signed with your SSH key."""
    from cli.object_requests import ask
    from signer.service.object_kinds import ServiceOrderReader

    ask(context, ServiceOrderReader().prepared([prepared]), person, ssh_key, out, not_after, as_json)


def sign(
    context: typer.Context,
    prepared: PreparedArgument,
    request: RequestOption,
    out: OutputOption,
    approvals: ApprovalOption = None,
    as_json: JsonOption = False,
) -> None:
    """Have a service order signed that was asked for and approved. The same call again gives the same file."""
    from cli.object_requests import hand_out
    from cli.object_requests import sign as sign_object

    hand_out(sign_object(context, "service-order", request, approvals or (), [prepared]), out, as_json)


def issue(context: typer.Context, prepared: PreparedArgument, out: OutputOption, as_json: JsonOption = False) -> None:
    """Sign a service order at once, without request and approvals: development only."""
    from cli.object_requests import issue as issue_object
    from signer.service.object_kinds import ServiceOrderReader

    reader = ServiceOrderReader()
    issue_object(context, reader.prepared([prepared]), reader.accepted, out, as_json)


def show(
    path: Annotated[Path, typer.Argument(metavar="ORDER", help="The service order (.srv).")],
    as_json: JsonOption = False,
) -> None:
    """Say in words what a service order says, prepared or signed. Nothing is verified: the device does that."""
    from signer.device_objects.service_order import parse_prepared_service_order, parse_service_order

    data = read_input(path, "service order", _SIZE_BYTES_MAX)
    signed = True
    try:
        order = parse_service_order(data).order
    except FormatError as error:
        if error.field != "signature":
            raise
        order, signed = parse_prepared_service_order(data), False
    text = "\n".join([f"service order, {'signed' if signed else 'prepared, not signed'}", *_lines(order)])
    emit({"signed": signed, "order": _fields(order)}, as_json, text)


def _device(challenge: Path | None, uid: str | None, nonce: str | None, product_id: bytes) -> tuple[bytes, bytes]:
    """UID (padded) and nonce, from the challenge or as given. Raises InputRefused, FormatError, WrongTarget."""
    from cli.registry_access import uid_of
    from signer.packages.terms import padded_uid

    if challenge is not None and uid is None and nonce is None:
        from rpc.objects.challenge import CHALLENGE_SIZE_BYTES, Challenge

        told = Challenge.parse(read_input(challenge, "challenge", CHALLENGE_SIZE_BYTES))
        if any(told.product_id) and told.product_id != product_id:
            raise WrongTarget(f"the device is of product id {told.product_id.hex()}, not of --product")
        return told.uid, told.nonce
    if challenge is None and uid is not None and nonce is not None:
        try:
            value = bytes.fromhex(nonce)
        except ValueError:
            raise InputRefused("--nonce is 64 hexadecimal digits") from None
        return padded_uid(uid_of(uid)), value
    raise InputRefused("give --challenge, or --uid and --nonce of it")


def _fields(order: ServiceOrder) -> dict[str, Any]:
    return {
        "action": order.action.text,
        "digest": order.digest.value.hex(),
        "uid": order.uid.hex(),
        "nonce": order.nonce.hex(),
        "product_id": order.product_id.hex(),
        "lot": order.lot or None,
        "hardware_revision": order.hardware_revision,
        "floors": list(order.floors),
        "signer_key_id": order.signer_key_id.hex(),
    }


def _lines(order: ServiceOrder) -> list[str]:
    from cli.request_words import row

    fields = _fields(order)
    names = ("action", "uid", "nonce", "product_id", "signer_key_id")
    lines = [row(name.replace("_", " "), str(fields[name])) for name in names]
    if order.lot:
        lines.append(row("from now on", f"lot {order.lot}, hardware revision {order.hardware_revision}"))
        lines.append(row("floors", ", ".join(map(str, order.floors))))
    return lines
