"""What the signing service logs (docs/spec/signing-service.md, "What is logged"): digests, ids and names, no secret."""

from __future__ import annotations

import re
from typing import Any

from pki.errors import StrongroomError
from policies.object_request import ObjectRequest, decode_object_request, is_object_request
from policies.refusals import Malformed
from policies.request import SigningRequest, decode_request
from signer.log.values import Event, EventKind
from signer.service.admission import Admitted

REASON_CHARACTERS_MAX = 300
_RULE = re.compile(r"\[([A-Z]{2,4}-[A-Z0-9]{1,8})\] ")


def intent_details(admitted: Admitted) -> dict[str, Any]:
    """The details of `sign-intent`, but for `resumed`."""
    request = admitted.request.request
    return {
        **subject_of(admitted),
        "image_digest": request.image_digest.hex(),
        "policy_digest": request.policy_digest.hex(),
        "policy_ids": list(admitted.decision.policy_ids),
        "environment": request.environment,
        "approvers": admitted.approvers,
        "target": request.target,
    }


def intent_event(actor: str, details: dict[str, Any], resumed: bool) -> Event:
    """That the HSM is about to be asked; `resumed`: not for the first time."""
    return Event(kind=EventKind.SIGN_INTENT, actor=actor, details={**details, "resumed": resumed})


def result_event(
    actor: str, subject: dict[str, Any], package: tuple[bytes, int], intent_index: int, judge: str, resumed: bool
) -> Event:
    """That a package, or another object, was signed and accepted. `package`: SHA-256 and size in bytes."""
    details = {
        **subject,
        "package_digest": package[0].hex(),
        "package_size_bytes": package[1],
        "intent": intent_index,
        "judged_by": judge,
        "resumed": resumed,
    }
    return Event(kind=EventKind.SIGN_RESULT, actor=actor, details=details)


def failure_event(actor: str, subject: dict[str, Any], intent_index: int, failure: StrongroomError) -> Event:
    """That the HSM was, or may have been asked, and nothing was released."""
    details = {name: subject[name] for name in ("request_digest", "head_digest", "product", "kind")}
    details |= {"rule_id": rule_of(failure), "reason": reason_of(failure), "intent": intent_index}
    return Event(kind=EventKind.SIGN_FAILED, actor=actor, details=details)


def refusal_event(
    actor: str, request_digest: bytes, statement: bytes, policy_digest: bytes, refusal: StrongroomError
) -> Event:
    """That an order was refused, under which policy set, with what its request says, which may be untrue."""
    details: dict[str, Any] = {
        "request_digest": request_digest.hex(),
        "rule_id": rule_of(refusal),
        "reason": reason_of(refusal),
        "policy_digest": policy_digest.hex(),
    }
    details |= _claims(statement)
    return Event(kind=EventKind.REQUEST_REFUSED, actor=actor, details=details)


def _claims(statement: bytes) -> dict[str, Any]:
    """What a statement says of itself, as far as it can be read."""
    request: SigningRequest | ObjectRequest
    try:
        if is_object_request(statement):
            request = decode_object_request(statement)
            head_digest = request.object_digest
        else:
            request = decode_request(statement)
            head_digest = request.head_digest
    except Malformed:
        return {}
    return {
        "head_digest": head_digest.hex(),
        "product": request.product,
        "kind": request.kind,
        "requester": request.requester,
    }


def rule_of(error: StrongroomError) -> str:
    """The ID of the rule that refused, or the branch of the errors where none has one."""
    own = getattr(error, "rule_id", None)
    if isinstance(own, str):
        return own
    match = _RULE.search(str(error))
    return match[1] if match else type(error).__name__


def reason_of(error: StrongroomError) -> str:
    """The reason in one printable line of bounded length: it may quote what came from outside."""
    text = "".join(character if character.isprintable() else "\N{REPLACEMENT CHARACTER}" for character in str(error))
    return text if len(text) <= REASON_CHARACTERS_MAX else f"{text[: REASON_CHARACTERS_MAX - 1]}…"


def subject_of(admitted: Admitted) -> dict[str, Any]:
    """What every entry about a package says."""
    request = admitted.request.request
    return {
        "request_digest": request.digest.hex(),
        "head_digest": request.head_digest.hex(),
        "requester": request.requester,
        "product": request.product,
        "kind": request.kind,
        "version": request.version,
        "security_version": request.security_version,
        "key_ids": [key_id.hex() for key_id in request.key_ids],
        "key_labels": sorted(key.label for key in admitted.keys),
    }
