"""The update tool's own reader of trust bundles, held to the independent vectors; and chains of them."""

from __future__ import annotations

from dataclasses import replace

import pytest

from rpc.update.bundle_facts import BundleChain, BundleFacts, parse_bundle
from rpc.update.rules import MaterialRefused
from tests.conformance.vectors import Entry, content, entries, name_of, worthless_keys

READABLE = [entry for entry in entries("trust_bundles") if "content" in entry["expected"]]
REFUSED_HERE = ("BUNDLE_SIZE", "BUNDLE_MAGIC", "BUNDLE_FORMAT")
NO_BUNDLES = [entry for entry in entries("trust_bundles") if entry["expected"]["code"] in REFUSED_HERE]


@pytest.mark.parametrize("entry", READABLE, ids=name_of)
def test_fields_are_those_of_the_vector(entry: Entry) -> None:
    facts, expected = parse_bundle(content(entry["file"])), entry["expected"]["content"]
    assert facts.digest.hex() == entry["expected"]["digest"]
    assert (facts.version, facts.product_id.hex()) == (expected["version"], expected["product_id"])
    assert facts.previous_digest.hex() == expected["previous_digest"]
    assert [list(limits) for limits in facts.limits] == expected["limits"]
    assert {key_id.hex() for key_id in facts.revoked} == {item["key_id"] for item in expected["revoked"]}
    ids = {item["public_key"]: item["key_id"] for item in worthless_keys().values()}
    named = {(item["role"], ids[item["public_key"]]) for item in expected["role_keys"]}
    assert {(role, key_id.hex()) for role, key_id in facts.role_keys} == named


@pytest.mark.parametrize("entry", NO_BUNDLES, ids=name_of)
def test_what_is_no_bundle_is_refused(entry: Entry) -> None:
    with pytest.raises(MaterialRefused, match="UP-04"):
        parse_bundle(content(entry["file"]))


def test_counts_out_of_range_are_refused() -> None:
    raw = content(READABLE[0]["file"])
    for offset in (9, 10):
        with pytest.raises(MaterialRefused, match="UP-04"):
            parse_bundle(raw[:offset] + b"\xff" + raw[offset + 1 :])


def bundle(version: int, previous: bytes = b"", product_id: bytes = b"p" * 16) -> BundleFacts:
    """Only what chains are made of."""
    return BundleFacts(
        raw=b"",
        version=version,
        product_id=product_id,
        digest=b"digest %d" % version,
        previous_digest=previous or b"digest %d" % (version - 1),
        limits=(),
        role_keys=frozenset(),
        revoked=frozenset(),
    )


def test_bundles_make_a_chain_in_any_order() -> None:
    chain = BundleChain.of([bundle(3), bundle(1), bundle(2), bundle(2)], b"p" * 16)
    assert chain.newest_version == 3
    assert [link.version for link in chain.after(1)] == [2, 3]
    assert chain.after(3) == ()
    assert BundleChain.of([], b"p" * 16).newest_version == 0


def test_a_gap_is_found_only_where_a_device_needs_it() -> None:
    chain = BundleChain.of([bundle(5), bundle(2)], b"p" * 16)
    assert [link.version for link in chain.after(2)] == [5]


def test_what_is_no_one_chain_is_refused() -> None:
    forked = replace(bundle(2), digest=b"another")
    for wrong, words in (
        ([bundle(2), forked], "two different"),
        ([bundle(2), bundle(3, previous=b"another")], "does not follow"),
        ([bundle(1, product_id=b"q" * 16)], "another product"),
    ):
        with pytest.raises(MaterialRefused, match=f"UP-04.*{words}"):
            BundleChain.of(wrong, b"p" * 16)
