"""Packages that need a grant, the devices that get one, and their batches."""

from __future__ import annotations

from functools import cache

from tests.vectors.generator.cases_shape import grant_plan
from tests.vectors.generator.grants import LEAF_OFFSET, Batch, Recipient
from tests.vectors.generator.keys import ephemeral_key, key, key_from_label
from tests.vectors.generator.package import Package, make
from tests.vectors.generator.primitives import derived_bytes
from tests.vectors.generator.world import DEVICE_1_UID

GRANTED = "grant-held"


@cache
def grant_package(name: str = GRANTED) -> Package:
    """A package whose content key comes in a grant."""
    return make(grant_plan(name))


@cache
def recipients(below: int, above: int) -> tuple[Recipient, ...]:
    """Device 1, with so many other devices before and behind it in the order of the UIDs."""

    def others(word: str, count: int, first_byte: int) -> list[Recipient]:
        uids = (derived_bytes(f"Strongroom test UID {word} {number}", 11) for number in range(count))
        padded = sorted(bytes((first_byte,)) + uid + bytes(4) for uid in uids)
        return [(uid, key_from_label(f"Strongroom test agreement key of {uid.hex()}")) for uid in padded]

    device_1: Recipient = (DEVICE_1_UID, key("device-1-agreement"))
    return (*others("below", below, 0x10), device_1, *others("above", above, 0xF0))


def batch(name: str, below: int = 2, above: int = 2) -> Batch:
    """A batch for the granted package that device 1 is in."""
    return Batch(name, grant_package(), recipients(below, above), ephemeral_key(f"batch {name}"), key("grant-1"))


def pending_grant(package: Package) -> bytes:
    """PENDING_GRANT of device 1's journal for this package."""
    held = Batch("held", package, recipients(2, 2), ephemeral_key("batch held"), key("grant-1"))
    return pending_of(held.grant(DEVICE_1_UID))


def pending_of(grant: bytes) -> bytes:
    """What a device journals of a grant: batch id, head hash, ephemeral public key, wrapped CEK."""
    return grant[8:24] + grant[40:136] + grant[LEAF_OFFSET + 24 : LEAF_OFFSET + 56]
