"""Headers and maps: what is a message, what is a reply, what is neither (rules LK-01, LK-02)."""

from __future__ import annotations

import pytest

from rpc.errors import MessageMalformed
from rpc.message import Group, Header, Op, body_of, encode_request, is_reply_to

# By hand, from protocol.md, section 1, and RFC 8949: version 1, op 2, no flags, length 6, group 0, sequence 66, echo.
ECHO = bytes.fromhex("0a 00 00 06 0000 42 00") + bytes.fromhex("a1 61 64 62 68 69")
ECHO_REPLY = bytes.fromhex("0b 00 00 06 0000 42 00") + bytes.fromhex("a1 61 72 62 68 69")


def reply_of(body_hex: str) -> bytes:
    body = bytes.fromhex(body_hex)
    return bytes.fromhex("0b00") + len(body).to_bytes(2, "big") + bytes.fromhex("00004200") + body


def test_a_request_is_encoded_as_by_hand() -> None:
    assert encode_request(Op.WRITE, Group.OS, 0x42, 0, {"d": "hi"}) == ECHO
    assert encode_request(Op.READ, Group.STRONGROOM, 255, 7, {}) == bytes.fromhex("08 00 0001 4d42 ff 07 a0")


def test_a_reply_is_parsed_as_by_hand() -> None:
    assert Header.parse(ECHO_REPLY) == Header(
        version=1, op=Op.WRITE_REPLY, body_size_bytes=6, group=Group.OS, sequence=0x42, command=0
    )
    assert body_of(ECHO_REPLY) == {"r": "hi"}
    assert is_reply_to(ECHO_REPLY, ECHO)


@pytest.mark.parametrize(
    ("offset", "value"),
    [(0, 0x09), (0, 0x08), (0, 0x0A), (4, 1), (5, 1), (6, 0x43), (7, 1)],
    ids=lambda value: f"{value}",
)
def test_another_header_is_no_reply(offset: int, value: int) -> None:
    changed = bytearray(ECHO_REPLY)
    changed[offset] = value
    assert not is_reply_to(bytes(changed), ECHO)


def test_a_reply_of_smp_version_1_is_a_reply() -> None:
    assert is_reply_to(b"\x03" + ECHO_REPLY[1:], ECHO)


@pytest.mark.parametrize(
    "message",
    [
        b"",
        ECHO_REPLY[:7],
        ECHO_REPLY[:-1],
        ECHO_REPLY + b"\0",
        b"\x13" + ECHO_REPLY[1:],  # version 2
        b"\x0c" + ECHO_REPLY[1:],  # op 4
        ECHO_REPLY[:1] + b"\x01" + ECHO_REPLY[2:],  # a flag
    ],
)
def test_lk_01_a_header_that_does_not_fit_is_refused(message: bytes) -> None:
    with pytest.raises(MessageMalformed, match="LK-01"):
        Header.parse(message)
    with pytest.raises(MessageMalformed, match="LK-01"):
        is_reply_to(message, ECHO)


@pytest.mark.parametrize(
    ("body", "value"),
    [
        ("a0", {}),
        ("bf ff", {}),
        ("bf 63 6f6666 00 ff", {"off": 0}),
        ("a1 61 73 5f 41 01 42 0203 ff", {"s": b"\1\2\3"}),
        ("a1 61 61 a1 61 62 82 f5 f6", {"a": {"b": [True, None]}}),
        ("a1 61 61 1b ffffffffffffffff", {"a": 2**64 - 1}),
    ],
)
def test_lk_02_one_map_is_taken(body: str, value: object) -> None:
    assert body_of(reply_of(body)) == value


@pytest.mark.parametrize(
    "body",
    [
        pytest.param("", id="nothing"),
        pytest.param("80", id="an array"),
        pytest.param("00", id="a number"),
        pytest.param("a0 00", id="bytes behind it"),
        pytest.param("a2 6161 01 6161 02", id="a key twice"),
        pytest.param("bf 6161 01 6161 02 ff", id="a key twice, indefinite"),
        pytest.param("a1 6161 a2 6162 01 6162 02", id="a key twice, deeper"),
        pytest.param("a1 01 01", id="a number as key"),
        pytest.param("a1 41 61 01", id="bytes as key"),
        pytest.param("a1 6161", id="cut short"),
        pytest.param("bf 6161 01", id="no break"),
        pytest.param("a1 6161 62 c328", id="not UTF-8"),
        pytest.param("a1 6161 c1 1a 514b67b0", id="a time"),
        pytest.param("a1 6161 d823 61 28", id="a regular expression"),
        pytest.param("a1 6161 c2 49 010000000000000000", id="a large integer"),
        pytest.param("a1 6161 f7", id="undefined"),
        pytest.param("a1 6161 f0", id="a simple value"),
        pytest.param("a1 6161 d81c 81 d81d 00", id="a list that holds itself"),
        pytest.param("a1 6161 " + "81" * 9 + " 00", id="nested too deep"),
        pytest.param("a1 6161 5b ffffffffffffffff", id="more bytes than there are"),
        pytest.param("bb ffffffffffffffff", id="more keys than there are"),
        pytest.param("b8 41 " + "".join(f"62 {key:02x}{key:02x} 00" for key in range(0x20, 0x61)), id="65 keys"),
    ],
)
def test_lk_02_anything_else_is_refused(body: str) -> None:
    with pytest.raises(MessageMalformed, match="LK-02"):
        body_of(reply_of(body))
