"""What must hold before a ceremony's first key operation, found out without a PIN and without changing anything.

Each check gives findings; `preflight` shows them all, `run` refuses to begin with an error among them.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from ceremonies.acts.base import Foreseen, KeyFact
from ceremonies.foresight import foresee, tokens_used
from cli.ceremony_place import require_own_tokens
from cli.context import module_config, open_store, pin_source_of, pinned_uri
from pki.errors import StrongroomError

if TYPE_CHECKING:
    from cli.ceremony_files import LoadedCeremony
    from signer.authority.repository import AuthorityRepository
    from signer.tokens.values import TokenInfo

_FREE_BYTES_MIN = 64 * 1024 * 1024
_OLDEST_TIME = datetime(2026, 1, 1, tzinfo=UTC)
_LATEST_TIME = datetime(2100, 1, 1, tzinfo=UTC)
_INTERFACES = Path("/sys/class/net")
_SOFTWARE_TOKEN = "SoftHSM"  # noqa: S105 (a manufacturer's name)


class Finding(msgspec.Struct, frozen=True):
    """What a check found. `rule` is CE-31 to CE-39; `is_error` stops a ceremony."""

    rule: str
    is_error: bool
    text: str


def preflight(repository: AuthorityRepository, ceremony: LoadedCeremony, now: datetime) -> list[Finding]:
    """Every check, in order. Raises nothing that a check can turn into a finding."""
    return [
        *_checked("CE-31", lambda: _script_can_be_done(repository, ceremony)),
        *_tokens(repository, ceremony),
        *_folder(ceremony),
        *_clock(repository, ceremony, now),
        *_network(ceremony),
    ]


def _checked(rule: str, check: Callable[[], None]) -> Iterator[Finding]:
    try:
        check()
    except StrongroomError as error:
        yield Finding(rule, True, str(error))


def _script_can_be_done(repository: AuthorityRepository, ceremony: LoadedCeremony) -> None:
    foresee(ceremony.script, foreseen_now(repository, ceremony))


def foreseen_now(repository: AuthorityRepository, ceremony: LoadedCeremony) -> Foreseen:
    """What there is before the ceremony: keys, and artefacts of the same names. Raises KeyStoreError."""
    with open_store(repository) as store:
        records = store.keys()
    places = {name: pinned_uri(ceremony.site, name) for name in ceremony.site.tokens}
    keys = {
        record.label: KeyFact(
            record.role,
            record.product,
            tuple(
                name
                for name, uri in places.items()
                if any(uri.serial == token.serial and uri.token in {None, token.label} for token in record.tokens)
            ),
            record.state,
        )
        for record in records
    }
    return Foreseen(keys=keys, artefacts=frozenset(ceremony.folder.artefacts.names()), product=ceremony.product)


# Tokens


def _tokens(repository: AuthorityRepository, ceremony: LoadedCeremony) -> Iterator[Finding]:
    names = tokens_used(ceremony.script)
    yield from _checked("CE-32", lambda: require_own_tokens(ceremony.site, names))
    for name in names:
        try:
            yield from _token(repository, ceremony, name)
        except StrongroomError as error:
            yield Finding("CE-33", True, f"token {name}: {error}")


def _token(repository: AuthorityRepository, ceremony: LoadedCeremony, name: str) -> Iterator[Finding]:
    from signer.tokens import list_tokens, load_module

    config = ceremony.site.tokens[name]
    uri = pinned_uri(ceremony.site, name)
    source = pin_source_of(repository, config.pin, name)
    module = load_module(module_config(repository, ceremony.site, config.module))
    found = [info for info in list_tokens(module) if info.serial == uri.serial and uri.token in {None, info.label}]
    if len(found) != 1:
        yield Finding("CE-33", True, f"token {name} (serial {uri.serial}) is not there; put it in its reader")
        return
    yield from _state_of(name, found[0])
    is_software = _SOFTWARE_TOKEN in found[0].manufacturer or _SOFTWARE_TOKEN in found[0].model
    if is_software and repository.authority.environment.value == "production":
        yield Finding("CE-35", True, f"token {name} is SoftHSM, which is for development and rehearsals")
    if config.pin.source in {"file", "command"} and repository.authority.environment.value == "production":
        yield Finding("CE-36", False, f"the PIN of token {name} comes from {source.description}, not from a person")


def _state_of(name: str, info: TokenInfo) -> Iterator[Finding]:
    if not (info.initialised and info.user_pin_set):
        yield Finding("CE-34", True, f"token {name} is not initialised; `strongroom token init` does it")
    if info.user_pin_locked or info.write_protected:
        yield Finding("CE-34", True, f"token {name} is locked or write-protected")
    if info.user_pin_final_try or info.user_pin_count_low:
        yield Finding("CE-34", False, f"a wrong PIN was entered at token {name} since the last right one")


# The machine


def _folder(ceremony: LoadedCeremony) -> Iterator[Finding]:
    folder = ceremony.folder.path
    free = shutil.disk_usage(folder).free
    if free < _FREE_BYTES_MIN:
        yield Finding("CE-37", True, f"{folder} has {free // 1024} KiB free; {_FREE_BYTES_MIN // 1024} KiB are needed")
    if not os.access(folder, os.W_OK):
        yield Finding("CE-37", True, f"{folder} cannot be written")


def _clock(repository: AuthorityRepository, ceremony: LoadedCeremony, now: datetime) -> Iterator[Finding]:
    if not _OLDEST_TIME <= now <= _LATEST_TIME:
        yield Finding("CE-38", True, f"the clock says {now:%Y-%m-%d %H:%M} UTC; set it")
    written = datetime.fromtimestamp(ceremony.folder.plan.stat().st_mtime, UTC)
    newest = _newest_change(repository)
    for what, when in (("the plan was written", written), ("the key store was last changed", newest)):
        if when is not None and now < when:
            yield Finding("CE-38", True, f"the clock says {now:%Y-%m-%d %H:%M:%S} UTC, before {what}; set it")
    if ceremony.script.date is not None and f"{now:%Y-%m-%d}" != ceremony.script.date:
        yield Finding("CE-38", True, f"the ceremony is for {ceremony.script.date}; today is {now:%Y-%m-%d} (UTC)")


def _newest_change(repository: AuthorityRepository) -> datetime | None:
    with open_store(repository) as store:
        records = store.keys()
    return max((record.state_since for record in records), default=None)


def _network(ceremony: LoadedCeremony) -> Iterator[Finding]:
    if not ceremony.script.air_gapped:
        return
    for interface in interfaces_up(_INTERFACES):
        yield Finding("CE-39", True, f"the plan says air-gapped, and network interface {interface} is up")


def interfaces_up(folder: Path) -> list[str]:
    """Network interfaces that are up, the loopback apart (flag IFF_UP of Linux's netdevice(7))."""
    up = []
    for path in sorted(folder.iterdir()) if folder.is_dir() else []:
        try:
            flags = int((path / "flags").read_text(encoding="ascii"), 16)
        except (OSError, ValueError):
            continue
        is_loopback = flags & 0x8
        if flags & 0x1 and not is_loopback:
            up.append(path.name)
    return up
