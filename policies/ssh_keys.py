"""SSH public keys as people have them: Ed25519, ECDSA, RSA, and the two kinds kept in security keys (FIDO).

Formats: RFC 4253 section 6.6, RFC 5656 section 3.1, RFC 8709 section 4, OpenSSH's PROTOCOL.u2f. Rules SS-03, SS-04.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
from enum import StrEnum

import msgspec

from policies.refusals import Malformed
from policies.ssh_wire import WireError, WireReader

RSA_SIZE_BITS_MIN = 3072
RSA_SIZE_BITS_MAX = 8192
RSA_EXPONENT = 65537
_KEY_SIZE_BYTES_MAX = 2048
_APPLICATION_PREFIX = "ssh:"


class SshKeyType(StrEnum):
    """The key types that count. No DSA, no certificates (docs/adr/0056)."""

    ED25519 = "ssh-ed25519"
    ECDSA_P256 = "ecdsa-sha2-nistp256"
    ECDSA_P384 = "ecdsa-sha2-nistp384"
    ECDSA_P521 = "ecdsa-sha2-nistp521"
    RSA = "ssh-rsa"
    SK_ED25519 = "sk-ssh-ed25519@openssh.com"
    SK_ECDSA_P256 = "sk-ecdsa-sha2-nistp256@openssh.com"


POINT_SIZE_BYTES = {
    SshKeyType.ECDSA_P256: 65,
    SshKeyType.ECDSA_P384: 97,
    SshKeyType.ECDSA_P521: 133,
    SshKeyType.SK_ECDSA_P256: 65,
}
_CURVE_NAMES = {
    SshKeyType.ECDSA_P256: "nistp256",
    SshKeyType.ECDSA_P384: "nistp384",
    SshKeyType.ECDSA_P521: "nistp521",
    SshKeyType.SK_ECDSA_P256: "nistp256",
}
_HARDWARE_BACKED = frozenset({SshKeyType.SK_ED25519, SshKeyType.SK_ECDSA_P256})


class SshPublicKey(msgspec.Struct, frozen=True):
    """A public key. Two are equal when their `blob`, the encoding that SSH gives them, is.

    `point`: Ed25519 32 bytes, ECDSA an uncompressed point with its 04 (not yet known to be on the curve), RSA empty.
    `modulus` is 0 unless RSA. `application` is empty unless the key is in a security key.
    """

    key_type: SshKeyType
    blob: bytes
    point: bytes = b""
    modulus: int = 0
    application: str = ""

    @classmethod
    def parse(cls, line: str) -> SshPublicKey:
        """From `TYPE BASE64 [COMMENT]`, as in a `.pub` file. Raises Malformed SS-03, SS-04."""
        fields = line.split(maxsplit=2)
        if len(fields) < 2:
            raise Malformed("SS-04", "SSH key", "not a public key: its type and base64 digits are expected")
        key = cls.of_blob(decode_base64(fields[1]))
        if key.key_type != fields[0]:
            raise Malformed("SS-04", "SSH key", f"the line says {fields[0][:60]!r}, the key itself {key.key_type}")
        return key

    @classmethod
    def of_blob(cls, blob: bytes) -> SshPublicKey:
        """From the encoding itself. Raises Malformed SS-03, SS-04."""
        if len(blob) > _KEY_SIZE_BYTES_MAX:
            raise Malformed("SS-04", "SSH key", f"more than {_KEY_SIZE_BYTES_MAX} bytes")
        reader = WireReader(blob)
        try:
            key_type = _key_type(reader.text())
            key = _read_key(key_type, blob, reader)
            reader.end()
        except WireError as error:
            raise Malformed("SS-04", "SSH key", str(error)) from None
        return key

    @property
    def fingerprint(self) -> str:
        """As `ssh-keygen -l` prints it."""
        return "SHA256:" + base64.b64encode(hashlib.sha256(self.blob).digest()).decode("ascii").rstrip("=")

    @property
    def is_hardware_backed(self) -> bool:
        """Whether the private half is in a security key, by the key's type (nothing attests it)."""
        return self.key_type in _HARDWARE_BACKED

    @property
    def line(self) -> str:
        """`TYPE BASE64`, for files."""
        return f"{self.key_type} {base64.b64encode(self.blob).decode('ascii')}"


def decode_base64(text: str) -> bytes:
    """The bytes of base64 in its one form; raises Malformed SS-04."""
    try:
        data = base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError):
        raise Malformed("SS-04", "SSH key", "not base64") from None
    if base64.b64encode(data).decode("ascii") != text:
        raise Malformed("SS-04", "SSH key", "not base64 in its one form")
    return data


def _key_type(name: str) -> SshKeyType:
    try:
        return SshKeyType(name)
    except ValueError:
        pass
    if "-cert-" in name:
        raise Malformed("SS-03", "SSH key", "a certificate; sign with the plain key, list plain keys")
    raise Malformed(
        "SS-03", "SSH key", f"type {name[:60]!r} is not accepted; use Ed25519, ECDSA, RSA or a security key"
    )


def _read_key(key_type: SshKeyType, blob: bytes, reader: WireReader) -> SshPublicKey:
    if key_type is SshKeyType.RSA:
        return SshPublicKey(key_type, blob, modulus=_rsa_modulus(reader))
    point = _ed25519_point(reader) if key_type not in POINT_SIZE_BYTES else _ec_point(key_type, reader)
    application = _application(reader) if key_type in _HARDWARE_BACKED else ""
    return SshPublicKey(key_type, blob, point=point, application=application)


def _rsa_modulus(reader: WireReader) -> int:
    exponent, modulus = reader.positive_mpint(), reader.positive_mpint()
    if exponent != RSA_EXPONENT:
        raise WireError(f"an RSA key's public exponent must be {RSA_EXPONENT}")
    if not RSA_SIZE_BITS_MIN <= modulus.bit_length() <= RSA_SIZE_BITS_MAX or modulus % 2 == 0:
        raise WireError(
            f"RSA keys must have {RSA_SIZE_BITS_MIN} to {RSA_SIZE_BITS_MAX} bits, this one has {modulus.bit_length()}"
        )
    return modulus


def _ed25519_point(reader: WireReader) -> bytes:
    point = reader.string()
    if len(point) != 32:
        raise WireError("an Ed25519 key has 32 bytes")
    return point


def _ec_point(key_type: SshKeyType, reader: WireReader) -> bytes:
    if reader.text() != _CURVE_NAMES[key_type]:
        raise WireError("the curve's name is not that of the key's type")
    point = reader.string()
    if len(point) != POINT_SIZE_BYTES[key_type] or point[0] != 4:
        raise WireError("not an uncompressed point of its curve")
    return point


def _application(reader: WireReader) -> str:
    application = reader.text()
    if not application.startswith(_APPLICATION_PREFIX):
        raise WireError(f"a security key's application must begin with {_APPLICATION_PREFIX}")
    return application
