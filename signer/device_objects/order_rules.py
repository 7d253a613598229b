"""What a maker checks of a work order before anybody is asked to approve it: rules WO-20 to WO-28. Pure.

A device refuses some of it later, when the boards are made; the rest (dates, CA, keys that end) no device can see.
"""

from __future__ import annotations

from collections.abc import Collection
from datetime import UTC, datetime, timedelta

import msgspec

from pki.errors import FormatError
from pki.key_states import KeyState
from pki.roles import Role
from pki.values import PublicKey
from pki.x509_lint import is_certificate_of
from pki.x509_parse import certificate_public_key, parse_certificate
from pki.x509_profiles import LOT_CA
from signer.device_objects.common import Injection, Protection, refused
from signer.device_objects.work_order import WorkOrder

ORDER_DAYS_MAX = 730
"""Two years: as long as the lot's key may sign."""


class LotKeyFacts(msgspec.Struct, frozen=True, kw_only=True):
    """What the key store says of a key that is to be a lot's. Times in UTC; None before the first activation."""

    label: str
    role: Role
    product: str | None
    state: KeyState
    not_after: datetime | None
    public_key: PublicKey


class ProductTerms(msgspec.Struct, frozen=True, kw_only=True):
    """What the product's file and board say. `revoked` are key ids (8 bytes each); `group_public_key` None if none."""

    name: str
    product_id: bytes
    hardware_revision_min: int
    hardware_revision_max: int
    protection_required: Protection
    revoked: frozenset[bytes]
    group_public_key: PublicKey | None


def require_sensible(
    order: WorkOrder, product: ProductTerms, lot_key: LotKeyFacts, ca_der: bytes, now: datetime
) -> None:
    """Refuse an order that could not be carried out, or should not be. Raises PolicyViolation WO-20 to WO-28."""
    _check_lot_key(order, product, lot_key)
    _check_times(order, lot_key, now)
    if product.protection_required & ~order.protection_required:
        missing = product.protection_required & ~order.protection_required
        raise refused("WO-22", f"the board demands more protection than the order: add {protection_words(missing)}")
    if not (
        product.hardware_revision_min <= order.hardware_revision_min
        and order.hardware_revision_max <= product.hardware_revision_max
    ):
        raise refused(
            "WO-23",
            f"product {product.name!r} has hardware revisions {product.hardware_revision_min} to "
            f"{product.hardware_revision_max}; the order asks for others",
        )
    _check_ca(order, ca_der, now)
    _check_stations(order, ca_der)
    if order.inject & Injection.GROUP_KEY and order.group_public_key != product.group_public_key:
        raise refused("WO-26", f"product {product.name!r} has another group key, or none; correct its [encryption]")
    if order.signer_key_id in product.revoked:
        raise refused("WO-27", f"signer {order.signer_key_id.hex()} is revoked by product {product.name!r}")


def _check_lot_key(order: WorkOrder, product: ProductTerms, lot_key: LotKeyFacts) -> None:
    if lot_key.role is not Role.LOT or lot_key.product not in {None, product.name}:
        raise refused("WO-20", f"key {lot_key.label} is no key of a lot of product {product.name!r}")
    if lot_key.state not in {KeyState.PRE_ACTIVATION, KeyState.ACTIVE}:
        raise refused("WO-20", f"key {lot_key.label} is {lot_key.state}; generate another lot key")
    if lot_key.public_key != order.lot_public_key:
        raise refused("WO-20", f"key {lot_key.label} is not the lot key of the order")
    if order.lot_public_key.key_id in product.revoked:
        raise refused("WO-21", f"lot key {order.lot_public_key.key_id.hex()} is revoked: its devices would refuse it")


def _check_times(order: WorkOrder, lot_key: LotKeyFacts, now: datetime) -> None:
    begin, end = (_time(seconds) for seconds in (order.not_before, order.not_after))
    if end <= now:
        raise refused("WO-24", f"the order would end at {end:%Y-%m-%d %H:%M} UTC, which is over")
    if end - begin > timedelta(days=ORDER_DAYS_MAX):
        raise refused("WO-24", f"an order is valid for at most {ORDER_DAYS_MAX} days")
    if lot_key.not_after is not None and end > lot_key.not_after:
        raise refused("WO-24", f"the lot's key ends at {lot_key.not_after:%Y-%m-%d}, before the order")


def _check_ca(order: WorkOrder, ca_der: bytes, now: datetime) -> None:
    try:
        certificate = parse_certificate(ca_der)
        key = certificate_public_key(certificate)
    except FormatError as error:
        raise refused("WO-25", f"the issuing CA's certificate cannot be used: {error}") from None
    if not is_certificate_of(certificate, LOT_CA):
        raise refused("WO-25", "the issuing CA's certificate is not one of profile lot-ca: `strongroom cert lot-ca`")
    if key.spki_sha256 != order.issuing_ca:
        raise refused("WO-25", "the issuing CA of the order is not that of the certificate")
    if not certificate.not_valid_before_utc <= now or certificate.not_valid_after_utc < _time(order.not_after):
        raise refused("WO-25", "the issuing CA's certificate is not valid from now to the order's end")


def _check_stations(order: WorkOrder, ca_der: bytes) -> None:
    """One key, one purpose: a station's key is neither the lot's nor its CA's."""
    ca_key = certificate_public_key(parse_certificate(ca_der))
    for taken, what in ((order.lot_public_key, "lot"), (ca_key, "lot's CA")):
        if order.station(taken.spki_sha256) is not None:
            raise refused("WO-28", f"a station of the order has the {what}'s key; each has a key of its own")


def _time(seconds: int) -> datetime:
    try:
        return datetime.fromtimestamp(seconds, UTC)
    except (ValueError, OverflowError, OSError):
        raise refused("WO-24", "a time after the year 9999; give an earlier one") from None


PROTECTION_WORDS = {
    "readout": Protection.READOUT,
    "readout-2": Protection.READOUT_LEVEL_2,
    "write-protect": Protection.PRE_BOOTLOADER_WRITE_PROTECTED,
    "brown-out": Protection.BROWN_OUT_LEVEL,
    "debug-closed": Protection.DEBUG_CLOSED,
}
"""Protection flags as commands write them."""


def protection_of(words: Collection[str]) -> Protection:
    """The flags of these words. Raises PolicyViolation WO-07."""
    flags = Protection(0)
    for word in words:
        if word not in PROTECTION_WORDS:
            raise refused("WO-07", f"protection {word!r} is unknown; use {', '.join(PROTECTION_WORDS)}")
        flags |= PROTECTION_WORDS[word]
    return flags


def protection_words(flags: Protection) -> str:
    """The flags in words."""
    return ", ".join(word for word, flag in PROTECTION_WORDS.items() if flags & flag) or "none"
