"""Succession vectors: the reference's rules, a whole simulated device, and the signer's encoder, each held to them.

The vectors come from tests/vectors/generator, which imports neither side.
"""

from __future__ import annotations

import hashlib
from collections import Counter

import pytest

from bootloader.reference.codes import Refused
from bootloader.reference.succession import is_successor, require_built_in, verify_offered_bundle
from bootloader.reference.trust_bundle import parse_trust_bundle
from bootloader.simulation.device import SimulatedDevice, blank_flash
from pki.errors import FormatError, SignatureInvalid, StrongroomError
from signer.trust_bundles.encoding import RootSet, decode_bundle, unsigned_bundle
from signer.trust_bundles.signing import add_signature, signature_status
from tests.conformance.test_device_vectors import BOARD, blocks_of, records_of
from tests.conformance.test_encoder_vectors import bundle_content, signing_key
from tests.conformance.vectors import Entry, content, entries, hexes, name_of, named, worthless_keys

DEVICE = named("devices", "operational-with-application")
OFFERED = [entry for entry in entries("trust_bundles") if entry["offered_as"] != "genesis"]
TAKEN = [entry for entry in OFFERED if entry["expected"]["code"] == "OK"]
WELL_FORMED = [entry for entry in OFFERED if entry["expected"]["stage"] != "parse"]
SUCCESSORS_TAKEN = [entry for entry in TAKEN if entry["offered_as"] == "successor"]


def previous_of(entry: Entry) -> bytes:
    return content(named("trust_bundles", entry["previous"])["file"])


def device_going_by(bundle: bytes) -> SimulatedDevice:
    """The device of the vectors with another trust bundle in its journal, in update mode."""
    flash = blank_flash(BOARD)
    for address, data in blocks_of(DEVICE["name"]):
        if address != BOARD.state_0.address:
            flash.load(address, data)
    flash.load(BOARD.state_0.address, records_of(DEVICE, bundle).content)
    device = SimulatedDevice(BOARD, bytes.fromhex(DEVICE["uid"])[: BOARD.uid_size_bytes], flash)
    device.entry_pin_is_active = True
    device.power_on()
    return device


def test_there_are_vectors_for_every_code_of_a_succession() -> None:
    codes = Counter(entry["expected"]["code"] for entry in OFFERED)
    assert sum(codes.values()) >= 60
    assert set(codes) == {
        "OK",
        "BUNDLE_ORDER",
        "BUNDLE_PRODUCT",
        "BUNDLE_SUCCESSION",
        "BUNDLE_SIGNATURES",
        "BUNDLE_BUILT_IN",
    }
    assert codes["OK"] >= 20


@pytest.mark.parametrize("entry", WELL_FORMED, ids=name_of)
def test_the_rules_give_the_code_of_the_vector(entry: Entry) -> None:
    bundle, current = parse_trust_bundle(content(entry["file"])), parse_trust_bundle(previous_of(entry))
    code = "OK"
    try:
        verify_offered_bundle(bundle, current)
        if is_successor(bundle, current):
            require_built_in(bundle, hexes(DEVICE["built_in_bootloader_keys"]))
    except Refused as refusal:
        code = refusal.code.name
    assert code == entry["expected"]["code"]


@pytest.mark.parametrize("entry", OFFERED, ids=name_of)
def test_a_device_gives_the_code_and_goes_by_the_right_bundle_afterwards(entry: Entry) -> None:
    device = device_going_by(previous_of(entry))
    offered, code = content(entry["file"]), "OK"
    try:
        device.receive_trust_bundle(offered)
    except Refused as refusal:
        code = refusal.code.name
    assert code == entry["expected"]["code"]
    takes_over = code == "OK" and entry["offered_as"] == "successor"
    in_force = offered if takes_over else previous_of(entry)
    for _ in range(2):
        bundle = device.bootloader.running.state.trust_bundle
        assert bundle is not None
        assert bundle.bundle == in_force
        device.power_on()
    assert device.status().trust_bundle_digest == digest(in_force)


def digest(bundle: bytes) -> bytes:
    return hashlib.sha256(b"SR-bundle-v1\0\0\0\0" + bundle[:1599]).digest()


@pytest.mark.parametrize("entry", SUCCESSORS_TAKEN, ids=name_of)
def test_the_signer_counts_both_thresholds_of_what_devices_take(entry: Entry) -> None:
    assert signature_status(content(entry["file"]), previous_of(entry)).complete


def test_the_signer_calls_nothing_complete_that_devices_refuse() -> None:
    refused = [entry for entry in WELL_FORMED if entry["expected"]["code"] == "BUNDLE_SIGNATURES"]
    for entry in [entry for entry in refused if entry["offered_as"] == "successor"]:
        try:
            complete = signature_status(content(entry["file"]), previous_of(entry)).complete
        except (SignatureInvalid, FormatError):
            complete = False
        assert not complete, entry["name"]


@pytest.mark.parametrize(
    "entry",
    [entry for entry in WELL_FORMED if entry["expected"]["code"] in {"BUNDLE_PRODUCT", "BUNDLE_SUCCESSION"}],
    ids=name_of,
)
def test_no_root_signs_what_does_not_follow(entry: Entry) -> None:
    unsigned = unsigned_bundle(decode_bundle(content(entry["file"]))[0])
    with pytest.raises(StrongroomError):
        add_signature(unsigned, signing_key("root-1"), previous_of(entry))


@pytest.mark.parametrize(
    "entry", [entry for entry in SUCCESSORS_TAKEN if entry["name"] != "successor-high-s"], ids=name_of
)
def test_roots_of_both_versions_sign_one_at_a_time_and_make_the_vector(entry: Entry) -> None:
    """Each root signs once; the entries of both sets follow, and only those of the vector are compared."""
    vector, previous = content(entry["file"]), previous_of(entry)
    expected = entry["expected"]["content"]
    names = {item["public_key"]: name for name, item in worthless_keys().items()}
    roots = {
        RootSet.PREVIOUS: sorted(root.point.hex() for root in decode_bundle(previous)[0].roots),
        RootSet.OWN: expected["roots"],
    }
    signers = {names[roots[RootSet(item["set"])][item["index"]]] for item in expected["signatures"]}
    bundle = unsigned_bundle(bundle_content(entry))
    for name in sorted(signers):
        bundle = add_signature(bundle, signing_key(name), previous)
    assert bundle[:1599] == vector[:1599]
    made = {(item.root_set, item.root_index): item.signature for item in decode_bundle(bundle)[1]}
    listed = {(item.root_set, item.root_index): item.signature for item in decode_bundle(vector)[1]}
    assert made | listed == made, "the vector's signatures are among those made"
