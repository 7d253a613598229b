"""The kinds of objects that the signing service reads: work orders and service orders."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path

import msgspec

from pki.errors import InputRefused
from pki.roles import Role
from pki.values import Digest, PublicKey, Signature
from policies.object_request import Fact, ObjectKind
from policies.statement import format_time
from signer.device_objects.common import Injection
from signer.device_objects.service_order import ServiceOrder, parse_prepared_service_order, parse_service_order
from signer.device_objects.work_order import WorkOrder, parse_prepared_work_order, parse_work_order
from signer.packages.file_blocks import blocks_of

OBJECT_SIZE_BYTES_MAX = 4096

_INJECT_WORDS = {
    Injection(0): "none",
    Injection.GROUP_KEY: "group-key",
    Injection.AGREEMENT_KEY: "agreement-key",
    Injection.GROUP_KEY | Injection.AGREEMENT_KEY: "both",
}


class SignableOrder(msgspec.Struct, frozen=True):
    """A prepared work order or service order as the service takes it."""

    kind: ObjectKind
    role: Role
    order: WorkOrder | ServiceOrder
    facts: Mapping[str, Fact]

    @property
    def product_id(self) -> bytes:
        """16 bytes."""
        return self.order.product_id

    @property
    def digest(self) -> Digest:
        """What is signed."""
        return self.order.digest

    @property
    def signer_key_id(self) -> bytes:
        """Whom the order names."""
        return self.order.signer_key_id

    def with_signature(self, signature: Signature) -> bytes:
        """The signed order."""
        return self.order.signed(signature)


class WorkOrderReader:
    """Reads `.srw` files."""

    def prepared(self, files: Sequence[Path]) -> SignableOrder:
        """Raises FormatError, InputRefused, PolicyViolation WO-06 for an order whose times nobody can write."""
        return signable_work_order(parse_prepared_work_order(_content(files)))

    def accepted(self, data: bytes, key: PublicKey) -> None:
        """Raises FormatError, SignatureInvalid."""
        parse_work_order(data).verify(key)


class ServiceOrderReader:
    """Reads `.srv` files."""

    def prepared(self, files: Sequence[Path]) -> SignableOrder:
        """Raises FormatError, InputRefused."""
        return signable_service_order(parse_prepared_service_order(_content(files)))

    def accepted(self, data: bytes, key: PublicKey) -> None:
        """Raises FormatError, SignatureInvalid."""
        parse_service_order(data).verify(key)


def signable_work_order(order: WorkOrder) -> SignableOrder:
    """What a request for this order says of it. Raises InputRefused for an end after the year 9999."""
    facts: dict[str, Fact] = {
        "inject": _INJECT_WORDS[order.inject],
        "lot": order.lot,
        "order_id": order.order_id.hex(),
        "order_not_after": format_time(_time(order.not_after)),
        "quota": order.quota,
        "stations": len(order.stations),
    }
    return SignableOrder("work-order", Role.PRODUCTION, order, facts)


def signable_service_order(order: ServiceOrder) -> SignableOrder:
    """What a request for this order says of it."""
    facts: dict[str, Fact] = {"action": order.action.text, "uid": order.uid.hex()}
    return SignableOrder("service-order", Role.SERVICE, order, facts)


def _time(seconds: int) -> datetime:
    try:
        return datetime.fromtimestamp(seconds, UTC)
    except (ValueError, OverflowError, OSError):
        raise InputRefused("the work order ends after the year 9999; prepare it with an earlier end") from None


def _content(files: Sequence[Path]) -> bytes:
    if len(files) != 1:
        raise InputRefused(f"an order is one file, not {len(files)}")
    return b"".join(blocks_of(files[0], OBJECT_SIZE_BYTES_MAX, "the prepared order"))


READERS: Mapping[ObjectKind, Callable[[], WorkOrderReader | ServiceOrderReader]] = {
    "work-order": WorkOrderReader,
    "service-order": ServiceOrderReader,
}
"""How each kind is read; grants have theirs in `signer.grants`."""
