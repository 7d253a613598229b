"""SSH public keys: which count, how they are written, and signatures at the edges of their numbers."""

from __future__ import annotations

import base64
import hashlib

import pytest

from policies.refusals import Malformed, NotAuthentic
from policies.ssh_keys import RSA_EXPONENT, SshKeyType, SshPublicKey
from policies.sshsig import verify_ssh_signature
from tests.vectors.generator import p256
from tests.vectors.generator.keys import key_from_label
from tests.vectors.generator.ssh_signature import ECDSA, MESSAGE, NAMESPACE, SK_ECDSA, SK_ED25519, armor, mpint, string

# Odd, and of the right size; whether a modulus is a product of two primes cannot be seen, so it is not asked.
MODULUS_3072 = (1 << 3071) + 1
POINT = b"\x04" + key_from_label("a key of this test").public


def rsa(modulus: int, exponent: int = RSA_EXPONENT) -> bytes:
    return string(b"ssh-rsa") + mpint(exponent) + mpint(modulus)


def ecdsa(point: bytes, key_type: str = ECDSA, curve: str = "nistp256") -> bytes:
    return string(key_type.encode()) + string(curve.encode()) + string(point)


def refused(blob: bytes) -> str:
    with pytest.raises(Malformed) as error:
        SshPublicKey.of_blob(blob)
    return error.value.rule_id


def test_a_key_is_its_encoding() -> None:
    key = SshPublicKey.of_blob(rsa(MODULUS_3072))
    assert (key.key_type, key.modulus, key.is_hardware_backed) == (SshKeyType.RSA, MODULUS_3072, False)
    assert key.line == f"ssh-rsa {base64.b64encode(rsa(MODULUS_3072)).decode()}"
    assert SshPublicKey.parse(f"{key.line} a comment of words\n") == key
    digest = base64.b64encode(hashlib.sha256(rsa(MODULUS_3072)).digest()).decode().rstrip("=")
    assert key.fingerprint == f"SHA256:{digest}"


def test_the_application_of_a_security_key_belongs_to_it() -> None:
    keys = [SshPublicKey.of_blob(ecdsa(POINT, SK_ECDSA) + string(name)) for name in (b"ssh:", b"ssh:work")]
    assert [key.application for key in keys] == ["ssh:", "ssh:work"]
    assert keys[0] != keys[1]
    assert all(key.is_hardware_backed for key in keys)


@pytest.mark.parametrize(
    "blob",
    [
        rsa((1 << 3070) + 1),
        rsa((1 << 8192) + 1),
        rsa(MODULUS_3072 + 1),
        rsa(MODULUS_3072, 3),
        rsa(MODULUS_3072, 65539),
        rsa(MODULUS_3072)[:-1],
        rsa(MODULUS_3072) + b"\0",
        string(b"ssh-rsa") + mpint(RSA_EXPONENT) + string(b"\0" + mpint(MODULUS_3072)[4:]),
        ecdsa(POINT[:33].replace(b"\x04", b"\x02", 1)),
        ecdsa(POINT[:-1]),
        ecdsa(b"\x05" + POINT[1:]),
        ecdsa(POINT, curve="nistp384"),
        ecdsa(POINT, "ecdsa-sha2-nistp384", "nistp384"),
        ecdsa(POINT) + string(b"ssh:"),
        ecdsa(POINT, SK_ECDSA),
        ecdsa(POINT, SK_ECDSA) + string(b"ss"),
        ecdsa(POINT, SK_ECDSA) + string(b"ssh: x"),
        string(b"ssh-ed25519") + string(bytes(31)),
        string(b"ssh-ed25519") + string(bytes(33)),
        string(SK_ED25519.encode()) + string(bytes(32)),
        string(b"ssh-ed25519"),
        b"",
        bytes(4096),
    ],
)
def test_ss04_keys_of_another_form(blob: bytes) -> None:
    assert refused(blob) == "SS-04"


@pytest.mark.parametrize(
    "name",
    ["ssh-dss", "ssh-ed448", "ecdsa-sha2-nistp192", "ssh-ed25519-cert-v01@openssh.com", "rsa-sha2-512", "SSH-RSA", "x"],
)
def test_ss03_other_types(name: str) -> None:
    assert refused(string(name.encode()) + string(bytes(32))) == "SS-03"


# ECDSA, number by number: the signature's own bytes, not what some library would write


def verdict(point: bytes, numbers: bytes) -> str:
    blob = b"SSHSIG\0\0\0\1" + string(ecdsa(point)) + string(NAMESPACE.encode()) + string(b"") + string(b"sha256")
    blob += string(string(ECDSA.encode()) + string(numbers))
    try:
        verify_ssh_signature([SshPublicKey.of_blob(ecdsa(point))], NAMESPACE, MESSAGE, armor(blob).encode())
    except (Malformed, NotAuthentic) as error:
        return error.rule_id
    return "OK"


def signed_numbers() -> tuple[int, int]:
    digest = hashlib.sha256(MESSAGE).digest()
    signed = b"SSHSIG" + string(NAMESPACE.encode()) + string(b"") + string(b"sha256") + string(digest)
    raw = p256.sign(key_from_label("a key of this test").private, hashlib.sha256(signed).digest())
    return int.from_bytes(raw[:32], "big"), int.from_bytes(raw[32:], "big")


def test_numbers_of_an_ecdsa_signature() -> None:
    r, s = signed_numbers()
    assert verdict(POINT, mpint(r) + mpint(s)) == "OK"
    assert verdict(POINT, mpint(r) + mpint(p256.N - s)) == "OK", "as good by the standard, and OpenSSH makes either"
    for numbers in (
        mpint(r + p256.N) + mpint(s),
        mpint(r) + mpint(s + p256.N),
        mpint(p256.N) + mpint(s),
        mpint(r) + mpint(p256.N),
        mpint(s) + mpint(r),
        mpint(1) + mpint(1),
        mpint(r) + mpint(1 << 600),
    ):
        assert verdict(POINT, numbers) == "SS-11"
    for numbers in (
        string(b"") + mpint(s),
        mpint(r) + string(b""),
        mpint(r) + string(b"\0"),
        mpint(r),
        mpint(r) + mpint(s) + b"\0",
        string(b"\xff" * 32) + mpint(s),
        b"",
    ):
        assert verdict(POINT, numbers) == "SS-08"


def test_ss04_a_point_that_is_not_on_its_curve() -> None:
    r, s = signed_numbers()
    for point in (POINT[:-1] + bytes([POINT[-1] ^ 1]), b"\x04" + bytes(64), b"\x04" + b"\xff" * 64):
        assert verdict(point, mpint(r) + mpint(s)) == "SS-04"
