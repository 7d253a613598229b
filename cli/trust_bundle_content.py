"""What the trust bundles of a product say: from its checked file, and the public keys in the key store."""

from __future__ import annotations

from typing import TYPE_CHECKING

from cli.trust_bundle_chain import read_bundle_file
from pki.errors import ConfigurationError, FormatError, InputRefused, PolicyViolation
from pki.key_states import KeyState
from pki.roles import ROLES, Role
from pki.values import PublicKey
from signer.authority.development_material import refuse_known_test_key
from signer.authority.model import Environment, KeyConfig, LimitConfig, Product, RevokedConfig
from signer.store.key_store import KeyStore
from signer.trust_bundles.content import RevokedKey, RoleKey, SecurityVersionLimits, TrustBundleContent
from signer.trust_bundles.encoding import bundle_digest, decode_bundle
from signer.trust_bundles.succession import BundleTerms
from signer.trust_bundles.succession_rules import PACKAGE_TYPES, KnownKey, SuccessionFacts

if TYPE_CHECKING:
    from signer.authority.repository import AuthorityRepository
    from signer.store.values import KeyRecord

RULE_KEY_NOT_USABLE = "TB-01"

_PUBLISHED_MAX = 10_000
_USABLE = (KeyState.PRE_ACTIVATION, KeyState.ACTIVE)
_DEVICE_ROLES = tuple(role for role, facts in ROLES.items() if facts.device_role_number is not None)


def genesis_content(product: Product, store: KeyStore, environment: Environment) -> TrustBundleContent:
    """Version 1 for a product: all its roots, all its keys that act on devices, its limits.

    Raises ConfigurationError, InputRefused, KeyStoreError, and PolicyViolation: TB-01 for a key that is suspended or at
    its end, DEV-01 for a published test key.
    """
    terms = product_terms(product, store, environment)
    current = {*terms.roots, *(entry.key for entry in terms.role_keys)}
    for role in (Role.ROOT, *_DEVICE_ROLES):
        for record in (store.key(config.label) for config in product.keys.of_role(role)):
            if record.public_key in current:
                _require_usable(record)
    return TrustBundleContent(
        product_id=product.id_bytes,
        version=1,
        previous_digest=bytes(32),
        root_threshold=terms.root_threshold,
        roots=terms.roots,
        role_keys=terms.role_keys,
        revoked=terms.revoked,
        application_limits=terms.application_limits,
        bootloader_limits=terms.bootloader_limits,
        factory_test_limits=terms.factory_test_limits,
    )


def product_terms(product: Product, store: KeyStore, environment: Environment) -> BundleTerms:
    """What the product's file says the next version is to say; whether its keys may be used is not asked here.

    Raises ConfigurationError, InputRefused, KeyStoreError, and PolicyViolation DEV-01.
    """
    revoked = tuple(RevokedKey(_revoked_id(entry, store), entry.stop) for entry in product.trust.revoked)
    revoked_ids = {entry.key_id for entry in revoked}

    def keys(role: Role) -> list[PublicKey]:
        found = [_public_key(store, config, role, product.name, environment) for config in product.keys.of_role(role)]
        # The three are built into devices for life, so the product's file goes on naming one that is revoked.
        stays = role is Role.BOOTLOADER_RELEASE
        return [key for key in found if not (stays and key.key_id in revoked_ids)]

    limits = product.trust.limits
    return BundleTerms(
        root_threshold=product.trust.root_threshold,
        roots=tuple(keys(Role.ROOT)),
        role_keys=tuple(RoleKey(role, key) for role in _DEVICE_ROLES for key in keys(role)),
        revoked=revoked,
        application_limits=_limits(limits.application),
        bootloader_limits=_limits(limits.bootloader),
        factory_test_limits=_limits(limits.factory_test),
    )


def succession_facts(product: Product, store: KeyStore, repository: AuthorityRepository) -> SuccessionFacts:
    """What the authority knows beside two bundles: its keys, those built into devices, what it has released."""
    from signer.service.releases import ReleaseHistory

    history = ReleaseHistory(repository.root / "releases")
    last = {name: history.last(product.name, name) for name in PACKAGE_TYPES}
    built_in = [store.key(config.label).public_key for config in product.keys.bootloader_release]
    return SuccessionFacts(
        keys=known_keys(store),
        built_in=frozenset(key.key_id for key in built_in if key is not None),
        released={name: release.evidence.package.security_version for name, release in last.items() if release},
        published=_published(repository, product),
    )


def _published(repository: AuthorityRepository, product: Product) -> dict[int, frozenset[bytes]]:
    """Digests of the product's trust bundles under public/, by version. Raises InputRefused for a file that is none."""
    found: dict[int, frozenset[bytes]] = {}
    paths = sorted((repository.root / "public").rglob("*.srb"))
    if len(paths) > _PUBLISHED_MAX:
        raise InputRefused(f"public/ holds more than {_PUBLISHED_MAX} trust bundles; keep older ones elsewhere")
    for path in paths:
        data = read_bundle_file(path)
        try:
            content, _ = decode_bundle(data)
        except FormatError as error:
            raise InputRefused(f"{path}: {error}; put nothing else under this name") from None
        if content.product_id == product.id_bytes:
            found[content.version] = found.get(content.version, frozenset()) | {bundle_digest(data).value}
    return found


def known_keys(store: KeyStore) -> dict[bytes, KnownKey]:
    """Every key pair of the key store by its 8-byte id."""
    records = store.keys()
    return {
        record.public_key.key_id: KnownKey(record.label, record.state)
        for record in records
        if record.public_key is not None
    }


def _require_usable(record: KeyRecord) -> None:
    if record.state not in _USABLE:
        raise PolicyViolation(
            RULE_KEY_NOT_USABLE,
            f"key {record.label} is {record.state}: a new trust bundle must not name it; "
            "take it out of the product's file",
        )


def _public_key(store: KeyStore, config: KeyConfig, role: Role, product: str, environment: Environment) -> PublicKey:
    record = store.key(config.label)
    if record.role is not role or record.product not in {None, product} or record.public_key is None:
        raise ConfigurationError(
            f"key {config.label} is recorded as {record.role} of product {record.product}, not {role} of {product}"
        )
    refuse_known_test_key(environment, record.public_key)
    return record.public_key


def revoked_key_ids(product: Product, store: KeyStore) -> frozenset[bytes]:
    """The key ids that the product's file revokes, lots' keys too. Raises ConfigurationError, KeyStoreError."""
    return frozenset(_revoked_id(entry, store) for entry in product.trust.revoked)


def _revoked_id(config: RevokedConfig, store: KeyStore) -> bytes:
    if config.label is None:
        return bytes.fromhex(config.key_id or "")
    public_key = store.key(config.label).public_key
    if public_key is None:
        raise ConfigurationError(f"key {config.label} is no key pair, so no device knows it; it cannot be revoked")
    return public_key.key_id


def _limits(config: LimitConfig) -> SecurityVersionLimits:
    return SecurityVersionLimits(config.minimum, config.maximum)
