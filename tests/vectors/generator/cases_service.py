"""Service orders, taken or refused: `docs/spec/service-order.md`."""

from __future__ import annotations

from collections.abc import Iterator

from tests.vectors.generator import p256
from tests.vectors.generator.keys import key
from tests.vectors.generator.object_case import ObjectCase
from tests.vectors.generator.object_world import (
    DECOMMISSIONED,
    LOCKED,
    NONCE,
    OPERATIONAL,
    RMA,
    receipt_plan,
    service_plan,
)
from tests.vectors.generator.objects import RECEIPT, SERVICE_ORDER, Plan, text
from tests.vectors.generator.package import Value
from tests.vectors.generator.primitives import derived_bytes, u32
from tests.vectors.generator.world import DEVICE_2_UID, OTHER_PRODUCT

TAKER = "operational-activated"
FOLLOWS = {1: RMA, 2: DECOMMISSIONED, 3: LOCKED, 4: OPERATIONAL}
# device: the actions that its state allows.
ALLOWED = {
    "locked-with-keys": (1, 2),
    "locked-without-keys": (1, 2),
    "operational-activated": (1, 2, 4),
    "rma-without-keys": (2, 3),
    "decommissioned": (),
    "without-state": (3,),
}


def _refused(
    name: str, words: str, code: str, plan: Plan, device: str = TAKER, nonce: bytes | None = NONCE
) -> ObjectCase:
    stage = "shape" if code.startswith("OBJECT_") else "rules"
    return ObjectCase(f"service-{name}", words, "service-order", code, stage, plan.make(), device, nonce)


def _taken(name: str, words: str, plan: Plan, device: str) -> ObjectCase:
    data, action = plan.make(), plan.values["action"]
    if not isinstance(action, int):
        raise TypeError("an action is a number")
    receipt = receipt_plan(SERVICE_ORDER.digest(data), FOLLOWS[action])
    if device not in {"locked-with-keys", "operational-activated", "operational-activated-with-application"}:
        receipt = receipt.having(identity_public_key=bytes(64), agreement_public_key=bytes(64)).signed_by(None)
    fields = {**plan.values, "digest": SERVICE_ORDER.digest(data)}
    answer = receipt.make()[: RECEIPT.signature_offset]
    return ObjectCase(
        f"service-{name}", words, "service-order", "OK", "complete", data, device, NONCE, fields=fields, answer=answer
    )


def matrix() -> Iterator[ObjectCase]:
    """Each action in each state of life."""
    for device, allowed in ALLOWED.items():
        for action in FOLLOWS:
            name, words = f"action-{action}-on-{device}", f"action {action} on a device that is `{device}`"
            if action in allowed:
                yield _taken(name, words, service_plan(action), device)
            else:
                code = "NO_STATE" if device == "without-state" else "LIFECYCLE"
                yield _refused(name, words, code, service_plan(action), device)
    zero_floors = service_plan(3).having(floors=bytes(12))
    yield _taken("floors-zero", "no floors of its own", zero_floors, "rma-without-keys")
    greatest = service_plan(3).having(floors=u32(2**32 - 1) * 3, hardware_revision=0xFFFF, lot=text("~" * 16, 16))
    yield _taken("floors-greatest", "the greatest floors, a lot of 16 characters", greatest, "rma-without-keys")
    high = service_plan(1)
    signed = Plan(high.kind, high.values, high.signer, signature=p256.with_high_s(high.make()[192:]))
    yield _taken("high-s", "a signature with s above n / 2", signed, TAKER)


def shape() -> Iterator[ObjectCase]:
    """OBJECT_SIZE to OBJECT_FIELD."""
    data = service_plan(1).make()
    for name, wrong in (("empty", b""), ("byte-short", data[:-1]), ("byte-more", data + b"\0"), ("twice", data + data)):
        words = f"{len(wrong)} bytes"
        yield ObjectCase(f"service-size-{name}", words, "service-order", "OBJECT_SIZE", "shape", wrong, TAKER, NONCE)
    starts: tuple[tuple[str, str, dict[str, Value]], ...] = (
        ("magic", "OBJECT_MAGIC", {"magic": b"SRV2"}),
        ("version-0", "OBJECT_FORMAT", {"format_version": 0}),
        ("version-2", "OBJECT_FORMAT", {"format_version": 2}),
        ("version-257", "OBJECT_FORMAT", {"format_version": 257}),
        ("suite-0", "OBJECT_FORMAT", {"suite": 0}),
        ("suite-2", "OBJECT_FORMAT", {"suite": 2}),
        ("action-0", "OBJECT_FIELD", {"action": 0}),
        ("action-5", "OBJECT_FIELD", {"action": 5}),
        ("action-255", "OBJECT_FIELD", {"action": 255}),
        ("product-zero", "OBJECT_FIELD", {"product_id": bytes(16)}),
        ("signer-zero", "OBJECT_FIELD", {"signer_key_id": bytes(8)}),
    )
    for name, code, change in starts:
        yield _refused(name, f"signed with {', '.join(change)} wrong", code, service_plan(1).having(**change))
    for name, lot in (("control-character", b"LOT\n"), ("not-ascii", b"LOT\xe4"), ("behind-its-end", b"LOT\0X")):
        plan = service_plan(3).having(lot=lot.ljust(16, b"\0"))
        yield _refused(f"lot-{name}", "a lot that is no text", "OBJECT_FIELD", plan)
    yield _refused("lot-zero", "re-provisioned into no lot", "OBJECT_FIELD", service_plan(3).having(lot=bytes(16)))
    for offset in (90, 91, 112, 191):
        words = f"reserved byte {offset} is not zero"
        yield _refused(f"reserved-{offset}", words, "OBJECT_RESERVED", service_plan(1).over(offset, b"\1"))
        yield _refused(f"again-reserved-{offset}", words, "OBJECT_RESERVED", service_plan(3).over(offset, b"\1"))
    unused: tuple[tuple[str, dict[str, Value]], ...] = (
        ("lot", {"lot": text("LOT", 16)}),
        ("revision", {"hardware_revision": 0x0100}),
        ("floors", {"floors": bytes(11) + b"\1"}),
    )
    for action in (1, 2, 4):
        for name, change in unused:
            words = f"action {action} has no {name}"
            yield _refused(f"unused-{name}-{action}", words, "OBJECT_RESERVED", service_plan(action).having(**change))


def signers() -> Iterator[ObjectCase]:
    """Check 2."""
    good = service_plan(1)
    for name, signer_name, code in (
        ("revoked", "service-revoked", "SIGNER_REVOKED"),
        ("stranger", "stranger", "SIGNER_UNKNOWN"),
        ("of-another-role", "production-1", "SIGNER_UNKNOWN"),
    ):
        wrong = good.having(signer_key_id=key(signer_name).key_id).signed_by(key(signer_name))
        yield _refused(f"signer-{name}", f"signed by {signer_name}", code, wrong)
    right = good.make()[192:]
    rows = (
        ("by-another", "signed by a stranger in the service key's name", good.signed_by(key("stranger"))),
        ("context", "signed in the context of a work order", good.signed_by(key("service-1"), "SR-order-v1")),
        ("zero", "prepared, and not signed", good.signed_by(None)),
        ("s-zero", "s = 0", good.with_signature(right[:32] + bytes(32))),
        ("r-n", "r = n", good.with_signature(p256.N.to_bytes(32, "big") + right[32:])),
        ("action-changed", "the action changed after signing", service_plan(2).with_signature(right)),
    )
    for name, words, plan in rows:
        yield _refused(f"signature-{name}", words, "SIGNATURE_INVALID", plan)
    words = "the genesis bundle at the end of the running copy knows no such key"
    wrong = service_plan(3).having(signer_key_id=key("stranger").key_id).signed_by(key("stranger"))
    yield _refused("without-state-stranger", words, "SIGNER_UNKNOWN", wrong, "without-state")
    wrong = service_plan(3).with_signature(service_plan(3).make()[192:255] + b"\0")
    yield _refused("without-state-changed", "signature changed", "SIGNATURE_INVALID", wrong, "without-state")


def rules() -> Iterator[ObjectCase]:
    """Check 3."""
    rows: tuple[tuple[str, str, str, dict[str, Value]], ...] = (
        ("product-of-another", "product id differs in its last byte", "WRONG_PRODUCT", {"product_id": OTHER_PRODUCT}),
        ("uid-of-another", "another device", "WRONG_DEVICE", {"uid": DEVICE_2_UID}),
        ("nonce-of-another", "another challenge", "WRONG_NONCE", {"nonce": derived_bytes("another nonce", 32)}),
    )
    for name, words, code, change in rows:
        for action, device in ((1, TAKER), (3, "without-state")):
            suffix = "" if device == TAKER else "-without-state"
            yield _refused(f"{name}{suffix}", words, code, service_plan(action).having(**change), device)
    yield _refused("nonce-none", "no challenge is outstanding", "WRONG_NONCE", service_plan(1), nonce=None)
    zero = service_plan(1).having(nonce=bytes(32))
    yield _refused(
        "nonce-none-and-zero", "no challenge is outstanding; the nonce is zero", "WRONG_NONCE", zero, nonce=None
    )
    wrong = service_plan(3).having(uid=DEVICE_2_UID)
    words = "device and state of life are wrong: the device comes first"
    yield _refused("uid-first", words, "WRONG_DEVICE", wrong)


def cases() -> Iterator[ObjectCase]:
    """All of this file."""
    yield from matrix()
    yield from shape()
    yield from signers()
    yield from rules()
