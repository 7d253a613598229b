"""What is asked for when a package is made: all of its head that does not follow from the image or from chance."""

from __future__ import annotations

import re
import struct
from enum import IntEnum

import msgspec

from pki.errors import InputRefused
from pki.values import PublicKey
from signer.packages.layout import UID_SIZE_BYTES
from signer.signing_key import require_on_curve

_VERSION = struct.Struct("<BBHI")
_VERSION_TEXT = re.compile(r"(0|[1-9]\d{0,2})\.(0|[1-9]\d{0,2})\.(0|[1-9]\d{0,4})(?:\+(0|[1-9]\d{0,9}))?", re.ASCII)
_NO_UID = bytes(UID_SIZE_BYTES)


class PackageType(IntEnum):
    """What a package carries."""

    APPLICATION = 1
    BOOTLOADER = 2
    FACTORY_TEST = 3


class Target(IntEnum):
    """Which devices may install it."""

    ANY_DEVICE = 0
    ONE_UID = 1
    GRANT_REQUIRED = 2


class RecipientMode(IntEnum):
    """Whom the content key is wrapped for."""

    NONE = 0
    """Authenticated plaintext: factory tests only."""
    DEVICE = 1
    GROUP = 2
    GRANT = 3


_WRAPPED_IN_HEAD = frozenset({RecipientMode.DEVICE, RecipientMode.GROUP})


class ImageVersion(msgspec.Struct, frozen=True, order=True):
    """A version as MCUboot has it: u8, u8, u16, u32, compared in that order. Raises InputRefused when out of range."""

    major: int
    minor: int
    revision: int
    build: int = 0

    def __post_init__(self) -> None:
        require_unsigned("the version's major part", self.major, 8)
        require_unsigned("the version's minor part", self.minor, 8)
        require_unsigned("the version's revision", self.revision, 16)
        require_unsigned("the version's build number", self.build, 32)

    @classmethod
    def parse(cls, text: str) -> ImageVersion:
        """Read `1.2.3` or `1.2.3+4`; raises InputRefused."""
        match = _VERSION_TEXT.fullmatch(text)
        if match is None:
            raise InputRefused(f"{text[:40]!r} is not a version; write it as 1.2.3 or 1.2.3+4")
        major, minor, revision, build = (int(part or "0") for part in match.groups())
        return cls(major, minor, revision, build)

    @classmethod
    def from_bytes(cls, encoded: bytes) -> ImageVersion:
        """Take the 8 bytes of a head apart; every value is legal."""
        return cls(*_VERSION.unpack(encoded))

    @property
    def encoded(self) -> bytes:
        """The 8 bytes of a head, little-endian."""
        return _VERSION.pack(self.major, self.minor, self.revision, self.build)

    def __str__(self) -> str:
        text = f"{self.major}.{self.minor}.{self.revision}"
        return f"{text}+{self.build}" if self.build else text


class PackageTerms(msgspec.Struct, frozen=True):
    """The terms of a package, checked when made (docs/spec/package.md, section 1); raises InputRefused.

    `product_id` is a UUID as 16 bytes in the order of RFC 9562. `target_uid` is padded to 16 bytes (`padded_uid`), zero
    unless `target` is ONE_UID.
    """

    package_type: PackageType
    product_id: bytes
    hardware_revision_min: int
    hardware_revision_max: int
    image_version: ImageVersion
    security_version: int
    bootloader_version_min: ImageVersion
    trust_bundle_version_min: int
    target: Target
    recipient_mode: RecipientMode
    target_uid: bytes = _NO_UID

    def __post_init__(self) -> None:
        if len(self.product_id) != 16 or not any(self.product_id):
            raise InputRefused("the product id must be a UUID of 16 bytes that is not zero; see the product's file")
        require_unsigned("the lowest hardware revision", self.hardware_revision_min, 16)
        require_unsigned("the highest hardware revision", self.hardware_revision_max, 16)
        if self.hardware_revision_max < self.hardware_revision_min:
            raise InputRefused("the highest hardware revision is below the lowest; exchange the two")
        require_unsigned("the security version", self.security_version, 32)
        require_unsigned("the lowest trust bundle version", self.trust_bundle_version_min, 32)
        self._require_fitting_uid()
        self._require_legal_recipient()

    def _require_fitting_uid(self) -> None:
        if len(self.target_uid) != UID_SIZE_BYTES:
            raise InputRefused(f"the target UID must be padded to {UID_SIZE_BYTES} bytes, not {len(self.target_uid)}")
        bound = self.target is Target.ONE_UID
        if bound and not any(self.target_uid):
            raise InputRefused("a package for one device needs that device's UID")
        if not bound and any(self.target_uid):
            raise InputRefused("a UID was given, but the package is not for one device; leave one of the two out")

    def _require_legal_recipient(self) -> None:
        mode, factory_test = self.recipient_mode, self.package_type is PackageType.FACTORY_TEST
        if mode is RecipientMode.NONE and not factory_test:
            raise InputRefused("only factory tests may go unencrypted; name a recipient")
        if factory_test and mode not in {RecipientMode.NONE, RecipientMode.DEVICE}:
            raise InputRefused("a factory test is unencrypted or encrypted for one device, not for a group or by grant")
        if mode is RecipientMode.DEVICE and self.target is not Target.ONE_UID:
            raise InputRefused("a package encrypted for one device must be bound to that device's UID")
        if (mode is RecipientMode.GRANT) is not (self.target is Target.GRANT_REQUIRED):
            raise InputRefused("a package that needs a grant takes its content key from the grant, and no other does")


class PackageRequest(msgspec.Struct, frozen=True):
    """Terms, and the keys they need: whom to encrypt for (modes DEVICE and GROUP) and who will sign.

    Bootloader packages have two signers, others one, in any order. Raises InputRefused.
    """

    terms: PackageTerms
    recipient: PublicKey | None
    signers: tuple[PublicKey, ...]

    def __post_init__(self) -> None:
        if (self.recipient is not None) is not (self.terms.recipient_mode in _WRAPPED_IN_HEAD):
            raise InputRefused("name the recipient's key to encrypt for a device or a group, and only then")
        if self.recipient is not None:
            require_on_curve(self.recipient, "the recipient's key")
        needed = signer_count(self.terms.package_type)
        if len(self.signers) != needed:
            raise InputRefused(f"this type of package has {needed} signers, not {len(self.signers)}")
        if len(set(self.signer_key_ids)) != needed:
            raise InputRefused("the two signers of a bootloader package must be different keys")

    @property
    def signer_key_ids(self) -> tuple[bytes, ...]:
        """In the order in which a head names them: ascending."""
        return tuple(sorted(key.key_id for key in self.signers))


def signer_count(package_type: PackageType) -> int:
    """How many keys sign a head of this type."""
    return 2 if package_type is PackageType.BOOTLOADER else 1


def padded_uid(uid: bytes) -> bytes:
    """A device's UID (STM32F4: 12 bytes) padded with zeros at its end; raises InputRefused."""
    if not 0 < len(uid) <= UID_SIZE_BYTES or not any(uid):
        raise InputRefused(f"a UID has 1 to {UID_SIZE_BYTES} bytes and is not zero")
    return uid.ljust(UID_SIZE_BYTES, b"\0")


def require_unsigned(what: str, value: int, bits: int) -> None:
    """Refuse what does not fit its field; raises InputRefused."""
    if not 0 <= value < 1 << bits:
        raise InputRefused(f"{what} must be 0 to {(1 << bits) - 1}, not {value}")
