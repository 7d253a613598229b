"""Grants as devices take them, right and wrong: `docs/spec/grant.md`, sections 1 to 3."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

from tests.vectors.generator import merkle
from tests.vectors.generator.grant_world import GRANTED, batch, pending_of
from tests.vectors.generator.grants import LEAF_OFFSET, Batch, joined
from tests.vectors.generator.keys import key
from tests.vectors.generator.object_case import ObjectCase
from tests.vectors.generator.p256 import N
from tests.vectors.generator.package import Value, laid_over
from tests.vectors.generator.primitives import derived_bytes, u32
from tests.vectors.generator.world import DEVICE_1_UID, OTHER_PRODUCT

TAKER = "operational-activated"
OFF_CURVE = key("stranger").public[:63] + bytes((key("stranger").public[63] ^ 1,))


def _refused(name: str, words: str, code: str, grant: bytes, device: str = TAKER) -> ObjectCase:
    stage = "shape" if code.startswith("OBJECT_") else "rules"
    return ObjectCase(f"grant-{name}", words, "grant", code, stage, grant, device)


def _taken(name: str, words: str, made: Batch) -> ObjectCase:
    grant = made.grant(DEVICE_1_UID)
    fields: dict[str, object] = {
        "package": f"packages/{GRANTED}.srp",
        "content_key": made.package.plan.cek.hex(),
        "ephemeral_private_key": f"{made.ephemeral.private:064x}",
        "batch_id": grant[8:24].hex(),
        "recipients": [
            {"uid": uid.hex(), "agreement_public_key": agreement.public.hex()} for uid, agreement in made.recipients
        ],
        "root": merkle.root_of(made.leaves).hex(),
        "leaves": [leaf.hex() for leaf in made.leaves],
        "file_without_signature_and_trailer": laid_over(made.file, 192, bytes(64))[:-32].hex(),
        "pending_grant": pending_of(grant).hex(),
    }
    return ObjectCase(f"grant-{name}", words, "grant", "OK", "complete", grant, TAKER, fields=fields)


def taken() -> Iterator[ObjectCase]:
    """Trees of several sizes, and device 1 at several places."""
    for below, above in ((0, 0), (0, 1), (1, 0), (2, 0), (1, 3), (4, 0), (6, 0), (0, 6), (3, 4)):
        size = below + 1 + above
        name = f"of-{size}-at-{below}"
        yield _taken(name, f"a tree of {size}, this device at index {below}", batch(name, below, above))
    made = batch("leaf-uid-of-another")
    grant = made.grant(DEVICE_1_UID)
    other = laid_over(grant, LEAF_OFFSET, made.recipients[0][0])
    words = "the leaf names another UID: the device puts its own in its place, and does not compare"
    yield ObjectCase("grant-leaf-names-another", words, "grant", "OK", "complete", other, TAKER)


def shape() -> Iterator[ObjectCase]:
    """OBJECT_SIZE to OBJECT_FIELD."""
    made = batch("shape")
    grant = made.grant(DEVICE_1_UID)
    proof = merkle.proof_of(2, made.leaves)
    leaf = made.leaves[2]
    for name, data in (
        ("empty", b""),
        ("short-of-its-count", grant[:319]),
        ("batch-only", grant[:256]),
        ("proof-cut", grant[:-32]),
        ("byte-short", grant[:-1]),
        ("byte-more", grant + b"\0"),
        ("hash-more", grant + bytes(32)),
        ("count-32", joined(made.header, leaf, 2, (*proof, *(bytes(32),) * 29))),
    ):
        yield _refused(f"size-{name}", f"{len(data)} bytes", "OBJECT_SIZE", data)
    values: tuple[tuple[str, dict[str, Value], str], ...] = (
        ("magic", {"magic": b"SRG2"}, "OBJECT_MAGIC"),
        ("version-2", {"format_version": 2}, "OBJECT_FORMAT"),
        ("version-257", {"format_version": 257}, "OBJECT_FORMAT"),
        ("suite-0", {"suite": 0}, "OBJECT_FORMAT"),
        ("batch-id-zero", {"batch_id": bytes(16)}, "OBJECT_FIELD"),
        ("batch-id-erased", {"batch_id": b"\xff" * 16}, "OBJECT_FIELD"),
        ("product-zero", {"product_id": bytes(16)}, "OBJECT_FIELD"),
        ("tree-size-0", {"tree_size": 0}, "OBJECT_FIELD"),
        ("tree-size-beyond", {"tree_size": 2**31 + 1}, "OBJECT_FIELD"),
        ("signer-zero", {"signer_key_id": bytes(8)}, "OBJECT_FIELD"),
        ("index-is-tree-size", {"tree_size": 2}, "OBJECT_FIELD"),
        ("proof-of-a-smaller-tree", {"tree_size": 9}, "OBJECT_FIELD"),
        ("proof-of-a-larger-tree", {"tree_size": 4}, "OBJECT_FIELD"),
    )
    for name, change, code in values:
        wrong = joined(replace(made, values=change).header, leaf, 2, proof)
        yield _refused(name, f"signed with {', '.join(change)} wrong", code, wrong)
    for name, offset in (("7", 7), ("180", 180), ("191", 191)):
        wrong = joined(replace(made, raw=((offset, b"\x01"),)).header, leaf, 2, proof)
        yield _refused(f"reserved-{name}", f"reserved byte {offset} is not zero", "OBJECT_RESERVED", wrong)
    for offset in (317, 319):
        wrong = laid_over(grant, offset, b"\x01")
        yield _refused(f"reserved-{offset}", f"reserved byte {offset} is not zero", "OBJECT_RESERVED", wrong)
    wrong = laid_over(grant, 312, u32(0xFFFFFFFF))
    yield _refused("index-greatest", "index 4,294,967,295", "OBJECT_FIELD", wrong)
    wrong = joined(made.header, leaf, 2, proof[:-1])
    yield _refused("proof-count-too-small", "one hash too few, consistently", "OBJECT_FIELD", wrong)


def signer() -> Iterator[ObjectCase]:
    """SIGNER_REVOKED, SIGNER_UNKNOWN, SIGNATURE_INVALID."""
    made = batch("signer")
    for name, signer_name, code in (
        ("revoked", "grant-revoked", "SIGNER_REVOKED"),
        ("stranger", "stranger", "SIGNER_UNKNOWN"),
        ("of-another-role", "production-1", "SIGNER_UNKNOWN"),
    ):
        wrong = replace(made, signer=key(signer_name)).grant(DEVICE_1_UID)
        yield _refused(f"signer-{name}", f"signed by {signer_name}", code, wrong)
    named = {"signer_key_id": key("grant-1").key_id}
    wrong = replace(made, signer=key("stranger"), values=named).grant(DEVICE_1_UID)
    yield _refused("signature-of-another", "the right name, another key", "SIGNATURE_INVALID", wrong)
    wrong = replace(made, sign_context="SR-service-v1").grant(DEVICE_1_UID)
    yield _refused("signature-context", "signed in another context", "SIGNATURE_INVALID", wrong)
    right = made.grant(DEVICE_1_UID)
    for name, signature in (
        ("zero", bytes(64)),
        ("r-zero", bytes(32) + right[224:256]),
        ("s-n", right[192:224] + N.to_bytes(32, "big")),
        ("bit", right[192:255] + bytes((right[255] ^ 1,))),
    ):
        wrong = laid_over(right, 192, signature)
        yield _refused(f"signature-{name}", "a signature that does not verify", "SIGNATURE_INVALID", wrong)
    wrong = laid_over(right, 140, bytes((right[140] ^ 1,)))
    yield _refused("root-changed", "one bit of the root changed after signing", "SIGNATURE_INVALID", wrong)


def rules() -> Iterator[ObjectCase]:
    """GRANT_PROOF, and what follows it."""
    made = batch("rules")
    grant, other = made.grant(DEVICE_1_UID), made.grant(made.recipients[3][0])
    leaf, proof = made.leaves[2], merkle.proof_of(2, made.leaves)
    yield _refused("of-another-device", "another device's whole grant", "GRANT_PROOF", other)
    for name, offset in (("key-id", LEAF_OFFSET + 16), ("wrapped-cek", LEAF_OFFSET + 55), ("proof", len(grant) - 1)):
        wrong = laid_over(grant, offset, bytes((grant[offset] ^ 0x80,)))
        yield _refused(f"{name}-changed", f"one bit of byte {offset} changed", "GRANT_PROOF", wrong)
    wrong = joined(made.header, leaf, 3, proof)
    yield _refused("index-of-the-neighbour", "index 3 for 2", "GRANT_PROOF", wrong)
    wrong = joined(made.header, leaf, 2, tuple(reversed(proof)))
    yield _refused("proof-reversed", "the proof from the root down", "GRANT_PROOF", wrong)
    single = batch("node-for-leaf", 0, 1)
    node = Batch("node", single.package, single.recipients, single.ephemeral, single.signer)
    wrong = joined(replace(node, values={"root": derived_bytes("a root", 32)}).header, leaf, 0, proof[:1])
    yield _refused("root-of-another-tree", "signed over another tree's root", "GRANT_PROOF", wrong)
    wrong = replace(made, values={"product_id": OTHER_PRODUCT}).grant(DEVICE_1_UID)
    yield _refused("product-of-another", "product id differs in its last byte", "WRONG_PRODUCT", wrong)
    for name, device in (
        ("locked", "locked-with-keys"),
        ("in-rma", "rma-without-keys"),
        ("decommissioned", "decommissioned"),
    ):
        yield _refused(f"lifecycle-{name}", f"a device that is {name}", "LIFECYCLE", grant, device)
    swapped = tuple(
        (uid, key("device-2-agreement")) if uid == DEVICE_1_UID else (uid, agreement)
        for uid, agreement in made.recipients
    )
    wrong = replace(made, recipients=swapped).grant(DEVICE_1_UID)
    yield _refused("for-another-key", "in the tree with another agreement key", "RECIPIENT_UNKNOWN", wrong)
    for name, point in (("off-curve", OFF_CURVE), ("zero", bytes(64))):
        wrong = replace(made, values={"ephemeral_public_key": point}).grant(DEVICE_1_UID)
        yield _refused(f"ephemeral-{name}", "the ephemeral key is no point of the curve", "EPHEMERAL_KEY", wrong)
    yield _refused(
        "without-state", "no readable state: there is nothing to judge by", "NO_STATE", grant, "without-state"
    )


def cases() -> Iterator[ObjectCase]:
    """All of this file."""
    yield from taken()
    yield from shape()
    yield from signer()
    yield from rules()
