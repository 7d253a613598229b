"""Work orders in the registry: taken once, verified, with their lot, their stations and their issuing CA."""

from __future__ import annotations

import uuid
from collections.abc import Sequence
from datetime import UTC, datetime

from sqlalchemy import Connection, Table, select

from pki.x509_parse import certificate_public_key, parse_certificate
from provisioning.registry import tables
from provisioning.registry.errors import refused
from provisioning.registry.rows import Row, next_id
from provisioning.registry.trust import Trust, require_order_signed
from provisioning.station.records import NO_RECORD
from signer.device_objects.work_order import SignedWorkOrder, WorkOrder
from signer.store.stored_times import time_to_text

_LAST_MOMENT = datetime(9999, 12, 31, 23, 59, 59, tzinfo=UTC)


def uuid_text(value: bytes) -> str:
    """A product's or an order's id, as the registry writes it."""
    return str(uuid.UUID(bytes=value))


def take_order(connection: Connection, order: SignedWorkOrder, trust: Trust, now: str) -> bool:
    """Record an order with its lot and stations; True if it is new. A known order needs no keys.

    Raises NotAuthentic BR-11, RG-03; PolicyViolation RG-09 for another order under a known id.
    """
    digest, order_id = order.digest.value.hex(), uuid_text(order.order.order_id)
    known = connection.execute(select(tables.orders.c.digest).where(tables.orders.c.order_id == order_id)).scalar()
    if known == digest:
        return False
    if known is not None:
        raise refused("RG-09", f"another order is recorded under the id {order_id}: two orders never have one id")
    require_order_signed(order, trust)
    lot = {"product_id": uuid_text(order.order.product_id), "lot": order.order.lot}
    if not _has(connection, tables.lots, lot):
        connection.execute(tables.lots.insert(), lot | {"taken_at": now})
    connection.execute(tables.orders.insert(), _order_row(order, order_id, now))
    _insert_stations(connection, order.order, order_id, now)
    return True


def _insert_stations(connection: Connection, order: WorkOrder, order_id: str, now: str) -> None:
    ledger_id = next_id(connection, tables.ledgers)
    for number, station in enumerate(order.stations):
        fingerprint = station.fingerprint.hex()
        if not _has(connection, tables.stations, {"fingerprint": fingerprint}):
            connection.execute(
                tables.stations.insert(), {"fingerprint": fingerprint, "public_key": None, "taken_at": now}
            )
        connection.execute(
            tables.ledgers.insert(),
            {
                "id": ledger_id + number,
                "order_id": order_id,
                "station": fingerprint,
                "sub_quota": station.sub_quota,
                "last_number": 0,
                "last_sequence": 0,
                "head": NO_RECORD.hex(),
                "last_at": None,
                "evidence_commit": None,
            },
        )


def _order_row(signed: SignedWorkOrder, order_id: str, now: str) -> Row:
    order = signed.order
    return {
        "order_id": order_id,
        "digest": signed.digest.value.hex(),
        "product_id": uuid_text(order.product_id),
        "lot": order.lot,
        "quota": order.quota,
        "inject": int(order.inject),
        "trust_bundle_version_min": order.trust_bundle_version_min,
        "not_before": _moment(order.not_before),
        "not_after": _moment(order.not_after),
        "protection_required": int(order.protection_required),
        "hardware_revision_min": order.hardware_revision_min,
        "hardware_revision_max": order.hardware_revision_max,
        "lot_public_key": order.lot_public_key.point.hex(),
        "group_public_key": None if order.group_public_key is None else order.group_public_key.point.hex(),
        "issuing_ca": order.issuing_ca.hex(),
        "signer_key_id": order.signer_key_id.hex(),
        "signed": signed.raw,
        "taken_at": now,
    }


def _moment(seconds: int) -> str:
    """Seconds since 1970; what lies beyond year 9999 is written as its end."""
    return time_to_text(datetime.fromtimestamp(min(seconds, int(_LAST_MOMENT.timestamp())), UTC))


def _has(connection: Connection, table: Table, key: Row) -> bool:
    query = select(table).where(*(table.c[name] == value for name, value in key.items()))
    return connection.execute(query).first() is not None


def known_ca_certificates(connection: Connection) -> tuple[bytes, ...]:
    """The CA certificates that were verified for an order before."""
    return tuple(connection.execute(select(tables.ca_certificates.c.der)).scalars())


def keep_ca_certificates(connection: Connection, chain: Sequence[bytes], now: str) -> None:
    """Record a verified chain, issuing CA first, root last."""
    keys = [certificate_public_key(parse_certificate(der)).spki_sha256.hex() for der in chain]
    for key, issuer, der in zip(keys, keys[1:] + keys[-1:], chain, strict=True):
        if not _has(connection, tables.ca_certificates, {"spki_sha256": key}):
            connection.execute(
                tables.ca_certificates.insert(),
                {"spki_sha256": key, "issuer_spki_sha256": issuer, "der": der, "taken_at": now},
            )
