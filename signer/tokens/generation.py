"""Generating keys on a token so that an interruption leaves either nothing, or something recognisable as unfinished.

Which way depends on the module (docs/adr/0014). By copy: the pair is generated as session objects, which end with the
session, and copied to the token under its label and CKA_ID, unmodifiable: public object first, so that an interruption
leaves at most a public key without a private one. In place: the pair is generated on the token under the label
`unfinished:<label>`, gets its CKA_ID, and last its label; it stays modifiable.

A key that is to have a backup is extractable until `protect` has wrapped it, and only then gets its name on the token.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from typing import cast

import pkcs11
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.utils import Prehashed, encode_dss_signature
from pkcs11.constants import Attribute, MechanismFlag, ObjectClass
from pkcs11.mechanisms import KeyType, Mechanism

from pki.key_specs import KeyAlgorithm, KeySpec, KeyUsage
from pki.values import Digest, PublicKey
from signer.tokens import templates
from signer.tokens.errors import KeyInconsistent, LabelTaken, MechanismUnsupported
from signer.tokens.inventory import shown_attributes
from signer.tokens.objects import P256_EC_PARAMETERS, Template, public_key_of, search
from signer.tokens.profiles import ModuleProfile
from signer.tokens.values import KeyRef
from signer.tokens.verifier import verifier_of

EC_P256 = KeyAlgorithm.EC_P256
UNFINISHED_PREFIX = "unfinished:"
CKA_ID_SIZE_BYTES = 20

_AES_KEY_SIZE_BITS = 256
_PAIRWISE_TEST = Digest.of(b"strongroom: pairwise consistency test of a new key pair")


Protect = Callable[[pkcs11.PrivateKey, PublicKey], None]
"""Takes a key out of its token, wrapped, while that is possible; what it raises undoes the generation."""


def generate(
    raw: pkcs11.Session, spec: KeySpec, label: str, profile: ModuleProfile, protect: Protect | None = None
) -> KeyRef:
    """Generate the key, read it back, try it, and return the reference that finds it. On failure nothing stays.

    With `protect`, for EC keys whose role may have a backup, the key is handed to it before it is finished.
    """
    if not spec.stays_on_token:
        raise MechanismUnsupported(
            f"key {label!r}: keys of role {spec.role} stay on no token; `strongroom key group-key` makes them"
        )
    if spec.extractable or (protect is not None and not spec.backup_permitted):
        raise MechanismUnsupported(f"key {label!r}: its spec lets the key leave the token; such keys are not made")
    _refuse_taken_label(raw, label)
    made: list[pkcs11.Object] = []
    try:
        if spec.algorithm is EC_P256:
            cka_id = _generate_pair(raw, spec, label, profile, made, protect)
        else:
            cka_id = _generate_secret(raw, spec, label, profile, made)
        # Another process may have taken the label meanwhile. SoftHSM may not show it yet: the key store is the guard.
        if len(search(raw, {Attribute.TOKEN: True, Attribute.LABEL: label})) != len(made):
            raise LabelTaken(f"another process made an object labelled {label!r} at the same time; nothing was kept")
    except BaseException:
        for item in reversed(made):
            with suppress(pkcs11.PKCS11Error):
                item.destroy()
        raise
    return KeyRef(label, cka_id)


def generate_unlocked_pair(
    raw: pkcs11.Session,
    label: str,
    usages: frozenset[KeyUsage],
    profile: ModuleProfile,
    *,
    on_token: bool,
    extractable: bool = False,
) -> tuple[pkcs11.PublicKey, pkcs11.PrivateKey]:
    """C_GenerateKeyPair with explicit mechanism and templates; the objects are still modifiable, and have no CKA_ID."""
    private = templates.private_template(
        label, usages, on_token=on_token, dropped=profile.dropped_private, extractable=extractable
    )
    parameters = raw.create_domain_parameters(KeyType.EC, {Attribute.EC_PARAMS: P256_EC_PARAMETERS}, local=True)
    return parameters.generate_keypair(
        mechanism=Mechanism.EC_KEY_PAIR_GEN,
        capabilities=MechanismFlag(0),
        public_template=templates.public_template(label, usages, on_token=on_token, dropped=profile.dropped_public),
        private_template=private,
    )


def destroy_unfinished(raw: pkcs11.Session, label: str) -> int:
    """Destroy what an interrupted generation of `label` left; a private key of that label is never touched."""
    if search(raw, {Attribute.CLASS: ObjectClass.PRIVATE_KEY, Attribute.TOKEN: True, Attribute.LABEL: label}):
        raise KeyInconsistent(f"a private key {label!r} is on the token: it is not unfinished, nothing was removed")
    left = search(raw, {Attribute.TOKEN: True, Attribute.LABEL: UNFINISHED_PREFIX + label})
    left += search(raw, {Attribute.CLASS: ObjectClass.PUBLIC_KEY, Attribute.TOKEN: True, Attribute.LABEL: label})
    for item in left:
        item.destroy()
    return len(left)


def _refuse_taken_label(raw: pkcs11.Session, label: str) -> None:
    for taken in (label, UNFINISHED_PREFIX + label):
        if search(raw, {Attribute.TOKEN: True, Attribute.LABEL: taken}):
            raise LabelTaken(
                f"an object labelled {taken!r} is on the token already; take the next sequence number, "
                "or remove what an interrupted generation left"
            )


def _generate_pair(
    raw: pkcs11.Session,
    spec: KeySpec,
    label: str,
    profile: ModuleProfile,
    made: list[pkcs11.Object],
    protect: Protect | None,
) -> bytes:
    make = _generate_by_copy if profile.locks_by_copy else _generate_in_place
    public, private, public_key = make(raw, spec, label, profile, made, protect)
    demands = private_demands(spec, label, public_key.cka_id, profile)
    check_read_back(private, demands | _evidence(profile, was_extractable=protect is not None))
    check_read_back(public, {Attribute.LABEL: label, Attribute.ID: public_key.cka_id, Attribute.TOKEN: True})
    if public_key_of(public) != public_key:
        raise KeyInconsistent(f"key {label!r}: the token shows another public key than it generated; nothing was kept")
    if KeyUsage.SIGN in spec.usages:
        check_pair(private, public_key, label)
    return public_key.cka_id


Pair = tuple[pkcs11.Object, pkcs11.Object, PublicKey]


def _generate_by_copy(
    raw: pkcs11.Session,
    spec: KeySpec,
    label: str,
    profile: ModuleProfile,
    made: list[pkcs11.Object],
    protect: Protect | None,
) -> Pair:
    session_public, session_private = generate_unlocked_pair(
        raw, label, spec.usages, profile, on_token=False, extractable=protect is not None
    )
    try:
        public_key = public_key_of(session_public)
        if protect is not None:
            protect(session_private, public_key)
        change = templates.locking_copy_template(
            label, public_key.cka_id, forbid_copying=profile.copy_forbids_copying, on_token=True
        )
        public = session_public.copy(change)
        made.append(public)
        if protect is not None:
            change = {Attribute.EXTRACTABLE: False} | change
        private = session_private.copy(change)
        made.append(private)
    finally:
        session_private.destroy()
        session_public.destroy()
    return public, private, public_key


def _generate_in_place(
    raw: pkcs11.Session,
    spec: KeySpec,
    label: str,
    profile: ModuleProfile,
    made: list[pkcs11.Object],
    protect: Protect | None,
) -> Pair:
    public, private = generate_unlocked_pair(
        raw, UNFINISHED_PREFIX + label, spec.usages, profile, on_token=True, extractable=protect is not None
    )
    made += (public, private)
    public_key = public_key_of(public)
    if protect is not None:
        protect(private, public_key)
        private[Attribute.EXTRACTABLE] = False
    for item in (public, private):
        item[Attribute.ID] = public_key.cka_id
    for item in (public, private):
        item[Attribute.LABEL] = label
    return public, private, public_key


def _generate_secret(
    raw: pkcs11.Session, spec: KeySpec, label: str, profile: ModuleProfile, made: list[pkcs11.Object]
) -> bytes:
    cka_id = raw.generate_random(CKA_ID_SIZE_BYTES * 8)
    template = templates.secret_template(label, cka_id, spec.usages, on_token=True, dropped=profile.dropped_secret)
    key = raw.generate_key(
        KeyType.AES,
        _AES_KEY_SIZE_BITS,
        mechanism=Mechanism.AES_KEY_GEN,
        capabilities=MechanismFlag(0),
        template=template,
    )
    made.append(key)
    check_read_back(key, template)
    return cka_id


def private_demands(spec: KeySpec, label: str, cka_id: bytes, profile: ModuleProfile) -> Template:
    """What a finished private key of this spec must read back as, apart from the evidence of how it was made."""
    demands = templates.private_template(label, spec.usages, on_token=True, dropped=profile.dropped_private)
    demands[Attribute.ID] = cka_id
    del demands[Attribute.KEY_TYPE], demands[Attribute.CLASS]
    for left_to_others in (Attribute.COPYABLE, Attribute.MODIFIABLE):
        demands.pop(left_to_others, None)
    return demands


def _evidence(profile: ModuleProfile, *, was_extractable: bool) -> Template:
    evidence: Template = {
        Attribute.MODIFIABLE: not profile.locks_by_copy,
        Attribute.ALWAYS_SENSITIVE: True,
        Attribute.NEVER_EXTRACTABLE: not was_extractable,
    }
    if profile.reports_local:
        evidence[Attribute.LOCAL] = True
    return evidence


def check_read_back(item: pkcs11.Object, demands: Template) -> None:
    """What the token shows must be what was asked for; an attribute that it does not show is left to the audit."""
    shown = shown_attributes(item)
    for attribute, value in demands.items():
        if attribute in shown and shown[attribute] != value:
            raise KeyInconsistent(
                f"the token made the key with CKA_{attribute.name} {shown[attribute]!r} instead of {value!r}; "
                "nothing was kept"
            )


def check_pair(private: pkcs11.Object, public_key: PublicKey, label: str) -> None:
    """One test signature: the two halves belong together (FIPS 140-3 calls it a pairwise consistency test)."""
    signature = cast(bytes, private.sign(_PAIRWISE_TEST.value, mechanism=Mechanism.ECDSA))  # type: ignore[attr-defined]
    encoded = encode_dss_signature(int.from_bytes(signature[:32], "big"), int.from_bytes(signature[32:], "big"))
    try:
        verifier_of(public_key).verify(encoded, _PAIRWISE_TEST.value, ec.ECDSA(Prehashed(hashes.SHA256())))
    except InvalidSignature:
        raise KeyInconsistent(f"key {label!r}: its private and public half do not fit; nothing was kept") from None
