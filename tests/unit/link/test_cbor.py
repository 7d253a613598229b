"""The bounded CBOR of the device, against cbor2 and the examples of RFC 8949."""

from __future__ import annotations

from typing import Any

import cbor2
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bootloader.link.cbor import DEPTH_MAX, KEYS_MAX, Malformed, decode_map, encode

LEAVES = st.one_of(
    st.integers(-(2**64), 2**64 - 1), st.booleans(), st.none(), st.text(max_size=40), st.binary(max_size=300)
)


def maps(values: st.SearchStrategy[object]) -> st.SearchStrategy[dict[str, object]]:
    return st.dictionaries(st.text(max_size=10), values, max_size=KEYS_MAX)


NESTED = maps(st.one_of(LEAVES, maps(st.one_of(LEAVES, maps(st.one_of(LEAVES, maps(LEAVES)))))))


@given(NESTED)
def test_what_another_encoder_writes_is_read(value: dict[str, object]) -> None:
    """At most 4 deep; definite lengths, and (some servers and clients do that) indefinite maps."""
    assert decode_map(cbor2.dumps(value)) == value
    assert decode_map(cbor2.dumps(value, canonical=True)) == value
    assert decode_map(cbor2.dumps(value, indefinite_containers=True)) == value


@given(maps(st.one_of(LEAVES, st.lists(st.one_of(LEAVES, maps(LEAVES)), max_size=3))))
def test_what_the_device_writes_another_decoder_reads(value: dict[str, object]) -> None:
    assert cbor2.loads(encode(value)) == value  # type: ignore[arg-type]


@given(st.binary(max_size=200))
def test_any_bytes_are_a_map_or_malformed(data: bytes) -> None:
    """Whatever is taken, cbor2 takes too, and finds the same."""
    try:
        found = decode_map(data)
    except Malformed:
        return
    assert cbor2.loads(data) == found


@pytest.mark.parametrize(
    ("encoded", "why"),
    [
        ("", "nothing"),
        ("01", "no map"),
        ("a0 00", "bytes follow"),
        ("a1", "cut short"),
        ("a1 61 61", "a value is missing"),
        ("a1 61", "a key is cut short"),
        ("a2 61 61 01 61 61 02", "a key twice"),
        ("bf 61 61 01 61 61 02 ff", "a key twice, indefinite"),
        ("a1 01 02", "a key that is a number"),
        ("a1 41 61 02", "a key that is a byte string"),
        ("a1 61 61 80", "an array"),
        ("a1 61 61 c0 60", "a tag"),
        ("a1 61 61 f9 3c 00", "a float"),
        ("a1 61 61 f7", "undefined"),
        ("a1 61 61 e0", "an unknown simple value"),
        ("a1 61 61 1c", "a reserved length"),
        ("a1 61 61 5f 41 61 ff", "a byte string of indefinite length"),
        ("a1 61 61 7f 61 61 ff", "text of indefinite length"),
        ("a1 61 61 1f", "an indefinite integer"),
        ("bf", "an indefinite map without an end"),
        ("bf 61 61", "an indefinite map, cut short"),
        ("ff", "a break alone"),
        ("a1 ff", "a break for a key"),
        ("a1 61 ff 01", "text that is not UTF-8"),
        ("a1 61 61 5b ff ff ff ff ff ff ff ff", "a string that nothing can hold"),
        ("bb ff ff ff ff ff ff ff ff", "a map that nothing can hold"),
        ("a1 61 61 9f", "an array begun"),
    ],
)
def test_malformed(encoded: str, why: str) -> None:
    with pytest.raises(Malformed):
        decode_map(bytes.fromhex(encoded))
    assert why


def test_depth_is_bounded() -> None:
    value: dict[str, object] = {}
    for _ in range(DEPTH_MAX - 1):
        value = {"m": value}
    assert decode_map(cbor2.dumps(value)) == value
    with pytest.raises(Malformed):
        decode_map(cbor2.dumps({"m": value}))
    with pytest.raises(Malformed):
        decode_map(b"\xa1\x61m" * 100_000)


def test_keys_are_bounded() -> None:
    keys = {f"k{number}": number for number in range(KEYS_MAX)}
    assert decode_map(cbor2.dumps(keys)) == keys
    for indefinite in (False, True):
        with pytest.raises(Malformed):
            decode_map(cbor2.dumps({**keys, "more": 1}, indefinite_containers=indefinite))


def test_the_device_writes_the_shortest_form() -> None:
    value: dict[str, Any] = {"off": 65536, "r": b"\0" * 24, "neg": -257, "t": True, "n": None, "images": [{"slot": 0}]}
    assert encode(value) == cbor2.dumps(value)
    assert encode({"rc": 3}).hex() == "a162726303"


@pytest.mark.parametrize(
    "number", [0, 23, 24, 255, 256, 65535, 65536, 2**32 - 1, 2**32, 2**64 - 1, -1, -24, -25, -(2**64)]
)
def test_integers_at_the_edges(number: int) -> None:
    assert encode({"n": number}) == cbor2.dumps({"n": number})
    assert decode_map(cbor2.dumps({"n": number})) == {"n": number}


def test_integers_beyond_64_bits_are_not_written() -> None:
    with pytest.raises(ValueError, match="64 bits"):
        encode({"n": 2**64})
