"""Well-formed work orders and activations, taken or refused: `docs/spec/activation.md`, checks 2 to 6."""

from __future__ import annotations

from collections.abc import Iterator

from tests.vectors.generator import p256
from tests.vectors.generator.injection import (
    Wrapped,
    pkcs7_padded,
    private_key_info,
    wrap,
    zero_padded,
)
from tests.vectors.generator.keys import ephemeral_key, key
from tests.vectors.generator.object_case import ObjectCase
from tests.vectors.generator.object_world import (
    NONCE,
    OPERATIONAL,
    QUOTA,
    TWO_STATIONS,
    activation_plan,
    fingerprint,
    order_plan,
    receipt_plan,
    stations,
)
from tests.vectors.generator.objects import ACTIVATION, RECEIPT, WORK_ORDER, Plan, text
from tests.vectors.generator.package import Value
from tests.vectors.generator.primitives import derived_bytes, sha256
from tests.vectors.generator.world import DEVICE_2_UID, OTHER_PRODUCT

TAKER = "locked-with-keys"
GROUP, INJECTED = "group-lot-1-agreement", "device-1-injected-agreement"
Change = tuple[str, str, str, dict[str, Value]]


def _refused(
    name: str, words: str, code: str, order: bytes, activation: bytes, device: str = TAKER, nonce: bytes | None = NONCE
) -> ObjectCase:
    return ObjectCase(f"activation-{name}", words, "activation", code, "rules", order + activation, device, nonce)


def _taken(name: str, words: str, order: Plan, activation: Plan, device: str = TAKER) -> ObjectCase:
    raw_order, raw_activation = order.make(), activation.make()
    injected = activation.values["injected"]
    agreement = key(INJECTED if isinstance(injected, int) and injected & 2 else "device-1-agreement")
    receipt = receipt_plan(ACTIVATION.digest(raw_activation), OPERATIONAL).having(agreement_public_key=agreement.public)
    fields = {
        "work_order": {**order.values, "digest": WORK_ORDER.digest(raw_order)},
        "activation": {**activation.values, "digest": ACTIVATION.digest(raw_activation)},
    }
    return ObjectCase(
        f"activation-{name}",
        words,
        "activation",
        "OK",
        "complete",
        raw_order + raw_activation,
        device,
        NONCE,
        fields=fields,
        answer=receipt.make()[: RECEIPT.signature_offset],
    )


def taken() -> Iterator[ObjectCase]:
    """The plain case, and each bound from inside."""
    order = order_plan()
    plan = activation_plan(order.make())
    yield _taken("plain", "nothing injected", order, plan)
    first, second = fingerprint("station-1"), fingerprint("station-2")
    quotas = dict(TWO_STATIONS)
    rows: tuple[tuple[str, str, dict[str, Value]], ...] = (
        ("sequence-first", "the first of its station", {"sequence": 1}),
        ("serial-none", "no serial number", {"serial": bytes(32)}),
        ("serial-full", "a serial number of 32 characters", {"serial": text("~" * 31 + " ", 32)}),
        ("sequence-last", "the last of its station's sub-quota", {"sequence": quotas[first]}),
        ("second-station", "the last of the other station's", {"station": second, "sequence": quotas[second]}),
    )
    for name, words, change in rows:
        yield _taken(name, words, order, plan.having(**change))
    eight = sorted((derived_bytes(f"Strongroom test station {n}", 32), 1_250_000) for n in range(7))
    eight = sorted([*eight, (first, 1_250_000)])
    orders: tuple[tuple[str, str, dict[str, Value]], ...] = (
        (
            "stations-8",
            "eight stations, the greatest quota",
            {"quota": 10_000_000, "station_count": 8, "stations": stations(*eight)},
        ),
        (
            "quota-1",
            "one device",
            {"quota": 1, "station_count": 1, "stations": stations((first, 1))},
        ),
        ("revision-only", "this hardware revision only", {"hardware_revision_min": 3, "hardware_revision_max": 3}),
        ("no-protection", "no protection demanded", {"protection_required": 0}),
        ("times-greatest", "the greatest times", {"not_before": 2**64 - 2, "not_after": 2**64 - 1}),
        ("sub-quotas-below", "sub-quotas below the quota", {"quota": QUOTA + 1}),
    )
    for name, words, change in orders:
        changed = order.having(**change)
        yield _taken(name, words, changed, activation_plan(changed.make()).having(sequence=1))
    no_protection = order.having(protection_required=1)
    words = "the demanded flag is set, others are not"
    unprotected = _taken(
        "protection-enough", words, no_protection, activation_plan(no_protection.make()), "locked-unprotected"
    )
    answer = unprotected.answer
    if answer is None:
        raise ValueError("it was taken")
    yield ObjectCase(
        unprotected.name,
        words,
        "activation",
        "OK",
        "complete",
        unprotected.file,
        "locked-unprotected",
        NONCE,
        fields=unprotected.fields,
        answer=answer[:216] + b"\x01\x00" + answer[218:],
    )
    for signature in (p256.with_high_s, p256.with_low_s):
        raw = order.make()
        signed = Plan(order.kind, order.values, order.signer, signature=signature(raw[576:]))
        name = signature.__name__.removeprefix("with_").replace("_", "-")
        yield _taken(name, "either value of s counts", signed, activation_plan(signed.make()))


def signers() -> Iterator[ObjectCase]:
    """Checks 3 and 4."""
    good = order_plan()
    for name, signer_name, code in (
        ("revoked", "production-revoked", "SIGNER_REVOKED"),
        ("stranger", "stranger", "SIGNER_UNKNOWN"),
        ("of-another-role", "service-1", "SIGNER_UNKNOWN"),
    ):
        wrong = good.having(signer_key_id=key(signer_name).key_id).signed_by(key(signer_name)).make()
        words = f"the order is signed by {signer_name}"
        yield _refused(f"order-signer-{name}", words, code, wrong, activation_plan(wrong).make())
    orders = (
        ("by-another", "signed by a stranger in the production key's name", good.signed_by(key("stranger"))),
        ("context", "signed in the context of a factory test", good.signed_by(key("production-1"), "SR-pkg-test-v1")),
        ("zero", "prepared, and not signed", good.signed_by(None)),
        ("s-zero", "s = 0", good.with_signature(good.make()[576:608] + bytes(32))),
        ("r-n", "r = n", good.with_signature(p256.N.to_bytes(32, "big") + good.make()[608:])),
    )
    for name, words, plan in orders:
        wrong = plan.make()
        yield _refused(f"order-signature-{name}", words, "SIGNATURE_INVALID", wrong, activation_plan(wrong).make())
    raw = good.make()
    raised = raw[:58] + b"\1" + raw[59:]  # quota 100 becomes 65,636
    words = "the quota was raised after signing"
    yield _refused("order-changed", words, "SIGNATURE_INVALID", raised, activation_plan(raised).make())
    revoked = good.having(lot_public_key=key("lot-revoked").public).make()
    plan = activation_plan(revoked).signed_by(key("lot-revoked"))
    yield _refused("lot-key-revoked", "the lot's key leaked, and was revoked", "SIGNER_REVOKED", revoked, plan.make())

    plan = activation_plan(raw)
    other = activation_plan(good.having(quota=QUOTA + 1).make()).make()
    yield _refused("of-another-order", "made for an order that differs in its quota", "WRONG_ORDER", raw, other)
    zero = plan.having(order_digest=bytes(32)).make()
    yield _refused("order-digest-zero", "names no order", "WRONG_ORDER", raw, zero)
    activations = (
        ("by-another-lot", "signed with another lot's key", plan.signed_by(key("lot-2"))),
        ("by-production", "signed with the production key", plan.signed_by(key("production-1"))),
        ("context", "signed in the context of an order", plan.signed_by(key("lot-1"), "SR-order-v1")),
        ("zero", "not signed", plan.signed_by(None)),
    )
    for name, words, wrong_plan in activations:
        yield _refused(f"signature-{name}", words, "SIGNATURE_INVALID", raw, wrong_plan.make())
    made = plan.make()
    for name, at in (("uid", 8), ("serial", 255 - 20), ("certificate", 192)):
        changed = made[:at] + bytes((made[at] ^ 1,)) + made[at + 1 :]
        yield _refused(f"{name}-changed", f"byte {at} changed after signing", "SIGNATURE_INVALID", raw, changed)


def states() -> Iterator[ObjectCase]:
    """Check 2, and what has no readable state."""
    order = order_plan().make()
    activation = activation_plan(order).make()
    for device, code in (
        ("operational-activated", "LIFECYCLE"),
        ("rma-without-keys", "LIFECYCLE"),
        ("decommissioned", "LIFECYCLE"),
        ("without-state", "NO_STATE"),
    ):
        words = f"the right activation, on a device that is `{device}`"
        yield _refused(f"on-{device}", words, code, order, activation, device)
    words = "the device has made no keys yet"
    yield _refused("without-keys", words, "NO_KEYS", order, activation, "locked-without-keys", None)


def order_rules() -> Iterator[ObjectCase]:
    """Check 5, where it is about the order."""
    good = order_plan()
    rows: tuple[Change, ...] = (
        ("product-of-another", "product id differs in its last byte", "WRONG_PRODUCT", {"product_id": OTHER_PRODUCT}),
        ("lot-of-another", "another lot", "WRONG_LOT", {"lot": text("LOT-2026-4", 16)}),
        ("revisions-above", "revisions 4 to 5, this is 3", "WRONG_HARDWARE_REVISION", {"hardware_revision_min": 4}),
        ("revisions-below", "revisions 2, this is 3", "WRONG_HARDWARE_REVISION", {"hardware_revision_max": 2}),
        ("bundle-minimum", "trust bundle 2 is demanded", "WRONG_ORDER", {"trust_bundle_version_min": 2}),
        ("protection-missing", "level 2 is demanded", "PROTECTION_MISSING", {"protection_required": 2}),
    )
    for name, words, code, change in rows:
        order = good.having(**change).make()
        yield _refused(name, words, code, order, activation_plan(order).make())
    order = good.make()
    words = "write protection, brown-out level and debug port are demanded and not set"
    activation = activation_plan(order).make()
    yield _refused("protection-others", words, "PROTECTION_MISSING", order, activation, "locked-unprotected")


def activation_rules() -> Iterator[ObjectCase]:
    """Check 5, where it is about the activation."""
    order = order_plan().make()
    plan = activation_plan(order)
    rows: tuple[Change, ...] = (
        ("uid-of-another", "another device", "WRONG_DEVICE", {"uid": DEVICE_2_UID}),
        ("nonce-of-another", "another challenge", "WRONG_NONCE", {"nonce": derived_bytes("another nonce", 32)}),
        (
            "nonce-last-byte",
            "one bit of the nonce differs",
            "WRONG_NONCE",
            {"nonce": NONCE[:31] + bytes((NONCE[31] ^ 1,))},
        ),
        (
            "identity-of-another",
            "another identity key",
            "WRONG_KEYS",
            {"identity_key_digest": sha256(key("device-2-identity").public)},
        ),
        (
            "agreement-of-another",
            "another agreement key",
            "WRONG_KEYS",
            {"agreement_key_digest": sha256(key("device-2-agreement").public)},
        ),
        ("station-of-none", "a station that the order does not name", "WRONG_ORDER", {"station": sha256(b"elsewhere")}),
        ("station-zero", "no station: not what unused entries hold", "WRONG_ORDER", {"station": bytes(32)}),
        (
            "sequence-beyond",
            "sequence 61 of a sub-quota of 60",
            "WRONG_ORDER",
            {"sequence": dict(TWO_STATIONS)[fingerprint("station-1")] + 1},
        ),
        (
            "sequence-beyond-own",
            "within the quota and the other's sub-quota, beyond its own",
            "WRONG_ORDER",
            {"station": fingerprint("station-2"), "sequence": 41},
        ),
        ("sequence-greatest", "sequence 4,294,967,295", "WRONG_ORDER", {"sequence": 2**32 - 1}),
        (
            "bundle-too-old",
            "made for trust bundle 2, the device has 1",
            "TRUST_BUNDLE_TOO_OLD",
            {"trust_bundle_version": 2},
        ),
        ("bundle-below-minimum", "below the order's minimum", "WRONG_ORDER", {"trust_bundle_version": 0}),
    )
    for name, words, code, change in rows:
        yield _refused(name, words, code, order, plan.having(**change).make())
    words = "no challenge is outstanding"
    yield _refused("nonce-none", words, "WRONG_NONCE", order, plan.make(), nonce=None)
    zero = plan.having(nonce=bytes(32)).make()
    yield _refused(
        "nonce-none-and-zero", "no challenge is outstanding; the nonce is zero", "WRONG_NONCE", order, zero, nonce=None
    )
    two_faults = plan.having(uid=DEVICE_2_UID, nonce=bytes(32), sequence=61).make()
    yield _refused("uid-first", "device, nonce and sequence are wrong", "WRONG_DEVICE", order, two_faults)


# --- injected keys ---


def _injecting(bits: int, group: Wrapped | None, agreement: Wrapped | None) -> tuple[Plan, Plan]:
    change: dict[str, Value] = {"inject": bits}
    if bits & 1:
        change["group_public_key"] = key(GROUP).public
    order = order_plan().having(**change)
    keys: dict[str, Value] = {}
    if group is not None:
        keys["group_key"] = group.entry
    if agreement is not None:
        keys["agreement_key"] = key(INJECTED).public + agreement.entry
    return order, activation_plan(order.make()).having(**keys)


def _wrapped(name: str, private: int, *, with_public: bool = False, to: str = "device-1-agreement") -> Wrapped:
    der = private_key_info(private, with_public_key=with_public)
    padded = pkcs7_padded(der) if with_public else zero_padded(der)
    return wrap(padded, ephemeral_key(f"injection of {name}"), key(to).public)


def injected() -> Iterator[ObjectCase]:
    """Keys that unwrap."""
    for with_public, words in ((False, "67 bytes and zeros"), (True, "138 bytes and PKCS#7 padding")):
        form = "long" if with_public else "short"
        group = _wrapped(f"group {form}", key(GROUP).private, with_public=with_public)
        yield _taken(f"group-injected-{form}", f"the group's key: {words}", *_injecting(1, group, None))
        own = _wrapped(f"agreement {form}", key(INJECTED).private, with_public=with_public)
        yield _taken(f"agreement-injected-{form}", f"an agreement key: {words}", *_injecting(2, None, own))
        yield _taken(f"both-injected-{form}", f"both keys: {words}", *_injecting(3, group, own))
    order = order_plan()
    group = _wrapped("unasked", key(GROUP).private)
    plan = activation_plan(order.make()).having(injected=1, group_key=group.entry)
    words = "a key that the order does not inject"
    yield _refused("injected-unasked", words, "WRONG_ORDER", order.make(), plan.make())
    order, plan = _injecting(1, group, None)
    plan = plan.having(injected=0, group_key=bytes(224))
    words = "a key that the order injects is missing"
    yield _refused("injected-missing", words, "WRONG_ORDER", order.make(), plan.make())


def _not_unwrapping(private: int) -> Iterator[tuple[str, str, Wrapped]]:
    right = _wrapped("faults", private)
    der = private_key_info(private)
    ephemeral, own = ephemeral_key("injection of faults"), key("device-1-agreement").public

    def of(padded: bytes) -> Wrapped:
        return wrap(padded, ephemeral, own)

    yield "for-another-device", "wrapped for another device", _wrapped("faults", private, to="device-2-agreement")
    flipped = right.wrapped[:40] + bytes((right.wrapped[40] ^ 1,)) + right.wrapped[41:]
    yield "changed", "one bit of the wrapped key changed", Wrapped(right.ephemeral, flipped)
    yield "cut", "the last block is missing", Wrapped(right.ephemeral, right.wrapped[:-8])
    yield "other-ephemeral", "another ephemeral key", Wrapped(key("stranger").public, right.wrapped)
    off = right.ephemeral[:63] + bytes((right.ephemeral[63] ^ 1,))
    yield "ephemeral-off-curve", "the ephemeral key is no point", Wrapped(off, right.wrapped)
    yield "ephemeral-zero", "the ephemeral key is zero", Wrapped(bytes(64), right.wrapped)
    yield "no-der", "something that is no key", of(derived_bytes("no key", 72))
    yield "der-longer-than-it-is", "an outer SEQUENCE that reaches beyond the end", of(b"\x30\x7f" + der[2:] + bytes(5))
    p384 = der.replace(bytes.fromhex("06082a8648ce3d030107"), bytes.fromhex("06082a8648ce3d030108"))
    yield "other-curve", "a key that names another curve", of(zero_padded(p384))
    yield "another-key", "a key, but not the announced one", of(zero_padded(private_key_info(key("stranger").private)))
    for name, scalar in (("zero", 0), ("n", p256.N), ("greatest", 2**256 - 1)):
        yield f"scalar-{name}", "a scalar that is none", of(zero_padded(private_key_info(scalar)))


def not_injected() -> Iterator[ObjectCase]:
    """KEY_INJECTION."""
    for name, words, group in _not_unwrapping(key(GROUP).private):
        order, plan = _injecting(1, group, None)
        yield _refused(f"group-{name}", f"group key: {words}", "KEY_INJECTION", order.make(), plan.make())
    for name, words, own in _not_unwrapping(key(INJECTED).private):
        order, plan = _injecting(2, None, own)
        yield _refused(f"agreement-{name}", f"agreement key: {words}", "KEY_INJECTION", order.make(), plan.make())
    order, plan = _injecting(2, None, _wrapped("announced", key(INJECTED).private))
    announced = plan.over(480, key("device-2-agreement").public)
    words = "an agreement key other than the public key beside it"
    yield _refused("agreement-announced-other", words, "KEY_INJECTION", order.make(), announced.make())


def cases() -> Iterator[ObjectCase]:
    """All of this file."""
    yield from taken()
    yield from signers()
    yield from states()
    yield from order_rules()
    yield from activation_rules()
    yield from injected()
    yield from not_injected()
