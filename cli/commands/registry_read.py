"""The commands of `strongroom registry` that only read it."""

from __future__ import annotations

import sys
from collections.abc import Iterable
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from cli.exit_codes import ExitCode
from cli.options import JsonOption
from cli.output import emit, say, table
from cli.registry_access import (
    DEFAULT_URL,
    ProductFilter,
    RegistryOption,
    hexadecimal,
    open_registry_at,
    product_id_of,
    uid_of,
    uuid_of,
)
from cli.registry_words import day_and_time, devices_table, frozen_text, life_text, reconciliation_text

if TYPE_CHECKING:
    from provisioning.registry.queries import DeviceQuery

_HASH_SIZE_BYTES = 32


class Lifecycle(StrEnum):
    """States of life, as the registry names them."""

    LOCKED = "locked"
    OPERATIONAL = "operational"
    RMA = "rma"
    DECOMMISSIONED = "decommissioned"
    SCRAPPED = "scrapped"


LotOption = Annotated[str | None, typer.Option(help="Only this lot.")]
OrderOption = Annotated[str | None, typer.Option("--order", metavar="ID", help="Only devices of this work order.")]
RevisionOption = Annotated[
    int | None, typer.Option("--hardware-revision", min=0, max=65535, help="Only this revision.")
]
LifecycleOption = Annotated[Lifecycle | None, typer.Option(help="Only devices in this state of life.")]
BelowOption = Annotated[
    int | None, typer.Option("--where-bundle-below", min=1, metavar="N", help="Only with a trust bundle older than N.")
]
VersionOption = Annotated[
    str | None, typer.Option("--application-version", metavar="V", help="Only with this application, as 1.2.0.4.")
]
HeadOption = Annotated[
    str | None, typer.Option("--application-head", metavar="HEX", help="Only with this package's head hash installed.")
]
NotGrantedOption = Annotated[
    str | None,
    typer.Option("--not-granted", metavar="HEX", help="Only devices that no batch grants this head hash to."),
]


def list(  # noqa: A001 (the name of the command)
    context: typer.Context,
    url: RegistryOption = DEFAULT_URL,
    product: ProductFilter = None,
    lot: LotOption = None,
    order: OrderOption = None,
    hardware_revision: RevisionOption = None,
    lifecycle: LifecycleOption = None,
    where_bundle_below: BelowOption = None,
    application_version: VersionOption = None,
    serial: Annotated[str | None, typer.Option(help="Only this serial number.")] = None,
    limit: Annotated[int, typer.Option(min=1, max=1_000_000, help="At most so many devices.")] = 1_000,
    as_json: JsonOption = False,
) -> None:
    """List devices, ascending by UID: state of life, trust bundle, application, last word."""
    query = _query(
        context, product, order, lot=lot, hardware_revision=hardware_revision, serial=serial,
        lifecycle=None if lifecycle is None else lifecycle.value, bundle_below=where_bundle_below,
        application_version=application_version,
    )  # fmt: skip
    with open_registry_at(url) as registry:
        rows = [*registry.devices(query, limit=limit + 1)]
    shown = [{name: value for name, value in row.items() if name != "id"} for row in rows[:limit]]
    emit(shown, as_json, devices_table(shown) if shown else "no such devices")
    if len(rows) > limit:
        say(f"there are more than {limit}: narrow it down, or raise --limit, or use `strongroom registry export`")


def show(
    context: typer.Context,
    uid: Annotated[str, typer.Argument(metavar="UID", help="The device's UID, in hexadecimal digits.")],
    url: RegistryOption = DEFAULT_URL,
    product: ProductFilter = None,
    as_json: JsonOption = False,
) -> None:
    """Tell a device's whole life, in order: born, activated, certified, updated, granted, serviced, ended."""
    import msgspec

    with open_registry_at(url) as registry:
        life = registry.life_of(uid_of(uid), product_id_of(context, product))
    emit(msgspec.to_builtins(life), as_json, life_text(life))


def orders(url: RegistryOption = DEFAULT_URL, as_json: JsonOption = False) -> None:
    """List the work orders, newest first."""
    with open_registry_at(url) as registry:
        rows = registry.orders()
    cells = [
        [row["order_id"], row["product_id"], row["lot"], str(row["quota"]), day_and_time(row["not_after"])]
        for row in rows
    ]
    text = table(["ORDER", "PRODUCT", "LOT", "QUOTA", "NOT AFTER"], cells) if rows else "no orders"
    emit(rows, as_json, text)


def reconcile(
    order: Annotated[str, typer.Argument(metavar="ORDER", help="The work order's id.")],
    url: RegistryOption = DEFAULT_URL,
    as_json: JsonOption = False,
) -> None:
    """Say what became of an order: ordered, injected, failed, scrapped, unaccounted. Exit code 10 if a sum is wrong."""
    import msgspec

    with open_registry_at(url) as registry:
        found = registry.reconcile(uuid_of(order, "an order's id"))
    problems = found.problems()
    names = ("sub_quota", "begun", "injected", "failed", "scrapped", "unaccounted", "refused", "left")
    data = msgspec.to_builtins(found) | {"total": {name: found.total(name) for name in names}, "problems": problems}
    emit(data, as_json, reconciliation_text(found, problems))
    if problems:
        raise typer.Exit(ExitCode.FINDINGS)


def freezes(
    context: typer.Context,
    bundle: Annotated[int, typer.Option(min=1, metavar="N", help="The trust bundle that devices should have.")],
    url: RegistryOption = DEFAULT_URL,
    product: ProductFilter = None,
    lot: LotOption = None,
    as_json: JsonOption = False,
) -> None:
    """Say which operational devices have not moved to a trust bundle, and since when. Exit code 10 if there are any."""
    import msgspec

    query = _query(context, product, None, lot=lot)
    with open_registry_at(url) as registry:
        counts = registry.bundle_counts(query)
        rows = (msgspec.to_builtins(device) for device in registry.frozen(bundle, query))
        if as_json:
            emit({"bundles": {str(version): count for version, count in counts}, "frozen": [*rows]}, as_json, "")
        else:
            _write(frozen_text(rows, bundle, counts))
    if any(version < bundle for version, _ in counts):
        raise typer.Exit(ExitCode.FINDINGS)


def export(
    context: typer.Context,
    url: RegistryOption = DEFAULT_URL,
    out: Annotated[
        Path | None,
        typer.Option("--out", "-o", help="The file to write; it must not exist yet. Without: standard output."),
    ] = None,
    grants: Annotated[
        bool,
        typer.Option("--grants", help="UID and agreement key of operational devices, as `grant issue` takes them."),
    ] = False,
    product: ProductFilter = None,
    lot: LotOption = None,
    order: OrderOption = None,
    hardware_revision: RevisionOption = None,
    lifecycle: LifecycleOption = None,
    where_bundle_below: BelowOption = None,
    application_version: VersionOption = None,
    application_head: HeadOption = None,
    not_granted: NotGrantedOption = None,
    as_json: Annotated[bool, typer.Option("--json", help="JSON, one device a line, instead of CSV.")] = False,
) -> None:
    """Write devices as CSV (RFC 4180) or JSON, in constant memory; --grants: the list for `strongroom grant issue`."""
    from provisioning.registry.export import DEVICE_COLUMNS, grant_lines, rows_as_csv, rows_as_json

    if grants and as_json:
        raise typer.BadParameter("--grants is CSV; leave --json out")
    query = _query(
        context, product, order, lot=lot, hardware_revision=hardware_revision,
        lifecycle=None if lifecycle is None else lifecycle.value, bundle_below=where_bundle_below,
        application_version=application_version,
        application_head_hash=hexadecimal(application_head, "a head hash", _HASH_SIZE_BYTES),
        not_granted=hexadecimal(not_granted, "a head hash", _HASH_SIZE_BYTES),
    )  # fmt: skip
    with open_registry_at(url) as registry:
        if grants:
            text = grant_lines(registry.agreement_keys(query))
        else:
            text = (rows_as_json if as_json else rows_as_csv)(DEVICE_COLUMNS, registry.devices(query))
        if out is None:
            _write(text)
        else:
            _write_file(out, text)
            say(f"wrote {out}")


def _query(context: typer.Context, product: str | None, order: str | None, **filters: Any) -> DeviceQuery:
    from provisioning.registry.queries import DeviceQuery

    return DeviceQuery(
        product_id=product_id_of(context, product),
        order_id=None if order is None else uuid_of(order, "an order's id"),
        **filters,
    )


def _write(pieces: Iterable[str]) -> None:
    """As it comes, with the line ends that it has."""
    sys.stdout.writelines(pieces)


def _write_file(path: Path, pieces: Iterable[str]) -> None:
    from signer.new_file import NewFile

    with NewFile(path) as new:
        offset = 0
        for piece in pieces:
            data = piece.encode("utf-8")
            new.write_at(offset, data)
            offset += len(data)
        new.publish()
