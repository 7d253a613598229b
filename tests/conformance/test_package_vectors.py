"""The reference's package functions give exactly the result that each package vector names.

The rules of the device's state are not theirs: vectors refused by a rule must parse and be authentic here, and
test_device_vectors.py runs them on a whole device.
"""

from __future__ import annotations

import hashlib

import pytest

from bootloader.reference.authenticity import verify_head_signatures
from bootloader.reference.codes import Refused
from bootloader.reference.crypto import Aes256Ctr
from bootloader.reference.head import Head, RecipientMode, Version, parse_head
from bootloader.reference.payload import (
    authenticate_chunk,
    chunk_size_on_wire,
    image_digest_matches,
    image_hasher,
    unwrap_content_key,
    unwrap_granted_key,
)
from bootloader.reference.records import PendingGrant
from bootloader.reference.sizes import HEAD_SIZE_BYTES
from bootloader.reference.trust_bundle import parse_trust_bundle
from tests.conformance.vectors import Entry, content, entries, hexes, name_of, named

STAGES = ["head", "signatures", "rules", "recipient", "payload", "image", "complete"]
# What a device compares with what it holds, before any of the functions here is asked.
DEVICE_DECIDES = {"RECIPIENT_UNKNOWN", "GRANT_REQUIRED"}


def reaches(entry: Entry, stage: str) -> bool:
    """Whether a vector passes everything before this stage."""
    return STAGES.index(entry["expected"]["stage"]) >= STAGES.index(stage)


def parsed(entry: Entry) -> Head:
    return parse_head(content(entry["file"])[:HEAD_SIZE_BYTES])


def verified_signers(entry: Entry, head: Head) -> tuple[bytes, ...]:
    device = named("devices", entry["device"])
    bundle = parse_trust_bundle(content(device["trust_bundle"]))
    built_in = hexes(device["built_in_bootloader_keys"])
    return verify_head_signatures(head, bytes.fromhex(device["uid"]), bundle, built_in)


def content_key(entry: Entry, head: Head) -> bytes | None:
    if head.recipient_mode == RecipientMode.NONE:
        return None
    device = named("devices", entry["device"])
    uid = bytes.fromhex(device["uid"])
    if head.recipient_mode == RecipientMode.GRANT:
        pending = PendingGrant.from_payload(bytes.fromhex(device["further_records"]["PENDING_GRANT"]))
        private = bytes.fromhex(device["agreement_private_key"])
        return unwrap_granted_key(head, private, uid, pending.ephemeral_public_key, pending.wrapped_cek)
    names = {RecipientMode.DEVICE: "agreement_private_key", RecipientMode.GROUP: "group_private_key"}
    private = bytes.fromhex(device[names[head.recipient_mode]])
    return unwrap_content_key(head, private, uid)


def authenticated_image(entry: Entry, head: Head, key: bytes | None) -> bytes:
    """The plaintext image, each chunk authenticated before it is decrypted."""
    payload = content(entry["file"])[HEAD_SIZE_BYTES:]
    cipher = None if key is None else Aes256Ctr(key)
    link, at, image = head.first_link, 0, b""
    for index in range(head.chunk_count):
        size_bytes = chunk_size_on_wire(head, index)
        data, link = authenticate_chunk(head, index, link, payload[at : at + size_bytes])
        image += data if cipher is None else cipher.decrypt(data)
        at += size_bytes
    return image


@pytest.mark.parametrize("entry", entries("packages"), ids=name_of)
def test_parser_refuses_exactly_what_is_malformed(entry: Entry) -> None:
    if entry["expected"]["stage"] == "head":
        with pytest.raises(Refused) as refusal:
            parsed(entry)
        assert refusal.value.code.name == entry["expected"]["code"]
    else:
        assert parsed(entry).raw == content(entry["file"])[:HEAD_SIZE_BYTES]


@pytest.mark.parametrize("entry", [entry for entry in entries("packages") if reaches(entry, "signatures")], ids=name_of)
def test_signers_and_signatures(entry: Entry) -> None:
    head = parsed(entry)
    if entry["expected"]["stage"] == "signatures":
        with pytest.raises(Refused) as refusal:
            verified_signers(entry, head)
        assert refusal.value.code.name == entry["expected"]["code"]
    else:
        assert len(verified_signers(entry, head)) == (2 if head.package_type == 2 else 1)


@pytest.mark.parametrize(
    "entry",
    [
        entry
        for entry in entries("packages")
        if reaches(entry, "recipient") and entry["expected"]["code"] not in DEVICE_DECIDES
    ],
    ids=name_of,
)
def test_content_key_chunks_and_image(entry: Entry) -> None:
    head, stage, code = parsed(entry), entry["expected"]["stage"], entry["expected"]["code"]
    if stage == "recipient":
        with pytest.raises(Refused) as refusal:
            content_key(entry, head)
        assert refusal.value.code.name == code
        return
    key = content_key(entry, head)
    if stage == "payload":
        with pytest.raises(Refused) as refusal:
            authenticated_image(entry, head, key)
        assert refusal.value.code.name == code
        return
    image = authenticated_image(entry, head, key)
    hasher = image_hasher(head)
    hasher.update(image)
    assert image_digest_matches(head, hasher) is (stage == "complete")
    if stage == "complete":
        assert len(image) == entry["expected"]["image_size_bytes"]
        assert hashlib.sha256(image).hexdigest() == entry["expected"]["image_sha256"]


@pytest.mark.parametrize("entry", [entry for entry in entries("packages") if reaches(entry, "complete")], ids=name_of)
def test_fields_are_decoded(entry: Entry) -> None:
    head = parsed(entry)
    fields = entry["expected"]["fields"]
    assert len(fields) == 28
    for name, expected in fields.items():
        value = getattr(head, name)
        if isinstance(value, Version):
            value = [value.major, value.minor, value.revision, value.build]
        elif isinstance(value, bytes):
            value = value.hex()
        assert value == expected, name
    uid = bytes.fromhex(named("devices", entry["device"])["uid"])
    assert head.signed_digest(uid).hex() == entry["expected"]["signed_digest"]
