"""What one trust bundle says and another does not, in words: for whoever reviews or signs. Pure."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from pki.roles import Role
from signer.trust_bundles.content import TrustBundleContent
from signer.trust_bundles.succession_rules import SuccessionFacts, current_keys, limits_by_type


@dataclass(frozen=True, slots=True)
class BundleDifference:
    """One difference. `what` is root, root-threshold, limits, revoked, or a role; `key_id` None where it is no key."""

    what: str
    key_id: bytes | None
    text: str


def bundle_differences(
    old: TrustBundleContent, new: TrustBundleContent, facts: SuccessionFacts | None = None
) -> tuple[BundleDifference, ...]:
    """From `old` to `new`, keys first, then thresholds and limits; empty if both say the same."""
    known = facts or SuccessionFacts()
    return (
        *_keys(old, new, known),
        *_revocations(old, new, known),
        *_thresholds(old, new),
        *_limits(old, new),
    )


def who_must_sign(
    old: TrustBundleContent, new: TrustBundleContent, facts: SuccessionFacts | None = None
) -> tuple[str, ...]:
    """Whose signatures a successor needs, in words; a root of both versions signs once for both."""
    known = facts or SuccessionFacts()
    before, after = ([root.key_id for root in content.roots] for content in (old, new))
    lines = [
        f"{content.root_threshold} of the {len(content.roots)} roots of version {content.version} must sign"
        for content in (old, new)
    ]
    for key_id in (*before, *(key_id for key_id in after if key_id not in before)):
        versions = [content.version for content in (old, new) if key_id in {root.key_id for root in content.roots}]
        counts = (
            f"counts for versions {versions[0]} and {versions[1]}"
            if len(versions) > 1
            else f"counts for version {versions[0]}"
        )
        lines.append(f"root {known.name_of(key_id)}: {counts}")
    return tuple(lines)


def _keys(old: TrustBundleContent, new: TrustBundleContent, facts: SuccessionFacts) -> Iterator[BundleDifference]:
    before, after = current_keys(old), current_keys(new)
    revoked = {entry.key_id for entry in new.revoked}
    for key_id, role in before.items():
        if after.get(key_id) is not role:
            yield BundleDifference(
                role.value, key_id, f"{role} {facts.name_of(key_id)} goes{_fate(role, key_id, revoked)}"
            )
    for key_id, role in after.items():
        if before.get(key_id) is not role:
            yield BundleDifference(role.value, key_id, f"{role} {facts.name_of(key_id)} comes")


def _fate(role: Role, key_id: bytes, revoked: set[bytes]) -> str:
    if key_id in revoked:
        return ", and is revoked"
    if role is Role.ROOT:
        return ": it has no say from now on"
    return ": what it signed installs no more, what is installed keeps starting"


def _revocations(
    old: TrustBundleContent, new: TrustBundleContent, facts: SuccessionFacts
) -> Iterator[BundleDifference]:
    before = {entry.key_id: entry.stops_installed_images for entry in old.revoked}
    after = {entry.key_id: entry.stops_installed_images for entry in new.revoked}
    for key_id, stop in after.items():
        name = facts.name_of(key_id)
        if before.get(key_id) == stop:
            continue
        effect = "what it signed installs no more, and an application that it signed STOPS at the next start"
        if not stop:
            effect = "what it signed installs no more, what is installed keeps starting"
        text = f"key {name} is revoked{' with stop' if stop else ''}: {effect}"
        if key_id in before:
            text = f"key {name}, revoked already: stop is {'added: ' + effect if stop else 'taken back'}"
        yield BundleDifference("revoked", key_id, text)
    for key_id in before:
        if key_id not in after:
            yield BundleDifference("revoked", key_id, f"key {facts.name_of(key_id)} is no longer revoked")


def _thresholds(old: TrustBundleContent, new: TrustBundleContent) -> Iterator[BundleDifference]:
    before, after = (f"{content.root_threshold} of {len(content.roots)}" for content in (old, new))
    if before != after:
        yield BundleDifference("root-threshold", None, f"roots needed: {before} becomes {after}")


def _limits(old: TrustBundleContent, new: TrustBundleContent) -> Iterator[BundleDifference]:
    after = limits_by_type(new)
    for name, limits in limits_by_type(old).items():
        if limits != after[name]:
            was, becomes = (f"{bounds.minimum} to {bounds.maximum}" for bounds in (limits, after[name]))
            yield BundleDifference("limits", None, f"security versions of {name}: {was} becomes {becomes}")
