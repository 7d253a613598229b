"""The trust bundle's checks 1 to 10, their order, its layout, and what makes a genesis: docs/spec/trust-bundle.md."""

from __future__ import annotations

import re
from dataclasses import replace
from hashlib import sha256
from itertools import combinations
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bootloader.reference.codes import DeviceCode, Refused
from bootloader.reference.head import PackageType
from bootloader.reference.trust_bundle import (
    BundleSignature,
    RevokedKey,
    Role,
    RoleKey,
    SecurityVersionLimits,
    SignatureSet,
    parse_trust_bundle,
    verify_genesis,
    verify_own_threshold,
)
from tests.unit.reference.builders import (
    BUNDLE_FIELDS,
    PRODUCT_ID,
    BundlePlan,
    bootloader_release_keys,
    build_bundle,
    default_role_keys,
    padded,
    root_keys,
    u8,
    u16,
    u32,
    with_bundle_fields,
)
from tests.unit.reference.fake.keys import fake_key

DOCUMENT = Path(__file__).resolve().parents[3] / "docs" / "spec" / "trust-bundle.md"
GENESIS = build_bundle(BundlePlan())
REVOKED = tuple(sorted(((fake_key(f"revoked {i}").key_id, i % 2) for i in range(4)), key=lambda entry: entry[0]))
FULL_PLAN = BundlePlan(
    version=2,
    previous_digest=b"\x07" * 32,
    threshold=3,
    roots=[root.public for root in root_keys(5)],
    revoked=REVOKED,
    signers=[(0, 0, fake_key("old root")), *((1, i, root) for i, root in enumerate(root_keys(5)))],
)
FULL = build_bundle(FULL_PLAN)


def code_of(data: bytes) -> DeviceCode:
    """What the parser says to a bundle: its refusal, or OK."""
    try:
        parse_trust_bundle(data)
    except Refused as refusal:
        return refusal.code
    return DeviceCode.OK


# --- layout -----------------------------------------------------------------------------------------------------------


def documented_fields() -> list[tuple[int, int, str]]:
    """(offset, size, name) of the document's table; sizes such as 5 × 64 are multiplied out."""
    rows = re.findall(r"^\| (\d+) \| ([\d ×]+) \| (\S+) \|", DOCUMENT.read_text(), re.MULTILINE)
    fields = []
    for offset, size, name in rows:
        first, _, second = size.partition(" × ")
        size_bytes = int(first) * int(second or 1)
        fields.append((int(offset), size_bytes, name.strip("`") if name != "reserved" else f"reserved_{offset}"))
    return fields


def test_the_documented_table_has_no_gap_and_is_the_builders() -> None:
    position = 0
    for offset, size, _ in documented_fields():
        assert offset == position
        position += size
    assert position == 2304
    assert {name: (offset, size) for offset, size, name in documented_fields()} == BUNDLE_FIELDS


def test_a_parsed_bundle() -> None:
    bundle = parse_trust_bundle(FULL)
    assert bundle.raw == FULL
    assert (bundle.version, bundle.product_id, bundle.previous_digest) == (2, PRODUCT_ID, b"\x07" * 32)
    assert bundle.root_threshold == 3
    assert bundle.roots == tuple(root.public for root in root_keys(5))
    assert bundle.role_keys == tuple(RoleKey(Role(role), key) for role, key in default_role_keys())
    assert bundle.revoked == tuple(RevokedKey(key_id, stop=bool(flags)) for key_id, flags in REVOKED)
    assert bundle.digest == sha256(padded("SR-bundle-v1") + FULL[:1599]).digest()
    expected = [
        BundleSignature(SignatureSet(which), index, key.sign(bundle.digest)) for which, index, key in FULL_PLAN.signers
    ]
    assert list(bundle.signatures) == expected


def test_the_largest_bundle() -> None:
    """Every array full: 5 roots, 12 role keys, 24 revoked, 10 signatures."""
    roots = root_keys(5)
    role_keys = sorted((1 + i % 5, fake_key(f"role key {i}").public) for i in range(12))
    revoked = sorted((fake_key(f"revoked {i}").key_id, i % 2) for i in range(24))
    signers = [(which, i, root) for which in (0, 1) for i, root in enumerate(roots)]
    plan = BundlePlan(
        version=2**32 - 1,
        previous_digest=b"\x01" * 32,
        threshold=5,
        roots=[root.public for root in roots],
        role_keys=role_keys,
        revoked=revoked,
        limits=[2**32 - 1] * 6,
        signers=signers,
    )
    bundle = parse_trust_bundle(build_bundle(plan))
    assert bundle.version == 2**32 - 1
    assert [len(part) for part in (bundle.roots, bundle.role_keys, bundle.revoked, bundle.signatures)] == [
        5,
        12,
        24,
        10,
    ]
    verify_own_threshold(bundle)


def test_the_smallest_bundle() -> None:
    """One root, no role key, nothing revoked, no signature: well formed, but genuine to nobody."""
    plan = BundlePlan(threshold=1, roots=[fake_key("root 0").public], role_keys=[], limits=[0] * 6, signers=[])
    bundle = parse_trust_bundle(build_bundle(plan))
    assert (bundle.role_keys, bundle.revoked, bundle.signatures) == ((), (), ())
    with pytest.raises(Refused) as refusal:
        verify_genesis(bundle)
    assert refusal.value.code is DeviceCode.BUNDLE_SIGNATURES


def test_a_mutable_buffer_is_copied() -> None:
    buffer = bytearray(GENESIS)
    bundle = parse_trust_bundle(buffer)
    buffer[:] = bytes(2304)
    assert bundle.raw == GENESIS


# --- what it says -----------------------------------------------------------------------------------------------------


def test_keys_of_a_role() -> None:
    bundle = parse_trust_bundle(GENESIS)
    application = sorted(fake_key(name).public for name in ("application release", "application release spare"))
    assert list(bundle.keys_of(Role.APPLICATION_RELEASE)) == application
    assert bundle.keys_of(Role.PRODUCTION) == (fake_key("production").public,)
    assert bundle.keys_of(Role.GRANT) == (fake_key("grant").public,)
    assert bundle.keys_of(Role.SERVICE) == (fake_key("service").public,)
    assert set(bundle.keys_of(Role.BOOTLOADER_RELEASE)) == {key.public for key in bootloader_release_keys()}


def test_revoked_and_stopped() -> None:
    bundle = parse_trust_bundle(FULL)
    for key_id, flags in REVOKED:
        assert bundle.is_revoked(key_id)
        assert bundle.stops(key_id) == (flags == 1)
    stranger = fake_key("application release").key_id
    assert not bundle.is_revoked(stranger)
    assert not bundle.stops(stranger)


def test_limits_of_each_type() -> None:
    bundle = parse_trust_bundle(build_bundle(BundlePlan(limits=(1, 2, 3, 4, 5, 0xFFFFFFFF))))
    assert bundle.limits_of(PackageType.APPLICATION) == SecurityVersionLimits(1, 2)
    assert bundle.limits_of(PackageType.BOOTLOADER) == SecurityVersionLimits(3, 4)
    assert bundle.limits_of(PackageType.FACTORY_TEST) == SecurityVersionLimits(5, 0xFFFFFFFF)


# --- each check -------------------------------------------------------------------------------------------------------


def last_byte(name: str) -> dict[str, bytes]:
    return {name: bytes(BUNDLE_FIELDS[name][1] - 1) + b"\x01"}


def in_array(name: str, offset: int, value: bytes) -> dict[str, bytes]:
    """An array of FULL with some of its bytes changed."""
    start, size = BUNDLE_FIELDS[name]
    array = FULL[start : start + size]
    return {name: array[:offset] + value + array[offset + len(value) :]}


def role_keys_with(*entries: tuple[int, bytes]) -> BundlePlan:
    return replace(FULL_PLAN, role_keys=sorted([*default_role_keys(), *entries]))


FIVE_ROOTS = [root.public for root in root_keys(5)]
SWAPPED_ROLE_KEYS = [default_role_keys()[1], default_role_keys()[0], *default_role_keys()[2:]]
OWN_SIGNERS = [(1, i, root) for i, root in enumerate(root_keys(5))]
OWN_BEFORE_PREVIOUS = [(1, 0, root_keys(5)[0]), (0, 1, fake_key("old root"))]
SOME_ID = fake_key("revoked 0").key_id

# rule, plan, fields changed before signing, expected code
CASES: list[tuple[str, BundlePlan, dict[str, bytes], DeviceCode]] = [
    ("genesis", BundlePlan(), {}, DeviceCode.OK),
    ("a later version", FULL_PLAN, {}, DeviceCode.OK),
    # 2, 3
    ("magic", FULL_PLAN, {"magic": b"SRB2"}, DeviceCode.BUNDLE_MAGIC),
    ("format version 0", FULL_PLAN, {"format_version": u16(0)}, DeviceCode.BUNDLE_FORMAT),
    ("format version 2", FULL_PLAN, {"format_version": u16(2)}, DeviceCode.BUNDLE_FORMAT),
    ("suite 0", FULL_PLAN, {"suite": u8(0)}, DeviceCode.BUNDLE_FORMAT),
    ("suite 2", FULL_PLAN, {"suite": u8(2)}, DeviceCode.BUNDLE_FORMAT),
    # 4
    ("no roots", FULL_PLAN, {"root_count": u8(0), "root_threshold": u8(0)}, DeviceCode.BUNDLE_COUNTS),
    ("6 roots", FULL_PLAN, {"root_count": u8(6)}, DeviceCode.BUNDLE_COUNTS),
    ("threshold 0", FULL_PLAN, {"root_threshold": u8(0)}, DeviceCode.BUNDLE_COUNTS),
    ("threshold 5 of 5", FULL_PLAN, {"root_threshold": u8(5)}, DeviceCode.OK),
    ("threshold 6 of 5", FULL_PLAN, {"root_threshold": u8(6)}, DeviceCode.BUNDLE_COUNTS),
    ("13 role keys", FULL_PLAN, {"role_key_count": u8(13)}, DeviceCode.BUNDLE_COUNTS),
    ("25 revoked", FULL_PLAN, {"revoked_count": u8(25)}, DeviceCode.BUNDLE_COUNTS),
    ("11 signatures", FULL_PLAN, {"signature_count": u8(11)}, DeviceCode.BUNDLE_COUNTS),
    ("255 signatures", FULL_PLAN, {"signature_count": u8(255)}, DeviceCode.BUNDLE_COUNTS),
    # 5
    ("reserved at 11", FULL_PLAN, last_byte("reserved_11"), DeviceCode.BUNDLE_RESERVED),
    ("reserved at 88", FULL_PLAN, last_byte("reserved_88"), DeviceCode.BUNDLE_RESERVED),
    ("reserved at 1520", FULL_PLAN, last_byte("reserved_1520"), DeviceCode.BUNDLE_RESERVED),
    ("reserved at 2280", FULL_PLAN, last_byte("reserved_2280"), DeviceCode.BUNDLE_RESERVED),
    ("one root fewer than stand there", FULL_PLAN, {"root_count": u8(4)}, DeviceCode.BUNDLE_RESERVED),
    ("an unused root", BundlePlan(), last_byte("roots"), DeviceCode.BUNDLE_RESERVED),
    ("one role key fewer than stand there", FULL_PLAN, {"role_key_count": u8(7)}, DeviceCode.BUNDLE_RESERVED),
    ("an unused role key", FULL_PLAN, in_array("role_keys", 815, b"\x01"), DeviceCode.BUNDLE_RESERVED),
    ("an unused role key's role", FULL_PLAN, in_array("role_keys", 8 * 68, b"\x01"), DeviceCode.BUNDLE_RESERVED),
    ("padding of a role key", FULL_PLAN, in_array("role_keys", 3, b"\x01"), DeviceCode.BUNDLE_RESERVED),
    ("an unused revoked key", FULL_PLAN, in_array("revoked", 287, b"\x01"), DeviceCode.BUNDLE_RESERVED),
    ("padding of a revoked key", FULL_PLAN, in_array("revoked", 9, b"\x01"), DeviceCode.BUNDLE_RESERVED),
    ("flag bit 1", FULL_PLAN, in_array("revoked", 8, b"\x02"), DeviceCode.BUNDLE_RESERVED),
    ("flag bit 7", FULL_PLAN, in_array("revoked", 8, b"\x81"), DeviceCode.BUNDLE_RESERVED),
    ("an unused signature", FULL_PLAN, in_array("signatures", 679, b"\x01"), DeviceCode.BUNDLE_RESERVED),
    ("padding of a signature", FULL_PLAN, in_array("signatures", 2, b"\x01"), DeviceCode.BUNDLE_RESERVED),
    ("signature of set 2", FULL_PLAN, in_array("signatures", 5 * 68, b"\x02"), DeviceCode.BUNDLE_RESERVED),
    # 6
    ("no product", FULL_PLAN, {"product_id": bytes(16)}, DeviceCode.BUNDLE_PRODUCT),
    # 7
    ("version 0", FULL_PLAN, {"version": u32(0)}, DeviceCode.BUNDLE_GENESIS),
    (
        "version 0, nothing before",
        FULL_PLAN,
        {"version": u32(0), "previous_digest": bytes(32)},
        DeviceCode.BUNDLE_GENESIS,
    ),
    ("version 1, something before", FULL_PLAN, {"version": u32(1)}, DeviceCode.BUNDLE_GENESIS),
    ("version 2, nothing before", FULL_PLAN, {"previous_digest": bytes(32)}, DeviceCode.BUNDLE_GENESIS),
    ("version 2, little before", FULL_PLAN, {"previous_digest": bytes(31) + b"\x01"}, DeviceCode.OK),
    # 8
    ("application limits 5 to 5", replace(FULL_PLAN, limits=(5, 5, 0, 0, 0, 0)), {}, DeviceCode.OK),
    ("application limits 6 to 5", replace(FULL_PLAN, limits=(6, 5, 0, 0, 0, 0)), {}, DeviceCode.BUNDLE_LIMITS),
    ("bootloader limits 1 to 0", replace(FULL_PLAN, limits=(0, 0, 1, 0, 0, 0)), {}, DeviceCode.BUNDLE_LIMITS),
    ("factory test limits 1 to 0", replace(FULL_PLAN, limits=(0, 0, 0, 0, 1, 0)), {}, DeviceCode.BUNDLE_LIMITS),
    ("limits are unsigned", replace(FULL_PLAN, limits=(0x7FFFFFFF, 0x80000000) * 3), {}, DeviceCode.OK),
    ("limits 256 to 255", replace(FULL_PLAN, limits=(256, 255, 0, 0, 0, 0)), {}, DeviceCode.BUNDLE_LIMITS),
    # 9
    ("roots descending", replace(FULL_PLAN, roots=FIVE_ROOTS[::-1]), {}, DeviceCode.BUNDLE_ORDER),
    ("a root twice", replace(FULL_PLAN, roots=[FIVE_ROOTS[0], *FIVE_ROOTS[:4]]), {}, DeviceCode.BUNDLE_ORDER),
    ("role keys not in order", replace(FULL_PLAN, role_keys=SWAPPED_ROLE_KEYS), {}, DeviceCode.BUNDLE_ORDER),
    ("roles not in order", replace(FULL_PLAN, role_keys=default_role_keys()[::-1]), {}, DeviceCode.BUNDLE_ORDER),
    ("a role key twice", role_keys_with(default_role_keys()[0]), {}, DeviceCode.BUNDLE_ORDER),
    ("revoked descending", replace(FULL_PLAN, revoked=REVOKED[::-1]), {}, DeviceCode.BUNDLE_ORDER),
    ("a key revoked twice", replace(FULL_PLAN, revoked=[(SOME_ID, 0), (SOME_ID, 1)]), {}, DeviceCode.BUNDLE_ORDER),
    ("signatures descending", replace(FULL_PLAN, signers=FULL_PLAN.signers[::-1]), {}, DeviceCode.BUNDLE_ORDER),
    ("a root signing twice", replace(FULL_PLAN, signers=[OWN_SIGNERS[0]] * 2), {}, DeviceCode.BUNDLE_ORDER),
    ("own roots before previous", replace(FULL_PLAN, signers=OWN_BEFORE_PREVIOUS), {}, DeviceCode.BUNDLE_ORDER),
    # 10
    ("role 0", role_keys_with((0, fake_key("x").public)), {}, DeviceCode.BUNDLE_KEYS),
    ("role 6", role_keys_with((6, fake_key("x").public)), {}, DeviceCode.BUNDLE_KEYS),
    ("a key of two roles", role_keys_with((3, fake_key("production").public)), {}, DeviceCode.BUNDLE_KEYS),
    ("a root with a role", role_keys_with((1, FIVE_ROOTS[2])), {}, DeviceCode.BUNDLE_KEYS),
    (
        "a role key revoked",
        replace(FULL_PLAN, revoked=[(fake_key("production").key_id, 0)]),
        {},
        DeviceCode.BUNDLE_KEYS,
    ),
    ("a root revoked", replace(FULL_PLAN, revoked=[(root_keys(5)[4].key_id, 1)]), {}, DeviceCode.BUNDLE_KEYS),
]


@pytest.mark.parametrize(("plan", "changed", "code"), [case[1:] for case in CASES], ids=[case[0] for case in CASES])
def test_each_rule(plan: BundlePlan, changed: dict[str, bytes], code: DeviceCode) -> None:
    assert code_of(build_bundle(plan, changed)) is code


@pytest.mark.parametrize("size", [0, 1, 1599, 2303, 2305, 4608])
def test_another_size(size: int) -> None:
    assert code_of((GENESIS * 2)[:size]) is DeviceCode.BUNDLE_SIZE


# --- order of the checks ----------------------------------------------------------------------------------------------

# One failure of each check 2 to 10, in their order, as (code, offset, bytes).
FAILURES: list[tuple[DeviceCode, int, bytes]] = [
    (DeviceCode.BUNDLE_MAGIC, 0, b"X"),
    (DeviceCode.BUNDLE_FORMAT, 4, u16(9)),
    (DeviceCode.BUNDLE_COUNTS, 8, u8(0)),
    (DeviceCode.BUNDLE_RESERVED, 2303, u8(1)),
    (DeviceCode.BUNDLE_PRODUCT, 16, bytes(16)),
    (DeviceCode.BUNDLE_GENESIS, 12, u32(0)),
    (DeviceCode.BUNDLE_LIMITS, 64, u32(0xFFFFFFFF)),
    (DeviceCode.BUNDLE_ORDER, 96, b"\xff" * 64),
    (DeviceCode.BUNDLE_KEYS, 416 + 7 * 68, u8(9)),
]


def failing(*failures: tuple[DeviceCode, int, bytes]) -> bytes:
    bundle = bytearray(FULL)
    for _, offset, value in failures:
        bundle[offset : offset + len(value)] = value
    return bytes(bundle)


@pytest.mark.parametrize("failure", FAILURES, ids=lambda failure: failure[0].name)
def test_one_failure(failure: tuple[DeviceCode, int, bytes]) -> None:
    assert code_of(failing(failure)) is failure[0]


@pytest.mark.parametrize(("first", "second"), list(combinations(FAILURES, 2)), ids=lambda failure: failure[0].name)
def test_of_two_failures_the_first_in_order_is_reported(
    first: tuple[DeviceCode, int, bytes], second: tuple[DeviceCode, int, bytes]
) -> None:
    assert code_of(failing(first, second)) is first[0]


# --- anything at all --------------------------------------------------------------------------------------------------


@given(st.binary(max_size=300), st.integers(0, 2400))
def test_random_bytes_are_refused_and_nothing_else(data: bytes, size: int) -> None:
    assert code_of((data * 2400)[:size]) is not DeviceCode.OK


@given(
    st.sampled_from([GENESIS, FULL]),
    st.dictionaries(st.sampled_from(sorted(BUNDLE_FIELDS)), st.randoms(use_true_random=False), max_size=3),
)
def test_random_fields_never_raise_anything_but_refused(base: bytes, fields: dict[str, Any]) -> None:
    changed = {name: random.randbytes(BUNDLE_FIELDS[name][1]) for name, random in fields.items()}
    data = with_bundle_fields(base, changed)
    if code_of(data) is DeviceCode.OK:
        assert parse_trust_bundle(data).raw == data
