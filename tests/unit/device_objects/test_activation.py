"""Activations: every byte as docs/spec/activation.md places it, and nothing else taken."""

from __future__ import annotations

from typing import Any

import pytest

from pki.errors import FormatError, PolicyViolation, SignatureInvalid
from pki.values import PublicKey, Signature
from signer.device_objects.activation import (
    Activation,
    InjectedAgreementKey,
    InjectedKey,
    parse_activation,
)
from signer.device_objects.common import Injection
from tests.unit.device_objects import by_hand

WRAPPED = bytes(range(1, 73))


def activation(**changed: Any) -> Activation:
    fields: dict[str, Any] = {
        "uid": b"UID-000000001234",
        "nonce": bytes(range(32)),
        "order_digest": bytes(range(32, 64)),
        "station": b"\x10" * 32,
        "sequence": 7,
        "trust_bundle_version": 2,
        "identity_key_digest": bytes(range(64, 96)),
        "agreement_key_digest": bytes(range(96, 128)),
        "certificate_digest": bytes(range(128, 160)),
        "serial": "(01)04012345678901(21)0007",
    }
    return Activation(**(fields | changed))


def test_every_field_stands_where_the_specification_places_it() -> None:
    expected = by_hand.activation()
    assert activation().signed(Signature(bytes(range(1, 65)))) == expected
    assert activation().digest.value == by_hand.digest(b"SR-activate-v1", expected[:800])
    assert parse_activation(bytes(expected)).activation == activation()


def test_injected_keys_stand_behind_the_serial_number() -> None:
    key = InjectedKey(PublicKey(by_hand.LOT_POINT), WRAPPED)
    both = activation(group_key=key, agreement_key=InjectedAgreementKey(PublicKey(by_hand.TWICE_POINT), key))
    field = by_hand.injected_key(by_hand.LOT_POINT, WRAPPED)
    expected = by_hand.activation(injected=3, group_key=field, agreement_key=by_hand.TWICE_POINT + field)
    assert both.injected == Injection.GROUP_KEY | Injection.AGREEMENT_KEY
    assert both.encode_unsigned() == expected[:800]
    assert parse_activation(bytes(expected)).activation == both


FIELD = by_hand.injected_key(by_hand.LOT_POINT, WRAPPED)
REFUSED: dict[str, Any] = {
    "sequence zero": {"sequence": 0},
    "no certificate": {"certificate": bytes(32)},
    "serial with a zero inside": {"serial": b"a\0b"},
    "injected unknown": {"injected": 4},
    "key without injected": {"group_key": FIELD},
    "injected without key": {"injected": 1},
    "wrapped too short": {"injected": 1, "group_key": by_hand.injected_key(by_hand.LOT_POINT, bytes([1]) * 16)},
    "wrapped no multiple of 8": {"injected": 1, "group_key": by_hand.injected_key(by_hand.LOT_POINT, bytes([1]) * 29)},
    "bytes behind the wrapped key": {"injected": 1, "group_key": FIELD[:-1] + b"\1"},
    "ephemeral no point": {"injected": 1, "group_key": b"\0" + FIELD[1:]},
    "injected agreement key no point": {"injected": 2, "agreement_key": bytes(64) + FIELD},
    "not signed": {"signature": bytes(64)},
}


@pytest.mark.parametrize("case", REFUSED)
def test_what_a_device_would_refuse_is_refused_here(case: str) -> None:
    with pytest.raises(FormatError):
        parse_activation(bytes(by_hand.activation(**REFUSED[case])))


@pytest.mark.parametrize("offset", range(768, 800))
def test_reserved_bytes_are_zero(offset: int) -> None:
    data = by_hand.activation()
    data[offset] = 1
    with pytest.raises(FormatError):
        parse_activation(bytes(data))


@pytest.mark.parametrize("size_bytes", [0, 863, 865])
def test_another_size_is_refused(size_bytes: int) -> None:
    with pytest.raises(FormatError, match="864"):
        parse_activation(bytes(by_hand.activation()[:size_bytes]).ljust(size_bytes, b"\0"))


def test_an_activation_that_no_device_takes_cannot_be_made() -> None:
    for rule_id, changed in (
        ("WO-30", {"uid": b"short"}),
        ("WO-31", {"nonce": bytes(31)}),
        ("WO-32", {"sequence": 1 << 32}),
        ("WO-33", {"trust_bundle_version": 1 << 32}),
        ("WO-34", {"certificate_digest": bytes(32)}),
        ("WO-35", {"serial": "x" * 33}),
    ):
        with pytest.raises(PolicyViolation, match=rule_id):
            activation(**changed)


def test_wo_36_a_wrapped_key_of_another_size_cannot_be_made() -> None:
    for size_bytes in (16, 29, 160):
        with pytest.raises(PolicyViolation, match="WO-36"):
            InjectedKey(PublicKey(by_hand.LOT_POINT), bytes(size_bytes))
    with pytest.raises(PolicyViolation, match="WO-36"):
        InjectedKey(PublicKey(bytes(64)), WRAPPED)


def test_another_lots_key_does_not_verify_it() -> None:
    with pytest.raises(SignatureInvalid):
        parse_activation(bytes(by_hand.activation())).verify(PublicKey(by_hand.LOT_POINT))
