"""Chains of trust bundles for tests of devices, written from the specification alone; imports no signer."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

from tests.unit.reference.builders import BundlePlan, build_bundle, padded, root_keys, sha256
from tests.unit.reference.fake.keys import FakeKey, fake_key

Roots = tuple[FakeKey, ...]


@dataclass(frozen=True)
class Link:
    """One version: what it is made from, and its root keys in ascending order."""

    plan: BundlePlan
    roots: Roots

    @cached_property
    def file(self) -> bytes:
        return build_bundle(self.plan)

    @property
    def digest(self) -> bytes:
        return sha256(padded("SR-bundle-v1"), self.file[:1599])


def first_link(plan: BundlePlan | None = None) -> Link:
    """The genesis bundle of most worlds here."""
    return Link(plan or BundlePlan(), root_keys())


def next_link(previous: Link, *, roots: Roots | None = None, threshold: int | None = None, **changes: Any) -> Link:
    """The version after another, signed by the first roots of both that are enough; `changes` are of the plan."""
    mine = previous.roots if roots is None else roots
    needed = previous.plan.threshold if threshold is None else threshold
    plan = replace(
        previous.plan,
        version=previous.plan.version + 1,
        previous_digest=previous.digest,
        roots=[root.public for root in mine],
        threshold=needed,
        signers=signed(0, previous.roots, previous.plan.threshold) + signed(1, mine, needed),
    )
    return Link(replace(plan, **changes), mine)


def signed(which: int, roots: Roots, count: int) -> tuple[tuple[int, int, FakeKey], ...]:
    return tuple((which, index, root) for index, root in enumerate(roots[:count]))


def other_roots(name: str, count: int = 3) -> Roots:
    """Roots that no other version has, in ascending order of their points."""
    return tuple(sorted((fake_key(f"{name} {number}") for number in range(count)), key=lambda key: key.public))


def without(plan: BundlePlan, *keys: FakeKey) -> Sequence[tuple[int, bytes]]:
    """The role keys of a plan but for these."""
    gone = {key.public for key in keys}
    return [(role, public) for role, public in plan.role_keys if public not in gone]
