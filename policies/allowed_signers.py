"""OpenSSH's allowed-signers file (ssh-keygen(1), "ALLOWED SIGNERS"): which key speaks for whom, for what, and when.

The file stays stock: `ssh-keygen -Y verify -f allowed_signers` reads the same. Of what it may say, patterns,
certificate authorities and times of an unnamed zone are refused. Rules SS-20 to SS-27.
"""

from __future__ import annotations

import re
from datetime import UTC, datetime

import msgspec

from pki.errors import ConfigurationError, PolicyViolation
from policies.refusals import KeyNotYetValid, Malformed, StatementExpired
from policies.ssh_keys import SshPublicKey

FILE_SIZE_BYTES_MAX = 256 * 1024
_ENTRIES_MAX = 1000
_NAMES_MAX = 32

_NAME = re.compile(r"[A-Za-z0-9@._+-]{1,100}")
_OPTION = re.compile(r'([A-Za-z-]{1,32})(?:="([^"]{0,1000})")?')
_TIME = re.compile(r"([0-9]{8})([0-9]{4}(?:[0-9]{2})?)?Z")
_KEY_START = re.compile(r"(?:ssh-|ecdsa-|sk-)[^ =\"]* ")


class AllowedSigner(msgspec.Struct, frozen=True):
    """One line: a key, the principals it speaks for, and where and when. `namespaces` None: everywhere.

    `valid_after` and `valid_before` are in UTC and belong to the time themselves.
    """

    line_number: int
    principals: tuple[str, ...]
    key: SshPublicKey
    namespaces: tuple[str, ...] | None = None
    valid_after: datetime | None = None
    valid_before: datetime | None = None


class AllowedSigners(msgspec.Struct, frozen=True):
    """Every line of the file, in order."""

    entries: tuple[AllowedSigner, ...]

    def keys_for(self, principal: str, namespace: str, now: datetime) -> tuple[SshPublicKey, ...]:
        """The keys that may speak for a principal in a namespace now.

        Raises PolicyViolation SS-25 if it never has one there, KeyNotYetValid SS-26 or StatementExpired SS-27 if none
        is valid now.
        """
        listed = [
            entry
            for entry in self.entries
            if principal in entry.principals and (entry.namespaces is None or namespace in entry.namespaces)
        ]
        if not listed:
            raise PolicyViolation("SS-25", f"allowed_signers has no key of {principal!r} for {namespace}; add one")
        begun = [entry for entry in listed if entry.valid_after is None or entry.valid_after <= now]
        if not begun:
            raise KeyNotYetValid("SS-26", f"no key of {principal!r} for {namespace} is valid yet")
        valid = tuple(entry.key for entry in begun if entry.valid_before is None or now <= entry.valid_before)
        if not valid:
            raise StatementExpired("SS-27", f"every key of {principal!r} for {namespace} has expired; list a new one")
        return valid

    def principals_of(self, key: SshPublicKey) -> frozenset[str]:
        """Everybody for whom a key is listed anywhere, at any time."""
        return frozenset(principal for entry in self.entries if entry.key == key for principal in entry.principals)


def parse_allowed_signers(text: str) -> AllowedSigners:
    """Read the file's text. Raises ConfigurationError, with line number and rule (SS-20 to SS-24, SS-03, SS-04)."""
    if len(text.encode("utf-8")) > FILE_SIZE_BYTES_MAX:
        raise ConfigurationError(f"[SS-20] allowed_signers has more than {FILE_SIZE_BYTES_MAX} bytes")
    entries: list[AllowedSigner] = []
    for number, line in enumerate(text.split("\n"), start=1):
        content = line.strip(" ")
        if not content or content.startswith("#"):
            continue
        if len(entries) == _ENTRIES_MAX:
            raise _error("SS-20", number, f"more than {_ENTRIES_MAX} entries")
        entries.append(_entry(number, content))
    return AllowedSigners(tuple(entries))


def _entry(number: int, line: str) -> AllowedSigner:
    if not line.isascii() or not line.isprintable():
        raise _error("SS-20", number, "characters that are not printable ASCII (tabs count); use spaces")
    principals_text, _, rest = line.partition(" ")
    rest = rest.lstrip(" ")
    options_text = ""
    if not _KEY_START.match(rest):
        options_text, rest = _split_options(number, rest)
    try:
        key = SshPublicKey.parse(rest)
    except Malformed as error:
        raise _error(error.rule_id, number, error.reason) from None
    options = _options(number, options_text)
    namespaces = options.get("namespaces")
    after, before = _time(number, options, "valid-after"), _time(number, options, "valid-before")
    if after and before and before <= after:
        raise _error("SS-24", number, "valid-before is not later than valid-after")
    return AllowedSigner(
        number,
        _names(number, "SS-21", "principal", principals_text),
        key,
        None if namespaces is None else _names(number, "SS-22", "namespace", namespaces),
        after,
        before,
    )


def _split_options(number: int, rest: str) -> tuple[str, str]:
    """Options end at the first space outside quotes."""
    quoted = False
    for position, character in enumerate(rest):
        if character == '"':
            quoted = not quoted
        elif character == " " and not quoted:
            return rest[:position], rest[position:].lstrip(" ")
    raise _error("SS-20", number, "no key; a line is PRINCIPALS [OPTIONS] TYPE BASE64")


def _options(number: int, text: str) -> dict[str, str]:
    """Option names in lower case, and their values without quotes."""
    found: dict[str, str] = {}
    position = 0
    while position < len(text):
        match = _OPTION.match(text, position)
        if match is None:
            raise _error("SS-22", number, 'options are written as name="value", with commas between them')
        name, value = match[1].lower(), match[2]
        if name == "cert-authority":
            raise _error("SS-23", number, "certificate authorities are not accepted; list each person's own key")
        if name not in {"namespaces", "valid-after", "valid-before"} or value is None or name in found:
            raise _error("SS-22", number, f"option {match[1]!r} is unknown, has no value, or stands twice")
        found[name] = value
        position = match.end()
        if position < len(text):
            if text[position] != "," or position + 1 == len(text):
                raise _error("SS-22", number, 'options are written as name="value", with commas between them')
            position += 1
    return found


def _names(number: int, rule_id: str, what: str, text: str) -> tuple[str, ...]:
    names = text.split(",")
    for name in names:
        if not _NAME.fullmatch(name):
            raise _error(rule_id, number, f"{name[:40]!r} is no plain {what}; patterns and quotes are not accepted")
    if len(names) > _NAMES_MAX or len(set(names)) != len(names):
        raise _error(rule_id, number, f"more than {_NAMES_MAX} {what}s, or one twice")
    return tuple(names)


def _time(number: int, options: dict[str, str], name: str) -> datetime | None:
    text = options.get(name)
    if text is None:
        return None
    match = _TIME.fullmatch(text)
    if match is None:
        raise _error("SS-24", number, f"{name} must be YYYYMMDDZ or YYYYMMDDHHMM[SS]Z: UTC, with the Z")
    try:
        return datetime.strptime(match[1] + (match[2] or "0000").ljust(6, "0"), "%Y%m%d%H%M%S").replace(tzinfo=UTC)
    except ValueError:
        raise _error("SS-24", number, f"{name} is no time that exists") from None


def _error(rule_id: str, number: int, reason: str) -> ConfigurationError:
    return ConfigurationError(f"[{rule_id}] allowed_signers, line {number}: {reason}")
