"""The approval: one encoding, every field checked, nothing else let in."""

from __future__ import annotations

import hashlib
from typing import Any

import pytest

from pki.canonical_json import encode_canonical
from policies.approval import FIELD_NAMES, Approval, decode_approval
from policies.refusals import Malformed
from tests.unit.policies.statements import NOW, WEEK

APPROVAL = Approval(request_digest=b"r" * 32, approver="ada", not_after=NOW + WEEK)


def spoiled(**changes: Any) -> bytes:
    return encode_canonical(APPROVAL.fields() | changes)


def refused(data: bytes) -> str:
    with pytest.raises(Malformed) as error:
        decode_approval(data)
    assert str(error.value).startswith(f"[{error.value.rule_id}] ")
    return error.value.rule_id


def test_the_bytes_by_hand() -> None:
    expected = (
        '{"approver":"ada","decision":"approve","not_after":"2026-12-04T12:00:00Z","request_digest":"'
        + "72" * 32
        + '","type":"strongroom-approval-1"}'
    ).encode()
    assert APPROVAL.encode() == expected
    assert APPROVAL.digest == hashlib.sha256(expected).digest()
    assert decode_approval(expected) == APPROVAL


def test_ap01_anything_but_canonical_json() -> None:
    data = APPROVAL.encode()
    for wrong in (b"", b"{}x", data + b"\n", data.replace(b":", b": ", 1), data[:-1] + b',"approver":"bob"}', b"[]"):
        assert refused(wrong) == "AP-01"


def test_ap02_fields_unknown_or_missing_and_other_types() -> None:
    for name in FIELD_NAMES:
        fields = APPROVAL.fields()
        del fields[name]
        assert refused(encode_canonical(fields)) == "AP-02"
    assert refused(spoiled(scope="any")) == "AP-02"
    assert refused(spoiled(type="strongroom-signing-request-1")) == "AP-02"


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("request_digest", "72" * 31),
        ("request_digest", "00" * 32),
        ("request_digest", "7A" * 32),
        ("request_digest", None),
        ("approver", "Ada"),
        ("approver", ["ada", "bob"]),
        ("approver", ""),
        ("not_after", "2026-12-04"),
        ("not_after", None),
        ("decision", "reject"),
        ("decision", "Approve"),
        ("decision", True),
        ("decision", None),
    ],
)
def test_ap03_values_of_another_form(name: str, value: Any) -> None:
    assert refused(spoiled(**{name: value})) == "AP-03"
