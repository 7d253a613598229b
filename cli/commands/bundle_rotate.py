"""`strongroom bundle rotate`: the next version of a product's trust bundle, shown in words, then signed."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from cli.context import now, open_store, repository_of, signing_keys, site_of
from cli.options import JsonOption, OutputOption, ProductOption
from cli.output import emit, say
from pki.errors import InputRefused

if TYPE_CHECKING:
    from signer.trust_bundles.content import TrustBundleContent
    from signer.trust_bundles.succession_rules import SuccessionFacts, SuccessionFinding

AcceptOption = Annotated[
    list[str] | None,
    typer.Option(
        "--accept-danger", metavar="RULE", help="Sign although this rule warns, e.g. TB-14 (repeat for more)."
    ),
]


def rotate(
    context: typer.Context,
    product: ProductOption,
    previous: Annotated[Path, typer.Option(metavar="FILE", help="The version that devices have now.")],
    out: OutputOption,
    accept_danger: AcceptOption = None,
    root_token: Annotated[
        list[str] | None,
        typer.Option(metavar="TOKEN", help="Sign with this root token only (repeat for more); by default all at hand."),
    ] = None,
    add_to: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Add the signatures to this partly signed successor.")
    ] = None,
    unsigned: Annotated[
        bool,
        typer.Option("--unsigned", help="Write it without signatures and ask no token: for review, for a ceremony."),
    ] = False,
    as_json: JsonOption = False,
) -> None:
    """Make the next version of a trust bundle from the product's file, signed by both quorums of roots.

    Edit the product's file first: keys and roots come and go, revoked keys stand under [[trust.revoked]], limits move.
    What is different is shown in words before any token is asked. A root of both versions signs once, for both.
    """
    from cli.trust_bundle_chain import read_bundle_file
    from cli.trust_bundle_content import product_terms, succession_facts
    from cli.trust_bundle_signers import roots_of_both, sign_successor
    from signer.new_file import NewFile
    from signer.trust_bundles.encoding import decode_bundle, unsigned_bundle
    from signer.trust_bundles.succession import planned_successor, require_acceptable, succession_findings

    if unsigned and (root_token or add_to):
        raise typer.BadParameter("--unsigned goes without --root-token and --add-to")
    repository = repository_of(context)
    site = None if unsigned else site_of(context, repository)
    config = repository.product(product)
    accepted = _accepted(accept_danger)
    data_before = read_bundle_file(previous)
    old, _ = decode_bundle(data_before)
    if old.product_id != config.id_bytes:
        raise InputRefused(f"{previous} is a trust bundle of another product than {product!r}")
    with NewFile(out) as file:
        with open_store(repository) as store:
            terms = product_terms(config, store, repository.authority.environment)
            facts = succession_facts(config, store, repository)
            content = planned_successor(data_before, terms)
            expected = unsigned_bundle(content)
            roots = roots_of_both(store, data_before, expected)
        findings = succession_findings(data_before, content, facts)
        _say_what(old, content, facts, findings)
        require_acceptable(findings, accepted)
        data, signed_now = expected if add_to is None else _begun(add_to, expected), list[str]()
        if site is not None:
            with signing_keys(repository, site, now()) as keys:
                data, signed_now = sign_successor(data, data_before, roots, keys, site, root_token)
            _require_enough(data, data_before, signed_now, partial_is_wanted=bool(root_token or add_to))
        file.write_at(0, data)
        file.publish()
    _report(out, data, data_before, signed_now, _differences(old, content, facts), findings, as_json)


def _accepted(rules: list[str] | None) -> frozenset[str]:
    from signer.trust_bundles.succession_rules import SUCCESSION_RULES, FindingKind

    dangers = {rule_id for rule_id, (kind, _) in SUCCESSION_RULES.items() if kind is FindingKind.DANGER}
    for rule in rules or ():
        if rule not in dangers:
            raise typer.BadParameter(f"--accept-danger {rule}: there are {', '.join(sorted(dangers))}")
    return frozenset(rules or ())


def _say_what(
    old: TrustBundleContent,
    new: TrustBundleContent,
    facts: SuccessionFacts,
    findings: tuple[SuccessionFinding, ...],
) -> None:
    """In words, before anybody is asked for a PIN."""
    from signer.trust_bundles.difference import bundle_differences, who_must_sign

    say(f"version {new.version} after version {old.version}:")
    for difference in bundle_differences(old, new, facts):
        say(f"  {difference.text}")
    for line in who_must_sign(old, new, facts):
        say(f"  {line}")
    for finding in findings:
        say(f"  {finding.kind.upper()} [{finding.rule_id}] {finding.text}")


def _begun(path: Path, expected: bytes) -> bytes:
    """A partly signed successor, if it says exactly what the product's file says here: nothing else is signed."""
    from cli.trust_bundle_chain import read_bundle_file
    from signer.trust_bundles.encoding import decode_bundle, unsigned_bundle

    data = read_bundle_file(path)
    if unsigned_bundle(decode_bundle(data)[0]) != expected:
        raise InputRefused(
            f"{path} does not say what the product's file and the key store say here; `strongroom bundle diff` shows "
            "how it differs, before anybody signs"
        )
    return data


def _require_enough(data: bytes, previous: bytes, signed_now: list[str], *, partial_is_wanted: bool) -> None:
    from signer.trust_bundles.signing import signature_status

    if not signed_now:
        raise InputRefused("no root signed: insert a token of one that has not signed yet, or work where it is")
    status = signature_status(data, previous)
    if not status.complete and not partial_is_wanted:
        raise InputRefused(
            f"{len(status.previous_signers)} of {status.previous_threshold} roots of the version before and "
            f"{len(status.own_signers)} of {status.own_threshold} of the new one are at hand; to sign one at a time, "
            "name each token with --root-token, and pass the file on with --add-to"
        )


def _differences(old: TrustBundleContent, new: TrustBundleContent, facts: SuccessionFacts) -> list[dict[str, Any]]:
    from signer.trust_bundles.difference import bundle_differences

    return [
        {"what": found.what, "key_id": found.key_id.hex() if found.key_id else None, "text": found.text}
        for found in bundle_differences(old, new, facts)
    ]


def _report(
    out: Path,
    data: bytes,
    previous: bytes,
    signed_now: list[str],
    differences: list[dict[str, Any]],
    findings: tuple[SuccessionFinding, ...],
    as_json: bool,
) -> None:
    from signer.trust_bundles.encoding import bundle_digest, decode_bundle
    from signer.trust_bundles.signing import signature_status

    status = signature_status(data, previous)
    report: dict[str, Any] = {
        "file": str(out),
        "version": decode_bundle(data)[0].version,
        "digest": bundle_digest(data).value.hex(),
        "differences": differences,
        "accepted_dangers": [{"rule": finding.rule_id, "text": finding.text} for finding in findings],
        "signed_now": signed_now,
        "previous_signatures": len(status.previous_signers),
        "previous_signatures_needed": status.previous_threshold,
        "own_signatures": len(status.own_signers),
        "own_signatures_needed": status.own_threshold,
        "complete": status.complete,
    }
    state = "complete" if status.complete else f"not complete: add more with --add-to {out}"
    counts = (
        f"{report['previous_signatures']} roots of before ({report['previous_signatures_needed']} needed) "
        f"and {report['own_signatures']} of its own ({report['own_signatures_needed']} needed)"
    )
    lines = [f"wrote {out}: version {report['version']}, signed by {counts}: {state}", f"digest {report['digest']}"]
    emit(report, as_json, "\n".join(lines + [f"signed by {label}" for label in signed_now]))
