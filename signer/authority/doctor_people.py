"""What the examination of an authority says about people and their SSH keys: does `allowed_signers` fit them."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime, timedelta

from pki.errors import ConfigurationError, StrongroomError
from policies.allowed_signers import AllowedSigner, AllowedSigners
from policies.approval import APPROVAL_NAMESPACE
from policies.names import is_slug
from policies.people import People, Person
from policies.request import REQUEST_NAMESPACE
from signer.authority.doctor_rules import Finding, finding
from signer.authority.repository import ALLOWED_SIGNERS_FILE, AuthorityRepository

_SOON = timedelta(days=30)
_NAMESPACES = {"requester": REQUEST_NAMESPACE, "approver": APPROVAL_NAMESPACE}


def examine_people(repository: AuthorityRepository, people: People | None, now: datetime) -> Iterator[Finding]:
    """DR-01 and DR-26 to DR-29. `people` is None if its file does not pass."""
    if people is None:
        return
    signing = [person for person in people.people if _NAMESPACES.keys() & set(person.roles)]
    if not signing and not (repository.root / ALLOWED_SIGNERS_FILE).exists():
        return
    try:
        signers = repository.allowed_signers()
    except ConfigurationError as error:
        yield finding("DR-01", ALLOWED_SIGNERS_FILE, str(error))
        return
    for person in signing:
        yield from _examine_keys_of(person, signers, now)
    yield from _examine_sharing(people, signers)
    yield from _examine_strangers(people, signers)


def _examine_keys_of(person: Person, signers: AllowedSigners, now: datetime) -> Iterator[Finding]:
    for role in sorted(_NAMESPACES.keys() & set(person.roles)):
        namespace = _NAMESPACES[role]
        try:
            signers.keys_for(person.id, namespace, now)
        except StrongroomError as error:
            yield finding("DR-26", "people.toml", f"{person.id!r} is {role}, but: {error}")
            continue
        try:
            signers.keys_for(person.id, namespace, now + _SOON)
        except StrongroomError:
            text = f"the last key of {person.id!r} for {namespace} ends within {_SOON.days} days; list the next one"
            yield finding("DR-29", ALLOWED_SIGNERS_FILE, text)


def _examine_sharing(people: People, signers: AllowedSigners) -> Iterator[Finding]:
    seen: set[bytes] = set()
    for entry in signers.entries:
        if entry.key.blob in seen:
            continue
        seen.add(entry.key.blob)
        owners = sorted(name for name in signers.principals_of(entry.key) if people.find(name) is not None)
        if len(owners) > 1:
            text = f"key {entry.key.fingerprint} is listed for {' and '.join(owners)}, so it counts for none of them"
            yield finding("DR-27", _line(entry), f"{text}; give each a key of their own")


def _examine_strangers(people: People, signers: AllowedSigners) -> Iterator[Finding]:
    """Names that look like ids. An address (for `git`) is nobody's id and no mistake."""
    for entry in signers.entries:
        for name in entry.principals:
            if is_slug(name) and people.find(name) is None:
                text = f"{name!r} is nobody in people.toml; remove the key, or correct the id"
                yield finding("DR-28", _line(entry), text)


def _line(entry: AllowedSigner) -> str:
    return f"{ALLOWED_SIGNERS_FILE}, line {entry.line_number}"
