"""A request in words, for somebody who is to approve it: what, for whom, who asks, until when, and what changes."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

from cli.request_differences import Difference, LastRelease, shown
from policies.authentication import AnyAuthenticRequest, AuthenticApproval
from policies.request import SigningRequest

_TARGETS = {"any": "any device of the product", "grant": "devices that hold a grant for it"}
_WIDTH = 22


def request_lines(request: SigningRequest, requester: str, now: datetime) -> list[str]:
    """What stands in the request. `requester` is what is known of who asks."""
    keys = ", ".join(key_id.hex() for key_id in request.key_ids)
    return [
        f"{request.product}: {request.kind} {request.version}, security version {request.security_version}, "
        f"for {request.environment.upper()}",
        "",
        row("for", _target(request)),
        row("asked for by", requester),
        row("may be signed until", f"{request.not_after:%Y-%m-%d %H:%M:%S} UTC, {from_now(request.not_after, now)}"),
        row("to be signed by", f"key {keys}"),
        row("SBOM", _file(request.sbom_digest)),
        row("test evidence", _file(request.test_evidence_digest)),
        row("policies", request.policy_digest.hex()),
        row("product id", request.product_id),
        row("image digest", request.image_digest.hex()),
        row("digest to be signed", request.head_digest.hex()),
        row("digest of the request", request.digest.hex()),
    ]


def difference_lines(rows: Sequence[Difference], last: LastRelease | None, product: str, kind: str) -> list[str]:
    """The table against the last release, cautions marked with !."""
    if last is None:
        return [f"There is no earlier release of {kind} of {product} here to compare with: this is the FIRST."]
    lines = [f"Against the last release, {last.fields['version']}, of {last.made_at}:"]
    for row in rows:
        mark = "!" if row.caution else " "
        value = f"{_short(row.before)} -> {_short(row.now)}" if row.changed else f"{_short(row.now)}, as before"
        lines.append(
            f"{mark} {row.field.replace('_', ' '):{_WIDTH}}{value}{f'   {row.caution}' if row.caution else ''}"
        )
    return lines


def signer_words(signed: AnyAuthenticRequest | AuthenticApproval) -> str:
    """Who signed, and with what."""
    person = signed.approver if isinstance(signed, AuthenticApproval) else signed.requester
    how = ""
    if signed.is_hardware_backed:
        how = ", a security key" + (" that verified its holder" if signed.is_user_verified else "")
    return f"{one_line(person.name)} ({person.id}), with SSH key {signed.key_fingerprint}{how}"


def one_line(text: str) -> str:
    """Text from a file, in which nothing can move the cursor."""
    return "".join(character if character.isprintable() else " " for character in text)


def row(name: str, value: str) -> str:
    """One line of a request."""
    return f"  {name:{_WIDTH}}{value}"


def _target(request: SigningRequest) -> str:
    uid = request.target.removeprefix("uid:")
    return _TARGETS.get(request.target, f"one device only, UID {uid}")


def _file(digest: bytes | None) -> str:
    return "none" if digest is None else f"SHA-256 {digest.hex()}"


def from_now(when: datetime, now: datetime) -> str:
    """How far away a time is."""
    minutes = int((when - now).total_seconds()) // 60
    if minutes < 0:
        return "which is OVER"
    days, hours = minutes // (24 * 60), minutes // 60 % 24
    return f"in {days} days {hours} hours" if minutes >= 60 else f"in {minutes} minutes"


def _short(value: str | None) -> str:
    """Digests differ from their first digits on; the whole ones stand above and in --json."""
    text = shown(value)
    return text if len(text) <= 40 else f"{text[:16]}…"
