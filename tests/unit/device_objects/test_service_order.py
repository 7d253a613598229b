"""Service orders: every byte as docs/spec/service-order.md places it, and nothing else taken."""

from __future__ import annotations

from typing import Any

import pytest

from pki.errors import FormatError, PolicyViolation
from pki.values import Signature
from signer.device_objects.service_order import (
    ServiceAction,
    ServiceOrder,
    parse_prepared_service_order,
    parse_service_order,
)
from tests.unit.device_objects import by_hand


def order(**changed: Any) -> ServiceOrder:
    fields: dict[str, Any] = {
        "action": ServiceAction.RETURN_FOR_REPAIR,
        "uid": b"UID-000000001234",
        "nonce": bytes(range(32)),
        "product_id": bytes(range(17, 33)),
        "signer_key_id": bytes(range(200, 208)),
    }
    return ServiceOrder(**(fields | changed))


RE_PROVISION: dict[str, Any] = {
    "action": ServiceAction.RE_PROVISION,
    "lot": "LOT-B",
    "hardware_revision": 4,
    "floors": (5, 6, 0xFFFFFFFF),
}


def test_every_field_stands_where_the_specification_places_it() -> None:
    expected = by_hand.service_order()
    assert order().signed(Signature(bytes(range(1, 65)))) == expected
    assert order().digest.value == by_hand.digest(b"SR-service-v1", expected[:192])
    assert parse_service_order(bytes(expected)).order == order()


def test_re_provisioning_says_what_the_device_is_from_then_on() -> None:
    expected = by_hand.service_order(action=3, lot=b"LOT-B", revision=4, floors=(5, 6, 0xFFFFFFFF))
    assert order(**RE_PROVISION).encode_unsigned() == expected[:192]
    assert parse_service_order(bytes(expected)).order == order(**RE_PROVISION)


@pytest.mark.parametrize("action", list(ServiceAction))
def test_prepared_and_signed_are_told_apart(action: ServiceAction) -> None:
    mine = order(**(RE_PROVISION if action is ServiceAction.RE_PROVISION else {"action": action}))
    assert parse_prepared_service_order(mine.prepared()) == mine
    with pytest.raises(FormatError, match="prepared and not signed"):
        parse_service_order(mine.prepared())
    with pytest.raises(FormatError, match="signature already"):
        parse_prepared_service_order(mine.signed(Signature(bytes([1]) * 64)))


REFUSED: dict[str, Any] = {
    "action 0": ("ServiceAction", {"action": 0}),
    "action 5": ("ServiceAction", {"action": 5}),
    "no product": ("WO-42", {"product_id": bytes(16)}),
    "re-provisioning without lot": ("WO-43", {"action": 3}),
    "repair with a lot": ("WO-43", {"lot": b"LOT-B"}),
    "repair with a hardware revision": ("WO-43", {"revision": 1}),
    "reinstallation with floors": ("WO-43", {"action": 4, "floors": (0, 0, 1)}),
    "no signer": ("WO-44", {"signer": bytes(8)}),
}


@pytest.mark.parametrize("case", REFUSED)
def test_what_a_device_would_refuse_is_refused_here(case: str) -> None:
    rule_id, changed = REFUSED[case]
    with pytest.raises(FormatError, match=rule_id):
        parse_service_order(bytes(by_hand.service_order(**changed)))


@pytest.mark.parametrize("offset", [90, 91, *range(112, 192)])
def test_reserved_bytes_are_zero(offset: int) -> None:
    data = by_hand.service_order()
    data[offset] = 1
    with pytest.raises(FormatError):
        parse_service_order(bytes(data))


@pytest.mark.parametrize("size_bytes", [0, 255, 257])
def test_another_size_is_refused(size_bytes: int) -> None:
    with pytest.raises(FormatError, match="256"):
        parse_service_order(bytes(by_hand.service_order()[:size_bytes]).ljust(size_bytes, b"\0"))


def test_an_order_that_no_device_takes_cannot_be_made() -> None:
    for rule_id, changed in (
        ("WO-40", {"action": 9}),
        ("WO-41", {"uid": b"short"}),
        ("WO-43", {"action": ServiceAction.RE_PROVISION, "lot": ""}),
        ("WO-43", {"floors": (1, 0, 0)}),
    ):
        with pytest.raises(PolicyViolation, match=rule_id):
            order(**changed)
