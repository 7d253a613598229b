"""A small PKI for tests, and the means to break one thing in it at a time."""

from __future__ import annotations

import base64
import hashlib
import subprocess
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from asn1crypto import core
from asn1crypto.crl import CertificateList
from asn1crypto.x509 import Certificate

from pki.values import Digest
from pki.x509_certificates import CertificatePlan, issue_certificate, issue_root_certificate
from pki.x509_crls import CrlPlan, Revocation, issue_crl
from pki.x509_names import DistinguishedName
from pki.x509_profiles import CODE_SIGNING, DEVICE_IDENTITY, PRODUCTION_CA, ROOT_CA, CertificateProfile
from pki.x509_signing_key import signature_to_der
from tests.unit.pki.fake.keys import SoftwareKey

NOW = datetime(2026, 11, 22, 12, 0, 0, tzinfo=UTC)
HARDWARE_TYPE = "1.3.6.1.4.1.99999.1.7"
ORGANIZATION = "Größe Medical AG"

ROOT_KEY = SoftwareKey("root", "sr:root-ca:-:0001")
PRODUCTION_KEY = SoftwareKey("production", "sr:production-ca:-:0001")
CODE_KEY = SoftwareKey("code", "sr:code-signing:-:0001")
DEVICE_KEY = SoftwareKey("device")


def entropy(seed: str) -> bytes:
    """20 bytes that look random and are always the same for one seed."""
    return hashlib.sha256(seed.encode()).digest()[:20]


def name(common_name: str | None = None, **attributes: str) -> DistinguishedName:
    return DistinguishedName(organization=ORGANIZATION, common_name=common_name, **attributes)


def plan(
    profile: CertificateProfile, key: SoftwareKey, subject: DistinguishedName, days: int | None
) -> CertificatePlan:
    hardware_type = HARDWARE_TYPE if profile is DEVICE_IDENTITY else None
    return CertificatePlan(profile, subject, key.public_key, entropy(str(subject)), NOW, days, hardware_type)


ROOT_PLAN = plan(ROOT_CA, ROOT_KEY, name("Root CA"), 30 * 365)
PRODUCTION_PLAN = plan(PRODUCTION_CA, PRODUCTION_KEY, name("Production CA 1"), 25 * 365)
CODE_PLAN = plan(CODE_SIGNING, CODE_KEY, name("Release tools"), 3 * 365)
DEVICE_PLAN = plan(DEVICE_IDENTITY, DEVICE_KEY, name(serial_number="SN-000123"), None)


@dataclass(frozen=True, slots=True)
class World:
    """One chain of each kind, with a first CRL of each CA, all DER."""

    root: bytes
    production: bytes
    code: bytes
    device: bytes
    root_crl: bytes
    production_crl: bytes


def make_world() -> World:
    root = issue_root_certificate(ROOT_PLAN, ROOT_KEY.sign, NOW)
    production = issue_certificate(PRODUCTION_PLAN, root, ROOT_KEY.sign, NOW)
    return World(
        root,
        production,
        issue_certificate(CODE_PLAN, production, PRODUCTION_KEY.sign, NOW),
        issue_certificate(DEVICE_PLAN, production, PRODUCTION_KEY.sign, NOW),
        issue_crl(CrlPlan(ROOT_CA, root, None, [], 400), ROOT_KEY.sign, NOW),
        issue_crl(CrlPlan(PRODUCTION_CA, production, None, [], 100), PRODUCTION_KEY.sign, NOW),
    )


WORLD = make_world()


def next_crl(
    world: World, revoked: list[Revocation], previous: bytes | None = None, at: datetime = NOW, days: int = 100
) -> bytes:
    crl_plan = CrlPlan(PRODUCTION_CA, world.production, previous or world.production_crl, revoked, days)
    return issue_crl(crl_plan, PRODUCTION_KEY.sign, at)


def serial_number(certificate_der: bytes) -> int:
    return int(Certificate.load(certificate_der)["tbs_certificate"]["serial_number"].native)


Mutation = Callable[[Any], None]
"""Changes the to-be-signed structure (asn1crypto's) in place."""


def changed_certificate(der: bytes, mutate: Mutation, issuer: SoftwareKey) -> bytes:
    """The certificate with its TBSCertificate changed and signed anew."""
    return _changed(Certificate.load(der), "tbs_certificate", "signature_value", mutate, issuer)


def changed_crl(der: bytes, mutate: Mutation, issuer: SoftwareKey) -> bytes:
    """The CRL with its TBSCertList changed and signed anew."""
    return _changed(CertificateList.load(der), "tbs_cert_list", "signature", mutate, issuer)


def _changed(item: Any, body: str, signature: str, mutate: Mutation, issuer: SoftwareKey) -> bytes:
    _ = item.native  # parse every part, so that a change deep inside is written out
    mutate(item[body])
    to_be_signed = item[body].dump(force=True)
    item[signature] = core.OctetBitString(signature_to_der(issuer.sign(Digest.of(to_be_signed))))
    result: bytes = item.dump(force=True)
    return result


def find_extension(extensions: Any, oid: str) -> Any:
    (found,) = (extension for extension in extensions if extension["extn_id"].dotted == oid)
    return found


def set_extension(extensions: Any, oid: str, value: core.Asn1Value | bytes, critical: bool | None = None) -> None:
    """Replace the value of an extension, or add the extension."""
    der = value if isinstance(value, bytes) else value.dump()
    found = [index for index, extension in enumerate(extensions) if extension["extn_id"].dotted == oid]
    if critical is None:
        critical = bool(extensions[found[0]]["critical"].native) if found else False
    new = type(extensions)._child_spec(
        {"extn_id": oid, "critical": critical, "extn_value": core.ParsableOctetString(der)}
    )
    if found:
        extensions[found[0]] = new
    else:
        extensions.append(new)


def drop_extension(extensions: Any, oid: str) -> None:
    (index,) = (i for i, extension in enumerate(extensions) if extension["extn_id"].dotted == oid)
    del extensions[index]


def pem(der: bytes, kind: str = "CERTIFICATE") -> bytes:
    body = base64.encodebytes(der)
    return b"-----BEGIN %b-----\n%b-----END %b-----\n" % (kind.encode(), body, kind.encode())


def openssl(*arguments: str | Path) -> subprocess.CompletedProcess[str]:
    """Run the independent oracle."""
    return subprocess.run(
        ["openssl", *map(str, arguments)],
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
        stdin=subprocess.DEVNULL,
    )


def openssl_accepts(
    folder: Path,
    end_entity: bytes,
    intermediates: list[bytes],
    anchor: bytes,
    at: datetime,
    crls: list[bytes] | None,
    extra: list[str] | None = None,
) -> bool:
    """`openssl verify`, strict, at a given time; revocation of the whole chain is checked when CRLs are given."""
    (folder / "leaf.pem").write_bytes(pem(end_entity))
    (folder / "untrusted.pem").write_bytes(b"".join(map(pem, intermediates)))
    (folder / "anchor.pem").write_bytes(pem(anchor))
    arguments: list[str | Path] = [
        "verify",
        "-x509_strict",
        "-no-CApath",
        "-no-CAstore",
        "-attime",
        str(int(at.timestamp())),
    ]
    arguments += ["-CAfile", folder / "anchor.pem"]
    if intermediates:
        arguments += ["-untrusted", folder / "untrusted.pem"]
    if crls is not None:
        (folder / "crls.pem").write_bytes(b"".join(pem(crl, "X509 CRL") for crl in crls))
        arguments += ["-crl_check_all", "-CRLfile", folder / "crls.pem"]
    return openssl(*arguments, *(extra or []), folder / "leaf.pem").returncode == 0
