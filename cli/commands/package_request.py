"""The commands of `strongroom package` about requests: request, show; and a package against the last release."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from cli.context import now, repository_of
from cli.exit_codes import ExitCode
from cli.options import JsonOption, OutputOption, ProductOption
from cli.output import emit
from pki.errors import FormatError, PolicyViolation, VerificationError

if TYPE_CHECKING:
    from policies.authentication import SignedStatement
    from signer.authority.repository import AuthorityRepository

PersonOption = Annotated[str, typer.Option("--as", metavar="PERSON", help="Who you are, by your id in people.toml.")]
SshKeyOption = Annotated[
    Path, typer.Option("--ssh-key", help="Your SSH key as `ssh-keygen -f` takes it: private, or public with an agent.")
]
NotAfterOption = Annotated[
    str, typer.Option("--not-after", help="Until when it holds: 7d, 12h, or a time; 31 days at most.")
]


def request(
    context: typer.Context,
    prepared: Annotated[Path, typer.Argument(metavar="PREPARED", help="The package that `package prepare` wrote.")],
    product: ProductOption,
    person: PersonOption,
    ssh_key: SshKeyOption,
    out: OutputOption,
    not_after: NotAfterOption = "7d",
    sbom: Annotated[Path | None, typer.Option(help="The SBOM file that the package was prepared with.")] = None,
    tests: Annotated[Path | None, typer.Option(help="The file of test results that goes with it.")] = None,
    as_json: JsonOption = False,
) -> None:
    """Ask for the signature of exactly this package: write a request, signed with your SSH key.

    Everything in it is read from the package; nothing is typed. OUT.sig is what `ssh-keygen -Y sign` makes.
    """
    from cli.prepared_request import EvidenceFiles, request_for, require_service_would_take
    from cli.request_words import request_lines
    from cli.signed_files import end_of_validity, signature_path
    from cli.signed_requests import write_signed_request
    from cli.ssh_keygen import require_listed_key
    from policies.authentication import (
        authenticate_request,
        require_request_in_time,
        require_requester,
    )
    from policies.request import REQUEST_NAMESPACE

    when = now()
    repository = repository_of(context)
    people, signers = repository.people, repository.allowed_signers()
    requester = require_requester(person, people)
    require_listed_key(ssh_key, signers.keys_for(requester.id, REQUEST_NAMESPACE, when), requester.id)
    files = EvidenceFiles(sbom, tests)
    end = end_of_validity(not_after, when)
    require_request_in_time(end, when)
    asked = request_for(repository, prepared, product, requester.id, end, files)
    require_service_would_take(repository, asked, prepared, files)
    data = write_signed_request(
        asked, out, ssh_key, lambda signed: authenticate_request(signed, signers, people, now())
    )
    lines = request_lines(asked, f"you ({requester.id})", when)
    emit(data, as_json, "\n".join((f"wrote {out} and {signature_path(out)}", *lines)))


def show(
    context: typer.Context,
    path: Annotated[Path, typer.Argument(metavar="REQUEST", help="The request; its signature is in REQUEST.sig.")],
    as_json: JsonOption = False,
) -> None:
    """Say in words what a request asks for, who asks, and what changes. Exit code 10 if it would not be accepted."""
    from cli.prepared_request import accepted_request
    from cli.request_differences import difference_data, differences, last_release
    from cli.request_words import difference_lines, request_lines, signer_words
    from cli.signed_files import read_signed
    from policies.object_request import is_object_request
    from policies.request import decode_request

    when = now()
    repository = repository_of(context)
    signed = read_signed(path, "request")
    if is_object_request(signed.statement):
        _show_object(repository, signed, when, as_json)
        return
    asked = decode_request(signed.statement)
    refusal, requester = "", f"{asked.requester} (NOT proven)"
    try:
        requester = signer_words(accepted_request(repository, signed, when))
    except (FormatError, VerificationError, PolicyViolation) as error:
        refusal = str(error)
    last = last_release(repository, asked.product, asked.kind)
    rows = differences(asked.fields(), last)
    lines = request_lines(asked, requester, when)
    lines += ["", *difference_lines(rows, last, asked.product, asked.kind), ""]
    lines.append(f"NOT ACCEPTED: {refusal}" if refusal else "its signature is genuine, and it may be approved")
    data = {
        "request": asked.fields(),
        "digest": asked.digest.hex(),
        "accepted": not refusal,
        "refusal": refusal or None,
        **difference_data(rows, last),
    }
    emit(data, as_json, "\n".join(lines))
    if refusal:
        raise typer.Exit(ExitCode.FINDINGS)


def _show_object(repository: AuthorityRepository, signed: SignedStatement, when: datetime, as_json: bool) -> None:
    """A request for a work order, a service order or grants."""
    from cli.object_requests import accepted_object_request, object_request_lines
    from cli.request_words import signer_words
    from policies.object_request import decode_object_request

    asked = decode_object_request(signed.statement)
    refusal, requester = "", f"{asked.requester} (NOT proven)"
    try:
        requester = signer_words(accepted_object_request(repository, signed, when))
    except (FormatError, VerificationError, PolicyViolation) as error:
        refusal = str(error)
    verdict = f"NOT ACCEPTED: {refusal}" if refusal else "its signature is genuine, and it may be approved"
    data = {
        "request": asked.fields(),
        "digest": asked.digest.hex(),
        "accepted": not refusal,
        "refusal": refusal or None,
    }
    emit(data, as_json, "\n".join([*object_request_lines(asked, requester, when), "", verdict]))
    if refusal:
        raise typer.Exit(ExitCode.FINDINGS)


def diff_with_last_release(context: typer.Context, path: Path, *, as_json: bool) -> None:
    """`package diff A`, with nothing to compare with but the last release: A is a request or a prepared package."""
    from cli.output import read_input
    from cli.prepared_request import fields_of_package, is_statement
    from cli.request_differences import difference_data, differences, last_release
    from cli.request_words import difference_lines
    from policies.request import decode_request
    from policies.statement import STATEMENT_SIZE_BYTES_MAX

    repository = repository_of(context)
    if is_statement(path):
        fields: Mapping[str, Any] = decode_request(read_input(path, "request", STATEMENT_SIZE_BYTES_MAX)).fields()
    else:
        fields = fields_of_package(repository, path)
    last = last_release(repository, fields["product"], fields["kind"])
    rows = differences(fields, last)
    lines = difference_lines(rows, last, fields["product"], fields["kind"])
    text = "\n".join([*lines, "", "this compares what stands there; who signed it, `package show` says"])
    emit({"product": fields["product"], "kind": fields["kind"], **difference_data(rows, last)}, as_json, text)
