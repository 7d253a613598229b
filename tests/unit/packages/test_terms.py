"""What may be asked for: every legal pair accepted, every illegal one refused before anything is done."""

from __future__ import annotations

from itertools import product

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pki.errors import InputRefused
from pki.values import PublicKey
from signer.packages.terms import ImageVersion, PackageRequest, PackageType, RecipientMode, Target, padded_uid
from tests.unit.packages.builders import APP_KEY, BOOT_KEYS, DEVICE_KEY, GROUP_KEY, UID, request, terms

A, B, F = PackageType.APPLICATION, PackageType.BOOTLOADER, PackageType.FACTORY_TEST
ANY, ONE, BY_GRANT = Target.ANY_DEVICE, Target.ONE_UID, Target.GRANT_REQUIRED
NONE, DEVICE, GROUP, GRANT = RecipientMode.NONE, RecipientMode.DEVICE, RecipientMode.GROUP, RecipientMode.GRANT

# docs/spec/package.md, "Legal pairs", written out.
LEGAL = {
    *((kind, target, GROUP) for kind in (A, B) for target in (ANY, ONE)),
    *((kind, ONE, DEVICE) for kind in (A, B, F)),
    *((kind, BY_GRANT, GRANT) for kind in (A, B)),
    *((F, target, NONE) for target in (ANY, ONE)),
}


@pytest.mark.parametrize(("kind", "target", "mode"), list(product(PackageType, Target, RecipientMode)))
def test_legal_pairs_and_no_others(kind: PackageType, target: Target, mode: RecipientMode) -> None:
    changes: dict[str, object] = {"package_type": kind, "target": target, "recipient_mode": mode}
    if target is ONE:
        changes["target_uid"] = UID
    if (kind, target, mode) in LEGAL:
        assert request(**changes).terms.recipient_mode is mode
    else:
        with pytest.raises(InputRefused):
            terms(**changes)


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"product_id": bytes(16)}, "product id"),
        ({"product_id": bytes(15) + b"\x01\x02"}, "product id"),
        ({"hardware_revision_min": 5, "hardware_revision_max": 4}, "exchange"),
        ({"hardware_revision_max": 1 << 16}, "highest hardware revision"),
        ({"hardware_revision_min": -1}, "lowest hardware revision"),
        ({"security_version": 1 << 32}, "security version"),
        ({"security_version": -1}, "security version"),
        ({"trust_bundle_version_min": 1 << 32}, "trust bundle version"),
        ({"target": ONE}, "UID"),
        ({"target_uid": UID}, "UID"),
        ({"target": ONE, "target_uid": UID[:12]}, "padded"),
    ],
)
def test_terms_out_of_range_are_refused(changes: dict[str, object], says: str) -> None:
    with pytest.raises(InputRefused, match=says):
        terms(**changes)


@pytest.mark.parametrize("value", [0, 0x7FFFFFFF, 0x80000000, 0xFFFFFFFF])
def test_the_whole_range_of_a_security_version_is_accepted(value: int) -> None:
    assert terms(security_version=value).security_version == value


def test_a_request_names_the_recipient_exactly_when_the_head_wraps_for_one() -> None:
    with pytest.raises(InputRefused, match="recipient"):
        PackageRequest(terms(), None, (APP_KEY.public_key,))
    with pytest.raises(InputRefused, match="recipient"):
        PackageRequest(terms(target=BY_GRANT, recipient_mode=GRANT), GROUP_KEY.public_key, (APP_KEY.public_key,))


def test_a_recipient_off_the_curve_is_refused() -> None:
    off = bytearray(GROUP_KEY.public_key.point)
    off[-1] ^= 1
    with pytest.raises(InputRefused, match="not a point of P-256"):
        PackageRequest(terms(), PublicKey(bytes(off)), (APP_KEY.public_key,))
    prime = 2**256 - 2**224 + 2**192 + 2**96 - 1
    beyond = prime.to_bytes(32, "big") + DEVICE_KEY.public_key.point[32:]
    with pytest.raises(InputRefused, match="not a point of P-256"):
        PackageRequest(terms(), PublicKey(beyond), (APP_KEY.public_key,))


def test_signers_are_as_many_as_the_type_needs_and_different() -> None:
    one, two, three = (key.public_key for key in BOOT_KEYS)
    recipient = GROUP_KEY.public_key
    wrong: list[tuple[PackageType, tuple[PublicKey, ...]]] = [
        (A, ()),
        (A, (one, two)),
        (B, (one,)),
        (B, (one, two, three)),
    ]
    for kind, keys in wrong:
        with pytest.raises(InputRefused, match="signers"):
            PackageRequest(terms(package_type=kind), recipient, keys)
    with pytest.raises(InputRefused, match="different"):
        PackageRequest(terms(package_type=B), recipient, (one, one))


def test_signers_are_named_in_ascending_order_whatever_order_they_came_in() -> None:
    keys = tuple(key.public_key for key in BOOT_KEYS[:2])
    recipient = GROUP_KEY.public_key
    first = PackageRequest(terms(package_type=B), recipient, keys).signer_key_ids
    assert first == PackageRequest(terms(package_type=B), recipient, keys[::-1]).signer_key_ids
    assert first[0] < first[1]


@pytest.mark.parametrize("uid", [b"", bytes(12), bytes(17), b"\x01" * 17])
def test_impossible_uids_are_refused(uid: bytes) -> None:
    with pytest.raises(InputRefused, match="UID"):
        padded_uid(uid)


def test_a_uid_is_padded_at_its_end() -> None:
    assert padded_uid(b"\x01\x02") == b"\x01\x02" + bytes(14)


@given(
    st.tuples(st.integers(0, 255), st.integers(0, 255), st.integers(0, 0xFFFF), st.integers(0, 0xFFFFFFFF)),
    st.tuples(st.integers(0, 255), st.integers(0, 255), st.integers(0, 0xFFFF), st.integers(0, 0xFFFFFFFF)),
)
def test_versions_read_back_and_compare_field_by_field(
    left: tuple[int, int, int, int], right: tuple[int, int, int, int]
) -> None:
    version = ImageVersion(*left)
    assert ImageVersion.parse(str(version)) == version
    assert ImageVersion.from_bytes(version.encoded) == version
    assert (version < ImageVersion(*right)) is (left < right)


def test_a_version_is_encoded_as_the_specification_says() -> None:
    assert ImageVersion(1, 2, 0x0304, 0x05060708).encoded == bytes.fromhex("01 02 04 03 08 07 06 05")


@pytest.mark.parametrize(
    "text",
    [
        "",
        "1",
        "1.2",
        "1.2.3.4",
        "1.2.3+",
        "01.2.3",
        "1.2.3 ",
        " 1.2.3",
        "1.2.3-rc1",
        "256.0.0",
        "0.256.0",
        "0.0.65536",
        "0.0.0+4294967296",
        "-1.0.0",
        "1.2.3+04",
        "\u0661.\u0662.\u0663",
        "1.2.3\n",
        "v1.2.3",
        "9" * 5000,
    ],
)
def test_what_is_not_exactly_a_version_is_refused(text: str) -> None:
    with pytest.raises(InputRefused) as refusal:
        ImageVersion.parse(text)
    assert len(str(refusal.value)) < 200
