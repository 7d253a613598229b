"""Work orders and activations that a parser refuses by themselves: `docs/spec/activation.md`, check 1."""

from __future__ import annotations

from collections.abc import Iterator

from tests.vectors.generator.cases_grants import OFF_CURVE
from tests.vectors.generator.injection import SIZE_OFFSET, WRAPPED_OFFSET, ZERO_OFFSET
from tests.vectors.generator.keys import key
from tests.vectors.generator.object_case import ObjectCase
from tests.vectors.generator.object_world import (
    NONCE,
    TWO_STATIONS,
    activation_plan,
    fingerprint,
    order_plan,
    stations,
)
from tests.vectors.generator.package import Value
from tests.vectors.generator.primitives import derived_bytes, u16
from tests.vectors.generator.world import PROTECTION

TAKER = "locked-with-keys"
GROUP_KEY_OFFSET, AGREEMENT_KEY_OFFSET = 256, 480 + 64  # where the wrapped part of each injected key begins

Change = tuple[str, str, dict[str, Value]]

ORDER_FIELDS: tuple[Change, ...] = (
    ("order-id-zero", "no order id", {"order_id": bytes(16)}),
    ("order-id-erased", "an order id that reads like erased flash", {"order_id": b"\xff" * 16}),
    ("product-zero", "no product id", {"product_id": bytes(16)}),
    ("lot-zero", "no lot", {"lot": bytes(16)}),
    ("lot-control-character", "a line feed in the lot", {"lot": b"LOT\n".ljust(16, b"\0")}),
    ("lot-delete", "0x7F in the lot", {"lot": b"LOT\x7f".ljust(16, b"\0")}),
    ("lot-not-ascii", "a byte of 0xE4 in the lot", {"lot": b"LOT\xe4".ljust(16, b"\0")}),
    ("lot-behind-its-end", "a character behind the padding", {"lot": b"LOT\0X".ljust(16, b"\0")}),
    ("lot-zero-first", "the padding stands in front", {"lot": b"LOT".rjust(16, b"\0")}),
    ("quota-0", "no device", {"quota": 0}),
    ("quota-beyond", "10,000,001 devices", {"quota": 10_000_001}),
    ("bundle-minimum-0", "trust bundle version 0", {"trust_bundle_version_min": 0}),
    ("no-time", "it ends when it begins", {"not_before": 5, "not_after": 5}),
    ("time-turned-round", "it ends before it begins", {"not_before": 2**63, "not_after": 2**63 - 1}),
    ("revisions-turned-round", "revisions 6 to 5", {"hardware_revision_min": 6}),
    ("stations-0", "no station", {"station_count": 0, "stations": stations()}),
    ("stations-9", "nine stations", {"station_count": 9}),
    ("lot-key-off-curve", "the lot's key is no point", {"lot_public_key": OFF_CURVE}),
    ("lot-key-zero", "the lot's key is zero", {"lot_public_key": bytes(64)}),
    ("group-key-off-curve", "the group's key is no point", {"inject": 1, "group_public_key": OFF_CURVE}),
    ("group-key-zero", "the group's key is to be injected and is zero", {"inject": 1}),
    ("issuing-ca-zero", "no issuing CA", {"issuing_ca": bytes(32)}),
    ("stations-descending", "stations in descending order", {"stations": stations(*TWO_STATIONS[::-1])}),
    ("station-twice", "one station twice", {"stations": stations(*TWO_STATIONS[:1] * 2)}),
    ("sub-quota-0", "a station with a sub-quota of 0", {"stations": stations(TWO_STATIONS[0], (b"\xff" * 32, 0))}),
    ("sub-quotas-beyond", "sub-quotas of 101 in sum", {"stations": stations((b"\1" * 32, 61), (b"\2" * 32, 40))}),
    (
        "sub-quotas-wrap",
        "a sum that wraps in 32 bits",
        {"stations": stations((b"\1" * 32, 1), (b"\2" * 32, 2**32 - 1))},
    ),
    ("signer-zero", "no signer", {"signer_key_id": bytes(8)}),
)
ORDER_RESERVED: tuple[Change, ...] = (
    ("inject-bit-2", "an unknown bit of `inject`", {"inject": 4}),
    ("inject-bit-7", "an unknown bit of `inject`", {"inject": 0x80}),
    ("protection-bit-5", "an unknown protection flag", {"protection_required": PROTECTION | 0x20}),
    ("protection-bit-15", "an unknown protection flag", {"protection_required": 0x8000}),
    ("group-key-unused", "a group key that is not injected", {"group_public_key": key("group-lot-1-agreement").public}),
    ("station-unused", "a third station where two are said", {"stations": stations(*TWO_STATIONS, (b"\xff" * 32, 0))}),
    ("station-unused-last", "the last byte of the last entry", {"stations": stations(*TWO_STATIONS)[:-1] + b"\1"}),
)
START: tuple[tuple[str, str, dict[str, Value]], ...] = (
    ("magic", "OBJECT_MAGIC", {"magic": b"SRX1"}),
    ("version-0", "OBJECT_FORMAT", {"format_version": 0}),
    ("version-2", "OBJECT_FORMAT", {"format_version": 2}),
    ("version-257", "OBJECT_FORMAT", {"format_version": 257}),
    ("suite-0", "OBJECT_FORMAT", {"suite": 0}),
    ("suite-2", "OBJECT_FORMAT", {"suite": 2}),
)


def _case(name: str, words: str, code: str, data: bytes) -> ObjectCase:
    part = "work order" if name.startswith("order-") else "activation"
    given = {"part": part} if len(data) == 640 + 864 else {}
    return ObjectCase(f"activation-{name}", words, "activation", code, "shape", data, TAKER, NONCE, given)


def _good_activation() -> bytes:
    return activation_plan(order_plan().make()).make()


def sizes() -> Iterator[ObjectCase]:
    """OBJECT_SIZE."""
    whole = order_plan().make() + _good_activation()
    for name, data in (
        ("empty", b""),
        ("order-alone", whole[:640]),
        ("activation-alone", whole[640:]),
        ("byte-short", whole[:-1]),
        ("byte-more", whole + b"\0"),
        ("twice", whole + whole),
    ):
        yield _case(f"size-{name}", f"{len(data)} bytes", "OBJECT_SIZE", data)


def order_shape() -> Iterator[ObjectCase]:
    """What is wrong with the order; the activation behind it is made for it, and right."""
    rows = [(f"order-{name}", name, code, order_plan().having(**change)) for name, code, change in START]
    for offset in (87, 544, 575):
        words = f"reserved byte {offset} is not zero"
        rows.append((f"order-reserved-{offset}", words, "OBJECT_RESERVED", order_plan().over(offset, b"\1")))
    for changes, code in ((ORDER_RESERVED, "OBJECT_RESERVED"), (ORDER_FIELDS, "OBJECT_FIELD")):
        rows += [(f"order-{name}", words, code, order_plan().having(**change)) for name, words, change in changes]
    for name, words, code, plan in rows:
        order = plan.make()
        injected = {"injected": 0}
        yield _case(name, words, code, order + activation_plan(order).having(**injected).make())


def activation_shape() -> Iterator[ObjectCase]:
    """What is wrong with the activation, behind a right order."""
    order = order_plan().make()
    plan = activation_plan(order)
    rows = [(name, name, code, plan.having(**change)) for name, code, change in START]
    for offset in (768, 799):
        words = f"reserved byte {offset} is not zero"
        rows.append((f"reserved-{offset}", words, "OBJECT_RESERVED", plan.over(offset, b"\1")))
    for bit in (4, 0x80):
        words = "an unknown bit of `injected`"
        rows.append((f"injected-{bit}", words, "OBJECT_RESERVED", plan.having(injected=bit)))
    for name, offset in (("group", 256), ("group", 479), ("agreement", 480), ("agreement", 767)):
        words = f"byte {offset} of an injected key that is not injected"
        rows.append((f"{name}-key-unused-{offset}", words, "OBJECT_RESERVED", plan.over(offset, b"\1")))
    changes: tuple[Change, ...] = (
        ("sequence-0", "sequence 0", {"sequence": 0}),
        ("certificate-zero", "no certificate", {"certificate_digest": bytes(32)}),
        ("serial-not-text", "a control character in the serial number", {"serial": b"\x1b[2J".ljust(32, b"\0")}),
        ("serial-behind-its-end", "a character behind the padding", {"serial": b"SN\0".ljust(31, b"\0") + b"1"}),
    )
    rows += [(name, words, "OBJECT_FIELD", plan.having(**change)) for name, words, change in changes]
    for name, words, code, wrong in rows:
        yield _case(name, words, code, order + wrong.make())


def injected_shape() -> Iterator[ObjectCase]:
    """Sizes and unused bytes of injected keys."""
    order = order_plan().having(inject=3, group_public_key=key("group-lot-1-agreement").public).make()
    filled = derived_bytes("something wrapped", 80)
    entry = key("stranger").public + u16(80) + bytes(6) + filled.ljust(152, b"\0")
    plan = activation_plan(order).having(group_key=entry, agreement_key=key("stranger").public + entry)
    for name, start in (("group", GROUP_KEY_OFFSET), ("agreement", AGREEMENT_KEY_OFFSET)):
        for size in (0, 16, 23, 81, 160, 0xFFF8):
            wrong = plan.over(start + SIZE_OFFSET, u16(size))
            # A size of 0 to 80 makes bytes behind it count as unused, which is looked at first.
            code = "OBJECT_RESERVED" if size < 80 else "OBJECT_FIELD"
            yield _case(f"{name}-wrapped-size-{size}", f"{size} wrapped bytes", code, order + wrong.make())
        bare = plan.over(start + WRAPPED_OFFSET, bytes(152))
        for size in (0, 16):
            wrong = bare.over(start + SIZE_OFFSET, u16(size))
            words = f"{size} wrapped bytes, all zero"
            yield _case(f"{name}-wrapped-zero-size-{size}", words, "OBJECT_FIELD", order + wrong.make())
        for at in (ZERO_OFFSET, ZERO_OFFSET + 5, WRAPPED_OFFSET + 80, WRAPPED_OFFSET + 151):
            wrong = plan.over(start + at, b"\1")
            words = f"byte {at} of the injected key is not zero"
            yield _case(f"{name}-key-reserved-{at}", words, "OBJECT_RESERVED", order + wrong.make())


def first_check_first() -> Iterator[ObjectCase]:
    """Two faults: the one that the order of the checks puts first is told."""
    bad_order = order_plan().having(quota=0).make()
    wrong = activation_plan(bad_order).having(magic=b"SRX1").make()
    words = "a field of the order and the activation's magic: the order comes first"
    yield _case("order-first", words, "OBJECT_FIELD", bad_order + wrong)
    words = "a field and a reserved byte of the order: reserved comes first"
    both = order_plan().having(quota=0).over(575, b"\1").make()
    yield _case("order-reserved-first", words, "OBJECT_RESERVED", both + activation_plan(both).make())
    stranger = (
        order_plan()
        .signed_by(key("stranger"))
        .having(stations=stations((fingerprint("station-1"), 0), (b"\xff" * 32, 1)))
        .make()
    )
    words = "a sub-quota of 0, signed by a stranger: shape comes before signatures"
    yield _case("order-shape-first", words, "OBJECT_FIELD", stranger + activation_plan(stranger).make())


def cases() -> Iterator[ObjectCase]:
    """All of this file."""
    yield from sizes()
    yield from order_shape()
    yield from activation_shape()
    yield from injected_shape()
    yield from first_check_first()
