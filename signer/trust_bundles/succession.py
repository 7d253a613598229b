"""The next version of a trust bundle: what is to change, laid over the version before, judged before anybody signs.

docs/spec/trust-bundle.md, "Making a successor". Pure: what else there is to know comes in as `SuccessionFacts`.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable
from dataclasses import dataclass

from pki.errors import InputRefused, PolicyViolation, SignatureInvalid
from pki.values import PublicKey
from signer.trust_bundles.content import RevokedKey, RoleKey, SecurityVersionLimits, TrustBundleContent
from signer.trust_bundles.encoding import bundle_digest, decode_bundle
from signer.trust_bundles.layout import REVOKED_COUNT_MAX, ROLE_KEY_COUNT_MAX, ROOT_COUNT_MAX
from signer.trust_bundles.signing import own_signers
from signer.trust_bundles.succession_rules import (
    FindingKind,
    SuccessionFacts,
    SuccessionFinding,
    judge_succession,
)


@dataclass(frozen=True, slots=True, kw_only=True)
class BundleChanges:
    """What is to be different; what is not named stays as it is.

    `roots` are all roots of the next version. `removed` are 8-byte ids of role keys that go. `revoked` come on top of
    what is revoked already; naming one again changes its *stop*. A current key that is revoked must be removed too.
    """

    roots: tuple[PublicKey, ...] | None = None
    root_threshold: int | None = None
    added: tuple[RoleKey, ...] = ()
    removed: tuple[bytes, ...] = ()
    revoked: tuple[RevokedKey, ...] = ()
    application_limits: SecurityVersionLimits | None = None
    bootloader_limits: SecurityVersionLimits | None = None
    factory_test_limits: SecurityVersionLimits | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class BundleTerms:
    """Everything that a version says but its place in the succession: what a product's file says, for instance."""

    root_threshold: int
    roots: tuple[PublicKey, ...]
    role_keys: tuple[RoleKey, ...]
    revoked: tuple[RevokedKey, ...]
    application_limits: SecurityVersionLimits
    bootloader_limits: SecurityVersionLimits
    factory_test_limits: SecurityVersionLimits


def successor_content(
    previous: bytes, changes: BundleChanges, facts: SuccessionFacts | None = None, accepted: Collection[str] = ()
) -> TrustBundleContent:
    """The version after `previous` with these changes, if no rule is against it.

    `accepted` are the ids of the rules of kind *danger* that somebody has accepted. Raises PolicyViolation TB-…,
    InputRefused for what no bundle can say, FormatError for a previous bundle that is none.
    """
    content, _ = decode_bundle(previous)
    return successor_by_terms(previous, _changed(content, changes), facts, accepted)


def successor_by_terms(
    previous: bytes, terms: BundleTerms, facts: SuccessionFacts | None = None, accepted: Collection[str] = ()
) -> TrustBundleContent:
    """The version after `previous` that says exactly this. Raises as `successor_content`."""
    content = planned_successor(previous, terms)
    require_acceptable(succession_findings(previous, content, facts), accepted)
    return content


def planned_successor(previous: bytes, terms: BundleTerms) -> TrustBundleContent:
    """The same without the rules that compare the two versions. Raises PolicyViolation TB-02, TB-10, TB-11, TB-18."""
    old, _ = decode_bundle(previous)
    _require_signed(previous, old)
    _require_room(terms)
    _require_gone(terms)
    return TrustBundleContent(
        product_id=old.product_id,
        version=old.version + 1,
        previous_digest=bundle_digest(previous).value,
        root_threshold=terms.root_threshold,
        roots=terms.roots,
        role_keys=terms.role_keys,
        revoked=terms.revoked,
        application_limits=terms.application_limits,
        bootloader_limits=terms.bootloader_limits,
        factory_test_limits=terms.factory_test_limits,
    )


def succession_findings(
    previous: bytes, content: TrustBundleContent, facts: SuccessionFacts | None = None
) -> tuple[SuccessionFinding, ...]:
    """Every rule that a planned successor breaks, errors first. Raises FormatError."""
    return judge_succession(decode_bundle(previous)[0], content, facts or SuccessionFacts())


def require_acceptable(findings: Iterable[SuccessionFinding], accepted: Collection[str] = ()) -> None:
    """Raise PolicyViolation for the first error, or else for the first danger that nobody has accepted by its id."""
    for finding in findings:
        if finding.kind is FindingKind.ERROR:
            raise PolicyViolation(finding.rule_id, finding.text)
        if finding.rule_id not in accepted:
            reason = f"{finding.text}; if that is meant, accept it by name: --accept-danger {finding.rule_id}"
            raise PolicyViolation(finding.rule_id, reason)


def _changed(old: TrustBundleContent, changes: BundleChanges) -> BundleTerms:
    _require_current(old, changes.removed)
    revoked_anew = {entry.key_id for entry in changes.revoked}
    kept = tuple(entry for entry in old.revoked if entry.key_id not in revoked_anew)
    stays = tuple(entry for entry in old.role_keys if entry.key.key_id not in changes.removed)
    return BundleTerms(
        root_threshold=old.root_threshold if changes.root_threshold is None else changes.root_threshold,
        roots=old.roots if changes.roots is None else changes.roots,
        role_keys=stays + changes.added,
        revoked=kept + changes.revoked,
        application_limits=changes.application_limits or old.application_limits,
        bootloader_limits=changes.bootloader_limits or old.bootloader_limits,
        factory_test_limits=changes.factory_test_limits or old.factory_test_limits,
    )


def _require_current(old: TrustBundleContent, removed: Iterable[bytes]) -> None:
    current = {entry.key.key_id for entry in old.role_keys}
    for key_id in removed:
        if key_id not in current:
            raise InputRefused(
                f"key {key_id.hex()} is no role key of version {old.version}, so it cannot be taken out of it"
            )


def _require_signed(previous: bytes, old: TrustBundleContent) -> None:
    """TB-18. Who signed for the version before that one was judged when it was made."""
    try:
        signer_count = len(own_signers(previous))
    except SignatureInvalid as error:
        raise PolicyViolation("TB-18", f"the trust bundle of version {old.version}: {error}") from None
    if signer_count < old.root_threshold:
        raise PolicyViolation(
            "TB-18",
            f"the trust bundle of version {old.version} has {signer_count} of the {old.root_threshold} signatures that "
            "it needs of its own roots: finish it, and let devices take it, before the next one",
        )


def _require_room(terms: BundleTerms) -> None:
    """TB-10 and TB-11: what the format can hold."""
    for what, count, most in (
        ("roots", len(terms.roots), ROOT_COUNT_MAX),
        ("role keys", len(terms.role_keys), ROLE_KEY_COUNT_MAX),
        ("revoked keys", len(terms.revoked), REVOKED_COUNT_MAX),
    ):
        if count > most:
            raise PolicyViolation("TB-10", f"a trust bundle has room for {most} {what}, not {count}")
    if not 1 <= terms.root_threshold <= len(terms.roots):
        raise PolicyViolation(
            "TB-11", f"{len(terms.roots)} roots can never reach a threshold of {terms.root_threshold}"
        )


def _require_gone(terms: BundleTerms) -> None:
    """TB-02."""
    current = {root.key_id for root in terms.roots} | {entry.key.key_id for entry in terms.role_keys}
    for entry in terms.revoked:
        if entry.key_id in current:
            raise PolicyViolation(
                "TB-02", f"key {entry.key_id.hex()} is revoked, and still current; take it out where it stands"
            )
