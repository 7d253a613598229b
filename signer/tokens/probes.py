"""Finding out what a PKCS#11 module really does, by doing it and comparing with software.

Session objects of a scratch session do, except for the question which attributes a module takes for objects on the
token: NSS softokn takes more for session objects. For that, objects labelled unfinished are made and destroyed at once.
Mechanism lists are not asked: they name what is not there, and say nothing about which standard a number means.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from typing import cast

import pkcs11
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes, keywrap
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.utils import encode_dss_signature
from pkcs11.constants import Attribute, MechanismFlag, ObjectClass
from pkcs11.mechanisms import KeyType, Mechanism

from pki.key_specs import KeyUsage
from pki.values import PublicKey
from signer.tokens import templates
from signer.tokens.attributes import make_attribute_mapper
from signer.tokens.errors import TokenError
from signer.tokens.generation import UNFINISHED_PREFIX, generate_unlocked_pair
from signer.tokens.module import Module
from signer.tokens.objects import Template, public_key_of, search
from signer.tokens.profiles import ModuleProfile, PaddedWrap
from signer.tokens.secret_keys import derive_shared_secret
from signer.tokens.verifier import verifier_of

_SIGN_AND_DERIVE = frozenset({KeyUsage.SIGN, KeyUsage.DERIVE})
_LABEL = UNFINISHED_PREFIX + "strongroom probe"
_CKA_ID = b"strongroom probe ..."
_MESSAGE = b"strongroom: probe of a module"
# Known on purpose: nothing but the probe's own bytes is ever wrapped under it.
_KNOWN_WRAPPING_KEY = bytes(range(32))
_WHOLE_BLOCKS = bytes(range(100, 132))
_ODD_LENGTH = bytes(range(100, 120))
_CANNOT = (pkcs11.PKCS11Error, TokenError, AttributeError, InvalidSignature, ValueError, KeyError)
"""What an operation that a module cannot do ends in; AttributeError: python-pkcs11 gives the object no such method."""


def probe(module: Module, raw: pkcs11.Session, *, on_token: bool) -> ModuleProfile:
    """Probe with a scratch session beside the logged-in session `raw`. Raises pkcs11.PKCS11Error if none can be had.

    With `on_token`, objects are also made on the token, and destroyed.
    """
    scratch = raw.token.open(rw=on_token, attribute_mapper=make_attribute_mapper())
    try:
        if on_token:
            _destroy_left_overs(scratch)
        profile = _with_droppable_of_pair(_blank(module.identity), scratch, on_token=False)
        profile = _with_key_pair(profile, scratch)
        if on_token and not profile.locks_by_copy:
            profile = _with_droppable_of_pair(profile, scratch, on_token=True)
        profile = _with_droppable_of_secret(profile, scratch, on_token=on_token)
        profile = _with_wrapping(profile, scratch)
        has_random = _works(lambda: len(scratch.generate_random(256)) == 32)
        return replace(profile, random=has_random, probed_on_token=on_token)
    finally:
        if on_token:
            with suppress(pkcs11.PKCS11Error):
                _destroy_left_overs(scratch)
        with suppress(pkcs11.PKCS11Error):
            scratch.close()


def _destroy_left_overs(raw: pkcs11.Session) -> None:
    for item in search(raw, {Attribute.TOKEN: True, Attribute.LABEL: _LABEL}):
        item.destroy()


def _blank(identity: str) -> ModuleProfile:
    """Nothing proved yet: what stays false was tried and did not work."""
    nothing: frozenset[str] = frozenset()
    return ModuleProfile(
        identity=identity,
        probed_on_token=False,
        raw_ecdsa=False,
        ecdsa_sha256=False,
        ecdh_null_kdf=False,
        random=False,
        aes_key_wrap=False,
        padded_wrap=PaddedWrap.NONE,
        kwp_0x210b=False,
        extractable_enforced=False,
        reports_local=False,
        locks_by_copy=False,
        copy_forbids_copying=False,
        copies_are_exact=False,
        dropped_public=nothing,
        dropped_private=nothing,
        dropped_secret=nothing,
    )


def _works(operation: Callable[[], bool]) -> bool:
    try:
        return operation()
    except _CANNOT:
        return False


def _with_droppable_of_pair(profile: ModuleProfile, raw: pkcs11.Session, *, on_token: bool) -> ModuleProfile:
    """Which optional attributes of a key pair the module refuses."""

    def makes_pair(public: frozenset[str], private: frozenset[str]) -> bool:
        trial = replace(profile, dropped_public=public, dropped_private=private)
        return _works(
            lambda: _discard(*generate_unlocked_pair(raw, _LABEL, _SIGN_AND_DERIVE, trial, on_token=on_token))
        )

    bare_private = _names(templates.OPTIONAL_PRIVATE)
    public = _refused(templates.OPTIONAL_PUBLIC, lambda dropped: makes_pair(dropped, bare_private))
    private = _refused(templates.OPTIONAL_PRIVATE, lambda dropped: makes_pair(public, dropped))
    return replace(profile, dropped_public=public, dropped_private=private)


def _with_droppable_of_secret(profile: ModuleProfile, raw: pkcs11.Session, *, on_token: bool) -> ModuleProfile:
    """Which optional attributes of an AES key the module refuses."""
    secret = _refused(
        templates.OPTIONAL_SECRET, lambda dropped: _works(lambda: _discard(_secret(raw, dropped, on_token=on_token)))
    )
    return replace(profile, dropped_secret=secret)


def _refused(optional: tuple[Attribute, ...], works_without: Callable[[frozenset[str]], bool]) -> frozenset[str]:
    """None if the whole template works; else those that fail when tried alone, over a template without any."""
    if works_without(frozenset()):
        return frozenset()
    everything = _names(optional)
    return frozenset(name for name in everything if not works_without(everything - {name}))


def _names(attributes: tuple[Attribute, ...]) -> frozenset[str]:
    return frozenset(attribute.name for attribute in attributes)


def _secret(raw: pkcs11.Session, dropped: frozenset[str], *, on_token: bool) -> pkcs11.SecretKey:
    usages = frozenset({KeyUsage.WRAP, KeyUsage.UNWRAP})
    template = templates.secret_template(_LABEL, _CKA_ID, usages, on_token=on_token, dropped=dropped)
    return raw.generate_key(
        KeyType.AES, 256, mechanism=Mechanism.AES_KEY_GEN, capabilities=MechanismFlag(0), template=template
    )


def _discard(*items: pkcs11.Object) -> bool:
    for item in items:
        item.destroy()
    return True


def _with_wrapping(profile: ModuleProfile, raw: pkcs11.Session) -> ModuleProfile:
    """Wrap known values under a known key and compare with RFC 3394 and RFC 5649 computed in software."""
    try:
        wrapping_key = _imported(raw, KeyType.AES, _KNOWN_WRAPPING_KEY, {Attribute.WRAP: True})
        whole_blocks = _imported(raw, KeyType.GENERIC_SECRET, _WHOLE_BLOCKS, {})
        odd_length = _imported(raw, KeyType.GENERIC_SECRET, _ODD_LENGTH, {})
    except _CANNOT:
        return profile
    plain = _wrapped(wrapping_key, whole_blocks, Mechanism.AES_KEY_WRAP)
    can_wrap = plain == keywrap.aes_key_wrap(_KNOWN_WRAPPING_KEY, _WHOLE_BLOCKS)
    values = ((whole_blocks, _WHOLE_BLOCKS), (odd_length, _ODD_LENGTH))
    return replace(
        profile,
        aes_key_wrap=can_wrap,
        padded_wrap=_which_padding(wrapping_key, values),
        kwp_0x210b=all(
            _wrapped(wrapping_key, item, Mechanism.AES_KEY_WRAP_KWP) == _rfc_5649(value) for item, value in values
        ),
        extractable_enforced=can_wrap and _refuses_unextractable(profile, raw, wrapping_key),
    )


def _imported(raw: pkcs11.Session, key_type: KeyType, value: bytes, rights: Template) -> pkcs11.Object:
    template: Template = {
        Attribute.CLASS: ObjectClass.SECRET_KEY,
        Attribute.KEY_TYPE: key_type,
        Attribute.TOKEN: False,
        Attribute.EXTRACTABLE: True,
        Attribute.VALUE: value,
    }
    return raw.create_object(template | rights)


def _wrapped(wrapping_key: pkcs11.Object, target: pkcs11.Object, mechanism: Mechanism) -> bytes | None:
    try:
        return cast(bytes, wrapping_key.wrap_key(target, mechanism=mechanism))  # type: ignore[attr-defined]
    except _CANNOT:
        return None


def _which_padding(wrapping_key: pkcs11.Object, values: tuple[tuple[pkcs11.Object, bytes], ...]) -> PaddedWrap:
    """Compare mechanism 0x210A with each computation, for a value of whole blocks and one of an odd length."""
    wrapped = [_wrapped(wrapping_key, item, Mechanism.AES_KEY_WRAP_PAD) for item, _ in values]
    is_rfc_5649 = [got == _rfc_5649(value) for got, (_, value) in zip(wrapped, values, strict=True)]
    is_pkcs7 = [got == _over_pkcs7(value) for got, (_, value) in zip(wrapped, values, strict=True)]
    if wrapped == [None, None]:
        return PaddedWrap.NONE
    if all(is_rfc_5649):
        return PaddedWrap.RFC_5649
    if all(is_pkcs7):
        return PaddedWrap.PKCS7
    return PaddedWrap.RFC_5649_OF_WHOLE_BLOCKS if is_rfc_5649[0] else PaddedWrap.UNKNOWN


def _rfc_5649(value: bytes) -> bytes:
    return keywrap.aes_key_wrap_with_padding(_KNOWN_WRAPPING_KEY, value)


def _over_pkcs7(value: bytes) -> bytes:
    padding_size_bytes = 8 - len(value) % 8
    return keywrap.aes_key_wrap(_KNOWN_WRAPPING_KEY, value + bytes([padding_size_bytes]) * padding_size_bytes)


def _refuses_unextractable(profile: ModuleProfile, raw: pkcs11.Session, wrapping_key: pkcs11.Object) -> bool:
    try:
        unextractable = _secret(raw, profile.dropped_secret, on_token=False)
    except _CANNOT:
        return False
    return _wrapped(wrapping_key, unextractable, Mechanism.AES_KEY_WRAP) is None


def _with_key_pair(profile: ModuleProfile, raw: pkcs11.Session) -> ModuleProfile:
    """Everything that needs an EC key pair."""
    try:
        public, private = generate_unlocked_pair(raw, _LABEL, _SIGN_AND_DERIVE, profile, on_token=False)
        public_key = public_key_of(public)
    except _CANNOT:
        return profile
    profile = replace(
        profile,
        raw_ecdsa=_works(lambda: _signs(private, public_key, Mechanism.ECDSA)),
        ecdsa_sha256=_works(lambda: _signs(private, public_key, Mechanism.ECDSA_SHA256)),
        ecdh_null_kdf=_works(lambda: _derives(private, public_key)),
        reports_local=_works(lambda: bool(private[Attribute.LOCAL])),
        locks_by_copy=_works(lambda: _locks(private, public, forbid_copying=False)),
        copy_forbids_copying=_works(lambda: _locks(private, public, forbid_copying=True)),
    )
    return replace(profile, copies_are_exact=profile.locks_by_copy and _copies_are_exact(private))


def _signs(private: pkcs11.PrivateKey, public_key: PublicKey, mechanism: Mechanism) -> bool:
    digest = hashes.Hash(hashes.SHA256())
    digest.update(_MESSAGE)
    data = digest.finalize() if mechanism is Mechanism.ECDSA else _MESSAGE
    signature = cast(bytes, private.sign(data, mechanism=mechanism))  # type: ignore[attr-defined]
    encoded = encode_dss_signature(int.from_bytes(signature[:32], "big"), int.from_bytes(signature[32:], "big"))
    verifier_of(public_key).verify(encoded, _MESSAGE, ec.ECDSA(hashes.SHA256()))
    return len(signature) == 64


def _derives(private: pkcs11.PrivateKey, public_key: PublicKey) -> bool:
    peer = ec.generate_private_key(ec.SECP256R1())
    numbers = peer.public_key().public_numbers()
    peer_key = PublicKey(numbers.x.to_bytes(32, "big") + numbers.y.to_bytes(32, "big"))
    return derive_shared_secret(private, peer_key) == peer.exchange(ec.ECDH(), verifier_of(public_key))


def _locks(private: pkcs11.PrivateKey, public: pkcs11.PublicKey, *, forbid_copying: bool) -> bool:
    """Copy both; the private copy keeps every piece of evidence, and refuses to be changed."""
    change = templates.locking_copy_template(_LABEL, _CKA_ID, forbid_copying=forbid_copying, on_token=False)
    public.copy(change)
    locked = private.copy(change)
    evidence = (Attribute.LOCAL, Attribute.ALWAYS_SENSITIVE, Attribute.NEVER_EXTRACTABLE)
    keeps_evidence = all(locked[attribute] is True for attribute in evidence)
    as_asked = locked[Attribute.ID] == _CKA_ID and locked[Attribute.MODIFIABLE] is False
    if forbid_copying and locked[Attribute.COPYABLE] is not False:
        return False
    return keeps_evidence and as_asked and not _works(lambda: _change(locked, Attribute.UNWRAP, True))


def _change(item: pkcs11.Object, attribute: Attribute, value: bool) -> bool:
    item[attribute] = value
    return True


def _copies_are_exact(private: pkcs11.PrivateKey) -> bool:
    """Whether a copy of an unmodifiable key is refused every difference."""
    locked = private.copy(templates.locking_copy_template(_LABEL, _CKA_ID, forbid_copying=False, on_token=False))
    differences: tuple[Template, ...] = (
        {Attribute.LABEL: "another"},
        {Attribute.ID: b"another"},
        {Attribute.UNWRAP: True},
        {Attribute.SIGN: False},
        {Attribute.EXTRACTABLE: True},
        {Attribute.MODIFIABLE: True},
    )
    return not any(_works(lambda change=change: _discard(locked.copy(change))) for change in differences)  # type: ignore[misc]
