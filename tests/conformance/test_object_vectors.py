"""Vectors of signed objects: a simulated device of the reference, given each as `objects.json` says, answers so.

What the hosts read and write is in test_object_vectors_host.py. The vectors come from a generator that uses neither.
"""

from __future__ import annotations

import hashlib
from collections import Counter
from dataclasses import replace
from functools import cache

import pytest

from bootloader.reference.codes import Refused
from bootloader.reference.platform import Protection
from bootloader.simulation.device import InUpdateMode, SimulatedDevice, blank_flash
from bootloader.simulation.platform import OptionBytes, SimulatedPlatform
from tests.conformance.test_device_vectors import BOARD, blocks_of
from tests.conformance.vectors import Entry, content, entries, name_of, named
from tests.vectors.generator import p256

REQUESTS = [entry for entry in entries("objects") if entry["kind"] == "challenge-request"]
OBJECTS = [entry for entry in entries("objects") if entry["kind"] in {"activation", "service-order", "grant"}]
HOST_EPHEMERAL = bytes.fromhex(REQUESTS[0]["point"])
SIGNATURE_CONTEXTS = {
    "challenge-request": "SR-challenge-v1",
    "activation": "SR-receipt-v1",
    "service-order": "SR-receipt-v1",
}


class FixedPlatform(SimulatedPlatform):
    """Draws the one nonce that the vector names, and has the protection that the device's facts name."""

    def __init__(self, protection: int, nonce: bytes) -> None:
        super().__init__(option_bytes=option_bytes(Protection(protection)))
        self._nonce = nonce

    def random_bytes(self, size_bytes: int) -> bytes:
        assert size_bytes == len(self._nonce), "a device that has keys, or makes none, draws nothing but its nonce"
        return self._nonce


def option_bytes(protection: Protection) -> OptionBytes:
    flags = (Protection.READOUT, Protection.WRITE_PROTECT, Protection.BROWN_OUT, Protection.DEBUG_CLOSED)
    level, *others = (flag in protection for flag in flags)
    return OptionBytes(int(level), *others)


@cache
def unchanged_device(device: str, nonce: str | None) -> SimulatedDevice:
    """For what is refused for its shape: such refusals leave device and challenge as they were."""
    return device_of({"kind": "shape", "device": device, "nonce": nonce})


def device_of(entry: Entry) -> SimulatedDevice:
    """The vector's device, in update mode, with or without a challenge outstanding."""
    facts = named("devices", entry["device"])
    flash = blank_flash(BOARD)
    for address, data in blocks_of(facts["name"]):
        flash.load(address, data)
    nonce = bytes.fromhex(entry["nonce"] or "00" * 32)
    uid = bytes.fromhex(facts["uid"])[: BOARD.uid_size_bytes]
    # A device that is to stay without keys at its challenge stands on a board that demands what is not set.
    board = replace(BOARD, protection_required=Protection.READOUT_2)
    device = SimulatedDevice(board, uid, flash, platform=FixedPlatform(facts["protection"], nonce))
    device.entry_pin_is_active = True
    assert isinstance(device.power_on(), InUpdateMode)
    if entry["kind"] != "challenge-request" and entry["nonce"] is not None:
        device.challenge(HOST_EPHEMERAL)
    return device


def given_to(device: SimulatedDevice, entry: Entry) -> bytes | None:
    """Give the device what the vector holds, and return its answer."""
    if entry["kind"] == "challenge-request":
        return device.challenge(bytes.fromhex(entry["point"]))
    data = content(entry["file"])
    if entry["kind"] == "activation":
        return device.receive_activation(data)
    if entry["kind"] == "service-order":
        return device.receive_service_order(data)
    device.receive_grant(data)
    return None


def test_there_are_vectors_for_each_code_that_such_objects_can_have() -> None:
    seen = Counter((entry["kind"], entry["expected"]["code"]) for entry in OBJECTS)
    shape = {"OBJECT_SIZE", "OBJECT_MAGIC", "OBJECT_FORMAT", "OBJECT_RESERVED", "OBJECT_FIELD"}
    signer = {"SIGNER_REVOKED", "SIGNER_UNKNOWN", "SIGNATURE_INVALID", "WRONG_PRODUCT", "LIFECYCLE", "NO_STATE", "OK"}
    own = {
        "activation": {
            *("NO_KEYS", "WRONG_ORDER", "WRONG_LOT", "WRONG_HARDWARE_REVISION", "WRONG_DEVICE", "WRONG_NONCE"),
            *("WRONG_KEYS", "TRUST_BUNDLE_TOO_OLD", "PROTECTION_MISSING", "KEY_INJECTION"),
        },
        "service-order": {"WRONG_DEVICE", "WRONG_NONCE"},
        "grant": {"GRANT_PROOF", "RECIPIENT_UNKNOWN", "EPHEMERAL_KEY"},
    }
    for kind, codes in own.items():
        assert {code for found, code in seen if found == kind} == shape | signer | codes


@pytest.mark.parametrize("entry", OBJECTS, ids=name_of)
def test_a_device_gives_the_code_and_the_answer(entry: Entry) -> None:
    is_shape = entry["expected"]["stage"] == "shape"
    device = unchanged_device(entry["device"], entry["nonce"]) if is_shape else device_of(entry)
    before = device.bootloader.running.state if entry["device"] != "without-state" else None
    code, answer = "OK", None
    try:
        answer = given_to(device, entry)
    except Refused as refusal:
        code = refusal.code.name
    assert code == entry["expected"]["code"]
    if code != "OK":
        if before is not None:
            after = device.bootloader.running.state
            assert (after.device, after.keys, after.activated) == (before.device, before.keys, before.activated)
            assert after.pending_grant == before.pending_grant
        return
    if "answer_without_signature" in entry["expected"]:
        assert answer is not None
        verify_answer(entry, answer)


@pytest.mark.parametrize("entry", REQUESTS, ids=name_of)
def test_a_device_answers_a_point_with_its_challenge(entry: Entry) -> None:
    device = device_of(entry)
    if entry["expected"]["code"] != "OK":
        with pytest.raises(Refused) as refusal:
            given_to(device, entry)
        assert refusal.value.code.name == entry["expected"]["code"]
        return
    answer = given_to(device, entry)
    assert answer is not None
    verify_answer(entry, answer)


def verify_answer(entry: Entry, answer: bytes) -> None:
    """Byte for byte up to the signature, which verifies under the identity key, or is zero for want of one."""
    expected = bytes.fromhex(entry["expected"]["answer_without_signature"])
    assert answer[:-64] == expected
    identity = named("devices", entry["device"])["identity_private_key"]
    if identity is None:
        assert answer[-64:] == bytes(64)
        return
    public = p256.public_key(int(identity, 16))
    digest = hashlib.sha256(SIGNATURE_CONTEXTS[entry["kind"]].encode().ljust(16, b"\0") + expected).digest()
    assert p256.verifies(public, digest, answer[-64:])


def test_a_device_says_of_itself_what_the_vector_says() -> None:
    entry = named("objects", "signed-status-in-update-mode")
    device = device_of({"kind": "signed-status", "device": entry["given"]["device"], "nonce": None})
    said, expected = device.signed_status(bytes.fromhex(entry["given"]["nonce"])), content(entry["file"])
    counts = slice(364, 372)  # events since production, free bytes of the journal
    assert (said[: counts.start], said[counts.stop : -64]) == (expected[: counts.start], expected[counts.stop : -64])
    public = p256.public_key(int(named("devices", entry["given"]["device"])["identity_private_key"], 16))
    digest = hashlib.sha256(b"SR-status-v1".ljust(16, b"\0") + said[:-64]).digest()
    assert p256.verifies(public, digest, said[-64:])


GRANTS_TAKEN = [entry for entry in OBJECTS if entry["kind"] == "grant" and "fields" in entry["expected"]]


@pytest.mark.parametrize("entry", GRANTS_TAKEN, ids=name_of)
def test_what_a_device_journals_of_a_grant(entry: Entry) -> None:
    device = device_of(entry)
    given_to(device, entry)
    device.power_on()
    held = device.bootloader.running.state.pending_grant
    assert held is not None
    assert held.payload().hex() == entry["expected"]["fields"]["pending_grant"]
