"""Files of grants that were changed: refused at the device's leaf at the latest, and by `require_whole` anywhere."""

from __future__ import annotations

import hashlib
from pathlib import Path

import pytest

from pki.errors import InputRefused, SignatureInvalid, VerificationError
from pki.values import PublicKey, Signature
from signer.grants.batch import GrantBatch, parse_batch
from signer.grants.file import GrantFile
from signer.grants.layout import GrantFileLayout
from signer.grants.lookup import find_grant, grant_of
from signer.grants.making import not_signed
from signer.grants.rules import GrantInvalid, GrantRefused
from signer.grants.signing import prepared_batch, sign_prepared
from signer.new_file import NewFile
from tests.unit.grants import rig
from tests.unit.reference import grants_by_hand
from tests.unit.reference.builders import u32
from tests.unit.reference.fake.keys import fake_key

COUNT = 7
LAYOUT = GrantFileLayout(COUNT)
OWN = 4
UID = rig.devices(COUNT)[OWN].uid


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return rig.make(tmp_path_factory.mktemp("grants"), COUNT)


def changed(made: Path, tmp_path: Path, offset: int, *, with_trailer: bool = False) -> Path:
    """A copy with one bit flipped; with a trailer that fits again, if wanted."""
    content = bytearray(made.read_bytes())
    content[offset] ^= 1
    if with_trailer:
        content[-32:] = hashlib.sha256(content[:-32]).digest()
    path = tmp_path / "changed.srg"
    path.write_bytes(content)
    return path


def verified_whole(path: Path) -> None:
    with GrantFile(path) as file:
        file.signed_batch.verify(rig.SIGNER_KEY)
        file.require_whole()


def rule_of(path: Path) -> str:
    with pytest.raises(GrantInvalid) as caught:
        verified_whole(path)
    return caught.value.rule_id


def test_what_was_made_is_whole(made: Path) -> None:
    verified_whole(made)


def test_every_changed_byte_is_found_when_everything_is_read(made: Path, tmp_path: Path) -> None:
    for offset in range(made.stat().st_size):
        with pytest.raises(VerificationError):
            verified_whole(changed(made, tmp_path, offset))


@pytest.mark.parametrize(
    ("offset", "rule"),
    [
        (LAYOUT.leaf_offset(3) + 20, "GR-33"),
        (LAYOUT.leaf_offset(3) + 55, "GR-33"),
        (LAYOUT.node_offset(0, 5), "GR-33"),
        (LAYOUT.node_offset(1, 3), "GR-33"),  # the hash that is carried up
        (LAYOUT.node_offset(2, 0), "GR-33"),
        (LAYOUT.node_offset(2, 1), "GR-33"),
        (LAYOUT.leaf_offset(6), "GR-34"),
    ],
)
def test_a_trailer_that_fits_hides_no_change(made: Path, tmp_path: Path, offset: int, rule: str) -> None:
    path = changed(made, tmp_path, offset, with_trailer=True)
    if rule == "GR-34":  # let the last leaf come before the one before it
        content = bytearray(path.read_bytes())
        content[offset : offset + 16] = bytes(15) + b"\1"
        content[-32:] = hashlib.sha256(content[:-32]).digest()
        path.write_bytes(content)
    assert rule_of(path) == rule


def test_the_trailer_alone(made: Path, tmp_path: Path) -> None:
    assert rule_of(changed(made, tmp_path, LAYOUT.trailer_offset + 7)) == "GR-32"


def test_a_look_up_reads_little_and_refuses_what_was_changed_on_its_way(made: Path, tmp_path: Path) -> None:
    """Each byte of the file: the grant is the right one, or refused; what is not on the way does not matter."""
    right = grant_of(made, UID)
    for offset in range(256, LAYOUT.trailer_offset):
        path = changed(made, tmp_path, offset)
        try:
            found: object = grant_of(path, UID)
        except (GrantInvalid, GrantRefused) as error:
            found = error.rule_id
        assert found in (right, "GR-33", "GR-37")


def test_a_look_up_with_the_key_refuses_every_changed_byte_of_the_batch(made: Path, tmp_path: Path) -> None:
    for offset in range(256):
        with pytest.raises(VerificationError):
            grant_of(changed(made, tmp_path, offset), UID, rig.SIGNER_KEY)


@pytest.mark.parametrize("size_bytes", [0, 100, 255])
def test_less_than_a_batch_is_none(made: Path, tmp_path: Path, size_bytes: int) -> None:
    path = tmp_path / "short.srg"
    path.write_bytes(made.read_bytes()[:size_bytes])
    assert rule_of(path) == "GR-30"


@pytest.mark.parametrize("difference", [-33, -1, 1, 56])
def test_the_size_follows_from_the_tree_size(made: Path, tmp_path: Path, difference: int) -> None:
    content = made.read_bytes()
    path = tmp_path / "other.srg"
    path.write_bytes(content[:difference] if difference < 0 else content + bytes(difference))
    assert rule_of(path) == "GR-31"


@pytest.mark.parametrize(
    "field",
    [
        {"magic": b"SRG2"},
        {"format_version": b"\2\0"},
        {"suite": b"\0"},
        {"reserved_7": b"\1"},
        {"reserved_180": b"\1" + bytes(11)},
        {"batch_id": bytes(16)},
        {"batch_id": b"\xff" * 16},
        {"product_id": bytes(16)},
        {"tree_size": u32(0)},
        {"tree_size": u32((1 << 31) + 1)},
        {"signer_key_id": bytes(8)},
    ],
    ids=lambda field: "-".join(field) + next(iter(field.values())).hex()[:6],
)
def test_a_batch_is_read_strictly(field: dict[str, bytes]) -> None:
    with pytest.raises(GrantInvalid) as caught:
        parse_batch(grants_by_hand.batch_of(rig.plan(3), field))
    assert caught.value.rule_id == "GR-30"


def test_a_batch_reads_as_it_was_written() -> None:
    raw = grants_by_hand.batch_of(rig.plan(3))
    assert parse_batch(raw).raw == raw
    parse_batch(raw).verify(rig.SIGNER_KEY)


def test_another_key_is_refused() -> None:
    signed = parse_batch(grants_by_hand.batch_of(rig.plan(3)))
    with pytest.raises(GrantInvalid) as caught:
        signed.verify(PublicKey(fake_key("production").public))
    assert caught.value.rule_id == "GR-36"
    forged = parse_batch(grants_by_hand.batch_of(rig.plan(3), {"signer_key_id": fake_key("production").key_id}))
    with pytest.raises(SignatureInvalid):
        forged.verify(PublicKey(fake_key("production").public))


@pytest.mark.parametrize("uid", [b"\x01\x02\x03\x04", b"\xff" * 16, rig.devices(8)[7].uid])
def test_a_device_that_is_not_listed_has_no_grant(made: Path, uid: bytes) -> None:
    with pytest.raises(GrantRefused) as caught:
        find_grant(made, uid)
    assert caught.value.rule_id == "GR-37"


@pytest.mark.parametrize(("uid", "rule"), [(b"\1\2\3", "GR-02"), (b"\1" * 17, "GR-02"), (bytes(12), "GR-04")])
def test_a_uid_is_one_to_look_up(made: Path, uid: bytes, rule: str) -> None:
    with pytest.raises(GrantRefused) as caught:
        find_grant(made, uid)
    assert caught.value.rule_id == rule


def test_a_file_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(InputRefused, match="cannot read"):
        GrantFile(tmp_path / "none.srg")


# --- signing what was prepared ---


def prepared(folder: Path) -> Path:
    return rig.make(folder, COUNT, signer=not_signed, name="prepared.srg")


def test_the_signed_file_is_the_one_that_would_have_been_made_at_once(made: Path, tmp_path: Path) -> None:
    path, out = prepared(tmp_path), tmp_path / "signed.srg"
    batch = prepared_batch(path)
    with NewFile(out) as file:
        sign_prepared(path, file, rig.sign, batch.digest)
        file.publish()
    assert out.read_bytes() == made.read_bytes()


def test_an_unsigned_file_grants_nothing(tmp_path: Path) -> None:
    path = prepared(tmp_path)
    for key in (None, rig.SIGNER_KEY):
        with pytest.raises(GrantInvalid) as caught:
            grant_of(path, UID, key)
        assert caught.value.rule_id == "GR-35"


def refused_to_sign(path: Path, tmp_path: Path) -> str:
    asked: list[GrantBatch] = []

    def sign(batch: GrantBatch) -> Signature:
        asked.append(batch)
        return rig.sign(batch)

    with GrantFile(path) as opened:
        digest = opened.signed_batch.batch.digest
    with (
        NewFile(tmp_path / "never.srg") as file,
        pytest.raises((GrantRefused, GrantInvalid)) as caught,
    ):
        sign_prepared(path, file, sign, digest)
    assert asked == []
    error = caught.value
    assert isinstance(error, GrantRefused | GrantInvalid)
    return error.rule_id


def test_signing_twice_is_refused(made: Path, tmp_path: Path) -> None:
    assert refused_to_sign(made, tmp_path) == "GR-38"


def test_another_batch_than_the_approved_one_is_refused(tmp_path: Path) -> None:
    path = prepared(tmp_path)
    with NewFile(tmp_path / "never.srg") as file, pytest.raises(GrantRefused) as caught:
        sign_prepared(path, file, rig.sign, parse_batch(grants_by_hand.batch_of(rig.plan(3))).batch.digest)
    assert caught.value.rule_id == "GR-38"


def test_a_prepared_file_is_verified_whole_before_the_key_is_asked(tmp_path: Path) -> None:
    path = prepared(tmp_path)
    for offset, rule in ((LAYOUT.leaf_offset(2) + 30, "GR-33"), (LAYOUT.node_offset(2, 1), "GR-33")):
        assert refused_to_sign(changed(path, tmp_path, offset, with_trailer=True), tmp_path) == rule
    assert refused_to_sign(changed(path, tmp_path, LAYOUT.leaf_offset(2)), tmp_path) == "GR-32"
