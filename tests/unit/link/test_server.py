"""The SMP server of a device, in update mode and under an application (docs/spec/protocol.md, 1 to 4, 7, 8)."""

from __future__ import annotations

import hashlib
from dataclasses import replace
from functools import cache
from typing import Any

import cbor2
import pytest

from bootloader.link.errors import LinkError, link_error
from bootloader.link.server import SmpServer
from bootloader.link.update_target import UpdateModeTarget
from bootloader.reference.board import Copy
from bootloader.reference.codes import DeviceCode
from bootloader.reference.records import Lifecycle
from bootloader.simulation.device import ApplicationRuns, InUpdateMode, SimulatedDevice
from bootloader.simulation.device_file import decode_device, encode_device
from cli.served.options import ServeOptions
from tests.scenarios.life import (
    BOTH_INJECTED,
    HOST,
    PROTECTED,
    WORLD,
    activated_device,
    device_at_work,
    device_with_keys,
    locked_device,
    without_state,
)
from tests.scenarios.world import image_of
from tests.unit.link.smp_rig import (
    ACTIVATION,
    BUNDLE,
    CHALLENGE,
    GRANT,
    IMAGE,
    OS,
    OURS,
    QUICK,
    READ,
    SERVICE,
    STATISTICS,
    STATUS,
    UPDATE_MODE,
    WRITE,
    Host,
    body_of,
    message,
)
from tests.unit.reference.bundle_chains import first_link, next_link
from tests.unit.reference.life_builders import DECOMMISSION, ServicePlan, build_activation, build_service_order

EINVAL, EBADSTATE, ENOTSUP = {"rc": 3}, {"rc": 6}, {"rc": 8}
PACKAGE = WORLD.application(2, image=image_of("two chunks", 5000)) + bytes(144)


def refused(rc: int) -> dict[str, Any]:
    return {"err": {"group": OURS, "rc": rc}}


@cache
def activated_file() -> bytes:
    return encode_device(activated_device(BOTH_INJECTED))


@cache
def at_work_file() -> bytes:
    return encode_device(device_at_work())


def listening(options: ServeOptions = QUICK) -> Host:
    """OPERATIONAL, in update mode for want of an application."""
    return Host(decode_device(activated_file()), options)


def at_work(options: ServeOptions = QUICK) -> Host:
    """Application 1 runs, confirmed."""
    return Host(decode_device(at_work_file()), options)


@pytest.fixture(params=["update mode", "application"])
def anywhere(request: pytest.FixtureRequest) -> Host:
    return listening() if request.param == "update mode" else at_work()


# --- headers and maps ---


@pytest.mark.parametrize("version", [0, 1])
@pytest.mark.parametrize("op", [READ, WRITE])
def test_a_reply_has_the_ops_of_its_request_plus_one(anywhere: Host, version: int, op: int) -> None:
    """Some clients send echo as a read. `body_of` compares version, op, group, sequence and command."""
    assert anywhere.ask(op, OS, 0, {"d": "Grüße"}, version=version) == {"r": "Grüße"}


@pytest.mark.parametrize("op", [1, 3, 4, 5, 6, 7])
def test_a_reply_is_never_answered(anywhere: Host, op: int) -> None:
    assert anywhere.machine.handle(message(op, OS, 0, {"d": "x"})) is None


@pytest.mark.parametrize("version", [2, 3, 31])
def test_an_unknown_version_is_not_answered(anywhere: Host, version: int) -> None:
    assert anywhere.machine.handle(message(READ, OS, 0, {"d": "x"}, version=version)) is None


@pytest.mark.parametrize("size", range(8))
def test_what_has_no_whole_header_is_not_answered(anywhere: Host, size: int) -> None:
    assert anywhere.machine.handle(message(READ, OS, 0, {"d": "x"})[:size]) is None


def test_a_length_that_does_not_fit_is_einval(anywhere: Host) -> None:
    request = message(READ, OS, 6, {})
    for wrong in (request + b"\0", request[:-1], request[:3] + b"\x02" + request[4:]):
        assert body_of(wrong, anywhere.machine.handle(wrong)) == EINVAL


def test_flags_are_zero(anywhere: Host) -> None:
    request = message(READ, OS, 6, {})
    request = request[:1] + b"\x01" + request[2:]
    assert body_of(request, anywhere.machine.handle(request)) == EINVAL


@pytest.mark.parametrize("body", [b"", b"\x80", b"\x01", b"\xa0\xa0", b"\xa2\x61d\x60\x61d\x60", b"\xbf\x61d\x61x"])
@pytest.mark.parametrize("version", [0, 1])
def test_a_malformed_map_is_einval(anywhere: Host, body: bytes, version: int) -> None:
    assert anywhere.ask(READ, OS, 0, body, version=version) == EINVAL


def test_unknown_keys_are_ignored(anywhere: Host) -> None:
    assert anywhere.ask(READ, OS, 0, {"d": "x", "extra": {"deep": {"er": True}}, "n": None}) == {"r": "x"}


def test_a_request_is_at_most_buf_size(anywhere: Host) -> None:
    size = anywhere.ask(READ, OS, 6, {})["buf_size"]
    assert size == 2048
    room = size - 8 - len(cbor2.dumps({"d": "", "pad": b"x" * 300})) + 300
    for pad, expected in ((room, {"r": ""}), (room + 1, EINVAL)):
        request = message(READ, OS, 0, {"d": "", "pad": b"x" * pad})
        assert len(request) == size + (pad - room)
        assert body_of(request, anywhere.machine.handle(request)) == expected


@pytest.mark.parametrize(
    ("op", "group", "command"),
    [
        (READ, OS, 1),
        (READ, OS, 5),
        (WRITE, OS, 6),
        (WRITE, OS, 8),
        (READ, IMAGE, 1),
        (READ, IMAGE, 5),
        (READ, 2, 0),
        (READ, 64, 0),
        (WRITE, OURS, STATUS),
        (READ, OURS, UPDATE_MODE),
        (READ, OURS, ACTIVATION),
        (READ, OURS, 8),
    ],
)
@pytest.mark.parametrize("version", [0, 1])
def test_unknown_commands_and_ops_are_enotsup(anywhere: Host, op: int, group: int, command: int, version: int) -> None:
    assert anywhere.ask(op, group, command, {}, version=version) == ENOTSUP


# --- OS group ---


def test_echo_takes_1024_bytes_of_text(anywhere: Host) -> None:
    assert anywhere.ask(WRITE, OS, 0, {"d": "ü" * 512}) == {"r": "ü" * 512}
    assert anywhere.ask(WRITE, OS, 0, {"d": "ü" * 512 + "x"}) == EINVAL
    for fields in ({}, {"d": b"x"}, {"d": 1}, {"d": None}):
        assert anywhere.ask(WRITE, OS, 0, fields) == EINVAL


def test_parameters_and_bootloader_information(anywhere: Host) -> None:
    assert anywhere.ask(READ, OS, 6, {}) == {"buf_size": 2048, "buf_count": 1}
    assert anywhere.ask(READ, OS, 8, {}) == {"bootloader": "Strongroom"}
    assert anywhere.ask(READ, OS, 8, {"query": "mode"}) == {"mode": 0}
    assert anywhere.ask(READ, OS, 8, {"query": "other"}) == ENOTSUP
    assert anywhere.ask(READ, OS, 8, {"query": 1}) == ENOTSUP


def test_a_reset_is_answered_and_then_happens(anywhere: Host) -> None:
    starts = anywhere.machine.starts
    assert anywhere.ask(WRITE, OS, 5, {}) == {}
    assert anywhere.machine.starts == starts + 1


@pytest.mark.parametrize("fields", [{"boot_mode": 2}, {"boot_mode": -1}, {"boot_mode": True}, {"boot_mode": "1"}])
def test_another_boot_mode_is_einval(anywhere: Host, fields: dict[str, Any]) -> None:
    starts = anywhere.machine.starts
    assert anywhere.ask(WRITE, OS, 5, fields) == EINVAL
    assert anywhere.machine.starts == starts


def test_boot_mode_1_ends_in_update_mode(anywhere: Host) -> None:
    assert anywhere.ask(WRITE, OS, 5, {"boot_mode": 1, "force": 1}) == {}
    assert anywhere.device.running == InUpdateMode(DeviceCode.UPDATE_REQUESTED, Copy.A)


# --- the application ---


def test_update_mode_is_asked_of_the_application() -> None:
    host = at_work()
    host.update_mode()
    assert host.device.running == InUpdateMode(DeviceCode.UPDATE_REQUESTED, Copy.A)
    starts = host.machine.starts
    host.update_mode()
    assert host.machine.starts == starts, "there it changes nothing"


def test_an_application_that_is_not_in_its_safe_state_is_busy() -> None:
    """A therapy is not interrupted by a packet."""
    host = at_work(replace(QUICK, unsafe_for_seconds=3600.0))
    for op, group, command, fields in (
        (WRITE, OURS, UPDATE_MODE, {}),
        (WRITE, OS, 5, {}),
        (WRITE, OS, 5, {"boot_mode": 1}),
    ):
        starts = host.machine.starts
        assert host.ask(op, group, command, fields) == refused(LinkError.BUSY)
        assert host.ask(op, group, command, fields, version=0) == EBADSTATE
        assert host.machine.starts == starts
    assert isinstance(host.device.running, ApplicationRuns)
    assert host.ask(READ, OURS, STATISTICS, {}).keys() == {"rx", "tx", "bad", "fwd", "drop", "busy"}


def test_an_application_takes_nothing() -> None:
    """Whatever is sent to it, flash stays as it is: only update mode writes."""
    host = at_work()
    writes = len(host.store.groups)
    for answer in (
        host.upload(PACKAGE),
        host.send_object(BUNDLE, WORLD.genesis),
        host.send_object(GRANT, bytes(400)),
        host.send_object(ACTIVATION, bytes(1504)),
        host.send_object(SERVICE, bytes(256)),
        host.ask(READ, OURS, CHALLENGE, {"p": HOST.public}),
        host.ask(WRITE, IMAGE, 1, {"off": 7, "data": b"x"}),
    ):
        assert answer == refused(LinkError.NOT_IN_UPDATE_MODE)
    assert len(host.store.groups) == writes


def test_the_application_signs_its_status() -> None:
    host = at_work()
    status = host.ask(READ, OURS, STATUS, {"n": b"n" * 32})["s"]
    assert len(status) == 576
    assert status[7] == 2, "the application says it"
    assert status[24:56] == b"n" * 32
    host.update_mode()
    assert host.ask(READ, OURS, STATUS, {"n": b"m" * 32})["s"][7] == 1


# --- image group ---


def test_image_state_says_what_is_installed() -> None:
    host = listening()
    assert host.ask(READ, IMAGE, 0, {}) == {"images": []}
    assert host.upload(PACKAGE) == {"off": len(PACKAGE)}
    expected = {
        "slot": 0,
        "version": "2.0.0",
        "hash": hashlib.sha256(PACKAGE[:-144]).digest(),
        "bootable": True,
        "pending": True,
        "confirmed": False,
        "active": False,
        "permanent": False,
    }
    assert host.ask(READ, IMAGE, 0, {}) == {"images": [expected]}
    host.ask(WRITE, OS, 5, {})
    runs = expected | {"active": True, "confirmed": True, "pending": False}
    assert host.ask(READ, IMAGE, 0, {}) == {"images": [runs]}, "it runs, and said that it works"
    assert host.ask(WRITE, IMAGE, 0, {"hash": expected["hash"], "confirm": True}) == {"images": [runs]}
    host.update_mode()
    assert host.ask(READ, IMAGE, 0, {}) == {"images": [expected | {"confirmed": True, "pending": False}]}


def test_an_application_that_does_not_confirm_itself_is_not_confirmed_by_a_host() -> None:
    host = listening(replace(QUICK, confirms=False))
    host.upload(PACKAGE)
    host.ask(WRITE, OS, 5, {})
    (image,) = host.ask(WRITE, IMAGE, 0, {"confirm": True})["images"]
    assert (image["active"], image["confirmed"]) == (True, False)


def test_a_version_with_a_build_number_shows_it() -> None:
    host = listening()
    host.upload(WORLD.application(2, image_version=(1, 2, 3, 4)))
    assert host.ask(READ, IMAGE, 0, {})["images"][0]["version"] == "1.2.3.4"


def test_erase_touches_no_flash(anywhere: Host) -> None:
    before = len(anywhere.store.groups)
    assert anywhere.ask(WRITE, IMAGE, 5, {"slot": 0}) == {}
    assert len(anywhere.store.groups) == before


def test_upload_fields_that_are_not_as_they_must_be() -> None:
    host = listening()
    first = {"off": 0, "data": PACKAGE[:1000], "len": len(PACKAGE)}
    for change in (
        {"image": 1},
        {"image": "0"},
        {"off": -1},
        {"off": "0"},
        {"off": False},
        {"data": "text"},
        {"len": -1},
        {"len": None},
        {"len": 65 * 1024 * 1024 + 1},
    ):
        assert host.ask(WRITE, IMAGE, 1, first | change) == EINVAL, change
    for missing in ("off", "data", "len"):
        assert host.ask(WRITE, IMAGE, 1, {key: value for key, value in first.items() if key != missing}) == EINVAL
    assert host.device.bootloader.upload is None
    stock = first | {"image": 0, "sha": bytes(32), "upgrade": False}
    assert host.ask(WRITE, IMAGE, 1, stock) == {"off": 1000}


def test_other_offsets_are_answered_with_the_one_that_is_expected() -> None:
    host = listening()
    assert host.ask(WRITE, IMAGE, 1, {"off": 0, "data": PACKAGE[:1000], "len": len(PACKAGE)}) == {"off": 1000}
    for offset in (1, 999, 1001, 2**32, 2**64 - 1):
        assert host.ask(WRITE, IMAGE, 1, {"off": offset, "data": PACKAGE[:10]}) == {"off": 1000}
    assert host.upload(PACKAGE, begin=1000) == {"off": len(PACKAGE)}
    assert host.ask(WRITE, IMAGE, 1, {"off": len(PACKAGE) - 50, "data": PACKAGE[-50:]}) == {"off": len(PACKAGE)}


@pytest.mark.parametrize("sent", [1, 700, 1000, 1024, 2000, 5300])
@pytest.mark.parametrize("block", [1, 600, 1400])
def test_an_upload_resumes_where_it_was(sent: int, block: int) -> None:
    """The first block again, of whatever size: the answer is the offset that is expected."""
    host = listening()
    answer: dict[str, Any] = {"off": 0}
    while answer["off"] < sent:
        offset = answer["off"]
        fields = {"off": offset, "data": PACKAGE[offset : min(sent, offset + 1400)]}
        answer = host.ask(WRITE, IMAGE, 1, fields | ({"len": len(PACKAGE)} if offset == 0 else {}))
    again = host.ask(WRITE, IMAGE, 1, {"off": 0, "data": PACKAGE[:block], "len": len(PACKAGE)})
    assert again == answer
    assert host.upload(PACKAGE, begin=again["off"]) == {"off": len(PACKAGE)}


def test_another_package_or_size_begins_anew() -> None:
    host = listening()
    other = WORLD.application(3, image=image_of("another", 5000)) + bytes(144)
    first = {"off": 0, "data": PACKAGE[:1024], "len": len(PACKAGE)}
    assert len(other) == len(PACKAGE)
    for change in ({"data": other[:900]}, {"len": len(PACKAGE) + 1}):
        host.ask(WRITE, IMAGE, 1, first)
        begun = host.ask(WRITE, IMAGE, 1, first | change)
        assert begun["off"] == (900 if "data" in change else 1024)
    assert host.upload(other) == {"off": len(other)}
    assert host.ask(WRITE, IMAGE, 1, {"off": 0, "data": other[:900], "len": len(other)}) == {"off": len(other)}


def test_a_refused_package_is_an_error_once_and_then_the_upload_is_over() -> None:
    host = listening()
    changed = bytearray(PACKAGE)
    changed[3000] ^= 1
    assert host.upload(bytes(changed)) == refused(LinkError.REFUSED)
    assert host.ask(WRITE, IMAGE, 1, {"off": 3000, "data": b"x"}) == refused(LinkError.STATE), "none has begun"
    assert host.upload(PACKAGE) == {"off": len(PACKAGE)}


# --- our group ---


def test_a_status_needs_a_nonce_of_32_bytes(anywhere: Host) -> None:
    for fields in ({}, {"n": bytes(31)}, {"n": bytes(33)}, {"n": "n" * 32}):
        assert anywhere.ask(READ, OURS, STATUS, fields) == EINVAL


def test_a_challenge_needs_a_point() -> None:
    host = listening()
    for fields in ({}, {"p": bytes(63)}, {"p": bytes(65)}, {"p": "p" * 64}):
        assert host.ask(READ, OURS, CHALLENGE, fields) == EINVAL
    assert host.ask(READ, OURS, CHALLENGE, {"p": bytes(64)}) == refused(LinkError.REFUSED)
    assert len(host.ask(READ, OURS, CHALLENGE, {"p": HOST.public})["c"]) == 512


def test_a_locked_device_is_activated_over_the_link_and_repeats_are_answered() -> None:
    """Section 7: exactly the same object again is answered with exactly the same receipt, until the reset."""
    host = Host(locked_device())
    challenge = host.ask(READ, OURS, CHALLENGE, {"p": HOST.public})["c"]
    both = build_activation(BOTH_INJECTED, challenge)
    answer = host.send_object(ACTIVATION, both)
    assert answer["off"] == 1504
    assert len(answer["r"]) == 320
    writes = len(host.store.groups)
    assert host.send_object(ACTIVATION, both) == answer
    assert len(host.store.groups) == writes, "and nothing is done a second time"
    other = bytearray(both)
    other[-1] ^= 1
    assert host.send_object(ACTIVATION, bytes(other)) == refused(LinkError.REFUSED)
    assert host.send_object(ACTIVATION, both) == answer
    host.ask(WRITE, OS, 5, {})
    assert host.send_object(ACTIVATION, both) == refused(LinkError.REFUSED), "after the reset it is not LOCKED any more"
    assert host.device.bootloader.running.device.lifecycle == Lifecycle.OPERATIONAL


def test_a_service_order_is_carried_out_after_the_reset() -> None:
    host = listening()
    challenge = host.ask(READ, OURS, CHALLENGE, {"p": HOST.public})["c"]
    order = build_service_order(ServicePlan(action=DECOMMISSION), challenge)
    answer = host.send_object(SERVICE, order)
    assert answer["off"] == 256
    assert host.send_object(SERVICE, order) == answer
    assert host.send_object(BUNDLE, WORLD.genesis) == refused(LinkError.STATE), "SERVICE_PENDING"
    host.ask(WRITE, OS, 5, {})
    assert host.device.bootloader.running.device.lifecycle == Lifecycle.DECOMMISSIONED
    assert host.upload(PACKAGE) == refused(LinkError.REFUSED)


def test_a_trust_bundle_comes_in_pieces_and_may_come_twice() -> None:
    host = listening()
    successor = next_link(first_link()).file
    for bundle in (WORLD.genesis, successor, successor):
        for piece in (1, 300, 1000, 1900):
            if piece > 1 or bundle is WORLD.genesis:
                assert host.send_object(BUNDLE, bundle, piece) == {"off": 2304}
    assert host.send_object(BUNDLE, WORLD.genesis) == refused(LinkError.REFUSED), "no way back"


def test_pieces_for_other_offsets_change_nothing() -> None:
    host = listening()
    begin = {"off": 0, "len": 2304, "data": WORLD.genesis[:1000]}
    assert host.ask(WRITE, OURS, BUNDLE, begin) == {"off": 1000}
    for offset in (1, 999, 1001, 2304, 2**40):
        assert host.ask(WRITE, OURS, BUNDLE, {"off": offset, "data": b"x" * 50}) == {"off": 1000}
    assert host.ask(WRITE, OURS, GRANT, {"off": 1000, "data": b"x"}) == {"off": 0}, "another object has not begun"
    assert host.ask(WRITE, OURS, BUNDLE, {"off": 1000, "data": WORLD.genesis[1000:]}) == {"off": 2304}
    last = {"off": 1000, "data": WORLD.genesis[1000:]}
    assert host.ask(WRITE, OURS, BUNDLE, last) == {"off": 0}, "it was whole already: the host sends it again"
    assert host.send_object(BUNDLE, WORLD.genesis) == {"off": 2304}


def test_pieces_that_cannot_be() -> None:
    host = listening()
    for fields in (
        {"off": 0, "data": b"x"},
        {"off": 0, "data": b"x", "len": 0},
        {"off": 0, "data": b"", "len": 0},
        {"off": 0, "data": b"x", "len": 2305},
        {"off": 0, "data": b"xx", "len": 1},
        {"off": 0, "data": "x", "len": 10},
        {"data": b"x", "len": 10},
    ):
        assert host.ask(WRITE, OURS, BUNDLE, fields) == EINVAL, fields
    assert host.ask(WRITE, OURS, BUNDLE, {"off": 0, "data": b"xy", "len": 4}) == {"off": 2}
    assert host.ask(WRITE, OURS, BUNDLE, {"off": 2, "data": b"xyz"}) == EINVAL, "beyond its end"
    assert host.ask(WRITE, OURS, BUNDLE, {"off": 2, "data": b"xy"}) == refused(LinkError.REFUSED), "BUNDLE_SIZE"


# --- errors ---


@pytest.mark.parametrize("code", [code for code in DeviceCode if code])
def test_a_release_build_says_no_more_than_the_table(code: DeviceCode) -> None:
    """The table of section 4, written anew from its text."""
    number = int(code)
    expected = {312: 2, 406: 3, 501: 3, 831: 3, 502: 4, 503: 4, 504: 4, 819: 4}.get(number, 1)
    assert link_error(code) == expected


def test_detailed_codes_are_for_test_builds() -> None:
    changed = bytearray(PACKAGE)
    changed[3000] ^= 1
    detailed = listening(replace(QUICK, detailed_codes=True))
    assert detailed.upload(bytes(changed)) == refused(DeviceCode.CHUNK_HASH)
    assert detailed.send_object(BUNDLE, bytes(2303)) == refused(DeviceCode.BUNDLE_SIZE)
    request = message(WRITE, IMAGE, 1, {"off": 5, "data": b""}, version=0)
    assert body_of(request, detailed.machine.handle(request)) == EBADSTATE, "SMP 1 has no groups of errors"


def test_smp_1_gets_ebadstate() -> None:
    host = listening()
    assert host.ask(WRITE, IMAGE, 1, {"off": 5, "data": b"x"}, version=0) == EBADSTATE
    assert host.ask(WRITE, IMAGE, 1, {"off": 0, "data": b"x", "len": 3}, version=0) == EBADSTATE
    assert host.ask(READ, OS, 0, {}, version=0) == EINVAL


# --- who may what (section 8) ---


def test_a_device_without_readable_state_says_so_and_takes_nothing() -> None:
    host = at_work()
    without_state(host.device)
    host.machine.power_on()
    assert host.ask(READ, IMAGE, 0, {}) == {"images": []}
    status = host.ask(READ, OURS, STATUS, {"n": bytes(32)})["s"]
    assert (len(status), status[74], status[512:]) == (576, 0, bytes(64)), "unsigned: there is no key"
    assert len(host.ask(READ, OURS, CHALLENGE, {"p": HOST.public})["c"]) == 512
    assert host.upload(PACKAGE) == refused(LinkError.STATE)
    assert host.send_object(BUNDLE, WORLD.genesis) == refused(LinkError.STATE)


def test_a_locked_device_takes_no_application_and_no_grant() -> None:
    host = Host(device_with_keys())
    assert host.upload(PACKAGE) == refused(LinkError.REFUSED)
    assert host.send_object(GRANT, bytes(1312)) == refused(LinkError.REFUSED)
    assert host.ask(READ, IMAGE, 0, {}) == {"images": []}


def test_a_device_that_lost_both_bootloaders_answers_nothing() -> None:
    device = locked_device()
    for region in (device.board.bootloader_a, device.board.bootloader_b):
        device.flash.corrupt(region.address, bytes(64))
    host = Host(device)
    assert not host.machine.listens
    assert host.machine.handle(message(READ, OS, 6, {})) is None


def test_no_answer_is_larger_than_a_packet(anywhere: Host) -> None:
    for op, group, command, fields in (
        (READ, OS, 0, {"d": "x" * 1024}),
        (READ, OURS, STATUS, {"n": bytes(32)}),
        (READ, OURS, CHALLENGE, {"p": HOST.public}),
        (READ, IMAGE, 0, {}),
    ):
        reply = anywhere.machine.handle(message(op, group, command, fields))
        assert reply is not None
        assert len(reply) <= 2048


def test_a_server_alone_needs_a_target_only() -> None:
    device: SimulatedDevice = locked_device(option_bytes=PROTECTED)
    server = SmpServer(UpdateModeTarget(device.bootloader), buf_size=1472)
    request = message(READ, OS, 6, {})
    assert body_of(request, server.handle(request)) == {"buf_size": 1472, "buf_count": 1}
    assert not server.wants_reset
