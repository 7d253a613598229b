"""Whom an import believes: trust bundles and CA certificates, from files or from the authority's `public/`."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import typer

from cli.output import read_input
from cli.registry_access import repository_or_none
from pki.errors import FormatError, InputRefused, StrongroomError

if TYPE_CHECKING:
    from pki.roles import Role
    from pki.values import PublicKey
    from provisioning.registry.trust import ProductKeys, Trust
    from signer.trust_bundles.content import TrustBundleContent

FILES_MAX = 1_000
_PEM_SIZE_BYTES_MAX = 1024 * 1024
_BUNDLE_SIZE_BYTES_MAX = 64 * 1024
_PEM_CERTIFICATE = re.compile(rb"-----BEGIN CERTIFICATE-----[A-Za-z0-9+/=\s]+-----END CERTIFICATE-----")


def trust_from(context: typer.Context, bundles: Sequence[Path] | None, certificates: Sequence[Path] | None) -> Trust:
    """Keys and CAs out of the given files; what is not given is looked for in `public/`, if there is an authority.

    Raises InputRefused for a file that is not what it was given as, or a bundle without its own roots' threshold.
    """
    from provisioning.registry.trust import Trust

    public = _public_folder(context) if bundles is None or certificates is None else None
    are_named = bundles is not None
    if bundles is None:
        bundles = _found(public, "*.srb")
    if certificates is None:
        ca_certificates = tuple(_published_ca_certificates(_found(public, "*.pem", "*.crt", "*.der")))
    else:
        ca_certificates = tuple(der for path in certificates for der in _certificates_in(path))
    return Trust(_product_keys(bundles, are_named=are_named), ca_certificates)


def _public_folder(context: typer.Context) -> Path | None:
    repository = repository_or_none(context)
    return None if repository is None else repository.root / "public"


def _found(folder: Path | None, *patterns: str) -> list[Path]:
    if folder is None or not folder.is_dir():
        return []
    paths = sorted(path for pattern in patterns for path in folder.rglob(pattern))
    if len(paths) > FILES_MAX:
        raise InputRefused(f"{folder} holds more than {FILES_MAX} such files; name those that are needed")
    return paths


def _product_keys(paths: Sequence[Path], *, are_named: bool) -> dict[bytes, ProductKeys]:
    """Every key that a bundle names, by product and role. One that is still being signed is in force nowhere yet: where
    it was not named, it is passed over.
    """
    from pki.roles import Role
    from provisioning.registry.trust import ProductKeys

    bundles: dict[bytes, list[TrustBundleContent]] = {}
    for path in paths:
        content, signer_count = _bundle(path)
        if signer_count >= content.root_threshold:
            bundles.setdefault(content.product_id, []).append(content)
        elif are_named:
            raise InputRefused(
                f"{path}: {signer_count} of its {content.root_threshold} roots have signed this trust bundle"
            )
    return {
        product_id: ProductKeys(
            production=_keys_of(Role.PRODUCTION, contents),
            service=_keys_of(Role.SERVICE, contents),
            grant=_keys_of(Role.GRANT, contents),
            revoked_key_ids=frozenset(key.key_id for content in contents for key in content.revoked),
        )
        for product_id, contents in bundles.items()
    }


def _bundle(path: Path) -> tuple[TrustBundleContent, int]:
    """What a bundle says, and how many of its own roots have signed it. Raises InputRefused."""
    from signer.trust_bundles.encoding import decode_bundle
    from signer.trust_bundles.signing import own_signers

    data = read_input(path, "trust bundle", _BUNDLE_SIZE_BYTES_MAX)
    try:
        content, _ = decode_bundle(data)
        return content, len(own_signers(data))
    except StrongroomError as error:
        raise InputRefused(f"{path}: {error}") from None


def _keys_of(role: Role, contents: Sequence[TrustBundleContent]) -> tuple[PublicKey, ...]:
    found = {entry.key.point: entry.key for content in contents for entry in content.role_keys if entry.role is role}
    return tuple(found[point] for point in sorted(found))


def _published_ca_certificates(paths: Sequence[Path]) -> Iterator[bytes]:
    """Those in `public/` that are CAs'; other files there are passed over."""
    from pki.x509_parse import parse_certificate
    from pki.x509_profiles import OID_BASIC_CONSTRAINTS

    for path in paths:
        try:
            for der in _certificates_in(path):
                extensions = parse_certificate(der).extensions
                if any(item.oid.dotted_string == OID_BASIC_CONSTRAINTS and item.value.ca for item in extensions):
                    yield der
        except (InputRefused, FormatError):
            continue


def _certificates_in(path: Path) -> Iterator[bytes]:
    """Every certificate of a PEM file, or the one of a DER file. Raises InputRefused, FormatError."""
    from pki.x509_parse import certificate_der, parse_certificate

    data = read_input(path, "CA certificates", _PEM_SIZE_BYTES_MAX)
    blocks = _PEM_CERTIFICATE.findall(data) if b"-----BEGIN" in data else [data]
    if not blocks:
        raise InputRefused(f"{path}: has no certificate")
    for block in blocks:
        der = certificate_der(block)
        parse_certificate(der)
        yield der
