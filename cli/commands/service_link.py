"""`strongroom service challenge` and `send`: an order's way to the device and the receipt's way back."""

from __future__ import annotations

from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from cli.options import JsonOption, OutputOption
from cli.output import emit, read_input, say, write_new_file
from pki.errors import InputRefused

if TYPE_CHECKING:
    from pki.values import PublicKey
    from rpc.link import Link
    from rpc.objects.receipt import Receipt
    from signer.device_objects.service_order import SignedServiceOrder

_SERVICE_ORDER_SIZE_BYTES = 256

ViaOption = Annotated[str, typer.Option(metavar="ADDRESS", help="The one device, as `strongroom update --via`.")]
RegistryOption = Annotated[
    str | None,
    typer.Option(metavar="URL", help="Hold the device's identity key against this registry's.", show_default=False),
]


def challenge(via: ViaOption, out: OutputOption, registry: RegistryOption = None, as_json: JsonOption = False) -> None:
    """Ask a device for a fresh challenge, in update mode, and write it for `service prepare`.

    The order must arrive before the device is reset or asked again: only the newest challenge counts.
    """
    from cli.device_links import bring_into_update_mode
    from rpc.client import DeviceClient
    from rpc.objects.challenge import Challenge, new_host_ephemeral

    private, point = new_host_ephemeral()
    with closing(_only_link(via)) as link:
        client = DeviceClient(link)
        bring_into_update_mode(client)
        raw = client.challenge(point)
    told = Challenge.parse(raw)
    if told.has_keys:
        told.verify(private)
        _require_registered(registry, told.uid, told.identity_public_key)
    write_new_file(out, raw)
    proved = "proved that it has its keys" if told.has_keys else "has no keys, and proves nothing"
    data = {"file": str(out), "uid": told.uid.hex(), "lifecycle": told.lifecycle, "has_keys": told.has_keys}
    emit(data, as_json, f"wrote {out}: device {told.uid.hex()} {proved}; leave it powered until the order has arrived")


def send(
    path: Annotated[Path, typer.Argument(metavar="ORDER", help="The signed service order (.srv).")],
    via: ViaOption,
    out: OutputOption,
    registry: RegistryOption = None,
    as_json: JsonOption = False,
) -> None:
    """Send a signed service order to its device, write the receipt, and reset the device, which then carries it out.

    The receipt belongs into the registry: `strongroom registry import ORDER --receipt RECEIPT`.
    """
    from rpc.client import DeviceClient
    from rpc.objects.receipt import Receipt
    from signer.device_objects.service_order import ServiceAction, parse_service_order
    from signer.new_file import NewFile

    order = parse_service_order(read_input(path, "service order", _SERVICE_ORDER_SIZE_BYTES))
    # The receipt's file is there before the order leaves: what follows cannot be asked for twice.
    with NewFile(out) as file, closing(_only_link(via)) as link:
        client = DeviceClient(link)
        raw = client.send_service_order(order.raw)
        file.write_at(0, raw)
        file.publish()
        receipt = Receipt.parse(raw)
        verified = _verify(receipt, order, registry)
        if order.order.action is not ServiceAction.PERMIT_REINSTALLATION:
            client.reset()
            say("the device was reset; it carries the order out, however often the power fails")
    uid = order.order.uid.hex()
    data: dict[str, Any] = {"file": str(out), "uid": uid, "action": order.order.action.text, "receipt": verified}
    emit(data, as_json, f"wrote {out}: device {uid} took the order, {order.order.action.text}; receipt {verified}")


def _only_link(via: str) -> Link:
    from rpc.addresses import open_links

    nodes = open_links(via)
    if len(nodes) != 1:
        for node in nodes:
            node.link.close()
        raise InputRefused(f"--via {via}: {len(nodes)} devices; a service order is for one, as chain:PORT#2")
    return nodes[0].link


def _verify(receipt: Receipt, order: SignedServiceOrder, registry: str | None) -> str:
    """Hold a receipt against the order; says by whose word. Raises SignatureInvalid, WrongTarget."""
    from pki.values import PublicKey

    if not any(receipt.signature):
        return "not signed: the device has no keys"
    _require_registered(registry, order.order.uid, receipt.identity_public_key)
    receipt.verify(PublicKey(receipt.identity_public_key), nonce=order.order.nonce, answered=order.digest)
    return "signed" if registry is not None else "signed, by a key that nobody vouched for (no --registry)"


def _require_registered(registry: str | None, uid: bytes, identity_public_key: bytes) -> None:
    """The identity key is the registry's for this UID. Raises InputRefused, WrongTarget."""
    if registry is None:
        return
    from cli.registry_access import open_registry_at
    from pki.errors import WrongTarget

    with closing(open_registry_at(registry)) as opened:
        known: PublicKey | None = opened.identity_key(uid)
    if known is None:
        raise InputRefused(f"the registry knows no device {uid.hex()}")
    if known.point != identity_public_key:
        raise WrongTarget(f"device {uid.hex()} shows another identity key than the registry has")
