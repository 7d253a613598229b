"""Authentic heads whose content key, chunks or image are not what the head says: codes 401 to 404."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

from tests.vectors.generator import p256
from tests.vectors.generator.keys import ephemeral_key, key
from tests.vectors.generator.package import Package, PackagePlan, laid_over, make, wrap_pad
from tests.vectors.generator.package_case import PackageCase, case, with_fields
from tests.vectors.generator.primitives import aes256_ctr, context, derived_bytes, sha256, xor
from tests.vectors.generator.world import (
    DEVICE_1_UID,
    OTHER_PRODUCT,
    app_plan,
    device_mode_plan,
    factory_test_plan,
    firmware_image,
)


def ephemeral_points() -> Iterator[PackageCase]:
    """EPHEMERAL_KEY: the signed head carries something that is not a point of P-256."""
    valid = ephemeral_key("ephemeral-off-curve").public
    x, y = p256.decode_point(valid)
    rows = (
        ("off-curve", p256.encode_point((x, (y + 1) % p256.P)), "y + 1 for y"),
        ("x-only", valid[:32] + bytes(32), "y is zero"),
        ("x-not-reduced", p256.P.to_bytes(32, "big") + valid[32:], "x is the field's prime"),
        ("y-not-reduced", valid[:32] + b"\xff" * 32, "y is 2^256 − 1"),
        ("little-endian", valid[:32][::-1] + valid[32:][::-1], "coordinates little-endian"),
        ("halves-swapped", valid[32:] + valid[:32], "Y ‖ X"),
    )
    for name, point, words in rows:
        plan = with_fields(app_plan(f"ephemeral-{name}"), ephemeral_public_key=point)
        yield case(plan, words, "EPHEMERAL_KEY", "recipient")


def wrapped_otherwise(plan: PackagePlan, wrapped_as: PackagePlan, recipient: str) -> PackagePlan:
    """The plan with its content key wrapped as if it were `wrapped_as`, for that recipient's key."""
    pad = wrap_pad(wrapped_as, ephemeral_key(plan.name), key(recipient).public)
    return with_fields(plan, wrapped_cek=xor(plan.cek, pad))


def content_keys() -> Iterator[PackageCase]:
    """CEK_COMMITMENT: the unwrapped key is not the one committed to."""
    plan = replace(app_plan("cek-commitment-to-another"), commitment_key=derived_bytes("another content key", 32))
    yield case(plan, "cek_commitment is that of another key", "CEK_COMMITMENT", "recipient")
    plan = app_plan("cek-commitment-without-salt")
    plan = with_fields(plan, cek_commitment=sha256(context("SR-cek-v1"), plan.cek))
    yield case(plan, "cek_commitment leaves the salt out", "CEK_COMMITMENT", "recipient")
    plan = app_plan("wrapped-cek-bit-changed")
    wrapped = make(plan).head[312:344]
    plan = with_fields(plan, wrapped_cek=wrapped[:31] + bytes((wrapped[31] ^ 1,)))
    yield case(plan, "one bit of wrapped_cek differs, properly signed", "CEK_COMMITMENT", "recipient")
    plan = with_fields(app_plan("wrapped-cek-all-zero"), wrapped_cek=bytes(32))
    yield case(plan, "wrapped_cek is zero: well-formed, but not this key", "CEK_COMMITMENT", "recipient")

    plan = app_plan("wrapped-for-another-recipient")
    plan = wrapped_otherwise(plan, plan, "group-lot-2-agreement")
    yield case(plan, "wrapped for another group, under this group's key id", "CEK_COMMITMENT", "recipient")
    group, device = "group-lot-1-agreement", "device-1-agreement"
    one_uid = replace(app_plan("wrapped-without-uid"), target=1, target_uid=DEVICE_1_UID)
    rows = (
        (one_uid, replace(one_uid, bound_uid=bytes(16)), group, "info has a zero UID though target is 1"),
        (
            app_plan("wrapped-with-uid"),
            replace(app_plan(""), bound_uid=DEVICE_1_UID),
            group,
            "info has a UID though target is 0",
        ),
        (
            app_plan("wrapped-as-device-mode"),
            replace(app_plan(""), recipient_mode=1),
            group,
            "info has recipient mode 1",
        ),
        (
            device_mode_plan("wrapped-as-group-mode"),
            replace(device_mode_plan(""), recipient_mode=2),
            device,
            "info has recipient mode 2",
        ),
        (
            app_plan("wrapped-for-another-product"),
            replace(app_plan(""), product_id=OTHER_PRODUCT),
            group,
            "info has another product id",
        ),
        (app_plan("wrapped-with-another-salt"), app_plan("another"), group, "info has another salt"),
    )
    for plan, wrapped_as, recipient, words in rows:
        if "salt" not in words:
            wrapped_as = replace(wrapped_as, name=plan.name)  # noqa: PLW2901 - the salt follows from the name
        yield case(wrapped_otherwise(plan, wrapped_as, recipient), words, "CEK_COMMITMENT", "recipient")


def with_payload(package: Package, chunks: tuple[bytes, ...], description: str) -> PackageCase:
    """A vector with CHUNK_HASH, made by changing the chunks of a finished package."""
    file = package.head + b"".join(chunks) + package.trailer
    return PackageCase(package.plan.name, description, "CHUNK_HASH", "payload", package, file)


def flipped(chunk: bytes, at: int) -> bytes:
    """The chunk with the lowest bit of one byte changed."""
    at %= len(chunk)
    return laid_over(chunk, at, bytes((chunk[at] ^ 1,)))


def two_chunks(name: str) -> Package:
    """A package of one full and one short chunk."""
    return make(app_plan(name, firmware_image("application", 4096 + 64)))


def chunks() -> Iterator[PackageCase]:
    """CHUNK_HASH: chunks changed, exchanged, repeated or taken from elsewhere after signing."""
    for name, index, at, words in (
        ("chunk-0-first-byte", 0, 0, "one bit of the first byte of chunk 0"),
        ("chunk-0-last-data-byte", 0, 4095, "one bit of the last data byte of chunk 0"),
        ("chunk-0-link", 0, -1, "one bit of the link that chunk 0 carries"),
        ("chunk-1-first-byte", 1, 0, "one bit of the first byte of the last chunk"),
        ("chunk-1-zero-link", 1, -1, "one bit of the zero link in the last chunk"),
    ):
        package = two_chunks(name)
        parts = list(package.chunks)
        parts[index] = flipped(parts[index], at)
        yield with_payload(package, tuple(parts), words)

    three = app_plan("chunks-reordered", firmware_image("application", 2 * 4096 + 20))
    package = make(three)
    first, second, last = package.chunks
    yield with_payload(package, (second, first, last), "chunks 0 and 1 exchanged")
    package = make(replace(three, name="chunk-repeated"))
    first, second, last = package.chunks
    yield with_payload(package, (first, first, last), "chunk 0 again in place of chunk 1")
    package = make(replace(three, name="chunk-left-out"))
    first, second, last = package.chunks
    filler = bytes(len(second))
    yield with_payload(package, (first, last, filler), "chunk 1 left out; zeros at the end keep the size")
    package, other = two_chunks("chunk-of-another-package"), two_chunks("chunk-0-first-byte")
    yield with_payload(package, (other.chunks[0], package.chunks[1]), "chunk 0 of another package of the same image")
    package = make(factory_test_plan("plaintext-chunk-changed"))
    changed = with_payload(package, (flipped(package.chunks[0], 10),), "one bit of a plaintext payload")
    yield replace(changed, device="locked")


def chains() -> Iterator[PackageCase]:
    """CHUNK_HASH: a signed head whose chain itself is made wrongly."""
    image = firmware_image("application", 100)
    plan = replace(app_plan("last-link-not-zero", image), last_link=derived_bytes("a link to nowhere", 32))
    yield case(plan, "the chain is sound, but its last link is not zero", "CHUNK_HASH", "payload")
    plan = replace(app_plan("last-link-one-bit", image), last_link=bytes(31) + b"\x01")
    yield case(plan, "the chain is sound, but its last link has one bit set", "CHUNK_HASH", "payload")
    plan = app_plan("first-link-of-plaintext", image)
    link = sha256(context("SR-chunk-v1"), bytes(4), image, bytes(32))
    yield case(with_fields(plan, first_link=link), "first_link is over the plaintext", "CHUNK_HASH", "payload")
    plan = app_plan("first-link-without-index", image)
    link = sha256(context("SR-chunk-v1"), aes256_ctr(plan.cek, image), bytes(32))
    yield case(with_fields(plan, first_link=link), "first_link leaves the index out", "CHUNK_HASH", "payload")
    plan = app_plan("chain-index-big-endian", firmware_image("application", 4096 + 64))
    text = aes256_ctr(plan.cek, plan.image)
    second = text[4096:] + bytes(32)
    wrong_link = sha256(context("SR-chunk-v1"), (1).to_bytes(4, "big"), second)
    first = text[:4096] + wrong_link
    package = make(with_fields(plan, first_link=sha256(context("SR-chunk-v1"), bytes(4), first)))
    yield with_payload(package, (first, second), "the index of chunk 1 is hashed big-endian")


def images() -> Iterator[PackageCase]:
    """IMAGE_DIGEST: every chunk is authentic, the image is not the one digested."""
    plan = replace(app_plan("image-digest-of-another"), digested_image=firmware_image("another", 100))
    yield case(plan, "image_digest is that of another image", "IMAGE_DIGEST", "image")
    plan = app_plan("image-digest-without-salt")
    plan = with_fields(plan, image_digest=sha256(context("SR-image-v1"), plan.image))
    yield case(plan, "image_digest leaves the salt out", "IMAGE_DIGEST", "image")
    plan = app_plan("image-digest-of-ciphertext")
    digest = sha256(context("SR-image-v1"), plan.salt, aes256_ctr(plan.cek, plan.image))
    yield case(with_fields(plan, image_digest=digest), "image_digest is over the ciphertext", "IMAGE_DIGEST", "image")


def cases() -> Iterator[PackageCase]:
    """All of this file."""
    yield from ephemeral_points()
    yield from content_keys()
    yield from chunks()
    yield from chains()
    yield from images()
