"""Whom a registry believes: keys out of the product's trust bundles, and the CAs that certify devices.

Rules RG-03 to RG-05. Signatures are verified here; who brings the keys answers for them.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime

from cryptography import x509

from pki.chain import MAX_CHAIN_LENGTH, Purpose, VerifiedChain, check_chain
from pki.errors import StrongroomError, VerificationError
from pki.values import PublicKey
from pki.x509_parse import certificate_public_key, parse_certificate
from provisioning.registry.errors import NotAuthentic
from signer.device_objects.service_order import SignedServiceOrder
from signer.device_objects.work_order import SignedWorkOrder


@dataclass(frozen=True, slots=True)
class ProductKeys:
    """Public keys of one product by role, as any of its trust bundles names them, and what any of them revokes."""

    production: tuple[PublicKey, ...] = ()
    service: tuple[PublicKey, ...] = ()
    grant: tuple[PublicKey, ...] = ()
    revoked_key_ids: frozenset[bytes] = frozenset()


_NO_KEYS = ProductKeys()


@dataclass(frozen=True, slots=True)
class Trust:
    """Keys by product id (16 bytes), and certificates of CAs (DER, roots included).

    A root certificate that is given here is an anchor: it is trusted because it was given.
    """

    products: Mapping[bytes, ProductKeys] = field(default_factory=dict)
    ca_certificates: tuple[bytes, ...] = ()

    def of(self, product_id: bytes) -> ProductKeys:
        """The keys of one product; none where no trust bundle of it was given."""
        return self.products.get(product_id, _NO_KEYS)


def require_order_signed(order: SignedWorkOrder, trust: Trust) -> None:
    """BR-11: by a production key of the product's trust bundles. RG-03: neither signer nor lot key is revoked."""
    keys = trust.of(order.order.product_id)
    signer, lot_key_id = order.order.signer_key_id, order.order.lot_public_key.key_id
    for what, key_id in (("its signer", signer), ("its lot's key", lot_key_id)):
        if key_id in keys.revoked_key_ids:
            raise NotAuthentic("RG-03", f"the work order is not taken: {what} ({key_id.hex()}) is revoked")
    _require_signed(order.verify, signer, keys.production, "BR-11", "work order", "production")


def require_service_order_signed(order: SignedServiceOrder, trust: Trust) -> None:
    """RG-20: by a service key of the product's trust bundles that none of them revokes."""
    keys, signer = trust.of(order.order.product_id), order.order.signer_key_id
    if signer in keys.revoked_key_ids:
        raise NotAuthentic("RG-20", f"the service order is not taken: its signer, {signer.hex()}, is revoked")
    _require_signed(order.verify, signer, keys.service, "RG-20", "service order", "service")


def _require_signed(
    verify: Callable[[PublicKey], None],
    signer_key_id: bytes,
    keys: Sequence[PublicKey],
    rule_id: str,
    what: str,
    role: str,
) -> None:
    key = next((key for key in keys if key.key_id == signer_key_id), None)
    if key is None:
        raise NotAuthentic(
            rule_id,
            f"the {what} names signer {signer_key_id.hex()}, which is no {role} key of the trust bundles given: "
            "give the product's bundle that has it",
        )
    try:
        verify(key)
    except VerificationError as error:
        raise NotAuthentic(rule_id, f"the {what} is not signed by its signer: {error}") from None


def issuing_ca(spki_sha256: bytes, certificates: Sequence[bytes], at: datetime) -> tuple[VerifiedChain, list[bytes]]:
    """The CA with this key, verified at `at` up to a root among `certificates`, and the chain, that CA first.

    Raises NotAuthentic RG-04.
    """
    chain = _chain_of(spki_sha256, certificates)
    end, *intermediates, anchor = chain
    try:
        verified = check_chain(end, intermediates, anchor, at, Purpose.CERTIFICATE_AUTHORITY, None)
    except StrongroomError as error:
        raise NotAuthentic("RG-04", f"the order's issuing CA is not to be believed: {error}") from None
    return verified, chain


def _chain_of(spki_sha256: bytes, certificates: Sequence[bytes]) -> list[bytes]:
    by_key: dict[bytes, bytes] = {}
    by_subject: dict[x509.Name, list[bytes]] = {}
    for der in certificates:
        certificate = parse_certificate(der)
        by_key.setdefault(certificate_public_key(certificate).spki_sha256, der)
        by_subject.setdefault(certificate.subject, []).append(der)
    if spki_sha256 not in by_key:
        raise NotAuthentic(
            "RG-04",
            f"the certificate of the order's issuing CA (key {spki_sha256.hex()}) is not known yet: give it and those "
            "above it, up to the root, by --ca-certificates",
        )
    chain = [by_key[spki_sha256]]
    while len(chain) < MAX_CHAIN_LENGTH:
        newest = parse_certificate(chain[-1])
        if newest.issuer == newest.subject and len(chain) > 1:
            return chain
        above = by_subject.get(newest.issuer)
        if not above:
            raise NotAuthentic("RG-04", f"the certificate of {newest.issuer.rfc4514_string()} is missing; give it, too")
        chain.append(above[0])
    raise NotAuthentic("RG-04", f"the issuing CA's chain has more than {MAX_CHAIN_LENGTH} certificates")
