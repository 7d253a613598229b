"""Wrapping private keys from token to token, on both modules, each against software that is not ours."""

from __future__ import annotations

from collections.abc import Callable

import pkcs11
import pytest
from cryptography.hazmat.primitives import keywrap
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, load_der_private_key
from pkcs11.constants import Attribute, ObjectClass

from pki.key_specs import KEY_SPECS
from pki.roles import Role
from pki.values import Digest, PublicKey, Scheme
from signer.tokens import KeyRef
from signer.tokens.errors import (
    ActionRefused,
    KeyInconsistent,
    MechanismUnsupported,
    TokenLost,
    WrappedKeyRefused,
)
from signer.tokens.generation import UNFINISHED_PREFIX
from signer.tokens.objects import search
from signer.tokens.session import Session
from signer.tokens.wrapped_key import Framing, WrappedKey
from signer.tokens.wrapping import WrappingKey, connect
from tests.softhsm_fixtures import TokenRig

SPEC = KEY_SPECS[Role.ROOT]
LABEL = "sr:root:-:0001"
KEK = bytes(range(32))
OTHER_KEK = bytes(32)
MESSAGE = Digest.of(b"a message")


def generate(session: Session, *protectors: WrappingKey) -> tuple[PublicKey, list[WrappedKey]]:
    """A finished key on the token, and what left it before it was finished."""
    wrapped: list[WrappedKey] = []

    def protect(private: pkcs11.PrivateKey, _public: PublicKey) -> None:
        wrapped.extend(protector.wrap(private) for protector in protectors)

    handle = session.generate(SPEC, LABEL, protect=protect)
    assert handle is not None
    return handle.public_key, wrapped  # type: ignore[union-attr]


def der_in(padded: bytes) -> bytes:
    """The DER SEQUENCE at the beginning, by its own length (X.690, section 8.1.3)."""
    assert padded[0] == 0x30
    header, length = (2, padded[1]) if padded[1] < 0x80 else (3, padded[2])
    assert len(padded) - header - length < 16
    return padded[: header + length]


def software_key(wrapped: WrappedKey, kek: bytes) -> ec.EllipticCurvePrivateKey:
    unwrap = keywrap.aes_key_unwrap if wrapped.framing is Framing.RFC_3394 else keywrap.aes_key_unwrap_with_padding
    key = load_der_private_key(der_in(unwrap(kek, wrapped.data)), None)
    assert isinstance(key, ec.EllipticCurvePrivateKey)
    return key


def point_of(key: ec.EllipticCurvePrivateKey) -> PublicKey:
    numbers = key.public_key().public_numbers()
    return PublicKey(numbers.x.to_bytes(32, "big") + numbers.y.to_bytes(32, "big"))


def everything_on(session: Session) -> list[tuple[ObjectClass, str]]:
    with session.operation("looking") as raw:
        return sorted((item[Attribute.CLASS], item[Attribute.LABEL]) for item in search(raw, {Attribute.TOKEN: True}))


def private_object(session: Session) -> pkcs11.Object:
    with session.operation("looking") as raw:
        (found,) = search(raw, {Attribute.CLASS: ObjectClass.PRIVATE_KEY, Attribute.LABEL: LABEL})
        return found


def assert_signs(session: Session, public_key: PublicKey) -> None:
    handle = session.find(KeyRef(LABEL, public_key.cka_id))
    assert handle.public_key == public_key
    handle.sign(MESSAGE, Scheme.ECDSA_P256_SHA256_RAW)


def test_what_leaves_the_token_is_the_key_under_the_kek(token_rig: TokenRig) -> None:
    with token_rig.open() as session:
        public_key, (wrapped,) = generate(session, WrappingKey.of_bytes(session, KEK))
        assert point_of(software_key(wrapped, KEK)) == public_key
        with pytest.raises(keywrap.InvalidUnwrap):
            software_key(wrapped, OTHER_KEK)
        assert_signs(session, public_key)


def test_a_key_generated_with_a_backup_is_finished_like_any_other_but_for_its_evidence(token_rig: TokenRig) -> None:
    with token_rig.open() as session:
        generate(session, WrappingKey.of_bytes(session, KEK))
        private = private_object(session)
        assert private[Attribute.EXTRACTABLE] is False
        assert private[Attribute.NEVER_EXTRACTABLE] is False
        assert private[Attribute.SENSITIVE] is private[Attribute.ALWAYS_SENSITIVE] is True
        assert private[Attribute.MODIFIABLE] is (token_rig.kind == "nss")
        assert private[Attribute.SIGN] is True
        assert private[Attribute.DERIVE] is private[Attribute.UNWRAP] is private[Attribute.DECRYPT] is False
        assert len(everything_on(session)) == 2
        with pytest.raises(pkcs11.PKCS11Error):
            private[Attribute.EXTRACTABLE] = True
        assert private_object(session)[Attribute.EXTRACTABLE] is False


def test_a_finished_key_is_never_wrapped(token_rig: TokenRig) -> None:
    """NSS softokn would do it."""
    with token_rig.open() as session:
        kek = WrappingKey.of_bytes(session, KEK)
        generate(session)
        with pytest.raises(ActionRefused, match="never later"):
            kek.wrap(private_object(session))  # type: ignore[arg-type]


def test_a_key_without_backup_cannot_leave_even_while_it_is_made(token_rig: TokenRig) -> None:
    spec = KEY_SPECS[Role.GRANT]
    with token_rig.open() as session:
        with pytest.raises(MechanismUnsupported):
            session.generate(spec, "sr:grant:-:0001", protect=lambda *_: None)
        assert everything_on(session) == []


PATHS = ["softhsm>softhsm", "softhsm>nss", "nss>softhsm", "nss>nss"]


@pytest.fixture(params=PATHS)
def two_tokens(
    request: pytest.FixtureRequest, softhsm: TokenRig, nss: TokenRig, second_token: Callable[[str], TokenRig]
) -> tuple[TokenRig, TokenRig]:
    """Source and target. NSS softokn has one token per process: there the key goes back to where it came from."""
    source, target = request.param.split(">")
    rigs = {"softhsm": softhsm, "nss": nss}
    return rigs[source], second_token("spare") if source == target == "softhsm" else rigs[target]


def test_a_key_is_restored_from_what_was_wrapped(two_tokens: tuple[TokenRig, TokenRig]) -> None:
    source, target = two_tokens
    with source.open() as session:
        public_key, (wrapped,) = generate(session, WrappingKey.of_bytes(session, KEK))
        session.dangerously_destroy_key(KeyRef(LABEL, public_key.cka_id))
    with target.open() as session:
        WrappingKey.of_bytes(session, KEK).restore(wrapped, public_key, SPEC, LABEL)
        assert_signs(session, public_key)
        private = private_object(session)
        for attribute in ("LOCAL", "ALWAYS_SENSITIVE", "NEVER_EXTRACTABLE", "EXTRACTABLE", "MODIFIABLE"):
            assert private[Attribute[attribute]] is False, attribute
        for attribute in ("DERIVE", "SIGN_RECOVER", "DECRYPT", "UNWRAP"):
            assert private[Attribute[attribute]] is False, attribute
        assert private[Attribute.SENSITIVE] is private[Attribute.PRIVATE] is private[Attribute.SIGN] is True


@pytest.mark.parametrize("framing", list(Framing))
def test_a_key_wrapped_by_software_is_restored(softhsm: TokenRig, framing: Framing) -> None:
    key = ec.generate_private_key(ec.SECP256R1())
    der = key.private_bytes(Encoding.DER, PrivateFormat.PKCS8, NoEncryption())
    if framing is Framing.RFC_3394:
        data = keywrap.aes_key_wrap(KEK, der + bytes(-len(der) % 8))
    else:
        data = keywrap.aes_key_wrap_with_padding(KEK, der)
    with softhsm.open() as session:
        WrappingKey.of_bytes(session, KEK).restore(WrappedKey(framing, data), point_of(key), SPEC, LABEL)
        assert_signs(session, point_of(key))


def test_nss_says_that_it_cannot_take_rfc_5649(nss: TokenRig) -> None:
    with nss.open() as session:
        kek = WrappingKey.of_bytes(session, KEK)
        with pytest.raises(MechanismUnsupported, match="rfc-5649"):
            kek.restore(WrappedKey(Framing.RFC_5649, bytes(80)), PublicKey(bytes(64)), SPEC, LABEL)


def test_nothing_is_made_of_a_changed_or_foreign_key(token_rig: TokenRig) -> None:
    with token_rig.open() as session:
        kek = WrappingKey.of_bytes(session, KEK)
        public_key, (wrapped,) = generate(session, kek)
        session.dangerously_destroy_key(KeyRef(LABEL, public_key.cka_id))
        changed = bytearray(wrapped.data)
        for position in range(0, len(changed), 7):
            changed[position] ^= 1
            with pytest.raises(WrappedKeyRefused):
                WrappingKey.of_bytes(session, KEK).restore(
                    WrappedKey(wrapped.framing, bytes(changed)), public_key, SPEC, LABEL
                )
            changed[position] ^= 1
            assert everything_on(session) == []
        with pytest.raises(WrappedKeyRefused):
            WrappingKey.of_bytes(session, OTHER_KEK).restore(wrapped, public_key, SPEC, LABEL)
        with pytest.raises(TokenLost):
            kek.restore(wrapped, public_key, SPEC, LABEL)
        other = point_of(ec.generate_private_key(ec.SECP256R1()))
        with pytest.raises(KeyInconsistent, match="do not fit"):
            WrappingKey.of_bytes(session, KEK).restore(wrapped, other, SPEC, LABEL)
        assert everything_on(session) == []


@pytest.fixture(params=PATHS[:3])
def connected(
    request: pytest.FixtureRequest, softhsm: TokenRig, nss: TokenRig, second_token: Callable[[str], TokenRig]
) -> tuple[TokenRig, TokenRig]:
    """Two tokens that are open at once."""
    source, target = request.param.split(">")
    rigs = {"softhsm": softhsm, "nss": nss}
    return rigs[source], second_token("spare") if source == target else rigs[target]


def test_a_key_goes_from_hsm_to_hsm(connected: tuple[TokenRig, TokenRig]) -> None:
    with connected[0].open() as source, connected[1].open() as target:
        sending, receiving = connect(source, target)
        public_key, (wrapped,) = generate(source, sending)
        receiving.restore(wrapped, public_key, SPEC, LABEL)
        for session in (source, target):
            assert_signs(session, public_key)
        again = connect(source, target)[1]
        with pytest.raises(WrappedKeyRefused):
            again.restore(wrapped, public_key, SPEC, "sr:root:-:0002")
        assert len(everything_on(target)) == 2


def test_the_agreed_keys_are_secret_and_each_does_one_thing(connected: tuple[TokenRig, TokenRig]) -> None:
    with connected[0].open() as source, connected[1].open() as target:
        for wrapping_key, wraps in zip(connect(source, target), (True, False), strict=True):
            key = wrapping_key._current()
            assert key[Attribute.TOKEN] is key[Attribute.EXTRACTABLE] is key[Attribute.MODIFIABLE] is False
            assert key[Attribute.SENSITIVE] is key[Attribute.PRIVATE] is True
            assert (key[Attribute.WRAP], key[Attribute.UNWRAP]) == (wraps, not wraps)
            assert key[Attribute.ENCRYPT] is key[Attribute.DECRYPT] is key[Attribute.DERIVE] is False
            with pytest.raises(pkcs11.AttributeSensitive):
                key[Attribute.VALUE]


def test_a_wrapping_key_is_gone_when_it_is_destroyed_or_its_session_is(token_rig: TokenRig) -> None:
    with token_rig.open() as session:
        for end in (WrappingKey.destroy, lambda _: session.discard()):
            kek = WrappingKey.of_bytes(session, KEK)
            end(kek)
            end(kek)
            with pytest.raises(TokenLost, match="begin again"):
                generate(session, kek)
            assert everything_on(session) == []
    with pytest.raises(ValueError, match="32 bytes"), token_rig.open() as session:
        WrappingKey.of_bytes(session, KEK[:16])


def test_what_protection_raises_undoes_the_generation(token_rig: TokenRig) -> None:
    def protect(*_: object) -> None:
        raise OSError("no room on the stick")

    with token_rig.open() as session:
        with pytest.raises(OSError, match="no room"):
            session.generate(SPEC, LABEL, protect=protect)
        assert everything_on(session) == []
        generate(session)


def test_nothing_of_a_wrapping_key_is_shown(token_rig: TokenRig) -> None:
    with token_rig.open() as session:
        kek = WrappingKey.of_bytes(session, KEK)
        _, (wrapped,) = generate(session, kek)
        for shown in (repr(kek), str(kek), repr(wrapped)):
            assert KEK.hex() not in shown
            assert wrapped.data.hex() not in shown
        assert UNFINISHED_PREFIX not in str(everything_on(session))


@pytest.mark.parametrize("size_bytes", [0, 16, 23, 25, 79, 513, 520])
def test_a_wrapped_key_has_a_bounded_size(size_bytes: int) -> None:
    with pytest.raises(ValueError, match="24 to 512"):
        WrappedKey(Framing.RFC_3394, bytes(size_bytes))
