"""Packages that need a grant, on a device that holds one: `docs/spec/grant.md`, section 3."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

from tests.vectors.generator.cases_shape import grant_plan
from tests.vectors.generator.grant_world import GRANTED
from tests.vectors.generator.package import PackagePlan
from tests.vectors.generator.package_case import PackageCase, case
from tests.vectors.generator.primitives import derived_bytes

HOLDER = "operational-with-grant"


def wrong_key_plan() -> PackagePlan:
    """A package whose content key is not the one that its head commits to."""
    return replace(grant_plan("grant-of-a-wrong-key"), commitment_key=derived_bytes("another content key", 32))


def cases() -> Iterator[PackageCase]:
    """The package that the grant is for, and another one."""
    yield case(grant_plan(GRANTED), "the package that the pending grant is for", "OK", "complete", HOLDER)
    words = "the pending grant is for another package"
    yield case(grant_plan("grant-for-another"), words, "GRANT_REQUIRED", "recipient", HOLDER)
    plan = replace(grant_plan("grant-same-key-other-head"), content_key=grant_plan(GRANTED).cek)
    words = "the same content key under another head: a grant is for one head"
    yield case(plan, words, "GRANT_REQUIRED", "recipient", HOLDER)
    words = "the grant wraps another key than the head commits to"
    yield case(wrong_key_plan(), words, "CEK_COMMITMENT", "recipient", "operational-with-wrong-grant")
    broken = grant_plan("grant-of-no-point")
    words = "the grant's ephemeral key is no point of the curve"
    yield case(broken, words, "EPHEMERAL_KEY", "recipient", "operational-with-broken-grant")
