"""What changes against the last release: the rows an approver must see, with a caution where one must not be missed."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import msgspec

from policies.request import decode_request, version_parts
from signer.service.releases import ReleaseHistory

if TYPE_CHECKING:
    from signer.authority.repository import AuthorityRepository

Fields = Mapping[str, Any]
"""Fields of a request, as its JSON has them; a prepared package has some of them."""

# In the order in which they are shown. Who asked and until when is not compared: it is about this request only.
_COMPARED = (
    "version", "security_version", "target", "product_id", "environment", "key_ids", "sbom_digest",
    "test_evidence_digest", "policy_digest", "image_digest", "head_digest",
)  # fmt: skip


class Difference(msgspec.Struct, frozen=True):
    """One field. `before` is None where there is no last release. `caution` is empty where nothing is unusual."""

    field: str
    before: str | None
    now: str
    changed: bool
    caution: str


class LastRelease(msgspec.Struct, frozen=True):
    """The request of the last release of the same product and kind, and when its evidence was made."""

    fields: Fields
    made_at: str


def last_release(repository: AuthorityRepository, product: str, kind: str) -> LastRelease | None:
    """From `releases/`; its evidence is believed, as the reviewed file it is. Raises ConfigurationError, Malformed."""
    found = ReleaseHistory(repository.root / "releases").last(product, kind)
    if found is None:
        return None
    request = decode_request(found.evidence.request.statement.encode("utf-8"))
    return LastRelease(request.fields(), found.evidence.made_at)


def differences(now: Fields, last: LastRelease | None) -> list[Difference]:
    """Every compared field that `now` has, changed or not."""
    rows = []
    for name in _COMPARED:
        if name not in now:
            continue
        if last is None:
            rows.append(Difference(name, None, shown(now[name]), changed=True, caution=""))
            continue
        before = last.fields[name]
        caution = _CAUTIONS[name](before, now[name]) if name in _CAUTIONS else ""
        rows.append(Difference(name, shown(before), shown(now[name]), before != now[name], caution))
    return rows


def difference_data(rows: Sequence[Difference], last: LastRelease | None) -> dict[str, Any]:
    """The same for --json."""
    found = None if last is None else {"made_at": last.made_at, "request": dict(last.fields)}
    return {"last_release": found, "differences": [msgspec.structs.asdict(row) for row in rows]}


def shown(value: object) -> str:
    """A field's value as one word or a few."""
    if value is None:
        return "none"
    return " and ".join(map(str, value)) if isinstance(value, list) else str(value)


def _version(before: str, now: str) -> str:
    if version_parts(now) < version_parts(before):
        return "OLDER than the last release"
    return "the SAME version again" if before == now else ""


def _security_version(before: int, now: int) -> str:
    if now < before:
        return "LOWER: devices that have confirmed the last release refuse it"
    return "HIGHER: once a device has confirmed it, there is no way back below" if now > before else ""


def _gone(what: str) -> Callable[[object, object], str]:
    return lambda before, now: f"NO {what}, the last release had one" if before and not now else ""


def _other(text: str) -> Callable[[object, object], str]:
    return lambda before, now: text if before != now else ""


_CAUTIONS: dict[str, Callable[[Any, Any], str]] = {
    "version": _version,
    "security_version": _security_version,
    "target": _other("for OTHER devices than the last release"),
    "product_id": _other("ANOTHER product id under the same name"),
    "environment": _other("made for ANOTHER environment"),
    "key_ids": _other("signed with ANOTHER key"),
    "sbom_digest": _gone("SBOM"),
    "test_evidence_digest": _gone("test evidence"),
    "policy_digest": _other("the policies have CHANGED since"),
    "head_digest": lambda before, now: "the very SAME package again" if before == now else "",
}
