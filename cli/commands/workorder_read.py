"""`strongroom workorder` show and verify: what an order says, and whether it may be worked."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from cli.context import now, repository_of
from cli.options import JsonOption
from cli.output import emit, read_input
from pki.errors import Expired, FormatError, InputRefused, NotYetValid, VerificationError

if TYPE_CHECKING:
    from pki.values import PublicKey
    from signer.device_objects.work_order import SignedWorkOrder, WorkOrder

OrderArgument = Annotated[Path, typer.Argument(metavar="ORDER", help="The work order (.srw).")]
_SIZE_BYTES_MAX = 4096


def show(path: OrderArgument, as_json: JsonOption = False) -> None:
    """Say in words what a work order says, prepared or signed. Nothing is verified."""
    order, signed = _read(path)
    state = "prepared, not signed" if signed is None else "signed (`verify` says by whom)"
    data = {"signed": signed is not None, "order": order_fields(order)}
    emit(data, as_json, "\n".join([f"work order, {state}", *order_lines(order)]))


def verify(
    context: typer.Context,
    path: OrderArgument,
    signer_key: Annotated[
        Path | None,
        typer.Option(help="The production key, PEM; by default those of the product's file.", show_default=False),
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Verify a signed order: its signer is a production key of the product and not revoked, and the time is right."""
    from signer.authority.public_key_files import read_public_key

    order, signed = _read(path)
    if signed is None:
        raise VerificationError(f"[WO-29] {path} is prepared and not signed")
    keys = _production_keys(context, order) if signer_key is None else [read_public_key(signer_key)]
    by_id = {key.key_id: key for key in keys}
    if order.signer_key_id not in by_id:
        raise VerificationError(f"[WO-29] signer {order.signer_key_id.hex()} is no production key of the product")
    signed.verify(by_id[order.signer_key_id])
    _require_time(order)
    data = {"verified": True, "signer": order.signer_key_id.hex(), "order": order_fields(order)}
    emit(data, as_json, "\n".join([f"verified: signed by {order.signer_key_id.hex()}", *order_lines(order)]))


def order_fields(order: WorkOrder) -> dict[str, Any]:
    """An order as JSON."""
    from signer.device_objects.order_rules import protection_words

    group = order.group_public_key
    return {
        "order_id": order.order_id.hex(),
        "digest": order.digest.value.hex(),
        "product_id": order.product_id.hex(),
        "lot": order.lot,
        "quota": order.quota,
        "trust_bundle_version_min": order.trust_bundle_version_min,
        "not_before": _text(order.not_before),
        "not_after": _text(order.not_after),
        "protection_required": protection_words(order.protection_required),
        "hardware_revisions": [order.hardware_revision_min, order.hardware_revision_max],
        "lot_key_id": order.lot_public_key.key_id.hex(),
        "issuing_ca": order.issuing_ca.hex(),
        "group_key_id": None if group is None else group.key_id.hex(),
        "inject": int(order.inject),
        "stations": [
            {"fingerprint": station.fingerprint.hex(), "sub_quota": station.sub_quota} for station in order.stations
        ],
        "signer_key_id": order.signer_key_id.hex(),
    }


def order_lines(order: WorkOrder) -> list[str]:
    """An order in words."""
    from cli.request_words import row

    fields = order_fields(order)
    lines = [
        row("order", fields["order_id"]),
        row("product id", fields["product_id"]),
        row("lot", order.lot),
        row("devices", str(order.quota)),
        row("valid", f"{fields['not_before']} to {fields['not_after']}"),
        row("oldest trust bundle", str(order.trust_bundle_version_min)),
        row("protection", fields["protection_required"]),
        row("hardware revisions", f"{order.hardware_revision_min} to {order.hardware_revision_max}"),
        row("key of the lot", fields["lot_key_id"]),
        row("issuing CA", fields["issuing_ca"]),
        row("group's key", fields["group_key_id"] or "none is injected"),
        row("to be signed by", fields["signer_key_id"]),
    ]
    lines += [row("station", f"{s.fingerprint.hex()}: {s.sub_quota} devices") for s in order.stations]
    left = order.quota - sum(station.sub_quota for station in order.stations)
    return [*lines, row("not given out", f"{left} devices")] if left else lines


def _read(path: Path) -> tuple[WorkOrder, SignedWorkOrder | None]:
    """A prepared order, or a signed one. Raises FormatError, InputRefused."""
    from signer.device_objects.work_order import parse_prepared_work_order, parse_work_order

    data = read_input(path, "work order", _SIZE_BYTES_MAX)
    try:
        signed = parse_work_order(data)
    except FormatError as error:
        if error.field != "signature":
            raise
        return parse_prepared_work_order(data), None
    return signed.order, signed


def _production_keys(context: typer.Context, order: WorkOrder) -> list[PublicKey]:
    """The product's production keys that are not revoked. Raises WrongTarget, KeyStoreError."""
    from cli.context import open_store
    from cli.object_requests import product_of
    from cli.trust_bundle_content import revoked_key_ids
    from pki.roles import Role

    repository = repository_of(context)
    product = product_of(repository, order.product_id)
    with open_store(repository) as store:
        revoked = revoked_key_ids(product, store)
        records = [store.key(config.label) for config in product.keys.of_role(Role.PRODUCTION)]
    if order.lot_public_key.key_id in revoked:
        raise VerificationError(f"[WO-21] the lot's key {order.lot_public_key.key_id.hex()} is revoked")
    keys = [record.public_key for record in records if record.public_key is not None]
    return [key for key in keys if key.key_id not in revoked]


def _require_time(order: WorkOrder) -> None:
    when = now().timestamp()
    if when < order.not_before:
        raise NotYetValid(f"[WO-24] the order begins at {_text(order.not_before)}")
    if when > order.not_after:
        raise Expired(f"[WO-24] the order ended at {_text(order.not_after)}; a new one is needed")


def _text(seconds: int) -> str:
    try:
        return f"{datetime.fromtimestamp(seconds, UTC):%Y-%m-%dT%H:%M:%SZ}"
    except (ValueError, OverflowError, OSError):
        raise InputRefused("the order names a time after the year 9999") from None
