"""SSH signatures, right and wrong, with the rule of docs/spec/requests-and-approvals.md that each breaks."""

from __future__ import annotations

from collections.abc import Iterator

from tests.vectors.generator.ssh_signature import (
    ECDSA,
    ED25519,
    MESSAGE,
    NAMESPACE,
    PRESENT,
    SK_ECDSA,
    SK_ED25519,
    VERIFIED,
    Signed,
    string,
)

Case = tuple[str, str, str, Signed]
"""Name, description, rule or "OK", signature."""

_TYPES = {"ed25519": ED25519, "ecdsa": ECDSA, "sk-ed25519": SK_ED25519, "sk-ecdsa": SK_ECDSA}


def entries() -> Iterator[dict[str, str]]:
    """What stands in ssh_signatures.json."""
    for name, description, rule, signed in cases():
        yield {
            "name": name,
            "description": description,
            "key": signed.key_line,
            "namespace": NAMESPACE,
            "message": MESSAGE.hex(),
            "signature": signed.armored,
            "expected": rule,
        }


def cases() -> Iterator[Case]:
    """Every case, valid ones first."""
    for name, key_type in _TYPES.items():
        signed = Signed(key_type)
        yield f"{name}-valid", f"{key_type}, as it should be", "OK", signed
        yield f"{name}-sha256", "the message hashed with SHA-256", "OK", signed.but(hash_name="sha256")
        yield from _wrong_anywhere(name, signed)
    for name in ("sk-ed25519", "sk-ecdsa"):
        yield from _security_key(name, Signed(_TYPES[name]))
    for name in ("ecdsa", "sk-ecdsa"):
        signed = Signed(_TYPES[name])
        yield f"{name}-padded-number", "r with a zero byte too many in front", "SS-08", signed.but(padded_mpint=True)


def _wrong_anywhere(name: str, signed: Signed) -> Iterator[Case]:
    yield f"{name}-other-message", "made over other bytes", "SS-11", signed.but(signed_message=MESSAGE + b" ")
    yield f"{name}-other-namespace", "made for requests", "SS-05", signed.but(namespace="strongroom-request-v1")
    yield f"{name}-namespace-prefix", "a namespace that begins the same", "SS-05", signed.but(namespace=NAMESPACE[:-1])
    yield f"{name}-reserved", "something in the reserved field", "SS-02", signed.but(reserved=b"x")
    yield f"{name}-version-2", "version 2 of the format", "SS-02", signed.but(version=2)
    yield f"{name}-sha1", "the message hashed with SHA-1", "SS-06", signed.but(hash_name="sha1")
    yield f"{name}-sha384", "the message hashed with SHA-384", "SS-06", signed.but(hash_name="sha384")
    yield f"{name}-blob-tail", "a byte behind the last field", "SS-02", signed.but(blob_tail=b"\0")
    yield f"{name}-signature-tail", "a byte behind the key's signature", "SS-08", signed.but(tail=b"\0")
    yield f"{name}-key-tail", "a byte behind the public key", "SS-04", signed.but(key_tail=b"\0")
    yield f"{name}-algorithm", "an algorithm that is not the key's", "SS-07", signed.but(algorithm="ssh-dss")
    certificate_type = signed.key_type.removesuffix("@openssh.com") + "-cert-v01@openssh.com"
    certificate = string(certificate_type.encode()) + string(bytes(32))
    yield f"{name}-certificate", "a certificate in place of the key", "SS-03", signed.but(key_blob=certificate)


def _security_key(name: str, signed: Signed) -> Iterator[Case]:
    webauthn = "webauthn-sk-ecdsa-sha2-nistp256@openssh.com"
    both = PRESENT | VERIFIED
    yield f"{name}-verified", "the user was verified, too", "OK", signed.but(flags=both)
    yield f"{name}-greatest-counter", "the greatest counter", "OK", signed.but(counter=0xFFFFFFFF)
    yield f"{name}-named-application", "an application of one's own", "OK", signed.but(application=b"ssh:strongroom")
    yield f"{name}-nobody-present", "no flag: nobody touched it", "SS-09", signed.but(flags=0)
    yield f"{name}-verified-only", "verified, but not present", "SS-09", signed.but(flags=VERIFIED)
    yield f"{name}-extensions", "extension data announced", "SS-09", signed.but(flags=PRESENT | 0x80)
    yield f"{name}-backed-up", "a key that can be copied", "SS-09", signed.but(flags=PRESENT | 0x08)
    yield f"{name}-flag-added", "presence claimed afterwards", "SS-11", signed.but(flags=both, signed_flags=VERIFIED)
    yield f"{name}-counter-changed", "another counter than the key's", "SS-11", signed.but(signed_counter=8)
    other = signed.but(signed_application=b"ssh:other")
    yield f"{name}-application-changed", "signed for another application", "SS-11", other
    yield f"{name}-web-application", "an application of the web", "SS-04", signed.but(application=b"https-like:x")
    yield f"{name}-plain", "the message signed as a key in a file does", "SS-11", signed.but(is_plain=True)
    yield f"{name}-webauthn", "signed through a browser", "SS-07", signed.but(algorithm=webauthn)
    yield f"{name}-plain-algorithm", "the algorithm of a key in a file", "SS-07", signed.but(algorithm=name[3:])
