"""The devices that the package vectors are for: what each knows, holds and has installed."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

from tests.vectors.generator import bundle
from tests.vectors.generator.bundle import BundlePlan, Signed
from tests.vectors.generator.keys import in_order, key
from tests.vectors.generator.package import Package, PackagePlan, make
from tests.vectors.generator.primitives import derived_bytes, u32

PRODUCT = bytes.fromhex("5a7d1c3e9b204f6881a2c3d4e5f60718")
OTHER_PRODUCT = bytes.fromhex("5a7d1c3e9b204f6881a2c3d4e5f60719")
DEVICE_1_UID = bytes.fromhex("3b0028000f51373235363537") + bytes(4)
DEVICE_2_UID = bytes.fromhex("3b0028000f51373235363538") + bytes(4)
LOT = b"LOT-2026-48".ljust(16, b"\0")
# Readout protection level 1, the first sector write-protected, brown-out level set, debug port closed.
PROTECTION = 0b11101

# The regions of an STM32F405 with 1 MB of flash: address, size in bytes.
BOOTLOADER_A = (0x08004000, 32 * 1024)
BOOTLOADER_B = (0x08010000, 64 * 1024)
APPLICATION = (0x08040000, 768 * 1024)
HEAD_SIZE_BYTES = 1024

BUILT_IN_BOOTLOADER_KEYS = in_order("bootloader-release-1", "bootloader-release-2", "bootloader-release-3")
RUNNING_BOOTLOADER_VERSION = (3, 1, 4, 1)
RUNNING_BOOTLOADER_SECURITY_VERSION = 3
INSTALLED_VERSION = (1, 2, 255, 7)


def firmware_image(label: str, size_bytes: int, load_address: int = APPLICATION[0] + HEAD_SIZE_BYTES) -> bytes:
    """Something like a Cortex-M image: initial stack pointer, reset vector, then bytes that look random."""
    vector_table = u32(0x20020000) + u32(load_address + 0x101)
    return (vector_table + derived_bytes(f"Strongroom test image {label}", size_bytes))[:size_bytes]


def device_bundle_plan() -> BundlePlan:
    """The genesis bundle of every device here: two of three roots, limits for each package type, two revoked keys."""
    roots = in_order("root-1", "root-2", "root-3")
    return BundlePlan(
        name="genesis-2-of-3",
        product_id=PRODUCT,
        roots=roots,
        threshold=2,
        role_keys=bundle.in_role_order(
            (1, key("app-release-1")),
            (1, key("app-release-2")),
            (2, key("production-1")),
            (3, key("grant-1")),
            (4, key("service-1")),
            (5, key("bootloader-release-1")),
            (5, key("bootloader-release-2")),
            (5, key("bootloader-release-4")),
        ),
        revoked=tuple(sorted(((key("app-release-revoked").key_id, 1), (derived_bytes("a key nobody has seen", 8), 0)))),
        limits=((7, 100), (2, 50), (0, 9)),
        signatures=(Signed(1, 0, roots[0]), Signed(1, 1, roots[1])),
    )


DEVICE_BUNDLE = bundle.make(device_bundle_plan())


def object_bundle_plan() -> BundlePlan:
    """The genesis bundle of the devices that take signed objects: the same, and a revoked key of each signer's kind."""
    plan = device_bundle_plan()
    names = ("production-revoked", "grant-revoked", "service-revoked", "lot-revoked")
    revoked = (*plan.revoked, *((key(name).key_id, 0) for name in names))
    return replace(plan, name="genesis-for-objects", revoked=tuple(sorted(revoked)))


OBJECT_BUNDLE = bundle.make(object_bundle_plan())


def app_plan(name: str, image: bytes | None = None) -> PackagePlan:
    """An application for any device of the product, for the group of lot 1: what the device `operational` takes."""
    return PackagePlan(
        name=name,
        image=firmware_image("application", 100) if image is None else image,
        load_address=APPLICATION[0] + HEAD_SIZE_BYTES,
        product_id=PRODUCT,
    )


def device_mode_plan(name: str, image: bytes | None = None) -> PackagePlan:
    """The same for device 1 alone, encrypted for its own key."""
    plan = replace(app_plan(name, image), target=1, target_uid=DEVICE_1_UID)
    return replace(plan, recipient_mode=1, recipient="device-1-agreement")


def factory_test_plan(name: str) -> PackagePlan:
    """A factory test in authenticated plaintext: what the device `locked` takes."""
    plan = replace(app_plan(name, firmware_image("application", 600)), package_type=3, signers=("production-1",))
    return replace(plan, recipient_mode=0, recipient=None, security_version=2)


def complete_bootloader_plan(name: str, region: tuple[int, int] = BOOTLOADER_B) -> PackagePlan:
    """A bootloader whose image ends with the genesis bundle, as the specification asks of each copy."""
    plan = bootloader_plan(name, region)
    image = firmware_image(f"bootloader at {region[0]:08x}", 700, plan.load_address) + DEVICE_BUNDLE.file
    return replace(plan, image=image)


def bootloader_plan(name: str, region: tuple[int, int] = BOOTLOADER_B) -> PackagePlan:
    """A bootloader for one of the two regions, with an image too short to be more than a vector."""
    return PackagePlan(
        name=name,
        image=firmware_image("small bootloader", 100, region[0] + HEAD_SIZE_BYTES),
        load_address=region[0] + HEAD_SIZE_BYTES,
        product_id=PRODUCT,
        package_type=2,
        image_version=RUNNING_BOOTLOADER_VERSION,
        security_version=RUNNING_BOOTLOADER_SECURITY_VERSION,
        signers=("bootloader-release-1", "bootloader-release-2"),
    )


def installed_application() -> Package:
    """What the device `operational-with-application` runs."""
    plan = app_plan("app-installed", firmware_image("application", 333))
    return make(replace(plan, image_version=INSTALLED_VERSION, has_trailer=True))


@dataclass(frozen=True, slots=True)
class Device:
    """One device. Names of keys and vectors stand for themselves; None is "does not have one"."""

    name: str
    lifecycle: str
    identity_key: str | None = "device-1-identity"
    agreement_key: str | None = "device-1-agreement"
    group_key: str | None = "group-lot-1-agreement"
    floors: tuple[int, int, int] = (5, RUNNING_BOOTLOADER_SECURITY_VERSION, 1)
    confirmed_application: str | None = None
    running_copy: str = "A"
    trust_bundle: str = "genesis-2-of-3"
    lot: bytes = LOT
    protection: int = PROTECTION
    # Payloads of further records of its journal, by name.
    records: Mapping[str, bytes] = field(default_factory=dict)

    def facts(self) -> dict[str, object]:
        """What the JSON file says of it."""
        return {
            "name": self.name,
            "uid": DEVICE_1_UID.hex(),
            "product_id": PRODUCT.hex(),
            "hardware_revision": 3,
            "lot": self.lot.hex(),
            "lifecycle": self.lifecycle,
            "protection": self.protection,
            "regions": {
                "bootloader_a": {"address": BOOTLOADER_A[0], "size_bytes": BOOTLOADER_A[1]},
                "bootloader_b": {"address": BOOTLOADER_B[0], "size_bytes": BOOTLOADER_B[1]},
                "application": {"address": APPLICATION[0], "size_bytes": APPLICATION[1]},
            },
            "built_in_bootloader_keys": [entry.public.hex() for entry in BUILT_IN_BOOTLOADER_KEYS],
            "trust_bundle": f"trust_bundles/{self.trust_bundle}.srb",
            "bootloader_a": "packages/bootloader-copy-a.srp",
            "bootloader_b": "packages/bootloader-copy-b.srp",
            "running_copy": self.running_copy,
            "running_copy_confirmed": True,
            "running_bootloader_version": list(RUNNING_BOOTLOADER_VERSION),
            "agreement_private_key": _private_hex(self.agreement_key),
            "group_private_key": _private_hex(self.group_key),
            "identity_private_key": _private_hex(self.identity_key),
            "floors": {
                "application": self.floors[0],
                "bootloader": self.floors[1],
                "factory_test": self.floors[2],
            },
            "confirmed_application": self.confirmed_application,
            "further_records": {name: payload.hex() for name, payload in self.records.items()},
        }


def _private_hex(name: str | None) -> str | None:
    return None if name is None else key(name).private.to_bytes(32, "big").hex()


DEVICES = (
    Device("operational", "OPERATIONAL"),
    Device("operational-without-group-key", "OPERATIONAL", group_key=None),
    Device(
        "operational-with-application",
        "OPERATIONAL",
        floors=(10, RUNNING_BOOTLOADER_SECURITY_VERSION, 1),
        confirmed_application="packages/app-installed.srp",
    ),
    Device("running-copy-b", "OPERATIONAL", running_copy="B"),
    Device("locked", "LOCKED", identity_key=None, agreement_key=None, group_key=None),
    Device("rma", "RMA"),
)
