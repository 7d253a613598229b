"""Reading SSH's data types, and bounds of the signature file."""

from __future__ import annotations

import base64

import pytest

from policies.refusals import Malformed
from policies.ssh_keys import SshPublicKey
from policies.ssh_wire import WireError, WireReader, wire_string
from policies.sshsig import SIGNATURE_SIZE_BYTES_MAX, verify_ssh_signature
from tests.vectors.generator.ssh_signature import ED25519, MESSAGE, NAMESPACE, Signed, armor


def test_a_structure_is_read_to_its_end() -> None:
    reader = WireReader(b"\x00\x00\x00\x02" + wire_string(b"abc") + b"\x07" + wire_string(b"\x00\x80"))
    assert (reader.uint32(), reader.string(), reader.byte(), reader.positive_mpint()) == (2, b"abc", 7, 128)
    reader.end()


@pytest.mark.parametrize("data", [b"", b"\x00\x00\x00", b"\x00\x00\x00\x02a", b"\xff\xff\xff\xffabc"])
def test_what_is_cut_short(data: bytes) -> None:
    with pytest.raises(WireError, match="cut short"):
        WireReader(data).string()


# RFC 4251, section 5: a leading zero only where the next bit is set; zero is the empty string.
@pytest.mark.parametrize("number", [b"", b"\x00", b"\x80", b"\xff\xff", b"\x00\x7f", b"\x00\x00\x80"])
def test_numbers_that_are_negative_zero_or_padded(number: bytes) -> None:
    with pytest.raises(WireError, match="shortest form"):
        WireReader(wire_string(number)).positive_mpint()


@pytest.mark.parametrize("name", [b"a b", b"a\n", b"\xc3\xa4", b"a\x00"])
def test_names_are_printable(name: bytes) -> None:
    with pytest.raises(WireError, match="printable"):
        WireReader(wire_string(name)).text()


def test_what_is_left_over() -> None:
    with pytest.raises(WireError, match="2 bytes too many"):
        WireReader(b"ab").end()


def test_lines_may_have_the_76_characters_of_the_format_description() -> None:
    signed = Signed(ED25519)
    key = SshPublicKey.parse(signed.key_line)
    blob = base64.b64decode("".join(signed.armored.split("\n")[1:-2]))
    for width in (1, 64, 70, 76):
        verify_ssh_signature([key], NAMESPACE, MESSAGE, armor(blob, width).encode())
    with pytest.raises(Malformed, match="SS-01"):
        verify_ssh_signature([key], NAMESPACE, MESSAGE, armor(blob, 77).encode())


def test_a_signature_file_has_a_greatest_size() -> None:
    with pytest.raises(Malformed, match=str(SIGNATURE_SIZE_BYTES_MAX)):
        verify_ssh_signature([], NAMESPACE, MESSAGE, armor(bytes(SIGNATURE_SIZE_BYTES_MAX)).encode())


@pytest.mark.parametrize(
    "line", ["", "ssh-ed25519", "ssh-ed25519 =", "ssh-ed25519 AAAA====", "ssh-ed25519 AAAAC3Nz!aC1", "x" * 9000]
)
def test_lines_that_are_no_key(line: str) -> None:
    with pytest.raises(Malformed, match="SS-04"):
        SshPublicKey.parse(line)
