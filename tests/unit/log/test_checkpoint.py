"""Checkpoints as C2SP signed notes: one form, and no signature but the log's."""

from __future__ import annotations

import base64
import hashlib
import subprocess
from pathlib import Path

import pytest

from pki.errors import FormatError, SignatureInvalid
from signer.log.checkpoint import (
    NOTE_SIZE_BYTES_MAX,
    Checkpoint,
    NoteSignature,
    TreeHead,
    log_key_id,
    parse_checkpoint,
    sign_head,
    verify_log_signature,
)
from tests.unit.log.software_key import SoftwareKey

HEAD = TreeHead("strongroom-log/0123456789abcdef", 7, bytes(range(32)))
KEY = SoftwareKey()
NOTE = sign_head(HEAD, KEY).note
DASH = "\u2014".encode()


def test_the_text_is_origin_size_and_root() -> None:
    assert HEAD.text == b"strongroom-log/0123456789abcdef\n7\nAAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=\n"


def test_the_key_id_is_of_the_spki_and_openssl_verifies_the_signature(tmp_path: Path) -> None:
    """An independent tool: DER over SHA-256 of the text, the key's id from its SubjectPublicKeyInfo."""
    text, _, line = NOTE.rpartition(b"\n\n")
    dash, name, encoded = line.split()
    raw = base64.b64decode(encoded)
    assert (dash, name) == (DASH, HEAD.origin.encode())
    assert raw[:4] == hashlib.sha256(KEY.public_key.spki).digest()[:4] == log_key_id(KEY.public_key)
    (tmp_path / "key.pem").write_bytes(KEY.pem)
    (tmp_path / "text").write_bytes(text + b"\n")
    (tmp_path / "signature").write_bytes(raw[4:])
    command = ["openssl", "dgst", "-sha256", "-verify", "key.pem", "-signature", "signature", "text"]
    assert "Verified OK" in subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=True).stdout


def test_it_reads_back_and_verifies() -> None:
    checkpoint = parse_checkpoint(NOTE)
    assert checkpoint == sign_head(HEAD, KEY) or checkpoint.head == HEAD
    assert checkpoint.note == NOTE
    verify_log_signature(checkpoint, KEY.public_key)


# Loops and not parameters: the signature is new in each process, and its length differs.


def test_every_changed_byte_is_refused() -> None:
    for at in range(len(NOTE)):
        changed = NOTE[:at] + bytes([NOTE[at] ^ 1]) + NOTE[at + 1 :]
        with pytest.raises((FormatError, SignatureInvalid)):
            verify_log_signature(parse_checkpoint(changed), KEY.public_key)


def test_every_truncation_is_refused() -> None:
    for at in range(len(NOTE)):
        with pytest.raises(FormatError):
            parse_checkpoint(NOTE[:at])


LINE = b"\n\n" + NOTE.partition(b"\n\n")[2]


@pytest.mark.parametrize(
    "note",
    [
        NOTE + b"\n",
        NOTE + b"x",
        NOTE + LINE[2:],
        HEAD.text + b"extension\n" + LINE[1:],
        HEAD.text.replace(b"\n7\n", b"\n07\n") + LINE[1:],
        HEAD.text.replace(b"\n7\n", b"\n-7\n") + LINE[1:],
        HEAD.text.replace(b"\n7\n", b"\n1000000000000000\n") + LINE[1:],
        HEAD.text.replace(b"/", b" ") + LINE[1:],
        HEAD.text.replace(b"/", b"+") + LINE[1:],
        HEAD.text.replace(b"8=\n", b"9=\n") + LINE[1:],
        HEAD.text.replace(b"AAEC", b"") + LINE[1:],
        HEAD.text + b"\n",
        NOTE.replace(DASH, b"-"),
        NOTE.replace(b"\n", b"\r\n"),
        NOTE[:-1] + b" \n",
        b"\xff" + NOTE,
        HEAD.text + b"\n" + b"".join(NoteSignature(f"n{i}", b"1234", b"x").line for i in range(33)),
        NOTE + b"x" * NOTE_SIZE_BYTES_MAX,
    ],
)
def test_another_form_is_refused(note: bytes) -> None:
    with pytest.raises(FormatError):
        parse_checkpoint(note)


def test_a_signature_under_another_name_or_by_another_key_does_not_count() -> None:
    (signature,) = parse_checkpoint(NOTE).signatures
    for other in (
        NoteSignature("other", signature.key_id, signature.signature),
        NoteSignature(signature.name, b"1234", signature.signature),
    ):
        with pytest.raises(SignatureInvalid):
            verify_log_signature(Checkpoint(HEAD, (other,)), KEY.public_key)
    with pytest.raises(SignatureInvalid):
        verify_log_signature(parse_checkpoint(NOTE), SoftwareKey().public_key)


def test_a_newer_signature_of_a_key_takes_the_place_of_its_older() -> None:
    checkpoint = parse_checkpoint(NOTE)
    first, second = (NoteSignature("w", b"1234", value) for value in (b"one", b"two"))
    grown = checkpoint.with_signature(first).with_signature(second)
    assert grown.signatures == (*checkpoint.signatures, second)
    assert parse_checkpoint(grown.note) == grown
