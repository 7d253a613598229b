"""What the genesis trust bundle of a product says: from its checked file, and the public keys in the key store."""

from __future__ import annotations

from pki.errors import ConfigurationError, PolicyViolation
from pki.key_states import KeyState
from pki.roles import ROLES, Role
from pki.values import PublicKey
from signer.authority.development_material import refuse_known_test_key
from signer.authority.model import Environment, KeyConfig, LimitConfig, Product
from signer.store.key_store import KeyStore
from signer.trust_bundles.content import RoleKey, SecurityVersionLimits, TrustBundleContent

RULE_KEY_NOT_USABLE = "TB-01"

_USABLE = (KeyState.PRE_ACTIVATION, KeyState.ACTIVE)
_DEVICE_ROLES = tuple(role for role, facts in ROLES.items() if facts.device_role_number is not None)


def genesis_content(product: Product, store: KeyStore, environment: Environment) -> TrustBundleContent:
    """Version 1 for a product: all its roots, all its keys that act on devices, and its limits.

    Raises ConfigurationError, InputRefused, KeyStoreError, and PolicyViolation: TB-01 for a key that is suspended or at
    its end, DEV-01 for a published test key.
    """

    def public_key(config: KeyConfig, role: Role) -> PublicKey:
        return _public_key(store, config, role, product.name, environment)

    limits = product.trust.limits
    return TrustBundleContent(
        product_id=product.id_bytes,
        version=1,
        previous_digest=bytes(32),
        root_threshold=product.trust.root_threshold,
        roots=tuple(public_key(config, Role.ROOT) for config in product.keys.root),
        role_keys=tuple(
            RoleKey(role, public_key(config, role)) for role in _DEVICE_ROLES for config in product.keys.of_role(role)
        ),
        revoked=(),
        application_limits=_limits(limits.application),
        bootloader_limits=_limits(limits.bootloader),
        factory_test_limits=_limits(limits.factory_test),
    )


def _public_key(store: KeyStore, config: KeyConfig, role: Role, product: str, environment: Environment) -> PublicKey:
    record = store.key(config.label)
    if record.role is not role or record.product not in {None, product} or record.public_key is None:
        raise ConfigurationError(
            f"key {config.label} is recorded as {record.role} of product {record.product}, not {role} of {product}"
        )
    if record.state not in _USABLE:
        raise PolicyViolation(
            RULE_KEY_NOT_USABLE,
            f"key {config.label} is {record.state}: a new trust bundle must not name it; "
            "take it out of the product's file",
        )
    refuse_known_test_key(environment, record.public_key)
    return record.public_key


def _limits(config: LimitConfig) -> SecurityVersionLimits:
    return SecurityVersionLimits(config.minimum, config.maximum)
