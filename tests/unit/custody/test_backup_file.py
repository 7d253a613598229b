"""The backup file: one encoding, every field bound by the MAC, nothing else read."""

from __future__ import annotations

import hashlib
import json
import re
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pki.errors import FormatError, PolicyViolation
from pki.values import PublicKey
from signer.custody.backup_file import BACKUP_SIZE_BYTES_MAX, BackupFile, decode_backup
from signer.custody.kek import Kek, KekIdentity
from signer.custody.rules import CUSTODY_RULES, violation
from signer.custody.shares import ShareSet
from signer.tokens.wrapped_key import Framing, WrappedKey

SPEC = Path("docs/spec/key-backup.md")
IDENTITY = KekIdentity(bytes(range(5)), ShareSet(4711, 1, ((2, 3),)))
KEK = Kek(IDENTITY, bytearray(b"b" * 32), [])
BACKUP = BackupFile(
    label="sr:root:-:0001",
    public_key=PublicKey(bytes(range(64))),
    wrapped=WrappedKey(Framing.RFC_3394, bytes(range(80))),
    kek=IDENTITY,
    token_serial="7bd61f2e0a9c4e01",
    token_label="release",
    made_at=datetime(2026, 11, 27, 17, 0, tzinfo=UTC),
    made_by="alice@example.com",
    ceremony_digest=None,
).sealed(KEK)


def test_the_file_is_what_the_specification_says() -> None:
    fields = json.loads(BACKUP.encode())
    table = SPEC.read_text(encoding="utf-8").split("## Backup file")[1].split("- *KCV*")[0]
    named = {
        name
        for line in table.splitlines()
        if line.startswith("| `")
        for name in re.findall(r"`(\w+)`", line.split("|")[1])
    }
    assert set(fields) == named
    assert fields["type"] == "strongroom-key-backup-1"
    assert fields["spki"] == BACKUP.public_key.spki.hex()
    assert fields["kek"] == {
        "kcv": "0001020304",
        "shares": {"identifier": 4711, "groups_needed": 1, "groups": [[2, 3]]},
    }
    assert fields["made_at"] == "2026-11-27T17:00:00Z"
    assert (fields["role"], fields["product"], fields["ceremony_digest"]) == ("root", None, None)
    assert BACKUP.encode() == json.dumps(fields, sort_keys=True, separators=(",", ":")).encode()


def test_it_is_read_back() -> None:
    for backup in (BACKUP, replace(BACKUP, ceremony_digest=bytes(32), label="sr:compat:pump-x2:0007").sealed(KEK)):
        read = decode_backup(backup.encode())
        assert read == backup
        assert read.digest == hashlib.sha256(backup.encode()).digest()
        read.require_made_under(KEK)


def changed(field: str, value: Any) -> bytes:
    fields = json.loads(BACKUP.encode())
    fields[field] = value
    return json.dumps(fields, sort_keys=True, separators=(",", ":")).encode()


KEK_OF_ONE = {"kcv": "0001020304", "shares": {"identifier": 1, "groups_needed": 1, "groups": [[1, 3]]}}
BAD = {
    "another type": changed("type", "strongroom-key-backup-2"),
    "a role unlike the label": changed("role", "compat"),
    "a product unlike the label": changed("product", "pump-x2"),
    "no label": changed("label", "my key"),
    "another algorithm": changed("algorithm", "aes-256"),
    "another curve": changed("spki", "00" * 91),
    "short key": changed("spki", "00" * 90),
    "capitals": changed("mac", "AA" * 32),
    "short mac": changed("mac", "aa" * 31),
    "another framing": changed("framing", "rfc-1149"),
    "wrapped too short": changed("wrapped", "00" * 16),
    "wrapped too long": changed("wrapped", "00" * 520),
    "wrapped in parts of blocks": changed("wrapped", "00" * 79),
    "no time": changed("made_at", "yesterday"),
    "an impossible time": changed("made_at", "2026-13-01T00:00:00Z"),
    "two lines": changed("made_by", "alice\nbob"),
    "a number": changed("made_by", 5),
    "an unknown field": changed("comment", "hello"),
    "a nested unknown field": changed("token", {"serial": "1", "label": "x", "pin": "1234"}),
    "one share suffices": changed(
        "kek", {"kcv": "00" * 5, "shares": {"identifier": 1, "groups_needed": 1, "groups": [[1, 3]]}}
    ),
    "a missing field": json.dumps({"type": "strongroom-key-backup-1"}).encode(),
    "spaces": json.dumps(json.loads(BACKUP.encode()), sort_keys=True).encode(),
    "another order": json.dumps(dict(reversed(json.loads(BACKUP.encode()).items())), separators=(",", ":")).encode(),
    "something after": BACKUP.encode() + b"\n",
    "a doubled field": BACKUP.encode()[:-1] + b',"type":"strongroom-key-backup-1"}',
    "a list": b"[]",
    "nothing": b"",
    "too much": b" " * (BACKUP_SIZE_BYTES_MAX + 1),
    "no text": b"\xff\xfe",
}


@pytest.mark.parametrize("data", BAD.values(), ids=BAD.keys())
def test_anything_else_is_not_read(data: bytes) -> None:
    with pytest.raises(FormatError) as error:
        decode_backup(data)
    assert "\n" not in str(error.value)


@given(st.data())
def test_kb_06_every_changed_bit_is_refused(data: st.DataObject) -> None:
    """Either it is no backup file any more, or it is not one made under this KEK."""
    encoded = bytearray(BACKUP.encode())
    position = data.draw(st.integers(0, len(encoded) - 1))
    encoded[position] ^= 1 << data.draw(st.integers(0, 7))
    with pytest.raises((FormatError, PolicyViolation)):
        decode_backup(bytes(encoded)).require_made_under(KEK)


@pytest.mark.parametrize(
    "change",
    [
        {"label": "sr:root:-:0002"},
        {"label": "sr:bootloader-release:-:0001"},
        {"public_key": PublicKey(bytes(64))},
        {"wrapped": WrappedKey(Framing.RFC_5649, BACKUP.wrapped.data)},
        {"wrapped": WrappedKey(Framing.RFC_3394, bytes(80))},
        {"kek": KekIdentity(IDENTITY.kcv, ShareSet(4712, 1, ((2, 3),)))},
        {"kek": KekIdentity(IDENTITY.kcv, ShareSet(4711, 1, ((3, 3),)))},
        {"token_serial": "00"},
        {"token_label": "other"},
        {"made_at": datetime(2025, 1, 1, tzinfo=UTC)},
        {"made_by": "mallory"},
        {"ceremony_digest": bytes(32)},
        {"mac": bytes(32)},
    ],
)
def test_kb_06_every_field_is_bound(change: dict[str, Any]) -> None:
    with pytest.raises(PolicyViolation) as error:
        decode_backup(replace(BACKUP, **change).encode()).require_made_under(KEK)
    assert error.value.rule_id == "KB-06"


def test_kb_06_another_kek_is_refused_by_its_check_value() -> None:
    other = Kek(KekIdentity(bytes(5), IDENTITY.shares), bytearray(b"b" * 32), [])
    with pytest.raises(PolicyViolation, match=r"KB-06.*another key-encryption key"):
        BACKUP.require_made_under(other)


def test_the_rules_are_those_of_the_specification() -> None:
    text = SPEC.read_text(encoding="utf-8").split("## Rules")[1]
    rows = [line.split("|") for line in text.splitlines() if line.startswith("| KB-")]
    assert {row[1].strip(): row[2].strip() for row in rows} == {
        rule: f"{what}{' above' if rule == 'KB-03' else ''}".replace("its bounds above", "the bounds above")
        for rule, what in CUSTODY_RULES.items()
    }
    with pytest.raises(ValueError, match="KB-99"):
        violation("KB-99", "x")
