"""Everything that must be so before a token is asked for an object's signature (docs/spec/object-requests.md)."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import datetime
from typing import TYPE_CHECKING, Any

import msgspec

from pki.errors import PolicyViolation
from pki.key_specs import parse_key_label
from pki.roles import Role
from policies.authentication import (
    AuthenticApproval,
    AuthenticObjectRequest,
    authenticate_approvals,
    authenticate_object_request,
)
from policies.decision import Allow
from policies.facts import KeyFact, count_signatures
from policies.object_facts import ObjectFacts, decide_object
from policies.object_request import ObjectKind, ObjectRequest
from policies.statement import parse_time
from signer.service.facts import Past
from signer.service.values import ReleaseKey, ReleaseKeys, Reviewed

if TYPE_CHECKING:
    from signer.service.objects import ObjectOrder, ObjectReader, SignableObject

ROLE_OF_OBJECT: Mapping[ObjectKind, Role] = {
    "work-order": Role.PRODUCTION,
    "service-order": Role.SERVICE,
    "grant-batch": Role.GRANT,
}


class AdmittedObject(msgspec.Struct, frozen=True):
    """An order that may be signed: what was asked for, by whom, who agreed, with which key, and what allowed it."""

    request: AuthenticObjectRequest
    approvals: tuple[AuthenticApproval, ...]
    prepared: SignableObject
    key: ReleaseKey
    decision: Allow

    @property
    def approvers(self) -> list[str]:
        """Who agreed, by id, in ascending order."""
        return sorted(approval.approver.id for approval in self.approvals)

    @property
    def subject(self) -> dict[str, Any]:
        """What every entry of the log about it says. `head_digest` is what was signed, as for packages."""
        request = self.request.request
        return {
            "request_digest": request.digest.hex(),
            "head_digest": request.object_digest.hex(),
            "requester": request.requester,
            "product": request.product,
            "kind": request.kind,
            "facts": dict(request.facts),
            "key_ids": [key_id.hex() for key_id in request.key_ids],
            "key_labels": [self.key.label],
        }

    @property
    def intent_details(self) -> dict[str, Any]:
        """The details of `sign-intent`, but for `resumed`."""
        request = self.request.request
        return {
            **self.subject,
            "policy_digest": request.policy_digest.hex(),
            "policy_ids": list(self.decision.policy_ids),
            "environment": request.environment,
            "approvers": self.approvers,
        }


def admit_object(
    order: ObjectOrder,
    reviewed: Reviewed,
    keys: ReleaseKeys,
    readers: Mapping[ObjectKind, ObjectReader],
    past: Past,
    now: datetime,
) -> AdmittedObject:
    """Authenticity, the object itself, the key, the decision; opens no token.

    Raises what refuses it: FormatError, VerificationError, PolicyViolation, InputRefused, each with its rule's ID where
    it has one; ConfigurationError, KeyStoreError and AuditError for what cannot be asked.
    """
    request = authenticate_object_request(order.request, reviewed.signers, reviewed.people, now)
    approvals = authenticate_approvals(request, order.approvals, reviewed.signers, reviewed.people, now)
    asked = request.request
    if asked.kind not in readers:
        raise PolicyViolation("OB-01", f"objects of kind {asked.kind} are not signed here")
    prepared = readers[asked.kind].prepared(order.files)
    compare_object(asked, prepared, reviewed.product_id, now)
    key = _chosen_key(asked, keys)
    facts = ObjectFacts(
        environment=reviewed.environment,
        keys=(_key_fact(key),),
        signed=count_signatures(past.signed(), asked.product, asked.kind, asked.requester, now),
    )
    decision = decide_object(reviewed.policy_set, request, approvals, facts, now)
    if not isinstance(decision, Allow):
        decision.require()
        raise AssertionError("a refusal refuses")
    return AdmittedObject(request, approvals, prepared, key, decision)


def compare_object(
    request: ObjectRequest, prepared: SignableObject, product_id: Callable[[str], bytes | None], now: datetime
) -> None:
    """Every field that request and object share, in the order of their rules. Raises PolicyViolation OB-02 to OB-08."""
    _require("OB-02", "kind", request.kind, prepared.kind)
    _require("OB-03", "digest to be signed", request.object_digest.hex(), prepared.digest.value.hex())
    registered = product_id(request.product)
    if registered is None:
        raise PolicyViolation("OB-04", f"the request is for product {request.product!r}, which this authority has not")
    _require("OB-04", "product id", request.product_id, prepared.product_id.hex())
    _require("OB-04", f"id of product {request.product!r}", registered.hex(), prepared.product_id.hex())
    _require("OB-05", "signer", request.key_ids[0].hex(), prepared.signer_key_id.hex())
    facts = dict(prepared.facts)
    for name in sorted(request.facts.keys() | facts.keys()):
        _require("OB-06", name, request.facts.get(name), facts.get(name))
    if prepared.role is not ROLE_OF_OBJECT[request.kind]:
        raise PolicyViolation("OB-07", f"a {request.kind} is not signed by {prepared.role} keys")
    end = request.facts.get("order_not_after")
    if end is not None and now > parse_time(end, "order_not_after"):
        raise PolicyViolation("OB-08", f"the work order ended at {end}; prepare another one")


def _require(rule_id: str, what: str, requested: object, found: object) -> None:
    if requested != found:
        raise PolicyViolation(rule_id, f"{what}: the request says {requested}, the prepared object has {found}")


def _chosen_key(request: ObjectRequest, keys: ReleaseKeys) -> ReleaseKey:
    """The product's key that the request names. Raises PolicyViolation SV-21, with the key's own reason, if any."""
    role = ROLE_OF_OBJECT[request.kind]
    permitted, refused = keys.of_role(request.product, role)
    for key in permitted:
        if key.public_key.key_id == request.key_ids[0]:
            return key
    reason = f"key {request.key_ids[0].hex()} is no {role} key of product {request.product!r} that may sign now"
    raise PolicyViolation("SV-21", f"{reason} ({refused[0]})" if refused else reason)


def _key_fact(key: ReleaseKey) -> KeyFact:
    parts = parse_key_label(key.label)
    return KeyFact(key.public_key.key_id, key.label, parts.role.value, parts.product)
