"""What the files of an authority repository may say. Field names are the TOML keys; nothing else is accepted."""

from __future__ import annotations

import enum
import re
import uuid
from typing import Annotated, Literal

import msgspec

from pki.errors import ConfigurationError
from pki.key_specs import parse_key_label
from pki.roles import Role
from policies.names import Slug

FormatOne = Literal[1]
U16 = Annotated[int, msgspec.Meta(ge=0, le=0xFFFF)]
U32 = Annotated[int, msgspec.Meta(ge=0, le=0xFFFFFFFF)]


class Environment(enum.Enum):
    """Development material is refused in production; nothing made in one is accepted by the other's devices."""

    DEVELOPMENT = "development"
    PRODUCTION = "production"


class RecipientKind(enum.Enum):
    """Whom a product's packages are encrypted for (docs/spec/package.md, section 6)."""

    DEVICE = "device"
    GROUP = "group"
    GRANT = "grant"


class LogConfig(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """`[log]` of strongroom.toml: where the audit log is, which key signs its checkpoints, and who witnesses it."""

    token: Slug
    label: str
    path: str = "log"
    witnesses: Annotated[
        list[Annotated[str, msgspec.Meta(pattern=r"^[!-*,-~]{1,100}\+[0-9a-f]{8}\+[A-Za-z0-9+/]{44}$")]],
        msgspec.Meta(max_length=16),
    ] = []

    def __post_init__(self) -> None:
        try:
            role = parse_key_label(self.label).role
        except ConfigurationError as error:
            raise ValueError(str(error)) from None
        if role is not Role.LOG:
            raise ValueError(f"key {self.label!r} has the role {role.value!r}; the log's key has the role 'log'")


class Authority(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """`strongroom.toml`, at the root of the repository."""

    format: FormatOne
    name: Annotated[str, msgspec.Meta(min_length=1, max_length=100)]
    environment: Environment
    default_site: Slug
    key_store: str = "store/keys.sqlite"
    log: LogConfig | None = None


class PinConfig(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, rename="kebab"):
    """Where a PIN comes from. Never the PIN itself."""

    source: Literal["prompt", "file", "command", "protected-path"]
    path: str | None = None
    argv: Annotated[list[str], msgspec.Meta(min_length=1, max_length=32)] | None = None

    def __post_init__(self) -> None:
        if (self.source == "file") != (self.path is not None):
            raise ValueError('`path` goes with source = "file", and only with it')
        if (self.source == "command") != (self.argv is not None):
            raise ValueError('`argv` goes with source = "command", and only with it')


class ModuleConfig(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A PKCS#11 module: the shared library, and the argument string that some (NSS softokn) demand at start."""

    path: str
    init_args: str | None = None


class TokenConfig(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A token, pinned by the serial in its RFC 7512 URI."""

    module: Slug
    uri: Annotated[str, msgspec.Meta(pattern=r"^pkcs11:")]
    pin: PinConfig


class Site(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """`sites/NAME.toml`: the modules and tokens of one place; plans and products are reviewed without them."""

    format: FormatOne
    name: Slug
    modules: dict[Slug, ModuleConfig]
    tokens: dict[Slug, TokenConfig]

    def __post_init__(self) -> None:
        for name, token in self.tokens.items():
            if token.module not in self.modules:
                raise ValueError(f"token {name!r} names module {token.module!r}, which [modules] does not have")


class KeyConfig(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A key: the site's name of its token, and its label there."""

    token: Slug
    label: str


class EncryptionConfig(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Whom packages are encrypted for. Group mode has a price, stated in docs/spec/package.md, section 6."""

    recipient: RecipientKind
    group_public_key: str | None = None

    def __post_init__(self) -> None:
        if (self.recipient is RecipientKind.GROUP) != (self.group_public_key is not None):
            raise ValueError('`group_public_key` goes with recipient = "group", and only with it')


class LimitConfig(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Smallest and greatest security version that a trust bundle allows for one package type."""

    minimum: U32
    maximum: U32

    def __post_init__(self) -> None:
        if self.minimum > self.maximum:
            raise ValueError(f"minimum {self.minimum} is above maximum {self.maximum}")


class LimitsConfig(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, rename="kebab"):
    """The limits of all package types."""

    application: LimitConfig
    bootloader: LimitConfig
    factory_test: LimitConfig


class RevokedConfig(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A key that the next trust bundles revoke: by label, or by key id where the key store does not have it."""

    label: str | None = None
    key_id: Annotated[str, msgspec.Meta(pattern=r"^[0-9a-f]{16}$")] | None = None
    stop: bool = False

    def __post_init__(self) -> None:
        if (self.label is None) is (self.key_id is None):
            raise ValueError("a revoked key has either `label` or `key_id`")


class TrustConfig(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What the next trust bundle says beside the current keys: threshold, limits, revoked keys."""

    root_threshold: Annotated[int, msgspec.Meta(ge=1, le=5)] = 2
    limits: LimitsConfig
    revoked: Annotated[list[RevokedConfig], msgspec.Meta(max_length=24)] = []


class ProductKeys(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, rename="kebab"):
    """Keys by role. Lists where a role has several."""

    root: Annotated[list[KeyConfig], msgspec.Meta(min_length=1, max_length=5)]
    application_release: Annotated[list[KeyConfig], msgspec.Meta(min_length=1, max_length=4)]
    bootloader_release: Annotated[list[KeyConfig], msgspec.Meta(min_length=3, max_length=3)]
    compat: KeyConfig
    production: list[KeyConfig] = []
    grant: list[KeyConfig] = []
    service: list[KeyConfig] = []
    package_wrap: Annotated[list[KeyConfig], msgspec.Meta(max_length=4)] = []

    def of_role(self, role: Role) -> list[KeyConfig]:
        """The keys configured for a role, in the file's order; none for a role that products do not configure."""
        if role is Role.COMPAT:
            return [self.compat]
        found = getattr(self, role.value.replace("-", "_"), [])
        return list(found)


class Product(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """`products/NAME.toml`: everything about a product that a package or trust bundle depends on."""

    format: FormatOne
    name: Slug
    id: str
    board: Slug
    hardware_revision_min: U16
    hardware_revision_max: U16
    keys: ProductKeys
    encryption: EncryptionConfig
    trust: TrustConfig

    def __post_init__(self) -> None:
        if not re.fullmatch(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}", self.id) or not uuid.UUID(self.id).int:
            raise ValueError(f"`id` must be a UUID in lower case, not zero; got {self.id!r}")
        if self.hardware_revision_min > self.hardware_revision_max:
            raise ValueError("`hardware_revision_min` is above `hardware_revision_max`")
        if self.trust.root_threshold > len(self.keys.root):
            raise ValueError("`trust.root_threshold` is above the number of roots under [keys]")
        if self.encryption.recipient is RecipientKind.GRANT and not self.keys.package_wrap:
            raise ValueError('recipient = "grant" needs a key under `keys.package-wrap`, which keeps the content keys')
        self._check_labels()

    def _check_labels(self) -> None:
        seen: set[str] = set()
        for role in Role:
            for key in self.keys.of_role(role):
                try:
                    parts = parse_key_label(key.label)
                except ConfigurationError as error:
                    raise ValueError(str(error)) from None
                if parts.role is not role:
                    raise ValueError(
                        f"key {key.label!r} stands under {role.value!r}, its label says {parts.role.value!r}"
                    )
                if parts.product not in (None, self.name):
                    raise ValueError(f"key {key.label!r} belongs to product {parts.product!r}, not {self.name!r}")
                if key.label in seen:
                    raise ValueError(f"key {key.label!r} is named twice")
                seen.add(key.label)

    @property
    def id_bytes(self) -> bytes:
        """The product id as 16 bytes, big-endian (RFC 9562, section 4)."""
        return uuid.UUID(self.id).bytes
