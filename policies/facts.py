"""What policies must know beyond request and approvals: gathered by the signing service, counted here. Pure."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime, timedelta

import msgspec

from policies.object_request import OBJECT_KINDS, ObjectKind
from policies.request import EnvironmentName, RequestKind, version_parts

_DAY = timedelta(days=1)


class KeyFact(msgspec.Struct, frozen=True):
    """A key that the request names: its 8-byte id, its role, and its product (None: it serves every product)."""

    key_id: bytes
    label: str
    role: str
    product: str | None


class LastRelease(msgspec.Struct, frozen=True):
    """The release of greatest version of a product and kind (docs/spec/release-evidence.md)."""

    version: str
    security_version: int


class SignedBefore(msgspec.Struct, frozen=True):
    """One request that was signed, as the audit log tells it."""

    at: datetime
    product: str
    kind: RequestKind | ObjectKind
    requester: str


class SignatureCounts(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """How many requests were signed before this one; a day is the 24 hours before now.

    Requests for packages count with one another, those for objects with those of their own kind.
    """

    last_day: int = 0
    last_day_of_product: int = 0
    last_day_by_requester: int = 0
    of_product: int = 0

    def __post_init__(self) -> None:
        if min(self.last_day, self.last_day_of_product, self.last_day_by_requester, self.of_product) < 0:
            raise ValueError("a count is not negative")


class PolicyFacts(msgspec.Struct, frozen=True, kw_only=True):
    """The facts about one request. `environment` is this authority's; `keys` are those that the request names."""

    environment: EnvironmentName
    keys: tuple[KeyFact, ...]
    last_release: LastRelease | None
    sbom_present: bool
    test_evidence_present: bool
    signed: SignatureCounts


def count_signatures(
    signed: Iterable[SignedBefore], product: str, kind: RequestKind | ObjectKind, requester: str, now: datetime
) -> SignatureCounts:
    """Count what was signed before for a request of this product, kind and requester."""
    last_day = last_day_of_product = last_day_by_requester = of_product = 0
    for item in signed:
        if _family(item.kind) != _family(kind):
            continue
        same = item.product == product and item.kind == kind
        of_product += same
        if item.at > now - _DAY:
            last_day += 1
            last_day_of_product += same
            last_day_by_requester += item.requester == requester
    return SignatureCounts(
        last_day=last_day,
        last_day_of_product=last_day_of_product,
        last_day_by_requester=last_day_by_requester,
        of_product=of_product,
    )


def _family(kind: str) -> str:
    """What is counted together: a hundred returns for repair must not hold up a security update."""
    return kind if kind in OBJECT_KINDS else "package"


def version_order(version: str, last: LastRelease | None) -> str:
    """How a version stands to the last release: `first`, `newer`, `same` or `older`. ValueError for no version."""
    asked = version_parts(version)
    if last is None:
        return "first"
    before = version_parts(last.version)
    if asked == before:
        return "same"
    return "newer" if asked > before else "older"
