"""The order against the trust bundles that the station holds: ST-03, ST-09, ST-10, ST-13 (docs/spec/station.md, 1).

Bundles are judged by the bootloader's own rules; what they say arrives here as values, from the command line.
"""

from __future__ import annotations

from dataclasses import dataclass

from pki.errors import VerificationError
from pki.values import PublicKey
from provisioning.station.rules import Rule, refused
from signer.device_objects.work_order import SignedWorkOrder


@dataclass(frozen=True, slots=True)
class TrustLink:
    """One trust bundle of a verified chain."""

    version: int
    raw: bytes
    product_id: bytes
    production_keys: tuple[PublicKey, ...]
    revoked_key_ids: frozenset[bytes]


def require_order_trusted(order: SignedWorkOrder, newest: TrustLink) -> None:
    """Raises PolicyViolation ST-03, ST-09, ST-10, ST-13."""
    if order.order.product_id != newest.product_id:
        raise refused(Rule.OTHER_PRODUCT, "order and trust bundles are of different products; use those of one")
    _require_signer(order, newest)
    if order.order.lot_public_key.key_id in newest.revoked_key_ids:
        raise refused(
            Rule.LOT_KEY_REVOKED,
            f"trust bundle {newest.version} revokes the lot's key: nothing more is made by this order",
        )
    if newest.version < order.order.trust_bundle_version_min:
        raise refused(
            Rule.BUNDLE_TOO_OLD,
            f"the order asks for trust bundle {order.order.trust_bundle_version_min}, and the newest here is "
            f"{newest.version}: add the others with `strongroom station bundle`",
        )


def _require_signer(order: SignedWorkOrder, newest: TrustLink) -> None:
    key_id = order.order.signer_key_id
    if key_id in newest.revoked_key_ids:
        raise refused(Rule.ORDER_SIGNER, f"the order was signed by key {key_id.hex()}, which is revoked")
    for key in newest.production_keys:
        if key.key_id == key_id:
            try:
                order.verify(key)
            except VerificationError as error:
                raise refused(Rule.ORDER_SIGNER, f"the order is forged or changed: {error}") from None
            return
    raise refused(
        Rule.ORDER_SIGNER,
        f"the order's signer {key_id.hex()} is no current production key of trust bundle {newest.version}",
    )
