"""Finding and destroying objects: exactly one, or an error. Every function takes a PKCS#11 session and raises
pkcs11.PKCS11Error as well as the errors it names; `Session.operation` maps those.
"""

from __future__ import annotations

from typing import Any, cast

import pkcs11
from pkcs11.constants import Attribute, ObjectClass
from pkcs11.mechanisms import KeyType

from pki.values import PublicKey
from signer.tokens.errors import KeyAmbiguous, KeyInconsistent, KeyNotFound
from signer.tokens.values import KeyRef

Template = dict[Attribute, Any]

_SEARCH_ATTEMPTS = 3
# secp256r1, 1.2.840.10045.3.1.7 (RFC 5480, section 2.1.1.1), as DER.
P256_EC_PARAMETERS = bytes.fromhex("06082a8648ce3d030107")
_POINT_PREFIXES = (bytes.fromhex("044104"), b"\x04")
_POINT_SIZE_BYTES = 64


def search(raw: pkcs11.Session, template: Template) -> list[pkcs11.Object]:
    """All objects that match, completely (an abandoned search blocks the session).

    An object that another process destroys while python-pkcs11 reads it fails the whole search: that is tried again.
    """
    for _ in range(_SEARCH_ATTEMPTS - 1):
        try:
            return list(raw.get_objects(template))
        except pkcs11.ObjectHandleInvalid:
            continue
    return list(raw.get_objects(template))


def locate_key_pair(raw: pkcs11.Session, ref: KeyRef) -> tuple[pkcs11.PrivateKey, str, PublicKey]:
    """The one private key that `ref` names, its label, and its public key.

    Raises KeyNotFound, KeyAmbiguous; KeyInconsistent unless one public object has the same CKA_ID, is on P-256, and
    CKA_ID is derived from it: so who names a key by CKA_ID cannot be given another public key.
    """
    private = _exactly_one(search(raw, _template(ObjectClass.PRIVATE_KEY, ref)), f"private key {ref}")
    shown = private.get_attributes([Attribute.LABEL, Attribute.ID, Attribute.KEY_TYPE])
    label, cka_id = shown[Attribute.LABEL], shown[Attribute.ID]
    if shown[Attribute.KEY_TYPE] != KeyType.EC:
        raise KeyInconsistent(f"key {label!r} is not an EC key")
    found = search(raw, _template(ObjectClass.PUBLIC_KEY, KeyRef(cka_id=cka_id))) if cka_id else []
    if not found:
        raise KeyInconsistent(
            f"private key {label!r} has no public key object; `strongroom key audit` shows what is on the token"
        )
    public_key = public_key_of(_exactly_one(found, f"public key of {label!r}"))
    if public_key.cka_id != cka_id:
        raise KeyInconsistent(f"the CKA_ID of key {label!r} is not derived from its public key: it was not made here")
    return cast(pkcs11.PrivateKey, private), label, public_key


def locate_secret_key(raw: pkcs11.Session, ref: KeyRef) -> tuple[pkcs11.SecretKey, str, bytes]:
    """The one secret key that `ref` names, its label and CKA_ID. Raises KeyNotFound, KeyAmbiguous, KeyInconsistent."""
    key = _exactly_one(search(raw, _template(ObjectClass.SECRET_KEY, ref)), f"secret key {ref}")
    shown = key.get_attributes([Attribute.LABEL, Attribute.ID, Attribute.KEY_TYPE])
    if shown[Attribute.KEY_TYPE] != KeyType.AES:
        raise KeyInconsistent(f"key {shown[Attribute.LABEL]!r} is not an AES key")
    return cast(pkcs11.SecretKey, key), shown[Attribute.LABEL], shown[Attribute.ID]


def destroy_key(raw: pkcs11.Session, ref: KeyRef) -> None:
    """Destroy the one key that `ref` names; what can sign or decrypt goes first."""
    found = [
        *search(raw, _template(ObjectClass.PRIVATE_KEY, ref)),
        *search(raw, _template(ObjectClass.SECRET_KEY, ref)),
    ]
    key = _exactly_one(found, f"key {ref}")
    label, cka_id = key[Attribute.LABEL], key[Attribute.ID]
    key.destroy()
    if key.object_class is ObjectClass.PRIVATE_KEY:
        for public in search(
            raw, {Attribute.CLASS: ObjectClass.PUBLIC_KEY, Attribute.LABEL: label, Attribute.ID: cka_id}
        ):
            public.destroy()


def public_key_of(public: pkcs11.Object) -> PublicKey:
    """The P-256 key of a public key object; raises KeyInconsistent for anything else.

    CKA_EC_POINT is a DER OCTET STRING of the uncompressed point (PKCS#11 v2.40 mechanisms, section 2.3.3); some modules
    leave the OCTET STRING out.
    """
    shown = public.get_attributes([Attribute.KEY_TYPE, Attribute.EC_PARAMS, Attribute.EC_POINT])
    point = point_of_attribute(shown.get(Attribute.EC_POINT, b""))
    if (
        shown.get(Attribute.KEY_TYPE) != KeyType.EC
        or shown.get(Attribute.EC_PARAMS) != P256_EC_PARAMETERS
        or point is None
    ):
        raise KeyInconsistent(f"public key {public[Attribute.LABEL]!r} is not an uncompressed P-256 key")
    return PublicKey(point)


def point_of_attribute(ec_point: bytes) -> bytes | None:
    """X and Y, 64 bytes, of a CKA_EC_POINT; None when it is not an uncompressed P-256 point."""
    for prefix in _POINT_PREFIXES:
        if ec_point.startswith(prefix) and len(ec_point) == len(prefix) + _POINT_SIZE_BYTES:
            return ec_point[len(prefix) :]
    return None


def _template(object_class: ObjectClass, ref: KeyRef) -> Template:
    template: Template = {Attribute.CLASS: object_class, Attribute.TOKEN: True}
    if ref.label is not None:
        template[Attribute.LABEL] = ref.label
    if ref.cka_id is not None:
        template[Attribute.ID] = ref.cka_id
    return template


def _exactly_one(found: list[pkcs11.Object], what: str) -> pkcs11.Object:
    if not found:
        raise KeyNotFound(f"{what} is not on the token; `strongroom key list` shows what should be")
    if len(found) > 1:
        raise KeyAmbiguous(f"{what} is there {len(found)} times; name it by its CKA_ID, and run `strongroom key audit`")
    return found[0]
