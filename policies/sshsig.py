"""SSH signatures over files (OpenSSH's PROTOCOL.sshsig), as `ssh-keygen -Y sign` makes them, verified strictly.

Everything that `ssh-keygen -Y verify` refuses is refused, and some that it takes (docs/adr/0056). Rules SS-01 to SS-11.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
from collections.abc import Collection

import msgspec

from policies.refusals import Malformed, NotAuthentic
from policies.ssh_key_signatures import verify_key_signature
from policies.ssh_keys import SshKeyType, SshPublicKey
from policies.ssh_wire import WireError, WireReader, wire_string

__all__ = ["SIGNATURE_SIZE_BYTES_MAX", "SshKeyType", "SshPublicKey", "SshSignature", "verify_ssh_signature"]

SIGNATURE_SIZE_BYTES_MAX = 8192
"""Of the armored signature. The largest that counts, with an RSA key of 8,192 bits, has less than 3,200 bytes."""

_MAGIC = b"SSHSIG"
_VERSION = 1
_BEGIN = b"-----BEGIN SSH SIGNATURE-----\n"
_END = b"-----END SSH SIGNATURE-----\n"
_LINE_LENGTH_MAX = 76
_HASHES = {"sha512": hashlib.sha512, "sha256": hashlib.sha256}


class SshSignature(msgspec.Struct, frozen=True):
    """A signature that verified: by which of the keys, and whether a security key also verified its user."""

    key: SshPublicKey
    user_verified: bool


class _Parts(msgspec.Struct, frozen=True):
    """The fields of an SSHSIG, in their order."""

    key: SshPublicKey
    namespace: bytes
    hash_name: str
    signature: bytes


def verify_ssh_signature(
    keys: Collection[SshPublicKey], namespace: str, message: bytes, armored: bytes
) -> SshSignature:
    """Verify that one of `keys` signed `message` for `namespace`.

    Raises Malformed SS-01 to SS-04, SS-06 to SS-08; NotAuthentic SS-05 (other namespace), SS-09 (nobody present),
    SS-10 (none of the keys), SS-11 (does not verify).
    """
    parts = _parse(_dearmor(armored))
    if parts.namespace != namespace.encode("ascii"):
        shown = parts.namespace[:60].decode("ascii", "replace")
        raise NotAuthentic("SS-05", f"signed for namespace {shown!r}; sign with `ssh-keygen -Y sign -n {namespace}`")
    if parts.key not in keys:
        raise NotAuthentic("SS-10", f"made with key {parts.key.fingerprint}, which is not listed for this person here")
    digest = _HASHES[parts.hash_name](message).digest()
    signed = _MAGIC + b"".join(map(wire_string, (parts.namespace, b"", parts.hash_name.encode("ascii"), digest)))
    return SshSignature(parts.key, verify_key_signature(parts.key, signed, parts.signature))


def _dearmor(armored: bytes) -> bytes:
    """SS-01: the two marks, and between them base64 in its one form, in lines of equal length; nothing around it."""
    if len(armored) > SIGNATURE_SIZE_BYTES_MAX:
        raise _armor_error(f"more than {SIGNATURE_SIZE_BYTES_MAX} bytes")
    if not armored.startswith(_BEGIN) or not armored.endswith(b"\n" + _END):
        raise _armor_error("not a file as `ssh-keygen -Y sign` writes it")
    lines = armored[len(_BEGIN) : -len(_END) - 1].split(b"\n")
    width = len(lines[0])
    if width > _LINE_LENGTH_MAX or any(len(line) != width for line in lines[:-1]) or not 0 < len(lines[-1]) <= width:
        raise _armor_error("its lines have different lengths")
    text = b"".join(lines)
    try:
        blob = base64.b64decode(text, validate=True)
    except binascii.Error:
        raise _armor_error("not base64") from None
    if base64.b64encode(blob) != text:
        raise _armor_error("not base64 in its one form")
    return blob


def _parse(blob: bytes) -> _Parts:
    reader = WireReader(blob)
    try:
        if reader.raw(len(_MAGIC)) != _MAGIC or reader.uint32() != _VERSION:
            raise WireError("not an SSH signature of version 1")
        key_blob, namespace, reserved = reader.string(), reader.string(), reader.string()
        hash_name, signature = reader.text(), reader.string()
        reader.end()
        if reserved:
            raise WireError("the reserved field is not empty")
    except WireError as error:
        raise Malformed("SS-02", "SSH signature", str(error)) from None
    if hash_name not in _HASHES:
        raise Malformed("SS-06", "SSH signature", f"hash {hash_name[:60]!r} is not accepted; sha512 or sha256 is")
    return _Parts(SshPublicKey.of_blob(key_blob), namespace, hash_name, signature)


def _armor_error(reason: str) -> Malformed:
    return Malformed("SS-01", "SSH signature", reason)
