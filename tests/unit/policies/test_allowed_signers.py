"""Bounds and lookups of the allowed-signers file; its meaning is held to OpenSSH's in test_ssh_keygen.py."""

from __future__ import annotations

import pytest

from pki.errors import ConfigurationError
from policies.allowed_signers import FILE_SIZE_BYTES_MAX, parse_allowed_signers
from policies.ssh_keys import SshPublicKey
from tests.unit.policies.statements import NOW, key_line

NAMESPACE = "strongroom-approval-v1"


def test_everybody_a_key_is_listed_for_at_any_time_anywhere() -> None:
    text = f'ada,ada@example.com {key_line("a")}\nbob valid-before="20200101Z",namespaces="git" {key_line("a")}\n'
    signers = parse_allowed_signers(text + f"cyd {key_line('c')}\n")
    assert signers.principals_of(SshPublicKey.parse(key_line("a"))) == {"ada", "ada@example.com", "bob"}
    assert signers.principals_of(SshPublicKey.parse(key_line("z"))) == frozenset()


def test_all_valid_keys_of_a_person_in_the_order_of_the_file() -> None:
    lines = [f"ada {key_line('new')}", f'ada valid-before="20260101Z" {key_line("old")}', f"ada,bob {key_line('2')}"]
    keys = parse_allowed_signers("\n".join(lines)).keys_for("ada", NAMESPACE, NOW)
    assert [key.line for key in keys] == [key_line("new"), key_line("2")]


def test_line_numbers_are_kept() -> None:
    signers = parse_allowed_signers(f"# who\n\nada {key_line('a')}\n")
    assert [entry.line_number for entry in signers.entries] == [3]


@pytest.mark.parametrize("text", ["", "\n", "# nothing\n", "   \n# ada ssh-rsa AAAA\n"])
def test_a_file_without_entries(text: str) -> None:
    assert parse_allowed_signers(text).entries == ()


def test_the_file_has_a_greatest_size_and_number_of_entries() -> None:
    with pytest.raises(ConfigurationError, match=r"\[SS-20\].*bytes"):
        parse_allowed_signers("#" * (FILE_SIZE_BYTES_MAX + 1))
    line = f"ada {key_line('a')}\n"
    assert len(parse_allowed_signers(line * 1000).entries) == 1000
    with pytest.raises(ConfigurationError, match=r"\[SS-20\] allowed_signers, line 1001: more than 1000 entries"):
        parse_allowed_signers(line * 1001)


def test_a_principal_list_has_a_greatest_length() -> None:
    names = ",".join(f"p{number}" for number in range(33))
    with pytest.raises(ConfigurationError, match=r"\[SS-21\]"):
        parse_allowed_signers(f"{names} {key_line('a')}")
