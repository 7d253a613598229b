"""The rules of succession beside those of The Update Framework's client (`tuf`, PyPI), case by case.

Both are offered the same sequence of root sets, thresholds and signatures, by the same P-256 keys: TUF as root
metadata, the reference device as trust bundles. After each offer the version in force must be the same, except where a
case says what differs, and why that is meant.
"""

from __future__ import annotations

import datetime
import json
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from functools import cache
from random import Random
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from securesystemslib.signer import CryptoSigner, SSlibKey  # type: ignore[attr-defined]  # as its manual does
from tuf.api.exceptions import RepositoryError
from tuf.api.metadata import Metadata, Root  # type: ignore[attr-defined]
from tuf.ngclient._internal.trusted_metadata_set import TrustedMetadataSet
from tuf.ngclient.config import EnvelopeType

from bootloader.reference.codes import Refused
from bootloader.simulation.device import SimulatedDevice
from tests.scenarios.world import World
from tests.unit.reference.builders import PRODUCT_ID, BundlePlan, build_bundle, default_role_keys, padded, sha256
from tests.unit.reference.fake.keys import FakeKey, fake_key

EXPIRES = datetime.datetime(2099, 1, 1, tzinfo=datetime.UTC)
PAST = datetime.datetime(2001, 1, 1, tzinfo=datetime.UTC)
OTHER_ROLES = ("timestamp", "snapshot", "targets")


@dataclass(frozen=True)
class Offer:
    """One version as it is offered. `by` sign in every set in which they are roots; `bad` sign something else.

    `follows` names the offer (by its place, -1 the genesis) that it follows; None: the one in force on the device.
    """

    version: int
    roots: str
    threshold: int
    by: str
    bad: str = ""
    follows: int | None = None
    product_id: bytes = PRODUCT_ID
    limit: int = 1000
    expires: datetime.datetime = EXPIRES


@dataclass(frozen=True)
class Case:
    """`versions` are in force after each offer, on both; `tuf` only where that differs, with the reason."""

    name: str
    offers: tuple[Offer, ...]
    versions: tuple[int, ...]
    tuf: tuple[int, ...] | None = None
    why: str = ""
    genesis: Offer = field(default_factory=lambda: Offer(1, "abc", 2, "ab"))


ROTATED = Offer(2, "bcd", 2, "abd")
CASES = (
    Case("one root replaced", (ROTATED,), (2,)),
    Case("a root of both signs once for both", (replace(ROTATED, by="bc"),), (2,)),
    Case("all sign", (replace(ROTATED, by="abcd"),), (2,)),
    Case("all roots replaced", (Offer(2, "xyz", 2, "abxy"),), (2,)),
    Case("all roots replaced, with one old signature", (Offer(2, "xyz", 2, "axy"),), (1,)),
    Case("all roots replaced, with one new signature", (Offer(2, "xyz", 2, "abx"),), (1,)),
    Case("nothing but the version changes", (Offer(2, "abc", 2, "ac"),), (2,)),
    Case(
        "threshold raised", (Offer(2, "abc", 3, "abc"), Offer(3, "abc", 3, "ab"), Offer(3, "abc", 3, "abc")), (2, 2, 3)
    ),
    Case("threshold raised beyond who signs", (Offer(2, "abc", 3, "ab"),), (1,)),
    Case("threshold lowered", (Offer(2, "abc", 1, "ab"), Offer(3, "abc", 1, "c")), (2, 3)),
    Case("threshold lowered by those it would suffice for", (Offer(2, "abc", 1, "a"),), (1,)),
    Case("one root from now on", (Offer(2, "a", 1, "ab"), Offer(3, "xyz", 2, "axy")), (2, 3)),
    Case(
        "five roots", (Offer(2, "abcde", 3, "abe"), Offer(3, "abcde", 3, "cd"), Offer(3, "abcde", 3, "cde")), (2, 2, 3)
    ),
    Case(
        "a chain of four with all roots replaced twice",
        (Offer(2, "xyz", 2, "abxy"), Offer(3, "xyz", 2, "xz"), Offer(4, "pqr", 2, "xypq"), Offer(5, "pqr", 3, "pqr")),
        (2, 3, 4, 5),
    ),
    Case("nobody signs", (Offer(2, "abc", 2, ""),), (1,)),
    Case("one signs", (Offer(2, "abc", 2, "a"),), (1,)),
    Case("only new roots sign", (Offer(2, "bxy", 2, "xy"),), (1,)),
    Case("only old roots sign", (Offer(2, "xyz", 2, "abc"),), (1,)),
    Case("new ones, of which one is old", (Offer(2, "bxy", 2, "bx"),), (1,)),
    Case("a gap", (Offer(3, "abc", 2, "ab"),), (1,)),
    Case("a gap to the greatest version", (Offer(2**32 - 1, "abc", 2, "ab"),), (1,)),
    Case("the missing link comes later", (Offer(3, "bcd", 2, "bd"), ROTATED, Offer(3, "bcd", 2, "bd")), (1, 2, 3)),
    Case("a downgrade", (ROTATED, Offer(3, "bcd", 2, "bd"), replace(ROTATED, follows=-1)), (2, 3, 3)),
    Case("the genesis again", (ROTATED, Offer(1, "abc", 2, "ab")), (2, 2)),
    Case("the same version again", (ROTATED, replace(ROTATED, follows=-1)), (2, 2)),
    Case("another of the same version", (ROTATED, replace(ROTATED, roots="bce", by="abce", follows=-1)), (2, 2)),
    Case("a dropped root signs", (ROTATED, Offer(3, "bcd", 2, "ab")), (2, 2)),
    Case("a dropped root signs beside enough others", (ROTATED, Offer(3, "bcd", 2, "abd")), (2, 3)),
    Case("a stranger signs for a root", (Offer(2, "abc", 2, "as"),), (1,)),
    Case("one of two signs something else", (Offer(2, "abc", 2, "ab", bad="b"),), (1,)),
    Case("both sign something else", (Offer(2, "abc", 2, "ab", bad="ab"),), (1,)),
    Case("an old date", (replace(ROTATED, expires=PAST), Offer(3, "bcd", 2, "bd")), (2, 3)),
    Case("more needed than there are", (Offer(2, "abc", 4, "abc"),), (1,)),
    # What differs, each for a reason:
    Case(
        "enough good signatures, and a bad one",
        (Offer(2, "abc", 2, "abc", bad="c"),),
        (1,),
        tuf=(2,),
        why="TUF counts the good ones; a device refuses whatever carries a signature that does not verify",
    ),
    Case(
        "the third version of another second one",
        (ROTATED, replace(ROTATED, limit=999, follows=-1), Offer(3, "bcd", 2, "bd", follows=1)),
        (2, 2, 2),
        tuf=(2, 2, 3),
        why="TUF knows versions only; a bundle names the digest of the one before it, so that a fork stays a fork",
    ),
    Case(
        "another product with the same roots",
        (replace(ROTATED, product_id=b"\x77" * 16),),
        (1,),
        tuf=(2,),
        why="a TUF repository is one product; a bundle names its own",
    ),
)


# --- ours ---


@cache
def root(name: str) -> FakeKey:
    return fake_key(f"root of the comparison {name}")


def in_order(names: str) -> list[str]:
    return sorted(names, key=lambda name: root(name).public)


def as_bundle(offer: Offer, previous: bytes | None) -> bytes:
    """`previous` is the file that it follows; None for a genesis."""
    sets = [(1, offer.roots)] if previous is None else [(0, roots_of(previous)), (1, offer.roots)]
    signers = [
        (which, index, root(f"{name} signing something else") if name in offer.bad else root(name))
        for which, names in sets
        for index, name in enumerate(in_order(names))
        if name in offer.by
    ]
    plan = BundlePlan(
        product_id=offer.product_id,
        version=offer.version,
        previous_digest=bytes(32) if previous is None else digest(previous),
        threshold=offer.threshold,
        roots=[root(name).public for name in in_order(offer.roots)],
        role_keys=default_role_keys(),
        limits=(0, offer.limit, 0, 500, 0, 100),
        signers=signers,
    )
    return build_bundle(plan)


def roots_of(bundle: bytes) -> str:
    points = [bundle[96 + 64 * index : 160 + 64 * index] for index in range(bundle[7])]
    return "".join(name for name in "abcdefghijklmnopqrstuvwxyz" if root(name).public in points)


def digest(bundle: bytes) -> bytes:
    return sha256(padded("SR-bundle-v1"), bundle[:1599])


def our_versions(case: Case) -> tuple[int, ...]:
    """What a whole simulated device says after each offer."""
    genesis = as_bundle(case.genesis, None)
    device = device_of(genesis)
    made, versions = [genesis], []
    in_force = genesis
    for offer in case.offers:
        follows = in_force if offer.follows is None else made[offer.follows + 1]
        bundle = as_bundle(offer, None if offer.version == 1 else follows)
        made.append(bundle)
        with suppress(Refused):
            device.receive_trust_bundle(bundle)
        in_force = device.bootloader.running.bundle.raw
        versions.append(device.status().trust_bundle_version)
    return tuple(versions)


def device_of(genesis: bytes) -> SimulatedDevice:
    """A device of the usual world whose copies carry this genesis bundle."""
    device = _World(genesis_file=genesis).device()
    device.power_on()
    return device


@dataclass(frozen=True)
class _World(World):
    genesis_file: bytes = b""

    @property
    def genesis(self) -> bytes:
        return self.genesis_file


# --- theirs ---


@cache
def signer_of(name: str) -> CryptoSigner:
    scalar = int.from_bytes(root(name).private, "big")
    private = ec.derive_private_key(scalar, ec.SECP256R1())
    return CryptoSigner(private, SSlibKey.from_crypto(private.public_key()))


def as_metadata(offer: Offer) -> bytes:
    value = Root(version=offer.version, expires=offer.expires, consistent_snapshot=True)
    for name in offer.roots:
        value.add_key(signer_of(name).public_key, "root")
    for role in OTHER_ROLES:
        value.add_key(signer_of(offer.roots[0]).public_key, role)
    value.roles["root"].threshold = offer.threshold
    metadata = Metadata(value)
    for name in offer.by:
        metadata.sign(signer_of(name), append=True)
    content: dict[str, Any] = metadata.to_dict()
    for name in offer.bad:
        for entry in content["signatures"]:
            if entry["keyid"] == signer_of(name).public_key.keyid:
                entry["sig"] = signer_of(name).sign(b"something else").signature
    return json.dumps(content).encode()


def tuf_versions(case: Case) -> tuple[int, ...]:
    trusted = TrustedMetadataSet(as_metadata(case.genesis), EnvelopeType.METADATA)
    versions = []
    for offer in case.offers:
        with suppress(RepositoryError, ValueError):
            trusted.update_root(as_metadata(offer))
        versions.append(trusted.root.version)
    return tuple(versions)


# --- the comparison ---


def name_of(case: Case) -> str:
    return case.name


@pytest.mark.parametrize("case", CASES, ids=name_of)
def test_a_device_and_tuf_follow_the_same_successions(case: Case) -> None:
    assert our_versions(case) == case.versions
    assert tuf_versions(case) == (case.versions if case.tuf is None else case.tuf)
    assert (case.tuf is None) is (case.why == "")


def test_both_follow_and_refuse_enough_to_say_so() -> None:
    agreed = [case for case in CASES if case.tuf is None]
    assert len(agreed) >= 30
    assert sum(case.versions[-1] > 1 for case in agreed) >= 12
    assert sum(case.versions[-1] == 1 for case in agreed) >= 12


def test_one_signature_twice_is_one_on_both_sides() -> None:
    """TUF: the same entry twice. A bundle: one root's signature in another root's place too."""
    first, offer = Offer(1, "abc", 2, "ab"), Offer(2, "abc", 2, "a")
    content = json.loads(as_metadata(offer))
    content["signatures"] *= 2
    trusted = TrustedMetadataSet(as_metadata(first), EnvelopeType.METADATA)
    with pytest.raises(RepositoryError):
        trusted.update_root(json.dumps(content).encode())

    genesis = as_bundle(first, None)
    by_a, bundle = as_bundle(offer, genesis), bytearray(as_bundle(replace(offer, by="ab"), genesis))
    for position in range(1600, 1600 + 68 * bundle[1599], 68):
        bundle[position + 4 : position + 68] = by_a[1604:1668]
    with pytest.raises(Refused):
        device_of(genesis).receive_trust_bundle(bytes(bundle))


def random_case(seed: int) -> Case:
    """Any root sets, thresholds, signers and versions, with no bad signature, on one chain: there both must agree."""
    random = Random(seed)
    roots, threshold = "abc", 2
    offers: list[Offer] = []
    version = 1
    for _ in range(6):
        names = "".join(random.sample("abcdefg", random.randint(1, 5)))
        needed = random.randint(1, len(names))
        everybody = sorted({*names, *roots})
        by = "".join(random.sample(everybody, random.randint(max(0, len(everybody) - 2), len(everybody))))
        step = random.choice((1, 1, 1, 1, 2, 0))
        offers.append(Offer(version + step, names, needed, by))
        enough_old = len({*by} & {*roots}) >= threshold
        if step == 1 and enough_old and len({*by} & {*names}) >= needed:
            version, roots, threshold = version + 1, names, needed
    return Case(f"seed {seed}", tuple(offers), ())


@pytest.mark.parametrize("seeds", [range(at, at + 20) for at in range(0, 60, 20)], ids=str)
def test_any_sequence_on_one_chain(seeds: Sequence[int]) -> None:
    lasts = []
    for seed in seeds:
        case = random_case(seed)
        ours = our_versions(case)
        assert ours == tuf_versions(case), f"seed {seed}: {case}"
        lasts.append(ours[-1])
    assert len(set(lasts)) > 1
