"""Everything that must be so before a token is asked: authenticity, the artefact, the keys, and the decision."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

import msgspec

from pki.errors import PolicyViolation
from policies.authentication import (
    AuthenticApproval,
    AuthenticRequest,
    authenticate_approvals,
    authenticate_request,
)
from policies.decision import Allow
from policies.evaluation import decide
from policies.request import SigningRequest
from signer.packages.manifest import Manifest
from signer.service.comparison import compare
from signer.service.facts import Past, gather
from signer.service.values import ROLE_OF_KIND, ReleaseKey, ReleaseKeys, Reviewed, SignOrder


class Admitted(msgspec.Struct, frozen=True):
    """An order that may be signed: what was asked for, by whom, who agreed, with which keys, and what allowed it."""

    request: AuthenticRequest
    approvals: tuple[AuthenticApproval, ...]
    manifest: Manifest
    keys: tuple[ReleaseKey, ...]
    decision: Allow

    @property
    def approvers(self) -> list[str]:
        """Who agreed, by id, in ascending order."""
        return sorted(approval.approver.id for approval in self.approvals)


def admit(order: SignOrder, reviewed: Reviewed, keys: ReleaseKeys, past: Past, now: datetime) -> Admitted:
    """Steps 3 to 7 of docs/spec/signing-service.md. Opens no token.

    Raises what refuses it: FormatError, VerificationError, PolicyViolation, InputRefused, each with its rule's ID where
    it has one; ConfigurationError, KeyStoreError and AuditError for what cannot be asked.
    """
    request = authenticate_request(order.request, reviewed.signers, reviewed.people, now)
    approvals = authenticate_approvals(request, order.approvals, reviewed.signers, reviewed.people, now)
    manifest = compare(request.request, order, reviewed.product_id)
    chosen = _chosen_keys(request.request, keys)
    facts = gather(request.request, reviewed.environment, chosen, past, now)
    decision = decide(reviewed.policy_set, request, approvals, facts, now)
    if not isinstance(decision, Allow):
        decision.require()
        raise AssertionError("a refusal refuses")
    return Admitted(request, approvals, manifest, chosen, decision)


def _chosen_keys(request: SigningRequest, keys: ReleaseKeys) -> tuple[ReleaseKey, ...]:
    """The product's keys that the request names, in its order. Raises PolicyViolation SV-21, or KS-… of one of them."""
    permitted, refused = keys.of_role(request.product, ROLE_OF_KIND[request.kind])
    by_id = {key.public_key.key_id: key for key in permitted}
    for key_id in request.key_ids:
        if key_id not in by_id:
            raise _not_a_signer(request, key_id, refused)
    return tuple(by_id[key_id] for key_id in request.key_ids)


def _not_a_signer(request: SigningRequest, key_id: bytes, refused: Sequence[PolicyViolation]) -> PolicyViolation:
    reason = (
        f"key {key_id.hex()} is no {ROLE_OF_KIND[request.kind]} key of product {request.product!r} that may sign now"
    )
    return PolicyViolation("SV-21", f"{reason} ({refused[0]})" if refused else reason)
