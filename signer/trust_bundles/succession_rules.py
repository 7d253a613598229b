"""What would be a mistake in a successor, rule by rule (docs/spec/trust-bundle.md, "Making a successor"). Pure.

A device follows its roots' quorum without asking why: what must not happen by accident is found here, before signing.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from enum import StrEnum

from pki.key_states import KeyState
from pki.roles import Role
from signer.trust_bundles.content import SecurityVersionLimits, TrustBundleContent
from signer.trust_bundles.encoding import bundle_digest, unsigned_bundle

PACKAGE_TYPES = ("application", "bootloader", "factory-test")


class FindingKind(StrEnum):
    """ERROR: nobody signs it. DANGER: signed only if the rule is accepted by name."""

    ERROR = "error"
    DANGER = "danger"


@dataclass(frozen=True, slots=True)
class SuccessionFinding:
    """One rule that a successor breaks."""

    rule_id: str
    kind: FindingKind
    text: str


@dataclass(frozen=True, slots=True)
class KnownKey:
    """A key of the key store."""

    label: str
    state: KeyState


@dataclass(frozen=True, slots=True, kw_only=True)
class SuccessionFacts:
    """What is known beside the two versions; empty where nothing is.

    `keys` by 8-byte key id. `built_in` are the ids of the three bootloader-release keys built into devices; None: those
    of the version before. `released`: the greatest security version released so far, by package type. `published`: the
    digests of the product's trust bundles that anyone may have by now, by version.
    """

    keys: Mapping[bytes, KnownKey] = field(default_factory=dict)
    built_in: frozenset[bytes] | None = None
    released: Mapping[str, int] = field(default_factory=dict)
    published: Mapping[int, frozenset[bytes]] = field(default_factory=dict)

    def name_of(self, key_id: bytes) -> str:
        """The key's id, and its label where it is known."""
        known = self.keys.get(key_id)
        return f"{key_id.hex()} ({known.label})" if known is not None else key_id.hex()


def limits_by_type(content: TrustBundleContent) -> dict[str, SecurityVersionLimits]:
    """The limits by the names of PACKAGE_TYPES."""
    limits = (content.application_limits, content.bootloader_limits, content.factory_test_limits)
    return dict(zip(PACKAGE_TYPES, limits, strict=True))


def current_keys(content: TrustBundleContent) -> dict[bytes, Role]:
    """The role of every key that is current, roots included, by key id."""
    roots = {root.key_id: Role.ROOT for root in content.roots}
    return roots | {entry.key.key_id: entry.role for entry in content.role_keys}


@dataclass(frozen=True, slots=True)
class _Case:
    """Both versions and the facts, as every rule takes them."""

    old: TrustBundleContent
    new: TrustBundleContent
    facts: SuccessionFacts

    def counts(self, role: Role) -> tuple[int, int]:
        """How many keys of the role are current, before and after."""
        before, after = (sum(entry.role is role for entry in content.role_keys) for content in (self.old, self.new))
        return before, after

    def dead(self, key_id: bytes, *, is_new: bool) -> KeyState | None:
        """The state of a key that must not be current. One that was current may be suspended for a while."""
        known = self.facts.keys.get(key_id)
        usable = {KeyState.PRE_ACTIVATION, KeyState.ACTIVE} | (set() if is_new else {KeyState.SUSPENDED})
        return known.state if known is not None and known.state not in usable else None


def judge_succession(
    old: TrustBundleContent, new: TrustBundleContent, facts: SuccessionFacts
) -> tuple[SuccessionFinding, ...]:
    """Every rule that the new version breaks, errors first."""
    case = _Case(old, new, facts)
    found = [
        SuccessionFinding(rule_id, kind, text)
        for rule_id, (kind, rule) in SUCCESSION_RULES.items()
        for text in rule(case)
    ]
    return tuple(sorted(found, key=lambda finding: finding.kind is not FindingKind.ERROR))


def _not_usable(case: _Case) -> Iterator[str]:
    before = current_keys(case.old)
    for key_id in current_keys(case.new):
        state = case.dead(key_id, is_new=key_id not in before)
        if state is not None:
            yield f"key {case.facts.name_of(key_id)} is {state}; a new trust bundle must not name it as current"


def _revocation_undone(case: _Case) -> Iterator[str]:
    revoked = {entry.key_id for entry in case.new.revoked}
    for entry in case.old.revoked:
        if entry.key_id not in revoked:
            yield (
                f"key {case.facts.name_of(entry.key_id)} is revoked in version {case.old.version}, and no more in "
                "the next; a revocation is for ever: name it under [[trust.revoked]]"
            )


def _no_application_key(case: _Case) -> Iterator[str]:
    before, after = case.counts(Role.APPLICATION_RELEASE)
    if after == 0 < before:
        yield "no application-release key is left: devices take no application until the next version"


def _no_bootloader_pair(case: _Case) -> Iterator[str]:
    before, after = case.counts(Role.BOOTLOADER_RELEASE)
    if after < 2 <= before:
        yield f"{after} bootloader-release keys are left, and a bootloader needs two: none can be updated any more"


def _not_built_in(case: _Case) -> Iterator[str]:
    built_in = case.facts.built_in
    if built_in is None:
        built_in = frozenset(
            key_id for key_id, role in current_keys(case.old).items() if role is Role.BOOTLOADER_RELEASE
        )
    for entry in case.new.role_keys:
        if entry.role is Role.BOOTLOADER_RELEASE and entry.key.key_id not in built_in:
            yield f"key {case.facts.name_of(entry.key.key_id)} is not built into devices: they refuse this trust bundle"


def _minimum_lowered(case: _Case) -> Iterator[str]:
    old, new = limits_by_type(case.old), limits_by_type(case.new)
    for name in PACKAGE_TYPES:
        if new[name].minimum < old[name].minimum:
            yield f"the {name} minimum falls from {old[name].minimum} to {new[name].minimum}: older images install"


def _maximum_below_released(case: _Case) -> Iterator[str]:
    for name, released in case.facts.released.items():
        maximum = limits_by_type(case.new)[name].maximum
        if maximum < released:
            yield (
                f"the {name} maximum {maximum} is below security version {released}, which is in the field: "
                "devices with that floor could install nothing any more"
            )


def _minimum_above_released(case: _Case) -> Iterator[str]:
    for name, released in case.facts.released.items():
        minimum = limits_by_type(case.new)[name].minimum
        if minimum > released:
            yield f"the {name} minimum {minimum} is above everything released (up to {released}): none of it installs"


def _previous_roots_lost(case: _Case) -> Iterator[str]:
    lost = [root.key_id for root in case.old.roots if case.dead(root.key_id, is_new=False) is not None]
    usable = len(case.old.roots) - len(lost)
    if usable < case.old.root_threshold:
        yield (
            f"{usable} of the roots of version {case.old.version} are usable, and {case.old.root_threshold} must sign: "
            "this version can never be signed; docs/spec/trust-bundle.md says what is left"
        )


def _threshold_falls(case: _Case) -> Iterator[str]:
    if case.new.root_threshold < case.old.root_threshold:
        yield f"the root threshold falls from {case.old.root_threshold} to {case.new.root_threshold}"


def _role_changed(case: _Case) -> Iterator[str]:
    before = current_keys(case.old)
    for key_id, role in current_keys(case.new).items():
        if before.get(key_id, role) is not role:
            name = case.facts.name_of(key_id)
            yield f"key {name} was {before[key_id]} and would be {role}; a key has one role, for life"


def _stops(case: _Case) -> Iterator[str]:
    before = {entry.key_id: entry.stops_installed_images for entry in case.old.revoked}
    for entry in case.new.revoked:
        if entry.stops_installed_images and not before.get(entry.key_id, False):
            yield (
                f"key {case.facts.name_of(entry.key_id)} is revoked with stop: devices whose application it signed "
                "STOP at their next start, and run nothing until they are updated"
            )


def _stop_taken_back(case: _Case) -> Iterator[str]:
    before = {entry.key_id: entry.stops_installed_images for entry in case.old.revoked}
    for entry in case.new.revoked:
        if before.get(entry.key_id, False) and not entry.stops_installed_images:
            yield f"stop is taken back from key {case.facts.name_of(entry.key_id)}: what it signed starts again"


def _unknown_revoked(case: _Case) -> Iterator[str]:
    known = set(current_keys(case.old)) | {entry.key_id for entry in case.old.revoked} | set(case.facts.keys)
    for entry in case.new.revoked:
        if entry.key_id not in known:
            yield f"nobody knows the key {entry.key_id.hex()} that is to be revoked; is it mistyped?"


def _nothing_changes(case: _Case) -> Iterator[str]:
    def said(content: TrustBundleContent) -> tuple[object, ...]:
        keys, limits = current_keys(content), limits_by_type(content)
        return content.root_threshold, keys, {entry.key_id: entry for entry in content.revoked}, limits

    if said(case.old) == said(case.new):
        yield f"version {case.new.version} would say what version {case.old.version} says; change something first"


def _no_spare_root(case: _Case) -> Iterator[str]:
    def spare(content: TrustBundleContent) -> int:
        return len(content.roots) - content.root_threshold

    if spare(case.new) == 0 < spare(case.old):
        yield (
            f"{case.new.root_threshold} of {len(case.new.roots)} roots: none to spare, and with one lost token "
            "there is no further rotation"
        )


def _fork(case: _Case) -> Iterator[str]:
    for content, digest in (
        (case.old, case.new.previous_digest),
        (case.new, bundle_digest(unsigned_bundle(case.new)).value),
    ):
        if case.facts.published.get(content.version, frozenset()) - {digest}:
            yield (
                f"another trust bundle of version {content.version} is published: with two of them the fleet parts "
                "ways for ever; follow the published one"
            )


_Rule = Callable[[_Case], Iterator[str]]

# TB-02, TB-10 and TB-18 are asked where the content is made: signer/trust_bundles/succession.py.
SUCCESSION_RULES: Mapping[str, tuple[FindingKind, _Rule]] = {
    "TB-01": (FindingKind.ERROR, _not_usable),
    "TB-03": (FindingKind.ERROR, _revocation_undone),
    "TB-04": (FindingKind.DANGER, _no_application_key),
    "TB-05": (FindingKind.DANGER, _no_bootloader_pair),
    "TB-06": (FindingKind.ERROR, _not_built_in),
    "TB-07": (FindingKind.DANGER, _minimum_lowered),
    "TB-08": (FindingKind.ERROR, _maximum_below_released),
    "TB-09": (FindingKind.DANGER, _minimum_above_released),
    "TB-11": (FindingKind.ERROR, _previous_roots_lost),
    "TB-12": (FindingKind.DANGER, _threshold_falls),
    "TB-13": (FindingKind.ERROR, _role_changed),
    "TB-14": (FindingKind.DANGER, _stops),
    "TB-15": (FindingKind.DANGER, _stop_taken_back),
    "TB-16": (FindingKind.DANGER, _unknown_revoked),
    "TB-17": (FindingKind.ERROR, _nothing_changes),
    "TB-19": (FindingKind.DANGER, _no_spare_root),
    "TB-20": (FindingKind.ERROR, _fork),
}
