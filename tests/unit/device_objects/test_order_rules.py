"""What a maker refuses of a work order before anybody is asked: WO-20 to WO-28, each with what it lets through."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import msgspec
import pytest

from pki.errors import PolicyViolation
from pki.key_states import KeyState
from pki.roles import Role
from pki.x509_parse import certificate_public_key, parse_certificate
from signer.device_objects.common import Injection, Protection
from signer.device_objects.order_rules import (
    LotKeyFacts,
    ProductTerms,
    protection_of,
    protection_words,
    require_sensible,
)
from signer.device_objects.work_order import StationQuota, WorkOrder
from tests.unit.pki import x509_world as w
from tests.unit.pki.fake.keys import SoftwareKey
from tests.unit.pki.test_lot_ca import LOT_CA_DER, LOT_CA_KEY

NOW = w.NOW
LOT_KEY, GROUP_KEY, SIGNER = SoftwareKey("lot"), SoftwareKey("group"), SoftwareKey("production signer")
FACTS = LotKeyFacts(
    label="sr:lot:pump-x2:0001",
    role=Role.LOT,
    product="pump-x2",
    state=KeyState.ACTIVE,
    not_after=NOW + timedelta(days=365),
    public_key=LOT_KEY.public_key,
)
PRODUCT = ProductTerms(
    name="pump-x2",
    product_id=bytes(range(1, 17)),
    hardware_revision_min=1,
    hardware_revision_max=4,
    protection_required=Protection.READOUT,
    revoked=frozenset(),
    group_public_key=GROUP_KEY.public_key,
)


def seconds(days: float) -> int:
    return int((NOW + timedelta(days=days)).timestamp())


def order(**changed: Any) -> WorkOrder:
    fields: dict[str, Any] = {
        "order_id": b"\x01" * 16,
        "product_id": PRODUCT.product_id,
        "lot": "LOT-2026-11",
        "quota": 3,
        "trust_bundle_version_min": 1,
        "not_before": seconds(0),
        "not_after": seconds(60),
        "protection_required": Protection.READOUT | Protection.BROWN_OUT_LEVEL,
        "hardware_revision_min": 1,
        "hardware_revision_max": 4,
        "lot_public_key": LOT_KEY.public_key,
        "issuing_ca": LOT_CA_KEY.public_key.spki_sha256,
        "stations": (StationQuota(b"\x10" * 32, 3),),
        "signer_key_id": SIGNER.public_key.key_id,
    }
    return WorkOrder(**(fields | changed))


def refused(
    rule_id: str, asked: WorkOrder, *, product: Any = PRODUCT, lot_key: Any = FACTS, ca: bytes = LOT_CA_DER
) -> None:
    with pytest.raises(PolicyViolation) as refusal:
        require_sensible(asked, product, lot_key, ca, NOW)
    assert refusal.value.rule_id == rule_id, refusal.value


def changed_product(**changes: Any) -> ProductTerms:
    return msgspec.structs.replace(PRODUCT, **changes)


def test_a_sensible_order_passes() -> None:
    require_sensible(order(), PRODUCT, FACTS, LOT_CA_DER, NOW)
    waiting = msgspec.structs.replace(FACTS, state=KeyState.PRE_ACTIVATION, not_after=None)
    require_sensible(order(), PRODUCT, waiting, LOT_CA_DER, NOW)
    injecting = order(inject=Injection.GROUP_KEY, group_public_key=GROUP_KEY.public_key)
    require_sensible(injecting, PRODUCT, FACTS, LOT_CA_DER, NOW)


@pytest.mark.parametrize(
    "changes",
    [
        {"role": Role.PRODUCTION},
        {"product": "pump-y3"},
        {"state": KeyState.SUSPENDED},
        {"state": KeyState.COMPROMISED},
        {"state": KeyState.DESTROYED},
        {"public_key": GROUP_KEY.public_key},
    ],
)
def test_wo_20_a_key_that_is_no_lots(changes: dict[str, Any]) -> None:
    refused("WO-20", order(), lot_key=msgspec.structs.replace(FACTS, **changes))


def test_wo_21_a_revoked_lot_key() -> None:
    refused("WO-21", order(), product=changed_product(revoked=frozenset({LOT_KEY.public_key.key_id})))


def test_wo_22_less_protection_than_the_board_demands() -> None:
    refused("WO-22", order(protection_required=Protection.BROWN_OUT_LEVEL))
    require_sensible(order(protection_required=Protection.READOUT), PRODUCT, FACTS, LOT_CA_DER, NOW)


def test_wo_23_hardware_revisions_that_the_product_has_not() -> None:
    refused("WO-23", order(hardware_revision_max=5))
    refused("WO-23", order(hardware_revision_min=0))
    require_sensible(order(hardware_revision_min=2, hardware_revision_max=3), PRODUCT, FACTS, LOT_CA_DER, NOW)


def test_wo_24_an_order_of_another_time() -> None:
    refused("WO-24", order(not_before=seconds(-2), not_after=seconds(0)))
    refused("WO-24", order(not_after=seconds(366)))
    long_lived = msgspec.structs.replace(FACTS, not_after=None)
    refused("WO-24", order(not_after=seconds(731)), lot_key=long_lived)
    require_sensible(order(not_after=seconds(730)), PRODUCT, long_lived, LOT_CA_DER, NOW)
    refused("WO-24", order(not_after=1 << 62), lot_key=long_lived)


def test_wo_25_another_ca() -> None:
    refused("WO-25", order(issuing_ca=b"\x01" * 32))
    production = certificate_public_key(parse_certificate(w.WORLD.production)).spki_sha256
    refused("WO-25", order(issuing_ca=production), ca=w.WORLD.production)
    refused("WO-25", order(), ca=b"no certificate")
    with pytest.raises(PolicyViolation, match="WO-25"):
        require_sensible(order(), PRODUCT, FACTS, LOT_CA_DER, NOW - timedelta(hours=1))


def test_wo_26_another_groups_key() -> None:
    other = order(inject=Injection.GROUP_KEY, group_public_key=SIGNER.public_key)
    refused("WO-26", other)
    refused(
        "WO-26",
        order(inject=Injection.GROUP_KEY, group_public_key=GROUP_KEY.public_key),
        product=changed_product(group_public_key=None),
    )


def test_wo_27_a_revoked_signer() -> None:
    refused("WO-27", order(), product=changed_product(revoked=frozenset({SIGNER.public_key.key_id})))


def test_wo_28_a_station_with_the_lots_or_the_cas_key() -> None:
    for taken in (LOT_KEY, LOT_CA_KEY):
        refused("WO-28", order(stations=(StationQuota(taken.public_key.spki_sha256, 3),)))


def test_protection_in_words() -> None:
    flags = protection_of(["readout", "write-protect"])
    assert flags == Protection.READOUT | Protection.PRE_BOOTLOADER_WRITE_PROTECTED
    assert protection_words(flags) == "readout, write-protect"
    assert protection_words(Protection(0)) == "none"
    with pytest.raises(PolicyViolation, match="WO-07"):
        protection_of(["magic"])
