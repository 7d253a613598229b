"""The stock package `smp` reads what we write and writes what we read; it shares no code with us."""

from __future__ import annotations

import random
from collections.abc import Iterator

import pytest

from rpc.client import ECHO_SIZE_MAX_BYTES
from rpc.console import LINE_SIZE_MAX_BYTES, ConsoleDecoder, encode_lines
from rpc.message import Group, Op, body_of, encode_request, is_reply_to
from tests.unit.rpc.smp_oracle import SmpOracle

SIZES = [8, 9, 10, 11, 85, 86, 87, 88, 89, 90, 91, 92, 93, 180, 181, 182, 183, 184, 185, 500, 1472, 2048, 4096]


@pytest.fixture(scope="module")
def oracle() -> Iterator[SmpOracle]:
    running = SmpOracle()
    yield running
    running.close()


def messages() -> list[bytes]:
    source = random.Random(4)
    return [source.randbytes(size) for size in SIZES]


def test_the_stock_decoder_reads_our_lines(oracle: SmpOracle) -> None:
    ours = [encode_lines(message) for message in messages()]
    assert all(len(line) + 1 <= LINE_SIZE_MAX_BYTES for lines in ours for line in lines.split(b"\n"))
    decoded = [oracle.ask("decode_lines", lines.hex()) for lines in ours]
    assert [bytes.fromhex(message) for message in decoded] == messages()


def test_we_read_the_lines_of_the_stock_encoder(oracle: SmpOracle) -> None:
    theirs = b"".join(bytes.fromhex(oracle.ask("encode_lines", message.hex())) for message in messages())
    decoder = ConsoleDecoder()
    assert decoder.feed(theirs) == messages()
    byte_by_byte = ConsoleDecoder()
    assert [found for byte in theirs for found in byte_by_byte.feed(bytes([byte]))] == messages()
    assert (decoder.bad_frames, byte_by_byte.bad_frames) == (0, 0)


def test_the_stock_package_reads_our_requests(oracle: SmpOracle) -> None:
    data = bytes(range(256))
    requests: dict[str, tuple[Op, Group, int, dict[str, object]]] = {
        "echo": (Op.WRITE, Group.OS, 0, {"d": "ä" * (ECHO_SIZE_MAX_BYTES // 2)}),
        "reset": (Op.WRITE, Group.OS, 5, {}),
        "parameters": (Op.READ, Group.OS, 6, {}),
        "image-state": (Op.READ, Group.IMAGE, 0, {}),
        "upload": (Op.WRITE, Group.IMAGE, 1, {"off": 0, "data": data, "len": 100_000}),
    }
    for kind, (op, group, command, fields) in requests.items():
        found = oracle.ask("read_request", kind, encode_request(op, group, 0x2A, command, fields).hex())
        assert found["fields"] == {
            key: value.hex() if isinstance(value, bytes) else value for key, value in fields.items()
        }
        header = (found["op"], found["version"], found["group"], found["command"], found["sequence"])
        assert header == (op, 1, group, command, 0x2A)


def test_we_read_the_replies_of_the_stock_package(oracle: SmpOracle) -> None:
    replies = [
        ("echo", Group.OS, 0, {"r": "hello"}),
        ("parameters", Group.OS, 6, {"buf_size": 2048, "buf_count": 1}),
        ("upload", Group.IMAGE, 1, {"off": 4096}),
        ("image-state", Group.IMAGE, 0, {"images": []}),
    ]
    for kind, group, command, fields in replies:
        message = bytes.fromhex(oracle.ask("write_reply", kind, 7, fields))
        op = Op.READ if kind in {"parameters", "image-state"} else Op.WRITE
        assert is_reply_to(message, encode_request(op, group, 7, command, {}))
        assert body_of(message) == fields
