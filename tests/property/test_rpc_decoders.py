"""Whatever a link delivers, in whatever pieces: what is a message is found, what is none is told, nothing grows."""

from __future__ import annotations

import io
from collections.abc import Callable
from contextlib import suppress

import cbor2
from hypothesis import given, settings
from hypothesis import strategies as st

from bootloader.link.hop import cobs_decode as device_cobs_decode
from bootloader.link.hop import cobs_encode as device_cobs_encode
from pki.errors import FormatError, InputRefused
from rpc.addresses import open_links
from rpc.client import DeviceClient
from rpc.cobs import cobs_decode, cobs_encode
from rpc.console import ConsoleDecoder, encode_lines
from rpc.errors import DeviceRefused, LinkClosed, LinkError, MessageMalformed
from rpc.hop_packet import HopDecoder, HopFlags, HopPacket
from rpc.link import LinkCounters
from rpc.links.stream_link import BareFraming
from rpc.message import HEADER_SIZE_BYTES, Header, body_of
from rpc.objects.challenge import Challenge
from rpc.objects.receipt import Receipt
from rpc.objects.signed_status import SignedStatus
from rpc.reply import raise_refusal
from rpc.upload import REQUESTS_BESIDE_MAX, REQUESTS_PER_BLOCK_MAX, UploadPosition
from rpc.values import LinkStatistics, Parameters, image_states

PIECES = st.lists(st.binary(max_size=400), max_size=30)
MESSAGES = st.lists(st.binary(min_size=HEADER_SIZE_BYTES, max_size=600), max_size=5)
CUTS = st.lists(st.integers(1, 200), min_size=1, max_size=20)

# Bytes that begin like what is expected are more telling than noise.
LINE_NOISE = st.one_of(
    st.binary(max_size=300), st.sampled_from([b"\x06\x09", b"\x04\x14", b"\n", b"AAAA", b"\x06\x09AAoLAAAA\n", b"\r\n"])
)
CBOR_VALUES = st.recursive(
    st.one_of(st.none(), st.booleans(), st.integers(-(2**64), 2**64 - 1), st.binary(max_size=40), st.text(max_size=20)),
    lambda inner: st.one_of(
        st.lists(inner, max_size=4), st.dictionaries(st.one_of(st.text(max_size=5), st.integers()), inner, max_size=4)
    ),
    max_leaves=12,
)


def in_pieces(data: bytes, sizes: list[int]) -> list[bytes]:
    pieces = []
    position = number = 0
    while position < len(data):
        size = sizes[number % len(sizes)]
        pieces.append(data[position : position + size])
        position, number = position + size, number + 1
    return pieces


@given(PIECES | st.lists(LINE_NOISE, max_size=60))
def test_the_console_decoder_takes_anything_and_keeps_little(pieces: list[bytes]) -> None:
    decoder = ConsoleDecoder()
    for piece in pieces:
        decoder.feed(piece)
        assert len(decoder._line) <= 127
        assert len(decoder._frame or b"") <= 8_192 + 2 + 93


@given(MESSAGES, CUTS)
def test_the_console_decoder_finds_messages_in_any_pieces(messages: list[bytes], sizes: list[int]) -> None:
    decoder = ConsoleDecoder()
    data = b"".join(b"some text\n" + encode_lines(message) for message in messages)
    assert [found for piece in in_pieces(data, sizes) for found in decoder.feed(piece)] == messages
    assert decoder.bad_frames == 0


@given(PIECES)
def test_the_hop_decoder_takes_anything_and_keeps_little(pieces: list[bytes]) -> None:
    decoder = HopDecoder()
    for piece in pieces:
        decoder.feed(piece * 8)
        assert len(decoder._encoded) <= 2_048 + 6 + 16


@given(MESSAGES, CUTS, st.integers(0, 255), st.sampled_from(list(HopFlags)))
def test_the_hop_decoder_finds_packets_in_any_pieces(
    messages: list[bytes], sizes: list[int], address: int, flags: HopFlags
) -> None:
    packets = [HopPacket(address, flags, message) for message in messages]
    decoder = HopDecoder()
    data = b"".join(packet.encode_delimited() for packet in packets)
    assert [found for piece in in_pieces(data, sizes) for found in decoder.feed(piece)] == packets
    assert decoder.bad_frames == 0


@given(st.binary(min_size=7, max_size=300), st.integers(0, 2**32))
def test_a_packet_in_which_one_bit_changed_is_none(message: bytes, bit: int) -> None:
    encoded = bytearray(HopPacket(3, HopFlags.REPLY, message).encode())
    bit %= 8 * len(encoded)
    encoded[bit // 8] ^= 1 << bit % 8
    with suppress(MessageMalformed):
        HopPacket.parse(bytes(encoded))
        raise AssertionError("a changed packet was taken")


@given(st.binary(max_size=1_500) | st.binary(max_size=3).map(lambda some: some * 300))
def test_cobs_of_host_and_device_are_the_same(data: bytes) -> None:
    encoded = cobs_encode(data)
    assert 0 not in encoded
    assert encoded == device_cobs_encode(data)
    assert cobs_decode(encoded) == data


@given(st.binary(max_size=600))
def test_cobs_of_host_and_device_refuse_the_same(encoded: bytes) -> None:
    try:
        decoded = cobs_decode(encoded) if encoded else None
    except ValueError:
        decoded = None
    assert decoded == device_cobs_decode(encoded)


@given(PIECES)
def test_bare_messages_are_found_or_the_connection_is_given_up(pieces: list[bytes]) -> None:
    framing = BareFraming()
    for piece in pieces:
        try:
            messages = framing.feed(piece)
        except LinkClosed:
            return
        assert all(len(message) >= HEADER_SIZE_BYTES for message in messages)
        assert len(framing._received) <= 8_190


@given(st.binary(max_size=80))
def test_any_bytes_are_a_map_or_malformed(body: bytes) -> None:
    with suppress(MessageMalformed):
        Header.parse(body)
    with suppress(MessageMalformed):
        assert isinstance(body_of(bytes(HEADER_SIZE_BYTES) + body), dict)


@settings(max_examples=120)
@given(CBOR_VALUES, st.integers(0, 255), st.integers(0, 255))
def test_any_reply_is_understood_refused_or_malformed(value: object, at: int, byte: int) -> None:
    encoded = bytearray(bytes(HEADER_SIZE_BYTES) + cbor2.dumps(value))
    if at < len(encoded):
        encoded[at] = byte
    try:
        body = body_of(bytes(encoded))
    except MessageMalformed:
        return
    for understand in (Parameters.of, image_states, LinkStatistics.of, lambda body: raise_refusal(body, "it")):
        with suppress(MessageMalformed):
            understand(body)


@given(st.integers(1, 5_000), st.integers(1, 700), st.lists(st.integers(-3, 5_003), min_size=1, max_size=40))
def test_an_upload_ends_whatever_the_device_answers(size: int, block: int, answers: list[int]) -> None:
    """Complete, or given up by a rule: an adversary that says anything costs a bounded number of requests."""
    position = UploadPosition(size, block)
    most = REQUESTS_BESIDE_MAX + REQUESTS_PER_BLOCK_MAX * (size // block) + 1
    for number in range(most):
        if position.is_complete:
            return
        assert 0 < position.next_size_bytes <= block
        assert position.offset + position.next_size_bytes <= size
        try:
            position.answered(answers[number % len(answers)])
        except LinkError:
            return
    raise AssertionError("an upload that never ends")


class HostileLink:
    """Answers each request under its own header, with a map that an adversary chose."""

    name, hops, max_message_bytes = "udp://hostile.test", 0, 1472

    def __init__(self, bodies: list[object]) -> None:
        self.counters = LinkCounters()
        self._bodies = bodies
        self._asked = 0

    def exchange(self, message: bytes, timeout_seconds: float) -> bytes:
        body = cbor2.dumps(self._bodies[self._asked % len(self._bodies)])
        self._asked += 1
        return bytes([message[0] + 1, 0]) + len(body).to_bytes(2, "big") + message[4:8] + body

    def close(self) -> None:
        """Nothing is open."""


REPLY_MAPS = st.dictionaries(
    st.sampled_from(["off", "rc", "err", "r", "s", "c", "buf_size", "buf_count", "images", "rx", "group", "?"]),
    st.one_of(
        CBOR_VALUES,
        st.integers(-2, 3_000),
        st.sampled_from([bytes(320), bytes(576), bytes(512), {"group": 0x4D42, "rc": 1}]),
    ),
    max_size=4,
)


@settings(max_examples=120)
@given(st.lists(REPLY_MAPS, min_size=1, max_size=6))
def test_whatever_a_hostile_device_answers_ends_in_a_value_or_an_error_of_ours(bodies: list[object]) -> None:
    package = io.BytesIO(bytes(3_000))
    calls: list[Callable[[DeviceClient], object]] = [
        lambda client: client.echo("x"),
        lambda client: client.parameters(),
        lambda client: client.image_state(),
        lambda client: client.upload(package, 3_000, lambda done, total: None),
        lambda client: client.signed_status(bytes(32)),
        lambda client: client.challenge(bytes(64)),
        lambda client: client.send_trust_bundle(bytes(2304)),
        lambda client: client.send_activation(bytes(1504)),
        lambda client: client.link_statistics(),
    ]
    client = DeviceClient(HostileLink(bodies), retries=1)
    for call in calls:
        package.seek(0)
        with suppress(LinkError, DeviceRefused):
            call(client)


@given(st.sampled_from([Challenge, Receipt, SignedStatus]), st.binary(max_size=600), st.booleans())
def test_signed_objects_are_read_or_refused_by_field(kind: type[Challenge], data: bytes, shaped: bool) -> None:
    sizes = {Challenge: (512, b"SRC1"), Receipt: (320, b"SRR1"), SignedStatus: (576, b"SRS1")}
    size, magic = sizes[kind]
    if shaped:
        data = (magic + b"\1\0\1" + data)[:size].ljust(size, b"\0")
    with suppress(FormatError):
        parsed = kind.parse(data)
        assert parsed.raw == data


@given(st.sampled_from(["", "serial:", "udp://", "tcp://", "bus:", "bus:tcp://a.test#", "star:"]), st.text(max_size=30))
def test_any_address_means_devices_or_is_refused(scheme: str, rest: str) -> None:
    via = scheme + rest
    if "chain:" in via:
        return  # a chain without a list would be asked
    with suppress(InputRefused):
        assert open_links(via)
