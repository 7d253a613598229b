"""Public files that a ceremony made, described for its report: keys and certificates in words and in full."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Callable

import msgspec

from ceremonies.report_content import Fact
from pki.errors import FormatError

TEXT_SIZE_BYTES_MAX = 8 * 1024
"""Up to this size a text is printed whole."""

BundleFacts = Callable[[bytes], tuple[Fact, ...] | None]
"""What a trust bundle says, or None for bytes that are none. Its parser is the bootloader's, so it is handed in."""


class ArtefactFile(msgspec.Struct, frozen=True):
    """A file as it is. `listed_sha256` is the transcript's; empty if the transcript does not list it."""

    name: str
    content: bytes
    listed_sha256: str


class DescribedArtefact(msgspec.Struct, frozen=True):
    """`text` is the whole content where it can be printed, else empty."""

    name: str
    kind: str
    facts: tuple[Fact, ...]
    text: str


def describe(file: ArtefactFile, bundle_facts: BundleFacts) -> DescribedArtefact:
    """What a report shows of an artefact: digest and size always, and what the kind of file makes known."""
    digest = hashlib.sha256(file.content).hexdigest()
    facts: list[Fact] = [("SHA-256", digest), ("size", f"{len(file.content):,} bytes")]
    if digest != file.listed_sha256:
        facts.append(("NOT AS LISTED", file.listed_sha256 or "the transcript does not list this file"))
    kind, more = _recognise(file.content, bundle_facts)
    return DescribedArtefact(file.name, kind, (*facts, *more), _printable(file.content))


def missing(name: str, listed_sha256: str) -> DescribedArtefact:
    """An artefact that the transcript lists and that is not there."""
    return DescribedArtefact(name, "MISSING", (("SHA-256 in the transcript", listed_sha256),), "")


def _recognise(content: bytes, bundle_facts: BundleFacts) -> tuple[str, tuple[Fact, ...]]:
    if b"-----BEGIN PUBLIC KEY-----" in content[:64]:
        return "public key", _public_key(content)
    if b"-----BEGIN CERTIFICATE-----" in content[:64]:
        return "certificate", _certificate(content)
    bundle = bundle_facts(content)
    if bundle is not None:
        return "trust bundle", bundle
    return "file", ()


def _public_key(content: bytes) -> tuple[Fact, ...]:
    from pki.values import PublicKey

    try:
        lines = content.decode("ascii").splitlines()
        key = PublicKey.from_spki(base64.b64decode("".join(lines[1:-1]), validate=True))
    except ValueError as error:
        return (("NOT READABLE", str(error)),)
    return (("key id", key.key_id.hex()), ("SHA-256 of SubjectPublicKeyInfo", key.spki_sha256.hex()))


def _certificate(content: bytes) -> tuple[Fact, ...]:
    from pki.x509_parse import certificate_der, certificate_public_key, parse_certificate

    try:
        der = certificate_der(content)
        certificate = parse_certificate(der)
        key = certificate_public_key(certificate)
    except (FormatError, ValueError) as error:
        return (("NOT READABLE", str(error)),)
    return (
        ("subject", certificate.subject.rfc4514_string()),
        ("issuer", certificate.issuer.rfc4514_string()),
        ("serial number", f"{certificate.serial_number:x}"),
        ("valid from", certificate.not_valid_before_utc.strftime("%Y-%m-%d %H:%M:%S UTC")),
        ("valid until", certificate.not_valid_after_utc.strftime("%Y-%m-%d %H:%M:%S UTC")),
        ("SHA-256 of the certificate", hashlib.sha256(der).hexdigest()),
        ("key id", key.key_id.hex()),
    )


def _printable(content: bytes) -> str:
    if len(content) > TEXT_SIZE_BYTES_MAX:
        return ""
    try:
        text = content.decode("utf-8")
    except UnicodeDecodeError:
        return ""
    return text if all(character.isprintable() or character == "\n" for character in text) else ""
