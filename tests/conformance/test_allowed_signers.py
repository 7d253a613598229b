"""The allowed-signers file as we read it, against the `ssh-keygen` of this machine: the same meaning, or a refusal."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from pki.errors import ConfigurationError, FormatError, PolicyViolation, VerificationError
from policies.allowed_signers import parse_allowed_signers
from policies.sshsig import verify_ssh_signature
from tests.ssh_people import SshKeyFile, new_ssh_key, ssh_keygen_accepts

NAMESPACE = "strongroom-approval-v1"
MESSAGE = b'{"decision":"approve"}'


@pytest.fixture(scope="module")
def key_file(tmp_path_factory: pytest.TempPathFactory) -> SshKeyFile:
    return new_ssh_key(tmp_path_factory.mktemp("ssh"), "ada")


NOON = datetime(2026, 6, 15, 12, 0, tzinfo=UTC)
LINES = {
    "plain": "ada {key}",
    "comment behind": "ada {key} ada's key",
    "several principals": "bob,ada,ada@example.com {key}",
    "somebody else": "bob {key}",
    "a name that begins the same": "ada2,ad {key}",
    "this namespace": 'ada namespaces="strongroom-approval-v1" {key}',
    "two namespaces": 'ada namespaces="git,strongroom-approval-v1" {key}',
    "other namespace": 'ada namespaces="git" {key}',
    "namespace begins the same": 'ada namespaces="strongroom-approval-v" {key}',
    "upper case option": 'ada Namespaces="strongroom-approval-v1" {key}',
    "from noon": 'ada valid-after="202606151200Z" {key}',
    "from a second later": 'ada valid-after="20260615120001Z" {key}',
    "until noon": 'ada valid-before="202606151200Z" {key}',
    "until a second earlier": 'ada valid-before="20260615115959Z" {key}',
    "that day": 'ada valid-after="20260615Z",valid-before="20260616Z" {key}',
    "before and namespace": 'ada namespaces="git,strongroom-approval-v1",valid-before="20270101Z" {key}',
    "expired, then valid": 'ada valid-before="20260101Z" {key}\nada {key}',
    "valid, then expired": 'ada {key}\nada valid-before="20260101Z" {key}',
    "comments and empty lines": "# people\n\n   # more\nada {key}\n",
    "indented": "  ada   {key}  ",
}


def ours(text: str, at: datetime, message: bytes, signature: bytes) -> bool:
    try:
        keys = parse_allowed_signers(text).keys_for("ada", NAMESPACE, at)
        verify_ssh_signature(keys, NAMESPACE, message, signature)
    except (VerificationError, PolicyViolation, FormatError):
        return False
    return True


@pytest.mark.parametrize("name", LINES)
def test_the_allowed_signers_file_means_the_same_to_both(name: str, key_file: SshKeyFile, tmp_path: Path) -> None:
    text = LINES[name].format(key=key_file.line)
    signature = key_file.sign(NAMESPACE, MESSAGE)
    for at in (NOON, NOON - timedelta(seconds=1), NOON + timedelta(seconds=1), NOON + timedelta(days=365)):
        theirs = ssh_keygen_accepts(tmp_path, text, "ada", NAMESPACE, MESSAGE, signature, at)
        assert ours(text, at, MESSAGE, signature) is theirs, at


REFUSED_LINES: dict[str, tuple[str, str]] = {
    "a pattern of all": ("* {key}", "SS-21"),
    "a pattern": ("a?a {key}", "SS-21"),
    "a negation": ("!bob,ada {key}", "SS-21"),
    "a quoted principal": ('"ada" {key}', "SS-21"),
    "a principal twice": ("ada,ada {key}", "SS-21"),
    "a pattern of namespaces": ('ada namespaces="strongroom-*" {key}', "SS-22"),
    "no namespace": ('ada namespaces="" {key}', "SS-22"),
    "an unknown option": ("ada no-touch-required {key}", "SS-22"),
    "an option without quotes": ("ada namespaces=git {key}", "SS-22"),
    "an option twice": ('ada namespaces="a",namespaces="b" {key}', "SS-22"),
    "a comma at the end": ('ada namespaces="a", {key}', "SS-22"),
    "a local time": ('ada valid-after="20260615" {key}', "SS-24"),
    "no such day": ('ada valid-after="20260230Z" {key}', "SS-24"),
    "ends before it begins": ('ada valid-after="20260615Z",valid-before="20260614Z" {key}', "SS-24"),
    "an authority": ("ada cert-authority {key}", "SS-23"),
    "an authority among options": ('ada namespaces="git",cert-authority {key}', "SS-23"),
    "no key": ("ada", "SS-20"),
    "no key behind options": ('ada namespaces="git"', "SS-20"),
    "half a key": ("ada ssh-ed25519 AAAA", "SS-04"),
    "a key of another type": ("ada ssh-rsa {key}", "SS-04"),
    "a tab": ("ada\t{key}", "SS-20"),
    "not ASCII": ("adä {key}", "SS-20"),
}


@pytest.mark.parametrize("name", REFUSED_LINES)
def test_lines_that_are_refused(name: str, key_file: SshKeyFile) -> None:
    line, rule = REFUSED_LINES[name]
    text = f"# first\n{line.format(key=key_file.line)}\n"
    with pytest.raises(ConfigurationError, match=rf"^\[{rule}\] allowed_signers, line 2: ") as refused:
        parse_allowed_signers(text)
    assert "\n" not in str(refused.value)


@pytest.mark.parametrize("name", REFUSED_LINES)
def test_a_refused_line_stops_everything_behind_it(name: str, key_file: SshKeyFile) -> None:
    line, _ = REFUSED_LINES[name]
    key = key_file.line
    with pytest.raises(ConfigurationError):
        parse_allowed_signers(f"{line.format(key=key)}\nada {key}\n")
