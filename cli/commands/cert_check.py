"""Commands about certificates that need no key: export, show, verify."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any

import typer
from cryptography import x509

from cli.cert_files import CERTIFICATE, read_certificate, read_crl, to_pem
from cli.context import now, open_store, repository_of
from cli.options import JsonOption, OutputOption
from cli.output import emit, read_input, write_new_file
from pki.chain import Purpose, check_chain
from pki.errors import FormatError, InputRefused
from pki.values import PublicKey
from pki.x509_crls import revocations_of
from pki.x509_parse import (
    MAX_CRL_SIZE_BYTES,
    certificate_der,
    certificate_public_key,
    crl_der,
    parse_certificate,
    parse_crl,
    request_der,
)
from pki.x509_requests import verify_request


def export(
    context: typer.Context,
    label: Annotated[str, typer.Argument(help="The key's label, as `strongroom key list` shows it.")],
    out: OutputOption,
    as_json: JsonOption = False,
) -> None:
    """Write a key's current certificate as PEM, from the key store."""
    with open_store(repository_of(context)) as store:
        record = store.key(label)
    if record.certificate is None:
        raise InputRefused(f"key {label} has no current certificate")
    write_new_file(out, to_pem(record.certificate.der, CERTIFICATE))
    emit({"file": str(out), "serial_number": record.certificate.serial_number}, as_json, f"wrote {out}")


def show(
    file: Annotated[Path, typer.Argument(help="A certificate, certification request or CRL, PEM or DER.")],
    as_json: JsonOption = False,
) -> None:
    """Show what is in a certificate, certification request or CRL. Only a request's own signature is verified."""
    data = _described(file)
    emit(data, as_json, "\n".join(f"{name}: {_text(value)}" for name, value in data.items()))


def verify(
    file: Annotated[Path, typer.Argument(help="The certificate to verify.")],
    anchor: Annotated[Path, typer.Option(help="The root CA's certificate, which you trust already.")],
    chain: Annotated[
        list[Path] | None, typer.Option(help="Certificates between, nearest to the first one first; may be repeated.")
    ] = None,
    crl: Annotated[
        list[Path] | None, typer.Option(help="CRL of a CA; with any, every CA of the chain needs one. May be repeated.")
    ] = None,
    purpose: Annotated[Purpose | None, typer.Option(help="What it must be good for; by default what it says.")] = None,
    at: Annotated[str | None, typer.Option(metavar="TIME", help="As 2026-11-22T12:00:00Z; by default now.")] = None,
    as_json: JsonOption = False,
) -> None:
    """Verify a certificate up to a root. Exit code 4 if it does not hold."""
    when = now() if at is None else _time(at)
    der = read_certificate(file)
    wanted = purpose or _purpose_of(parse_certificate(der))
    crls = [read_crl(path) for path in crl] if crl else None
    check_chain(der, [read_certificate(path) for path in chain or ()], read_certificate(anchor), when, wanted, crls)
    revocation = "checked" if crls is not None else "NOT checked"
    data = {"valid": True, "purpose": wanted.value, "at": when.isoformat(), "revocation_checked": crls is not None}
    emit(data, as_json, f"{file}: valid for {wanted.value} at {when.isoformat()}; revocation {revocation}")


def _described(file: Path) -> dict[str, Any]:
    content = read_input(file, "file", 2 * MAX_CRL_SIZE_BYTES)
    failures = []
    for read in (_certificate, _request, _crl):
        try:
            return read(content)
        except FormatError as error:
            failures.append(str(error))
    raise InputRefused(f"{file}: neither certificate nor request nor CRL (as certificate: {failures[0]})")


def _certificate(content: bytes) -> dict[str, Any]:
    certificate = parse_certificate(certificate_der(content))
    return {
        "kind": "certificate",
        "subject": certificate.subject.rfc4514_string(),
        "issuer": certificate.issuer.rfc4514_string(),
        "serial_number": f"{certificate.serial_number:x}",
        "not_before": certificate.not_valid_before_utc.isoformat(),
        "not_after": certificate.not_valid_after_utc.isoformat(),
        "purpose": _purpose_of(certificate).value,
        **_key(certificate_public_key(certificate)),
    }


def _request(content: bytes) -> dict[str, Any]:
    request = verify_request(request_der(content))
    return {"kind": "certification-request", "subject": str(request.subject), **_key(request.public_key)}


def _crl(content: bytes) -> dict[str, Any]:
    der = crl_der(content)
    parsed = parse_crl(der)
    revoked = [
        {"serial_number": f"{item.serial_number:x}", "at": item.revoked_at.isoformat(), "reason": item.reason or ""}
        for item in revocations_of(der)
    ]
    next_update = parsed.next_update_utc
    return {
        "kind": "crl",
        "issuer": parsed.issuer.rfc4514_string(),
        "this_update": parsed.last_update_utc.isoformat(),
        "next_update": "" if next_update is None else next_update.isoformat(),
        "revoked": revoked,
    }


def _key(key: PublicKey) -> dict[str, str]:
    return {"key_id": key.key_id.hex(), "spki_sha256": key.spki_sha256.hex()}


def _purpose_of(certificate: x509.Certificate) -> Purpose:
    """What a certificate of ours says it is for."""
    from pki.x509_parse import extension_value

    constraints = extension_value(certificate, x509.BasicConstraints)
    if constraints is not None and constraints.ca:
        return Purpose.CERTIFICATE_AUTHORITY
    if extension_value(certificate, x509.ExtendedKeyUsage) is not None:
        return Purpose.CODE_SIGNING
    return Purpose.DEVICE_IDENTITY


def _time(text: str) -> datetime:
    try:
        time = datetime.fromisoformat(text)
    except ValueError:
        raise InputRefused(f"--at {text!r}: write the time as 2026-11-22T12:00:00Z") from None
    if time.tzinfo is None:
        raise InputRefused(f"--at {text!r}: say the time zone, as 2026-11-22T12:00:00Z")
    return time.astimezone(UTC)


def _text(value: object) -> str:
    if isinstance(value, list):
        return "".join("\n  " + " ".join(str(part) for part in item.values()) for item in value) or "none"
    return str(value)
