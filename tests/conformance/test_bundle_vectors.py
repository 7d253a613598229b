"""The reference's trust bundle functions give exactly the result that each trust bundle vector names.

Of successors the parser's part is checked here; the rest is in test_bundle_succession.py.
"""

from __future__ import annotations

import pytest

from bootloader.reference.codes import Refused
from bootloader.reference.trust_bundle import (
    TrustBundle,
    parse_trust_bundle,
    verify_genesis,
    verify_own_threshold,
)
from tests.conformance.vectors import Entry, content, entries, name_of, named


def of_stage(*stages: str) -> list[Entry]:
    return [entry for entry in entries("trust_bundles") if entry["expected"]["stage"] in stages]


def offered_as(use: str) -> list[Entry]:
    return [entry for entry in of_stage("trust", "complete") if entry["offered_as"] == use]


def parsed(entry: Entry) -> TrustBundle:
    return parse_trust_bundle(content(entry["file"]))


@pytest.mark.parametrize("entry", of_stage("parse"), ids=name_of)
def test_parser_refuses_what_is_malformed(entry: Entry) -> None:
    with pytest.raises(Refused) as refusal:
        parsed(entry)
    assert refusal.value.code.name == entry["expected"]["code"]


@pytest.mark.parametrize("entry", of_stage("trust", "complete"), ids=name_of)
def test_parser_takes_what_is_well_formed(entry: Entry) -> None:
    bundle = parsed(entry)
    assert bundle.raw == content(entry["file"])
    if "digest" in entry["expected"]:
        assert bundle.digest.hex() == entry["expected"]["digest"]


@pytest.mark.parametrize("entry", offered_as("genesis"), ids=name_of)
def test_genesis(entry: Entry) -> None:
    bundle = parsed(entry)
    if entry["expected"]["code"] == "OK":
        verify_genesis(bundle)
        return
    with pytest.raises(Refused) as refusal:
        verify_genesis(bundle)
    assert refusal.value.code.name == entry["expected"]["code"]


@pytest.mark.parametrize("entry", offered_as("current"), ids=name_of)
def test_the_same_bundle_again(entry: Entry) -> None:
    bundle, present = parsed(entry), parsed(named("trust_bundles", entry["previous"]))
    code = entry["expected"]["code"]
    assert (bundle.digest == present.digest) is (code != "BUNDLE_SUCCESSION")
    if code == "BUNDLE_SIGNATURES":
        with pytest.raises(Refused) as refusal:
            verify_own_threshold(bundle)
        assert refusal.value.code.name == code
    else:
        verify_own_threshold(bundle)


@pytest.mark.parametrize(
    "entry", [entry for entry in of_stage("complete") if "content" in entry["expected"]], ids=name_of
)
def test_content_is_decoded(entry: Entry) -> None:
    bundle, expected = parsed(entry), entry["expected"]["content"]
    assert bundle.version == expected["version"]
    assert bundle.product_id.hex() == expected["product_id"]
    assert bundle.previous_digest.hex() == expected["previous_digest"]
    assert bundle.root_threshold == expected["root_threshold"]
    assert [root.hex() for root in bundle.roots] == expected["roots"]
    role_keys = [{"role": entry.role, "public_key": entry.public_key.hex()} for entry in bundle.role_keys]
    assert role_keys == expected["role_keys"]
    assert [{"key_id": entry.key_id.hex(), "flags": int(entry.stop)} for entry in bundle.revoked] == expected["revoked"]
    assert [[limits.minimum, limits.maximum] for limits in bundle.limits] == expected["limits"]
    signatures = [{"set": entry.signature_set, "index": entry.root_index} for entry in bundle.signatures]
    assert signatures == expected["signatures"]
