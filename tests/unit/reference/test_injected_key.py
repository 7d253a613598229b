"""Injected keys (docs/spec/activation.md, section 3): unwrapped, or KEY_INJECTION; RFC 3394 is the tests' own."""

from __future__ import annotations

import pytest
from cryptography.hazmat.primitives.keywrap import aes_key_wrap
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.hazmat.primitives.serialization import load_der_private_key as load

from bootloader.reference.codes import DeviceCode
from bootloader.reference.crypto import P256_ORDER
from bootloader.reference.injected_key import InjectedKey, unwrap_injected_key
from tests.scenarios.life import code_of
from tests.unit.reference.fake.keys import FakeKey, fake_key
from tests.unit.reference.life_builders import injected, pkcs8, rfc_3394

DEVICE = fake_key("device agreement")
KEY = fake_key("group agreement")


def wrapped(plain: bytes, key: FakeKey = KEY) -> InjectedKey:
    raw = injected(plain, DEVICE.public)
    size_bytes = int.from_bytes(raw[64:66], "little")
    return InjectedKey(raw[:64], raw[72 : 72 + size_bytes], key.public)


def unwrap(plain: bytes, key: FakeKey = KEY) -> bytes:
    return unwrap_injected_key(wrapped(plain, key), DEVICE.private)


def refused(plain: bytes, key: FakeKey = KEY) -> None:
    assert code_of(unwrap, plain, key) is DeviceCode.KEY_INJECTION


def test_key_wrap_of_the_tests_is_the_one_of_the_standard() -> None:
    key = bytes.fromhex("000102030405060708090A0B0C0D0E0F101112131415161718191A1B1C1D1E1F")
    data = bytes.fromhex("00112233445566778899AABBCCDDEEFF000102030405060708090A0B0C0D0E0F")
    vector = "28C9F404C4B810F4CBCCB35CFB87F8263F5786E2D80ED326CBC7F0E71A99F43BFB988B9B7A02DD21"
    assert rfc_3394(key, data).hex().upper() == vector  # RFC 3394, section 4.6
    assert rfc_3394(key, data) == aes_key_wrap(key, data)


@pytest.mark.parametrize(("parameters", "public", "size"), [(False, False, 67), (True, False, 79), (False, True, 138)])
def test_the_three_encodings(parameters: bool, public: bool, size: int) -> None:
    plain = pkcs8(KEY, parameters=parameters, public=public)
    assert len(plain) == size
    assert unwrap(plain) == KEY.private


def test_what_an_independent_library_writes() -> None:
    plain = load(pkcs8(KEY), None).private_bytes(Encoding.DER, PrivateFormat.PKCS8, NoEncryption())
    assert plain == pkcs8(KEY, public=True)
    assert unwrap(plain) == KEY.private


@pytest.mark.parametrize("padding", [b"", bytes(5), b"\x05" * 5, bytes(13), b"\xff" * 5])
def test_padding_means_nothing(padding: bytes) -> None:
    assert unwrap(pkcs8(KEY) + padding) == KEY.private


def test_but_there_is_not_more_than_15_bytes_of_it() -> None:
    refused(pkcs8(KEY) + bytes(21))


def test_every_byte_of_the_encoding_is_as_it_must_be() -> None:
    plain = pkcs8(KEY, public=True)
    for position in range(len(plain)):
        changed = bytearray(plain)
        changed[position] ^= 0x01
        refused(bytes(changed))


@pytest.mark.parametrize(
    "plain",
    [
        bytes(72),
        pkcs8(KEY)[:64],
        pkcs8(KEY, parameters=True)[:72],
        pkcs8(KEY, parameters=True, public=True)[:144],
        pkcs8(KEY).replace(KEY.private, bytes(32)),
        pkcs8(KEY).replace(KEY.private, P256_ORDER.to_bytes(32, "big")),
        pkcs8(KEY).replace(KEY.private, b"\xff" * 32),
        pkcs8(fake_key("another")),
        pkcs8(KEY, public=True).replace(KEY.public, fake_key("another").public),
        pkcs8(KEY).replace(bytes.fromhex("2a8648ce3d030107"), bytes.fromhex("2a8648ce3d030106")),
    ],
    ids=[
        "zero",
        "cut",
        "parameters cut",
        "both",
        "scalar 0",
        "scalar n",
        "scalar greatest",
        "another",
        "point",
        "curve",
    ],
)
def test_anything_else_is_refused(plain: bytes) -> None:
    refused(plain)


def test_another_wrap_another_device_another_point() -> None:
    good = wrapped(pkcs8(KEY))
    for position in range(len(good.wrapped)):
        changed = bytearray(good.wrapped)
        changed[position] ^= 0x80
        bad = InjectedKey(good.ephemeral, bytes(changed), KEY.public)
        assert code_of(unwrap_injected_key, bad, DEVICE.private) is DeviceCode.KEY_INJECTION
    assert code_of(unwrap_injected_key, good, fake_key("another device").private) is DeviceCode.KEY_INJECTION
    for point in (bytes(64), fake_key("another").public, b"\x01" * 64):
        bad = InjectedKey(point, good.wrapped, KEY.public)
        assert code_of(unwrap_injected_key, bad, DEVICE.private) is DeviceCode.KEY_INJECTION
    other = InjectedKey(good.ephemeral, good.wrapped, fake_key("another").public)
    assert code_of(unwrap_injected_key, other, DEVICE.private) is DeviceCode.KEY_INJECTION


def test_a_refusal_does_not_tell_the_key() -> None:
    with pytest.raises(Exception, match="KEY_INJECTION") as refusal:
        unwrap(pkcs8(fake_key("another")))
    assert fake_key("another").private.hex() not in repr(refusal.value)
    assert refusal.value.__cause__ is None
