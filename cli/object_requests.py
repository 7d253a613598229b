"""What `workorder`, `service` and `grant` share: requests for prepared objects, and their signatures.

`ask` writes a request, `sign` lets the signing service decide and sign, `issue` signs at once (development).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

from cli.context import SigningKeys, now, operator, repository_of, signing_keys, site_of
from cli.output import emit, write_new_file
from pki.errors import InputRefused, PolicyViolation, WrongTarget

if TYPE_CHECKING:
    from pki.values import PublicKey
    from policies.authentication import AuthenticObjectRequest, SignedStatement
    from policies.object_request import ObjectKind, ObjectRequest
    from signer.authority.model import Product
    from signer.authority.repository import AuthorityRepository
    from signer.service.objects import ObjectReader, SignableObject
    from signer.service.values import SignedRelease

_FACT_WORDS = {
    "order_not_after": "the order ends",
    "uid": "UID of the device",
    "head_hash": "head of the package",
    "devices": "devices",
}


def object_readers() -> Mapping[ObjectKind, ObjectReader]:
    """Every kind that can be signed."""
    from signer.grants.signable import GrantBatchReader
    from signer.service.object_kinds import ServiceOrderReader, WorkOrderReader

    return {
        "work-order": WorkOrderReader(),
        "service-order": ServiceOrderReader(),
        "grant-batch": GrantBatchReader(),
    }


def product_of(repository: AuthorityRepository, product_id: bytes) -> Product:
    """The product of this id. Raises WrongTarget."""
    for name in repository.product_names():
        product = repository.product(name)
        if product.id_bytes == product_id:
            return product
    raise WrongTarget(f"the object is for product id {product_id.hex()}, which no product here has")


def ask(
    context: typer.Context,
    prepared: SignableObject,
    person: str,
    ssh_key: Path,
    out: Path,
    not_after: str,
    as_json: bool,
) -> None:
    """Write a request for exactly this object, signed with the person's SSH key.

    Raises what `package request` raises, PolicyViolation OB-08 for an order that has ended, WrongTarget.
    """
    from cli.signed_files import end_of_validity, signature_path
    from cli.signed_requests import write_signed_request
    from cli.ssh_keygen import require_listed_key
    from policies.authentication import (
        authenticate_object_request,
        require_request_in_time,
        require_requester,
    )
    from policies.object_request import ObjectRequest
    from policies.request import REQUEST_NAMESPACE
    from signer.service.object_admission import compare_object

    when = now()
    repository = repository_of(context)
    people, signers = repository.people, repository.allowed_signers()
    requester = require_requester(person, people)
    require_listed_key(ssh_key, signers.keys_for(requester.id, REQUEST_NAMESPACE, when), requester.id)
    end = end_of_validity(not_after, when)
    require_request_in_time(end, when)
    asked = ObjectRequest(
        environment=repository.authority.environment.value,
        kind=prepared.kind,
        object_digest=prepared.digest.value,
        product=product_of(repository, prepared.product_id).name,
        product_id=prepared.product_id.hex(),
        key_ids=(prepared.signer_key_id,),
        facts=dict(prepared.facts),
        not_after=end,
        policy_digest=repository.policy_set().digest,
        requester=requester.id,
    )
    compare_object(asked, prepared, _product_ids(repository), when)
    data = write_signed_request(
        asked, out, ssh_key, lambda signed: authenticate_object_request(signed, signers, people, now())
    )
    lines = object_request_lines(asked, f"you ({requester.id})", when)
    emit(data, as_json, "\n".join((f"wrote {out} and {signature_path(out)}", *lines)))


def sign(
    context: typer.Context,
    kind: ObjectKind,
    request: Path,
    approvals: Sequence[Path],
    files: Sequence[Path],
    readers: Mapping[ObjectKind, ObjectReader] | None = None,
) -> SignedRelease:
    """Let the signing service decide, log and sign; the result is on the shelf. Raises whatever the service refuses."""
    from cli.signed_files import read_signed
    from cli.signing_service import ServiceKeys, history_of, log_of, reviewed, shelf_folder
    from policies.object_request import decode_object_request
    from signer.service.facts import Past
    from signer.service.objects import ObjectOrder, ObjectSigningService

    repository = repository_of(context)
    order = ObjectOrder(
        request=read_signed(request, "request"),
        approvals=tuple(read_signed(path, "approval") for path in approvals),
        files=tuple(files),
    )
    asked = decode_object_request(order.request.statement)
    if asked.kind != kind:
        raise InputRefused(f"{request} asks for a {asked.kind}, not a {kind}")
    with SigningKeys(repository, site_of(context, repository), now(), for_releases=True) as keys:
        log = log_of(keys)
        service = ObjectSigningService(
            reviewed=reviewed(repository),
            keys=ServiceKeys(repository, keys),
            log=log,
            readers=object_readers() if readers is None else readers,
            folder=shelf_folder(repository),
            past=Past(log, history_of(repository), repository.product_names()),
            clock=now,
            actor=operator(),
        )
        return service.sign(order)


def hand_out(signed: SignedRelease, out: Path, as_json: bool) -> None:
    """Copy the signed object from the shelf to `out`, and say what was done. Raises OutputError."""
    from signer.service.outputs import hand_out_copy

    hand_out_copy(signed.path, signed.package_digest, out)
    emit_signed(signed, out, as_json)


def emit_signed(signed: SignedRelease, out: Path, as_json: bool) -> None:
    """What was signed, and where it is."""
    data = {
        "file": str(out),
        "request_digest": signed.request_digest.hex(),
        "signed_digest": signed.head_digest.hex(),
        "object_digest": signed.package_digest.hex(),
        "policy_ids": list(signed.policy_ids),
        "log_entries": [signed.intent_index, signed.result_index],
        "repeated": signed.repeated,
    }
    how = "signed already, by an earlier call; no token was asked" if signed.repeated else "signed, verified and logged"
    lines = [
        f"{how}: {out}",
        f"allowed by {', '.join(signed.policy_ids)}; log entries {signed.intent_index} and {signed.result_index}",
    ]
    emit(data, as_json, "\n".join(lines))


def issue(
    context: typer.Context,
    prepared: SignableObject,
    accepted: Callable[[bytes, PublicKey], None],
    out: Path,
    as_json: bool,
) -> None:
    """Sign at once, without request and approvals: development. In production this is SV-40.

    Raises PolicyViolation SV-21, SV-40, KS-…, TokenError, AuditError, OutputError.
    """
    from signer.signing_key import sign_verified

    repository = repository_of(context)
    product = product_of(repository, prepared.product_id)
    with signing_keys(repository, site_of(context, repository), now()) as keys:
        for config in product.keys.of_role(prepared.role):
            key = keys.key(config, prepared.role, product.name)
            if key.public_key.key_id == prepared.signer_key_id:
                data = prepared.with_signature(sign_verified(key, prepared.digest))
                accepted(data, key.public_key)
                write_new_file(out, data)
                break
        else:
            raise PolicyViolation(
                "SV-21", f"key {prepared.signer_key_id.hex()} is no {prepared.role} key of product {product.name!r}"
            )
    digest = prepared.digest.value.hex()
    emit({"file": str(out), "signed_digest": digest, "facts": dict(prepared.facts)}, as_json, f"signed: {out}")


def accepted_object_request(
    repository: AuthorityRepository, signed: SignedStatement, when: datetime
) -> AuthenticObjectRequest:
    """A request that is authentic, and made for this authority as it is now.

    Raises what `authenticate_object_request` raises, and PolicyViolation SV-03 (environment), SV-04 (policies changed).
    """
    from cli.prepared_request import require_for_here
    from policies.authentication import authenticate_object_request

    authentic = authenticate_object_request(signed, repository.allowed_signers(), repository.people, when)
    require_for_here(repository, authentic.request)
    return authentic


def require_same_object(repository: AuthorityRepository, request: ObjectRequest, path: Path) -> None:
    """What an approver can check with the object's file. Raises PolicyViolation OB-02 to OB-08, FormatError."""
    from signer.service.object_admission import compare_object

    readers = object_readers()
    if request.kind not in readers:
        raise InputRefused(f"a {request.kind} is not one file that can be compared here; leave the option out")
    compare_object(request, readers[request.kind].prepared([path]), _product_ids(repository), now())


def object_request_lines(request: ObjectRequest, requester: str, when: datetime) -> list[str]:
    """What stands in the request, in words."""
    from cli.request_words import from_now, row

    return [
        f"{request.product}: {request.kind}, for {request.environment.upper()}",
        "",
        *(row(_FACT_WORDS.get(name, name.replace("_", " ")), str(value)) for name, value in request.facts.items()),
        row("asked for by", requester),
        row("may be signed until", f"{request.not_after:%Y-%m-%d %H:%M:%S} UTC, {from_now(request.not_after, when)}"),
        row("to be signed by", f"key {request.key_ids[0].hex()}"),
        row("policies", request.policy_digest.hex()),
        row("product id", request.product_id),
        row("digest to be signed", request.object_digest.hex()),
        row("digest of the request", request.digest.hex()),
    ]


def signed_fields(data: Mapping[str, Any]) -> dict[str, Any]:
    """A value's fields as JSON: bytes in hexadecimal digits."""
    return {name: value.hex() if isinstance(value, bytes) else value for name, value in data.items()}


def _product_ids(repository: AuthorityRepository) -> Callable[[str], bytes | None]:
    return lambda name: repository.product(name).id_bytes if name in repository.product_names() else None
