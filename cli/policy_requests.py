"""What policies say to a signed request, on the facts as they are now. Nothing is signed and nothing is logged."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING

from cli.context import may_be_unlogged, now, open_log, open_store
from cli.signed_files import read_signed
from cli.signing_service import history_of
from pki.errors import InputRefused
from policies.authentication import (
    SignedStatement,
    authenticate_approvals,
    authenticate_object_request,
    authenticate_request,
)
from policies.decision import Deny
from policies.evaluation import decide, question_of
from policies.explain import Explanation, explain
from policies.facts import KeyFact, LastRelease, PolicyFacts, SignatureCounts, count_signatures
from policies.object_facts import ObjectFacts, decide_object, object_question
from policies.object_request import ObjectRequest, is_object_request
from signer.service.facts import Past

if TYPE_CHECKING:
    from policies.request import SigningRequest
    from signer.authority.repository import AuthorityRepository


def explained_request(repository: AuthorityRepository, request_path: Path, approvals: Sequence[Path]) -> Explanation:
    """Authenticate a request and its approvals, gather the facts, and explain what the policies decide.

    Raises what authentication refuses (RQ-, AP-, SS-), ConfigurationError, KeyStoreError, AuditError, and InputRefused
    for a key that this authority does not have.
    """
    when = now()
    asked, statements = read_signed(request_path, "request"), [read_signed(path, "approval") for path in approvals]
    if is_object_request(asked.statement):
        return _explained_object(repository, asked, statements, when)
    signers, people = repository.allowed_signers(), repository.people
    request = authenticate_request(asked, signers, people, when)
    approved = authenticate_approvals(request, statements, signers, people, when)
    policy_set = repository.policy_set()
    facts = _facts(repository, request.request, when)
    decision = decide(policy_set, request, approved, facts, when)
    before_policies = decision if isinstance(decision, Deny) and not _by_policies(decision) else None
    return explain(policy_set, question_of(policy_set, request, approved, facts, when), before_policies)


def _explained_object(
    repository: AuthorityRepository, asked: SignedStatement, statements: Sequence[SignedStatement], when: datetime
) -> Explanation:
    """The same for a work order, a service order or a batch of grants."""
    signers, people = repository.allowed_signers(), repository.people
    request = authenticate_object_request(asked, signers, people, when)
    approved = authenticate_approvals(request, statements, signers, people, when)
    policy_set = repository.policy_set()
    facts = ObjectFacts(
        environment=repository.authority.environment.value,
        keys=_keys(repository, request.request.key_ids),
        signed=_object_counts(repository, request.request, when),
    )
    decision = decide_object(policy_set, request, approved, facts, when)
    before_policies = decision if isinstance(decision, Deny) and not _by_policies(decision) else None
    return explain(policy_set, object_question(policy_set, request, approved, facts, when), before_policies)


def _object_counts(repository: AuthorityRepository, request: ObjectRequest, when: datetime) -> SignatureCounts:
    if may_be_unlogged(repository):
        return SignatureCounts()
    with open_log(repository, None) as log:
        past = Past(log, history_of(repository), repository.product_names())
        return count_signatures(past.signed(), request.product, request.kind, request.requester, when)


def _by_policies(decision: Deny) -> bool:
    return decision.violations[0].rule_id in {"PO-04", "PO-05", "PO-06"}


def _facts(repository: AuthorityRepository, request: SigningRequest, when: datetime) -> PolicyFacts:
    """As the signing service gathers them, but for the files: the request is believed that they are at hand."""
    last, signed = _past(repository, request, when)
    return PolicyFacts(
        environment=repository.authority.environment.value,
        keys=_keys(repository, request.key_ids),
        last_release=last,
        sbom_present=request.sbom_digest is not None,
        test_evidence_present=request.test_evidence_digest is not None,
        signed=signed,
    )


def _past(
    repository: AuthorityRepository, request: SigningRequest, when: datetime
) -> tuple[LastRelease | None, SignatureCounts]:
    history = history_of(repository)
    if may_be_unlogged(repository):
        found = history.last(request.product, request.kind)
        if found is None:
            return None, SignatureCounts()
        package = found.evidence.package
        return LastRelease(package.version, package.security_version), SignatureCounts()
    with open_log(repository, None) as log:
        past = Past(log, history, repository.product_names())
        counts = count_signatures(past.signed(), request.product, request.kind, request.requester, when)
        return past.last_release(request.product, request.kind), counts


def _keys(repository: AuthorityRepository, key_ids: Sequence[bytes]) -> tuple[KeyFact, ...]:
    with open_store(repository) as store:
        records = store.keys()
    by_id = {record.public_key.key_id: record for record in records if record.public_key is not None}
    missing = [key_id.hex() for key_id in key_ids if key_id not in by_id]
    if missing:
        raise InputRefused(f"the request names key {missing[0]}, which the key store does not have; ask for another")
    found = ((key_id, by_id[key_id]) for key_id in key_ids)
    return tuple(KeyFact(key_id, record.label, record.role.value, record.product) for key_id, record in found)
