"""The request: one encoding, every field checked, nothing else let in."""

from __future__ import annotations

import hashlib
import json
from datetime import UTC, datetime, timedelta, timezone
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pki.canonical_json import encode_canonical
from policies.refusals import Malformed
from policies.request import FIELD_NAMES, SigningRequest, decode_request
from tests.unit.policies.statements import NOW, REQUEST, request

DIGEST = "61" * 32


def spoiled(**changes: Any) -> bytes:
    return encode_canonical(REQUEST.fields() | changes)


def refused(data: bytes) -> Malformed:
    with pytest.raises(Malformed) as error:
        decode_request(data)
    assert str(error.value).startswith(f"[{error.value.rule_id}] ")
    assert "\n" not in str(error.value)
    return error.value


def test_the_bytes_by_hand() -> None:
    """Written from docs/spec/requests-and-approvals.md: keys in ascending order, no space anywhere."""
    expected = (
        '{"environment":"production","head_digest":"' + "68" * 32 + '","image_digest":"' + "69" * 32 + '",'
        '"key_ids":["6b65792d69642d31"],"kind":"application","not_after":"2026-12-04T12:00:00Z",'
        '"policy_digest":"' + "70" * 32 + '","product":"pump-x2","product_id":"6f1a4b7e3c524d0e9b7d0a3c5e8f1d24",'
        '"requester":"rita","sbom_digest":"' + "73" * 32 + '","security_version":3,"target":"any",'
        '"test_evidence_digest":null,"type":"strongroom-signing-request-1","version":"1.2.0"}'
    ).encode()
    assert REQUEST.encode() == expected
    assert REQUEST.digest == hashlib.sha256(expected).digest()
    assert decode_request(expected) == REQUEST


@pytest.mark.parametrize(
    "changes",
    [
        {"kind": "bootloader", "key_ids": (b"key-id-1", b"key-id-2")},
        {"kind": "factory-test", "environment": "development"},
        {"target": "grant"},
        {"target": "uid:" + "01" * 12 + "00" * 4},
        {"version": "255.255.65535+4294967295", "security_version": 0xFFFFFFFF},
        {"version": "0.0.0", "security_version": 0},
        {"sbom_digest": None, "test_evidence_digest": b"t" * 32},
    ],
)
def test_every_kind_of_request_is_read_back(changes: dict[str, Any]) -> None:
    asked = request(**changes)
    assert decode_request(asked.encode()) == asked


def test_versions_are_compared_as_numbers() -> None:
    assert request(version="1.10.0").version_parts > request(version="1.9.9+7").version_parts
    assert request(version="1.2.3+4").version_parts == (1, 2, 3, 4)


def test_rq01_anything_but_canonical_json() -> None:
    data = REQUEST.encode()
    for wrong in (
        b"",
        data + b"\n",
        b" " + data,
        data.replace(b'":"', b'": "', 1),
        data[:-1] + b',"version":"1.2.0"}',
        data.replace(b'"kind":"application"', b'"kind":"application","kind":"application"'),
        data.replace(b'"security_version":3', b'"security_version":3.0'),
        b"[" + data + b"]",
        data.replace(b"rita", b"rit\xff"),
        json.dumps(REQUEST.fields()).encode(),
        data.replace(b"rita", b"r" * (16 * 1024)),
    ):
        assert refused(wrong).rule_id == "RQ-01", wrong


def test_rq02_fields_unknown_or_missing_and_other_types() -> None:
    for name in FIELD_NAMES:
        fields = REQUEST.fields()
        del fields[name]
        error = refused(encode_canonical(fields))
        assert error.rule_id == "RQ-02"
        assert name in str(error)
    assert "'scope'" in str(refused(spoiled(scope="all")))
    assert refused(spoiled(Version="1.2.0")).rule_id == "RQ-02"
    for kind in ("strongroom-signing-request-2", "strongroom-approval-1", None, 1):
        assert refused(spoiled(type=kind)).rule_id == "RQ-02"


WRONG: dict[str, list[Any]] = {
    "environment": ["staging", "Production", "", None, 1],
    "head_digest": ["", DIGEST[:-2], DIGEST + "61", DIGEST.upper().replace("6", "A"), "0" * 64, "zz" * 32, None, 5, []],
    "image_digest": ["", DIGEST[:-1], "00" * 32, None],
    "policy_digest": [DIGEST[:-2], None, "0" * 64],
    "sbom_digest": ["", False, "00" * 32, DIGEST[:-2], DIGEST + " "],
    "test_evidence_digest": ["", 0, "00" * 32, DIGEST[:-2]],
    "kind": ["Application", "firmware", "", None, 1],
    "product": ["Pump", "", "-a", "a" * 33, "a\n", None, 3],
    "requester": ["Rita", "", "rita ", None],
    "product_id": ["", "00" * 16, "11" * 15, "11" * 17, "6F" * 16, None],
    "version": ["1.2", "1.2.0.0", "v1.2.0", "01.2.0", "1.2.0+0", "1.2.0+", "256.0.0", "1.256.0", "1.2.65536",
                "1.2.0+4294967296", "1.2.0-rc1", "1.2.0\n", "1.2.\u0663", "", None, 1],
    "security_version": [-1, 1 << 32, "3", None, True, [3]],
    "target": ["", "ANY", "any ", "uid:", "uid:" + "01" * 12, "uid:" + "00" * 16, "uid:" + "AB" * 16, None, 0],
    "key_ids": [[], ["61" * 7], ["61" * 9], ["00" * 8], ["61" * 8, "62" * 8], "61" * 8, None, [None], [["61" * 8]]],
    "not_after": ["2026-12-04", "2026-12-04T12:00:00", "2026-12-04T12:00:00+00:00", "2026-12-04T12:00:00.0Z",
                  "2026-02-30T12:00:00Z", "2026-12-04T24:00:00Z", "2026-12-04T12:00:60Z", "0000-01-01T00:00:00Z",
                  "2026-12-04t12:00:00z", "2026-12-04T12:00:00Z\n", "", None, 1796385600],
}  # fmt: skip


def test_there_is_a_row_for_each_field() -> None:
    assert WRONG.keys() | {"type"} == set(FIELD_NAMES)


@pytest.mark.parametrize(("name", "value"), [(name, value) for name, values in WRONG.items() for value in values])
def test_rq03_values_of_another_form(name: str, value: Any) -> None:
    error = refused(spoiled(**{name: value}))
    assert error.rule_id == "RQ-03"
    assert name in str(error)


def test_rq03_two_different_key_ids_in_order_for_a_bootloader() -> None:
    for ids in (["61" * 8], ["61" * 8] * 2, ["62" * 8, "61" * 8], ["61" * 8, "62" * 8, "63" * 8]):
        assert refused(spoiled(kind="bootloader", key_ids=ids)).rule_id == "RQ-03"
    decode_request(spoiled(kind="bootloader", key_ids=["61" * 8, "62" * 8]))


@pytest.mark.parametrize(
    "changes",
    [
        {"not_after": NOW.replace(microsecond=1)},
        {"not_after": NOW.replace(tzinfo=None)},
        {"not_after": NOW.astimezone(timezone(timedelta(hours=1)))},
        {"head_digest": b"short"},
        {"version": "1.2"},
        {"requester": "Rita Example"},
    ],
)
def test_what_could_not_be_encoded_cannot_be_made(changes: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=next(iter(changes))):
        request(**changes)


digests = st.binary(min_size=32, max_size=32).filter(any)
slugs = st.from_regex(r"[a-z0-9]([a-z0-9-]{0,30}[a-z0-9])?", fullmatch=True)
requests = st.builds(
    SigningRequest,
    environment=st.sampled_from(("development", "production")),
    head_digest=digests,
    image_digest=digests,
    kind=st.sampled_from(("application", "factory-test")),
    product=slugs,
    product_id=st.binary(min_size=16, max_size=16).filter(any).map(bytes.hex),
    version=st.tuples(st.integers(0, 255), st.integers(0, 255), st.integers(0, 65535)).map(
        lambda parts: ".".join(map(str, parts))
    ),
    security_version=st.integers(0, (1 << 32) - 1),
    target=st.one_of(
        st.sampled_from(("any", "grant")),
        st.binary(min_size=16, max_size=16).filter(any).map(lambda uid: f"uid:{uid.hex()}"),
    ),
    key_ids=st.binary(min_size=8, max_size=8).filter(any).map(lambda key_id: (key_id,)),
    sbom_digest=st.none() | digests,
    test_evidence_digest=st.none() | digests,
    not_after=st.datetimes(datetime(2026, 1, 1), datetime(2100, 1, 1)).map(  # noqa: DTZ001 - made aware at once
        lambda when: when.replace(microsecond=0, tzinfo=UTC)
    ),
    policy_digest=digests,
    requester=slugs,
)


@given(requests, requests)
def test_two_requests_have_one_digest_only_if_they_are_the_same(first: SigningRequest, second: SigningRequest) -> None:
    assert decode_request(first.encode()) == first
    assert (first.digest == second.digest) is (first == second)


@given(requests, st.sampled_from(SigningRequest.__struct_fields__), requests)
def test_each_field_is_in_the_digest(first: SigningRequest, name: str, second: SigningRequest) -> None:
    value = getattr(second, name)
    mixed = msgspec.structs.replace(first, **{name: value})
    assert (mixed.digest == first.digest) is (value == getattr(first, name))
