"""Statuses, packages and trust bundles as values, for tables: what a test does not name is ordinary."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from rpc.objects import lifecycle
from rpc.objects.protection import Protection
from rpc.objects.reading import ImageVersion
from rpc.objects.signed_status import SignedStatus
from rpc.update.bundle_facts import BundleChain, BundleFacts
from rpc.update.package_facts import PackageFacts, PackageType, RecipientMode, Target
from rpc.update.presence import Material

PRODUCT = b"product 16 bytes"
UID = b"uid of a device!"
AGREEMENT, GROUP = b"agreemnt", b"group-id"
SIGNER = b"signer-1"
HEAD = b"h" * 32

STATUS = SignedStatus(
    runs=2,
    uid=UID,
    nonce=bytes(32),
    product_id=PRODUCT,
    hardware_revision=3,
    lifecycle=lifecycle.OPERATIONAL,
    is_simulation=False,
    is_service_pending=False,
    lot="LOT",
    protection=Protection(0),
    running_copy=0,
    copies=0b0111,
    bootloader_version_a=ImageVersion(3, 0, 0, 0),
    bootloader_version_b=ImageVersion(3, 0, 0, 0),
    bootloader_security_version_a=3,
    bootloader_security_version_b=3,
    installed_type=1,
    application_state=2,
    application_attempts=0,
    application_version=ImageVersion(1, 0, 0, 0),
    application_security_version=10,
    application_head_hash=b"o" * 32,
    application_upload_hash=b"u" * 32,
    floors=(10, 3, 1),
    trust_bundle_version=2,
    trust_bundle_digest=b"digest 2",
    order_id=bytes(16),
    activation_digest=bytes(32),
    certificate_digest=bytes(32),
    grant_head_hash=bytes(32),
    update_mode_code=0,
    event_count=5,
    journal_free_bytes=1,
    upload_offset_bytes=0,
    upload_size_bytes=0,
    serial="SN-1",
    board="stm32f405-core",
    identity_key_id=b"identity",
    agreement_key_id=AGREEMENT,
    group_key_id=GROUP,
    signature=bytes(64),
    raw=b"",
)
PACKAGE = PackageFacts(
    package_type=PackageType.APPLICATION,
    product_id=PRODUCT,
    hardware_revision_min=2,
    hardware_revision_max=5,
    version=ImageVersion(1, 1, 0, 0),
    security_version=10,
    load_address=0x0802_0400,
    image_size_bytes=100,
    bootloader_version_min=ImageVersion(3, 0, 0, 0),
    trust_bundle_version_min=2,
    target=Target.ANY,
    recipient_mode=RecipientMode.GROUP,
    target_uid=bytes(16),
    payload_size_bytes=132,
    first_link=bytes(32),
    recipient_key_id=GROUP,
    signer_key_ids=(SIGNER,),
    head_hash=HEAD,
    is_signed=True,
)
BOOTLOADER = replace(
    PACKAGE,
    package_type=PackageType.BOOTLOADER,
    version=ImageVersion(4, 0, 0, 0),
    security_version=4,
    signer_key_ids=(SIGNER, b"signer-2"),
)
FACTORY_TEST = replace(
    PACKAGE, package_type=PackageType.FACTORY_TEST, recipient_mode=RecipientMode.NONE, recipient_key_id=bytes(8)
)
GRANTED = replace(PACKAGE, target=Target.GRANTED, recipient_mode=RecipientMode.GRANT, recipient_key_id=bytes(8))


def status(**changed: Any) -> SignedStatus:
    """An application, version 1.0.0.0, confirmed and running, on trust bundle 2."""
    return replace(STATUS, **changed)


def in_update_mode(code: int = 707, **changed: Any) -> SignedStatus:
    """The same device, listening."""
    return status(runs=1, update_mode_code=code, **changed)


def bundle(version: int, digest: bytes | None = None, **changed: Any) -> BundleFacts:
    """A link of the devices' chain; it names every signer."""
    facts = BundleFacts(
        raw=b"bundle %d" % version,
        version=version,
        product_id=PRODUCT,
        digest=digest or b"digest %d" % version,
        previous_digest=b"digest %d" % (version - 1),
        limits=((0, 100), (0, 50), (0, 9_999)),
        role_keys=frozenset((role, signer) for role in (1, 2, 5) for signer in (SIGNER, b"signer-2")),
        revoked=frozenset(),
    )
    return replace(facts, **changed)


def material(*bundles: BundleFacts, **other: Any) -> Material:
    """What is at hand."""
    return Material(BundleChain.of(bundles, PRODUCT), **other)


def grant(head_hash: bytes = HEAD, recipient: bytes = AGREEMENT) -> bytes:
    """A grant, as far as a host looks into it (docs/spec/grant.md, section 3)."""
    return bytes(40) + head_hash + bytes(200) + recipient + bytes(40)
