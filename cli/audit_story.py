"""Entries of the audit log as sentences."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from signer.log.values import EventKind, LoggedEntry

_Details = Mapping[str, Any]


def sentence(entry: LoggedEntry) -> str:
    """One line: when, which entry, who, and what happened."""
    event = entry.event
    tell = _OF_RELEASES.get(event.kind) if "request_digest" in event.details else None
    tell = tell or _TELLERS.get(event.kind)
    what = _rest(event.details) if tell is None else tell(event.details)
    return f"{entry.at:%Y-%m-%d %H:%M:%S}Z  #{entry.index:<6} {event.actor} {what}"


def _short(details: _Details, name: str) -> str:
    value = str(details.get(name, "?"))
    return value if len(value) <= 16 else f"{value[:16]}…"


def _key(details: _Details) -> str:
    return f"key {details.get('key_label', '?')}"


def _signed(details: _Details) -> str:
    purpose = details.get("purpose")
    return f"digest {_short(details, 'digest')}" + (f" for {purpose!r}" if purpose else "")


def _changed(verb: str) -> Callable[[_Details], str]:
    def tell(details: _Details) -> str:
        begins = "begins to have" if details.get("stage") == "intent" else "had"
        reason = f": {details['reason']}" if details.get("reason") else ""
        to = f" to {details['to']}" if details.get("to") else ""
        return f"{begins} {_key(details)} {verb}{to}{reason}"

    return tell


def _ceremony(verb: str) -> Callable[[_Details], str]:
    return lambda details: (
        f"{verb} ceremony {details.get('ceremony', details.get('plan', ''))} ({_short(details, 'ceremony_digest')})"
    )


def _restored(what: str) -> Callable[[_Details], str]:
    return lambda details: f"put back {what}, up to entry {details.get('size', '?')} ({_short(details, 'root')})"


def _rest(details: _Details) -> str:
    return ", ".join(f"{name} {value}" for name, value in sorted(details.items()))


def _release(details: _Details) -> str:
    """The package of an entry by the signing service."""
    named = " ".join(str(details[name]) for name in ("kind", "version") if name in details)
    return f"{named} of {details.get('product', '?')} (request {_short(details, 'request_digest')})"


def _listed(details: _Details, name: str) -> str:
    return ", ".join(map(str, details.get(name) or ["nobody"]))


_OF_RELEASES: Mapping[EventKind, Callable[[_Details], str]] = {
    EventKind.SIGN_INTENT: lambda details: (
        f"sets out to sign {_release(details)}: asked for by {details.get('requester', '?')}, approved by "
        f"{_listed(details, 'approvers')}, allowed by {_listed(details, 'policy_ids')}"
    ),
    EventKind.SIGN_RESULT: lambda details: (
        f"has signed {_release(details)}: package {_short(details, 'package_digest')}, accepted by "
        f"{details.get('judged_by', '?')}"
    ),
    EventKind.SIGN_FAILED: lambda details: (
        f"did not release a signature for {_release(details)}: {details.get('reason', details.get('rule_id', '?'))}"
    ),
    EventKind.REQUEST_REFUSED: lambda details: (
        f"was refused request {_short(details, 'request_digest')}: {details.get('reason', details.get('rule_id', '?'))}"
    ),
}

_TELLERS: Mapping[EventKind, Callable[[_Details], str]] = {
    EventKind.LOG_BEGUN: lambda details: f"began the log {details.get('origin', '?')}",
    EventKind.SIGN_INTENT: lambda details: f"asks {_key(details)} to sign {_signed(details)}",
    EventKind.SIGN_RESULT: lambda details: f"got a signature of {_key(details)} over {_signed(details)}",
    EventKind.SIGN_FAILED: lambda details: (
        f"got no signature of {_key(details)} over {_signed(details)}: {details.get('error', '?')}"
    ),
    EventKind.REQUEST_REFUSED: lambda details: (
        f"was refused request {_short(details, 'request_digest')}: rule {details.get('rule_id', '?')}"
    ),
    EventKind.RELEASED: lambda details: (
        f"released {details.get('product', '?')} {details.get('version', '')} for request "
        f"{_short(details, 'request_digest')}"
    ),
    EventKind.KEY_GENERATED: _changed("generated"),
    EventKind.KEY_STATE_CHANGED: _changed("changed"),
    EventKind.KEY_DESTROYED: _changed("destroyed"),
    EventKind.KEY_BACKED_UP: _changed("backed up"),
    EventKind.KEY_RESTORED: _changed("restored"),
    EventKind.KEY_COPY_ENDED: _changed("recorded a token as lost that had"),
    EventKind.KEY_BACKUP_ENDED: _changed("recorded a backup as destroyed of"),
    EventKind.CONTENT_KEY_KEPT: lambda details: (
        f"asks {_key(details)} to wrap the content key of a package of {details.get('product', '?')}"
    ),
    EventKind.CONTENT_KEY_USED: lambda details: (
        f"asks {_key(details)} to unwrap the content key of package {_short(details, 'head_digest')} of "
        f"{details.get('product', '?')}"
    ),
    EventKind.CEREMONY_BEGUN: _ceremony("began"),
    EventKind.CEREMONY_RESUMED: _ceremony("resumed"),
    EventKind.CEREMONY_ENDED: _ceremony("ended"),
    EventKind.CEREMONY_ABORTED: _ceremony("aborted"),
    EventKind.LOG_RESTORED: _restored("the log"),
    EventKind.STORE_RESTORED: _restored("the key store"),
}
