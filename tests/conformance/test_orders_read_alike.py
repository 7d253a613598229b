"""Work orders, activations and service orders: the maker's reader and the bootloader's take exactly the same bytes.

The two are written separately from docs/spec/; whatever one byte or one field is changed to, they must agree.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bootloader.reference.activation import parse_activation as device_activation
from bootloader.reference.codes import Refused
from bootloader.reference.service_order import parse_service_order as device_service_order
from bootloader.reference.work_order import parse_work_order as device_work_order
from pki.errors import FormatError
from signer.device_objects.activation import parse_activation
from signer.device_objects.service_order import parse_service_order
from signer.device_objects.work_order import parse_work_order
from tests.unit.device_objects import by_hand

Reader = Callable[[bytes], Any]

WRAPPED = by_hand.injected_key(by_hand.LOT_POINT, bytes(range(1, 73)))
GROUP = by_hand.LOT_POINT


POINTS = (*range(256, 320), *range(480, 608))
"""Points of injected keys: a device looks at them when it unwraps (activation.md, check 6), the maker at once."""


def read_activation_on_device(data: bytes) -> Any:
    return device_activation(data, GROUP)


SUBJECTS: dict[str, tuple[bytes, int, Reader, Reader]] = {
    "work order": (bytes(by_hand.work_order()), 576, parse_work_order, device_work_order),
    "work order with a group": (
        bytes(by_hand.work_order(inject=3, group_key=by_hand.TWICE_POINT)), 576, parse_work_order, device_work_order,
    ),
    "activation": (bytes(by_hand.activation()), 800, parse_activation, read_activation_on_device),
    "activation with keys": (
        bytes(by_hand.activation(injected=3, group_key=WRAPPED, agreement_key=by_hand.TWICE_POINT + WRAPPED)),
        800, parse_activation, read_activation_on_device,
    ),
    "repair": (bytes(by_hand.service_order()), 192, parse_service_order, device_service_order),
    "re-provisioning": (
        bytes(by_hand.service_order(action=3, lot=b"LOT-B", revision=4, floors=(1, 2, 3))),
        192, parse_service_order, device_service_order,
    ),
}  # fmt: skip


def taken_here(reader: Reader, data: bytes) -> bool:
    try:
        reader(data)
    except FormatError:
        return False
    return True


def taken_by_a_device(reader: Reader, data: bytes) -> bool:
    try:
        reader(data)
    except Refused:
        return False
    return True


@pytest.mark.parametrize("name", SUBJECTS)
def test_both_take_the_object_itself(name: str) -> None:
    data, _, host, device = SUBJECTS[name]
    assert taken_here(host, data)
    assert taken_by_a_device(device, data)


@pytest.mark.parametrize("name", SUBJECTS)
def test_they_agree_on_every_byte_changed_alone(name: str) -> None:
    data, signed_size_bytes, host, device = SUBJECTS[name]
    disagreed = []
    for offset in sorted(set(range(signed_size_bytes)) - set(POINTS if name == "activation with keys" else ())):
        for value in {0x00, 0x01, 0x7F, 0xFF, data[offset] ^ 0x80, data[offset] ^ 0x01} - {data[offset]}:
            changed = data[:offset] + bytes([value]) + data[offset + 1 :]
            if taken_here(host, changed) is not taken_by_a_device(device, changed):
                disagreed.append((offset, value))
    assert disagreed == []


@given(data=st.data())
@pytest.mark.parametrize("name", SUBJECTS)
def test_they_agree_on_stretches_written_over(name: str, data: st.DataObject) -> None:
    original, signed_size_bytes, host, device = SUBJECTS[name]
    offset = data.draw(st.integers(0, signed_size_bytes - 1))
    written = data.draw(st.binary(min_size=1, max_size=min(64, signed_size_bytes - offset)))
    changed = original[:offset] + written + original[offset + len(written) :]
    if name == "activation with keys":
        changed = bytes(original[at] if at in POINTS else byte for at, byte in enumerate(changed))
    assert taken_here(host, changed) is taken_by_a_device(device, changed)


@pytest.mark.parametrize("name", SUBJECTS)
def test_they_agree_on_other_sizes(name: str) -> None:
    data, _, host, device = SUBJECTS[name]
    for changed in (data[:-1], data + b"\0", b"", data[:4]):
        assert not taken_here(host, changed)
    for changed in (data[:-1], data + b"\0"):
        if device is device_service_order:  # order and activation come as one, whose size is looked at first
            assert not taken_by_a_device(device, changed)
