"""What a reply's map says: errors by their names, fields by their types (rule LK-03)."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

import pytest

from cli.exit_codes import ExitCode, exit_code_of
from rpc.device_codes import DEVICE_CODE_NAMES
from rpc.errors import DeviceRefused, LinkTimeout, MessageMalformed
from rpc.reply import raise_refusal, require_keys, take_bytes, take_flag, take_int, take_text
from rpc.values import LinkStatistics, Parameters, image_states

ROOT = Path(__file__).resolve().parents[3]
IMAGE = {"slot": 0, "version": "1.2.0.4", "hash": bytes(32), "bootable": True, "active": True}


def test_the_names_of_device_codes_are_those_of_the_document() -> None:
    text = (ROOT / "docs" / "spec" / "device-codes.md").read_text(encoding="utf-8")
    rows = re.findall(r"^\| (\d+) \| ([A-Z0-9_]+) \|", text, re.MULTILINE)
    assert {int(number): name for number, name in rows if number != "0"} == DEVICE_CODE_NAMES


@pytest.mark.parametrize(
    ("body", "group", "rc", "name"),
    [
        ({"rc": 3}, 0, 3, "INVALID_VALUE"),
        ({"rc": 6}, 0, 6, "BAD_STATE"),
        ({"rc": 99}, 0, 99, "RC_99"),
        ({"err": {"group": 0x4D42, "rc": 1}}, 0x4D42, 1, "REFUSED"),
        ({"err": {"group": 0x4D42, "rc": 5}}, 0x4D42, 5, "BUSY"),
        ({"err": {"group": 0x4D42, "rc": 312}}, 0x4D42, 312, "NOT_IN_UPDATE_MODE"),
        ({"err": {"group": 0x4D42, "rc": 9999}}, 0x4D42, 9999, "RC_9999"),
        ({"err": {"group": 1, "rc": 2}}, 1, 2, "GROUP_1_RC_2"),
    ],
)
def test_an_error_is_raised_by_its_name(body: dict[str, object], group: int, rc: int, name: str) -> None:
    with pytest.raises(DeviceRefused, match=f"refused the package: {name} ") as raised:
        raise_refusal(body, "the package")
    assert (raised.value.group, raised.value.rc, raised.value.name) == (group, rc, name)
    assert exit_code_of(raised.value) is ExitCode.REFUSED_BY_DEVICE


@pytest.mark.parametrize("body", [{}, {"rc": 0}, {"err": {"group": 1, "rc": 0}}, {"off": 5}])
def test_no_error_is_none(body: dict[str, object]) -> None:
    raise_refusal(body, "the package")


@pytest.mark.parametrize(
    "body", [{"err": 5}, {"err": {"rc": 1}}, {"err": {"group": 1, "rc": -1}}, {"rc": "1"}, {"rc": True}, {"rc": 2**40}]
)
def test_lk_03_an_error_of_another_form_is_malformed(body: dict[str, object]) -> None:
    with pytest.raises(MessageMalformed, match="LK-03"):
        raise_refusal(body, "the package")


def test_lk_03_fields_have_their_types_and_ranges() -> None:
    body: dict[str, object] = {"i": 5, "b": bytes(4), "t": "ä", "f": True}
    require_keys(body, frozenset("ibtf"))
    require_keys({"i": 5, "rc": 0}, frozenset("i"))
    assert (take_int(body, "i", 0, 5), take_bytes(body, "b", 4), take_text(body, "t", 2)) == (5, bytes(4), "ä")
    assert (take_flag(body, "f"), take_flag(body, "left out")) == (True, False)


def test_lk_03_fields_of_another_type_or_range_are_refused() -> None:
    body: dict[str, object] = {"i": 5, "b": bytes(4), "t": "ä", "f": True}
    attempts: list[Callable[[], object]] = [
        lambda: take_int(body, "i", 0, 4),
        lambda: take_int(body, "i", 6, 9),
        lambda: take_int(body, "f", 0, 1),
        lambda: take_int(body, "missing", 0, 1),
        lambda: take_bytes(body, "b", 5),
        lambda: take_bytes(body, "t", 2),
        lambda: take_text(body, "t", 1),
        lambda: take_text(body, "b", 9),
        lambda: take_flag(body, "i"),
        lambda: require_keys(body, frozenset("ibt")),
    ]
    for attempt in attempts:
        with pytest.raises(MessageMalformed, match="LK-03"):
            attempt()


def test_images_parameters_and_statistics_become_values() -> None:
    (image,) = image_states({"images": [IMAGE]})
    assert (image.version, image.active, image.pending) == ("1.2.0.4", True, False)
    assert image_states({"images": []}) == ()
    assert Parameters.of({"buf_size": 2048, "buf_count": 1}) == Parameters(2048, 1)
    counted = LinkStatistics.of({"rx": 1, "tx": 2, "bad": 3, "fwd": 4, "drop": 5, "busy": 6})
    assert counted == LinkStatistics(received=1, sent=2, bad=3, forwarded=4, dropped=5, busy=6)


@pytest.mark.parametrize(
    "body",
    [
        {},
        {"images": {}},
        {"images": [5]},
        {"images": [IMAGE] * 17},
        {"images": [{**IMAGE, "hash": bytes(31)}]},
        {"images": [{**IMAGE, "size": 5}]},
        {"images": [], "more": 1},
    ],
)
def test_lk_03_images_of_another_form_are_refused(body: dict[str, object]) -> None:
    with pytest.raises(MessageMalformed, match="LK-03"):
        image_states(body)


def test_a_link_that_fails_has_an_exit_code_of_its_own() -> None:
    assert exit_code_of(LinkTimeout("no reply")) is ExitCode.LINK
