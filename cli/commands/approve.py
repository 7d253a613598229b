"""`strongroom approve`: agree to one request, after seeing what it asks for, with one's own SSH key."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from cli.commands.package_request import PersonOption, SshKeyOption
from cli.context import now, repository_of
from cli.options import JsonOption, OutputOption
from cli.output import emit, say
from pki.errors import InputRefused, PolicyViolation
from policies.object_request import ObjectRequest

if TYPE_CHECKING:
    from policies.authentication import AnyAuthenticRequest

app = typer.Typer(add_completion=False)


@app.command(epilog="Example: strongroom approve app.request.json --as ada --ssh-key ada.pub -o ada.approval.json")
def approve(
    context: typer.Context,
    path: Annotated[Path, typer.Argument(metavar="REQUEST", help="The request; its signature is in REQUEST.sig.")],
    person: PersonOption,
    ssh_key: SshKeyOption,
    out: OutputOption,
    prepared: Annotated[
        Path | None, typer.Option("--package", metavar="PREPARED", help="Compare with the package, or order, itself.")
    ] = None,
    not_after: Annotated[
        str | None, typer.Option("--not-after", help="Until when you agree; by default as long as the request holds.")
    ] = None,
    digest: Annotated[
        str | None, typer.Option(help="In a pipeline, in place of typing: the digest of the request you have read.")
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Approve a request: check it, show it and what changes against the last release, ask, and sign the approval.

    OUT.sig is what `ssh-keygen -Y sign` makes. PIN and touch are between you and ssh-keygen.
    """
    from cli.object_requests import accepted_object_request, require_same_object
    from cli.prepared_request import accepted_request, require_same_package
    from cli.signed_files import NewSignedFile, end_of_validity, read_signed, signature_path
    from cli.ssh_keygen import require_listed_key, sign_with_ssh
    from policies.approval import APPROVAL_NAMESPACE, Approval
    from policies.authentication import (
        SignedStatement,
        authenticate_approval,
        require_approval_in_time,
        require_approver,
    )
    from policies.object_request import is_object_request

    when = now()
    repository = repository_of(context)
    people, signers = repository.people, repository.allowed_signers()
    statement = read_signed(path, "request")
    asked: AnyAuthenticRequest
    if is_object_request(statement.statement):
        asked = accepted_object_request(repository, statement, when)
    else:
        asked = accepted_request(repository, statement, when)
    approver = require_approver(person, asked, people)
    require_listed_key(ssh_key, signers.keys_for(approver.id, APPROVAL_NAMESPACE, when), approver.id)
    if prepared is not None:
        if isinstance(asked.request, ObjectRequest):
            require_same_object(repository, asked.request, prepared)
        else:
            require_same_package(repository, asked.request, prepared)
    end = asked.request.not_after if not_after is None else end_of_validity(not_after, when)
    require_approval_in_time(end, when)
    approval = Approval(request_digest=asked.request.digest, approver=approver.id, not_after=end)
    with NewSignedFile(out) as file:
        say(_shown(context, asked, prepared))
        _confirm(asked, digest)
        agreed = approval.encode()
        signed = SignedStatement(agreed, sign_with_ssh(ssh_key, APPROVAL_NAMESPACE, agreed))
        made = authenticate_approval(asked, signed, signers, people, now())
        file.publish(signed)
    data = {
        "file": str(out),
        "signature": str(signature_path(out)),
        "request_digest": approval.request_digest.hex(),
        "key_fingerprint": made.key_fingerprint,
        "approval": approval.fields(),
    }
    emit(data, as_json, f"approved; wrote {out} and {signature_path(out)}: keep both with the request")


def _shown(context: typer.Context, asked: AnyAuthenticRequest, prepared: Path | None) -> str:
    """What the approver must have before their eyes."""
    from cli.object_requests import object_request_lines
    from cli.request_differences import differences, last_release
    from cli.request_words import difference_lines, request_lines, signer_words

    request = asked.request
    if isinstance(request, ObjectRequest):
        compared = (
            "The object itself was not looked at: give --package to compare the request with it."
            if prepared is None
            else f"{prepared.name} is the object that this request is for."
        )
        return "\n".join([*object_request_lines(request, signer_words(asked), now()), "", compared])
    last = last_release(repository_of(context), request.product, request.kind)
    lines = request_lines(request, signer_words(asked), now())
    lines += ["", *difference_lines(differences(request.fields(), last), last, request.product, request.kind), ""]
    if prepared is None:
        lines.append("The package itself was not looked at: give --package to compare the request with it.")
    else:
        lines.append(f"{prepared.name} is the package that this request is for.")
    return "\n".join(lines)


def _confirm(asked: AnyAuthenticRequest, digest: str | None) -> None:
    """Typing what it is about, or naming the digest. Raises PolicyViolation AP-13, InputRefused."""
    request = asked.request
    if digest is not None:
        if digest != request.digest.hex():
            raise PolicyViolation("AP-13", f"--digest is not that of this request, {request.digest.hex()}")
        return
    if not sys.stdin.isatty():
        raise InputRefused("there is no terminal to agree on: give --digest with the digest of the request you read")
    is_object = isinstance(request, ObjectRequest)
    expected = request.words if isinstance(request, ObjectRequest) else f"{request.product} {request.version}"
    what = "what it is for" if is_object else "product and version"
    typed: str = typer.prompt(f"To approve, type {what} ({expected})", default="", show_default=False, err=True)
    if " ".join(typed.split()) != expected:
        raise PolicyViolation("AP-13", f"what you typed is not {what} of this request; nothing was signed")
