"""The contract of keys, on every module that we support: made by their spec, found exactly once, used as allowed."""

from __future__ import annotations

import ctypes
import subprocess
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat, load_der_public_key
from msgspec.structs import replace
from pkcs11.constants import Attribute

from pki.key_audit import ObjectClass
from pki.key_specs import KEY_SPECS, KeyUsage
from pki.roles import Role
from pki.values import Digest, PublicKey, Scheme
from signer.signing_key import signature_der
from signer.tokens import KeyRef
from signer.tokens.errors import (
    ActionRefused,
    KeyAmbiguous,
    KeyInconsistent,
    KeyNotFound,
    LabelTaken,
    MechanismUnsupported,
    TokenError,
)
from signer.tokens.generation import generate_unlocked_pair
from signer.tokens.key_handle import KeyHandle
from signer.tokens.objects import public_key_of
from signer.tokens.profiles import ModuleProfile
from signer.tokens.secret_keys import SecretKeyHandle
from signer.tokens.session import Session
from tests.softhsm.fault_rig import ULONG, counted
from tests.softhsm_fixtures import TokenRig

RAW = Scheme.ECDSA_P256_SHA256_RAW
LABEL = "sr:application-release:pump-x2:0001"
SPEC = KEY_SPECS[Role.APPLICATION_RELEASE]


def profile_of(session: Session) -> ModuleProfile:
    return session.probe_profile(on_token=True)


def make_foreign_pair(session: Session, label: str, cka_id: bytes | None) -> PublicKey:
    """A pair on the token that our generation would never make: any label, and any CKA_ID (None: the right one)."""
    profile = profile_of(session)
    with session.operation("making a foreign pair") as raw:
        public, private = generate_unlocked_pair(raw, label, SPEC.usages, profile, on_token=True)
        public_key = public_key_of(public)
        for item in (public, private):
            item[Attribute.ID] = public_key.cka_id if cka_id is None else cka_id
    return public_key


def test_openssl_verifies_a_signature_of_a_generated_key(token_rig: TokenRig, tmp_path: Path) -> None:
    message = b"the head of a package"
    with token_rig.open() as session:
        handle = token_rig.generate(session)
        signature = handle.sign(Digest.of(message), RAW)
    public_key = load_der_public_key(handle.public_key.spki)
    (tmp_path / "key.pem").write_bytes(public_key.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo))
    (tmp_path / "signature").write_bytes(signature_der(signature))
    (tmp_path / "message").write_bytes(message)
    command = ["openssl", "dgst", "-sha256", "-verify", "key.pem", "-signature", "signature", "message"]
    assert subprocess.run(command, cwd=tmp_path, capture_output=True, check=True).stdout == b"Verified OK\n"
    (tmp_path / "message").write_bytes(message + b".")
    assert subprocess.run(command, cwd=tmp_path, capture_output=True, check=False).returncode != 0


def test_a_generated_pair_is_what_its_spec_demands(token_rig: TokenRig) -> None:
    with token_rig.open() as session:
        handle = token_rig.generate(session)
        profile = profile_of(session)
        shown = {item.object_class: item for item in session.objects()}
    assert set(shown) == {ObjectClass.PRIVATE_KEY, ObjectClass.PUBLIC_KEY}
    private, public = shown[ObjectClass.PRIVATE_KEY], shown[ObjectClass.PUBLIC_KEY]
    assert private.label == public.label == handle.label == LABEL
    assert private.cka_id == public.cka_id == handle.public_key.spki_sha256[:20]
    assert private.usages == {KeyUsage.SIGN}
    assert not private.other_usages
    assert not public.usages
    assert public.other_usages == {"verify"}
    assert (private.private, private.sensitive, private.always_sensitive) == (True, True, True)
    assert (private.extractable, private.never_extractable) == (False, True)
    assert private.modifiable is (not profile.locks_by_copy)
    assert private.local is profile.reports_local
    assert public.public_point == handle.public_key.point


def test_a_softhsm_key_can_be_changed_by_nobody(softhsm: TokenRig) -> None:
    with softhsm.open() as session:
        handle = softhsm.generate(session)
        for attribute, value in (
            (Attribute.LABEL, "other"),
            (Attribute.DERIVE, True),
            (Attribute.UNWRAP, True),
            (Attribute.EXTRACTABLE, True),
            (Attribute.SENSITIVE, False),
            (Attribute.MODIFIABLE, True),
        ):
            with pytest.raises(ActionRefused), session.operation("changing it"):
                session.locate_key_pair(handle.ref)[0][attribute] = value
            with pytest.raises(ActionRefused), session.operation("copying it changed"):
                session.locate_key_pair(handle.ref)[0].copy({attribute: value})
        assert len(session.objects()) == 2


def test_find_caches_the_handle(token_rig: TokenRig) -> None:
    with token_rig.open() as session:
        made = token_rig.generate(session)
        first = session.find(KeyRef(LABEL))
        with counted(session.module, "C_FindObjectsInit") as searches:
            assert session.find(KeyRef(LABEL)) is first
            first.sign(Digest.of(b"cached"), RAW)
        assert searches == []
        assert first.public_key == made.public_key
        assert session.find(KeyRef(cka_id=made.cka_id)).public_key == made.public_key
        assert session.find(made.ref).public_key == made.public_key


def test_a_missing_key_is_not_found(token_rig: TokenRig) -> None:
    with token_rig.open() as session:
        handle = token_rig.generate(session)
        for ref in (KeyRef("sr:root:-:0001"), KeyRef(cka_id=b"\x01" * 20), KeyRef(LABEL, b"\x01" * 20)):
            with pytest.raises(KeyNotFound):
                session.find(ref)
        with pytest.raises(KeyNotFound):
            session.find_secret(handle.ref)


def test_two_keys_of_one_label_are_ambiguous_unless_named_by_id(token_rig: TokenRig) -> None:
    with token_rig.open() as session:
        keys = [make_foreign_pair(session, LABEL, None) for _ in range(2)]
        with pytest.raises(KeyAmbiguous, match="2 times"):
            session.find(KeyRef(LABEL))
        for key in keys:
            assert session.find(KeyRef(LABEL, key.cka_id)).public_key == key


def test_a_cka_id_that_is_not_derived_is_refused(token_rig: TokenRig) -> None:
    with token_rig.open() as session:
        make_foreign_pair(session, LABEL, b"\x07" * 20)
        with pytest.raises(KeyInconsistent, match="not derived"):
            session.find(KeyRef(LABEL))


def test_a_private_key_without_its_public_key_is_refused(token_rig: TokenRig) -> None:
    with token_rig.open() as session:
        key = make_foreign_pair(session, LABEL, None)
        with session.operation("removing the public object") as raw:
            (public,) = raw.get_objects({Attribute.ID: key.cka_id, Attribute.VERIFY: True})
            public.destroy()
        with pytest.raises(KeyInconsistent, match="no public key object"):
            session.find(KeyRef(LABEL))


def test_a_taken_label_is_refused_and_nothing_is_made(token_rig: TokenRig) -> None:
    with token_rig.open() as session:
        token_rig.generate(session)
        before = session.objects()
        with pytest.raises(LabelTaken):
            token_rig.generate(session)
        assert session.objects() == before


def test_a_read_only_session_makes_no_key(token_rig: TokenRig) -> None:
    with token_rig.open(writable=False) as session:
        with pytest.raises(TokenError, match="writable"):
            token_rig.generate(session)
        assert session.objects() == ()


def test_an_extractable_spec_is_refused(token_rig: TokenRig) -> None:
    with token_rig.open() as session:
        with pytest.raises(MechanismUnsupported, match="leave the token"):
            session.generate(replace(SPEC, extractable=True), LABEL)
        assert session.objects() == ()


def test_a_destroyed_key_is_gone_with_both_objects(token_rig: TokenRig) -> None:
    with token_rig.open() as session:
        handle = token_rig.generate(session)
        other = token_rig.generate(session, sequence=2)
        session.dangerously_destroy_key(handle.ref)
        with pytest.raises(KeyNotFound):
            handle.sign(Digest.of(b"gone"), RAW)
        assert {item.label for item in session.objects()} == {other.label}
        other.sign(Digest.of(b"stays"), RAW)
        with pytest.raises(KeyNotFound):
            session.dangerously_destroy_key(handle.ref)


def test_a_key_made_again_under_its_label_is_not_taken_for_the_old_one(token_rig: TokenRig) -> None:
    with token_rig.open() as session:
        handle = token_rig.generate(session)
        session.dangerously_destroy_key(handle.ref)
        token_rig.generate(session)
        with pytest.raises(KeyNotFound):
            handle.sign(Digest.of(b"x"), RAW)


def test_ecdh_agrees_with_software_and_checks_the_peer(token_rig: TokenRig) -> None:
    peer = ec.generate_private_key(ec.SECP256R1())
    spki = peer.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    spec = replace(SPEC, usages=frozenset({KeyUsage.DERIVE}))
    with token_rig.open() as session:
        handle = session.generate(spec, LABEL)
        assert isinstance(handle, KeyHandle)
        mine = load_der_public_key(handle.public_key.spki)
        assert isinstance(mine, ec.EllipticCurvePublicKey)
        assert handle.derive_shared_secret(PublicKey.from_spki(spki)) == peer.exchange(ec.ECDH(), mine)
        with pytest.raises(KeyInconsistent, match="not a point"):
            handle.derive_shared_secret(PublicKey(b"\x01" * 64))
        with pytest.raises(ActionRefused, match="no right to sign"):
            handle.sign(Digest.of(b"x"), RAW)


def test_a_signing_key_does_not_derive(token_rig: TokenRig) -> None:
    with token_rig.open() as session:
        handle = token_rig.generate(session)
        with pytest.raises(ActionRefused, match="no right to derive"):
            handle.derive_shared_secret(handle.public_key)


def test_an_aes_key_wraps_and_unwraps_content_keys(token_rig: TokenRig) -> None:
    spec = KEY_SPECS[Role.PACKAGE_WRAP]
    with token_rig.open() as session:
        handle = session.generate(spec, "sr:package-wrap:-:0001")
        assert isinstance(handle, SecretKeyHandle)
        (shown,) = session.objects()
        assert shown.usages == {KeyUsage.WRAP, KeyUsage.UNWRAP}
        assert (shown.extractable, shown.modifiable, shown.sensitive) == (False, False, True)
        assert len(shown.cka_id) == 20
        for content_key in (b"\x11" * 16, bytes(range(32))):
            wrapped = handle.wrap_content_key(content_key)
            assert len(wrapped) == len(content_key) + 8
            assert content_key not in wrapped
            assert handle.unwrap_content_key(wrapped) == content_key
        for place in (0, 20, 39):
            changed = bytearray(wrapped)
            changed[place] ^= 1
            with pytest.raises(ActionRefused, match="was changed"):
                handle.unwrap_content_key(bytes(changed))
        assert handle.unwrap_content_key(wrapped) == content_key
        assert len(session.objects()) == 1
        assert session.find_secret(KeyRef(handle.label)).cka_id == handle.cka_id
        for size_bytes in (0, 15, 17, 33):
            with pytest.raises(MechanismUnsupported):
                handle.wrap_content_key(bytes(size_bytes))


def test_random_bytes(token_rig: TokenRig) -> None:
    with token_rig.open(writable=False) as session:
        drawn = {session.random(32) for _ in range(8)}
        assert len(drawn) == 8
        assert len(session.random(1)) == 1
        assert len(session.random(4096)) == 4096
        for size_bytes in (0, -1, 4097):
            with pytest.raises(TokenError, match="1 to 4096"):
                session.random(size_bytes)


def test_the_audit_listing_never_asks_for_key_material(token_rig: TokenRig) -> None:
    asked: set[int] = set()
    with token_rig.open() as session:
        token_rig.generate(session)
        session.generate(KEY_SPECS[Role.PACKAGE_WRAP], "sr:package-wrap:-:0001")
        with counted(session.module, "C_GetAttributeValue") as calls:
            original = session.module.functions.call("C_GetAttributeValue", ULONG, ULONG, ctypes.c_void_p, ULONG)

            def record(handle: int, item: int, template: int, count: int) -> int:
                asked.update(ULONG.from_address(template + 24 * index).value for index in range(count))
                return original(handle, item, template, count)

            session.module.functions.replace("C_GetAttributeValue", record, ULONG, ULONG, ctypes.c_void_p, ULONG)
            listing = session.attributes()
            observed = session.objects()
        assert len(calls) > 0
    assert len(listing) == len(observed) == 3
    assert Attribute.LABEL in asked
    assert Attribute.VALUE not in asked
    assert {entry["CKA_CLASS"] for entry in listing} == {"PRIVATE_KEY", "PUBLIC_KEY", "SECRET_KEY"}
    assert all("CKA_VALUE" not in entry for entry in listing)


def test_strange_objects_do_not_break_a_search(softhsm: TokenRig) -> None:
    """A vendor class, and a label that is not UTF-8."""
    with softhsm.open() as session:
        softhsm.generate(session)
        with session.operation("making a strange object") as raw:
            raw.create_object(
                {
                    Attribute.CLASS: 0,
                    Attribute.TOKEN: True,
                    Attribute.PRIVATE: False,
                    Attribute.LABEL: "data",
                    Attribute.VALUE: b"x",
                }
            )
        classes = sorted(item.object_class for item in session.objects())
        assert classes == [ObjectClass.OTHER, ObjectClass.PRIVATE_KEY, ObjectClass.PUBLIC_KEY]
        session.find(KeyRef(LABEL)).sign(Digest.of(b"x"), RAW)
