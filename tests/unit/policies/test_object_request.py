"""Requests for objects: one form, exactly the facts of the kind, none of another type."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import Any

import pytest

from pki.canonical_json import encode_canonical
from policies.object_facts import policy_facts
from policies.object_request import ObjectRequest, decode_object_request, is_object_request
from policies.refusals import Malformed
from policies.request import decode_request

NOW = datetime(2026, 11, 27, 12, 0, tzinfo=UTC)
FACTS: dict[str, dict[str, Any]] = {
    "work-order": {
        "inject": "none",
        "lot": "LOT-2026-11",
        "order_id": "01" * 16,
        "order_not_after": "2027-01-26T12:00:00Z",
        "quota": 300,
        "stations": 2,
    },
    "service-order": {"action": "decommission", "uid": "02" * 16},
    "grant-batch": {"batch_id": "03" * 16, "devices": 1_000_000, "head_hash": "04" * 32, "version": "1.2.0+4"},
}


def request(kind: Any = "work-order", **changes: Any) -> ObjectRequest:
    fields: dict[str, Any] = {
        "environment": "production",
        "kind": kind,
        "object_digest": b"\x05" * 32,
        "product": "pump-x2",
        "product_id": "06" * 16,
        "key_ids": (b"\x07" * 8,),
        "facts": dict(FACTS[kind]),
        "not_after": NOW,
        "policy_digest": b"\x08" * 32,
        "requester": "ada",
    }
    return ObjectRequest(**(fields | changes))


@pytest.mark.parametrize("kind", FACTS)
def test_what_is_encoded_is_read_back_from_exactly_these_bytes(kind: str) -> None:
    data = request(kind).encode()
    assert decode_object_request(data) == request(kind)
    assert is_object_request(data)
    with pytest.raises(Malformed, match="RQ-01"):
        decode_object_request(data + b"\n")
    with pytest.raises(Malformed, match="RQ-01"):
        decode_object_request(json.dumps(json.loads(data), indent=1).encode())


def test_the_statement_by_hand() -> None:
    """As docs/spec/object-requests.md says, without our encoder."""
    written = (
        '{"environment":"production","facts":{"action":"decommission","uid":"' + "02" * 16 + '"},'
        '"key_ids":["' + "07" * 8 + '"],"kind":"service-order","not_after":"2026-11-27T12:00:00Z",'
        '"object_digest":"' + "05" * 32 + '","policy_digest":"' + "08" * 32 + '","product":"pump-x2",'
        '"product_id":"' + "06" * 16 + '","requester":"ada","type":"strongroom-object-request-1"}'
    )
    assert request("service-order").encode() == written.encode()


def test_a_request_for_a_package_is_another_type() -> None:
    with pytest.raises(Malformed, match="RQ-02"):
        decode_request(request().encode())


@pytest.mark.parametrize("name", [*request().fields()])
def test_every_field_must_be_there_and_no_other(name: str) -> None:
    fields = request().fields()
    del fields[name]
    with pytest.raises(Malformed, match="RQ-02"):
        decode_object_request(encode_canonical(fields))
    with pytest.raises(Malformed, match="RQ-02"):
        decode_object_request(encode_canonical(request().fields() | {"colour": "red"}))


REFUSED: dict[str, tuple[str, dict[str, Any]]] = {
    "another environment": ("work-order", {"environment": "staging"}),
    "another kind": ("work-order", {"kind": "package"}),
    "a digest of zeros": ("work-order", {"object_digest": "00" * 32}),
    "a digest in capitals": ("work-order", {"object_digest": "AB" * 32}),
    "two keys": ("work-order", {"key_ids": ["07" * 8, "08" * 8]}),
    "no key": ("work-order", {"key_ids": []}),
    "keys that are no list": ("work-order", {"key_ids": "07" * 8}),
    "no name": ("work-order", {"product": "Pump"}),
    "a time with an offset": ("work-order", {"not_after": "2026-11-27T12:00:00+00:00"}),
    "facts of another kind": ("work-order", {"facts": FACTS["service-order"]}),
    "facts that are no object": ("work-order", {"facts": []}),
    "a fact more": ("work-order", {"facts": FACTS["work-order"] | {"colour": "red"}}),
}
REFUSED |= {
    f"{kind}: {name} {value!r}": (kind, {"facts": FACTS[kind] | {name: value}})
    for kind, name, value in (
        ("work-order", "inject", "everything"),
        ("work-order", "lot", ""),
        ("work-order", "lot", "SEVENTEEN-LETTERS"),
        ("work-order", "lot", "a\tb"),
        ("work-order", "order_id", "00" * 16),
        ("work-order", "order_not_after", "tomorrow"),
        ("work-order", "quota", 0),
        ("work-order", "quota", 10_000_001),
        ("work-order", "quota", True),
        ("work-order", "quota", "300"),
        ("work-order", "stations", 9),
        ("service-order", "action", "destroy"),
        ("service-order", "action", 2),
        ("service-order", "uid", "02" * 12),
        ("grant-batch", "devices", 0),
        ("grant-batch", "devices", (1 << 31) + 1),
        ("grant-batch", "version", "1.2"),
        ("grant-batch", "head_hash", "04" * 16),
    )
}


@pytest.mark.parametrize("case", REFUSED)
def test_rq_03_a_value_that_is_not_as_the_table_says(case: str) -> None:
    kind, changed = REFUSED[case]
    with pytest.raises(Malformed, match="RQ-03"):
        decode_object_request(encode_canonical(request(kind).fields() | changed))


def test_what_an_approver_types() -> None:
    assert request("work-order").words == "pump-x2 LOT-2026-11 300"
    assert request("service-order").words == "pump-x2 decommission"
    assert request("grant-batch").words == "pump-x2 1.2.0+4 1000000"


def test_what_policies_are_told() -> None:
    told = policy_facts("work-order", FACTS["work-order"], NOW)
    assert told == {"quota": 300, "stations": 2, "valid_days": 60, "injects_keys": False}
    a_second_less = datetime(2026, 11, 27, 12, 0, 1, tzinfo=UTC)
    assert policy_facts("work-order", FACTS["work-order"], a_second_less)["valid_days"] == 60
    over = datetime(2027, 2, 1, tzinfo=UTC)
    assert policy_facts("work-order", FACTS["work-order"], over)["valid_days"] == 0
    injecting = FACTS["work-order"] | {"inject": "both"}
    assert policy_facts("work-order", injecting, NOW)["injects_keys"] is True
    assert policy_facts("service-order", FACTS["service-order"], NOW) == {"service_action": "decommission"}
    assert policy_facts("grant-batch", FACTS["grant-batch"], NOW) == {"devices": 1_000_000}
