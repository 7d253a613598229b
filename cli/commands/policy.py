"""`strongroom policy`: check the policies of an authority, and say in words what they decide."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from cli.context import repository_of
from cli.exit_codes import ExitCode
from cli.options import JsonOption
from cli.output import emit, table
from pki.errors import ConfigurationError, InputRefused

if TYPE_CHECKING:
    from policies.explain import Explanation
    from policies.policy_tests import PolicyExamination
    from signer.authority.repository import AuthorityRepository

app = typer.Typer(no_args_is_help=True, add_completion=False, epilog="Example: strongroom policy check")


@app.callback()
def policy() -> None:
    """Check, list and explain the policies that decide what is signed."""


@app.command("init", epilog="Example: strongroom policy init")
def init(context: typer.Context, as_json: JsonOption = False) -> None:
    """Write the shipped policies into an authority that has none."""
    from signer.authority.policy_folder import shipped_policies, write_policy_folder

    files = write_policy_folder(repository_of(context).root, shipped_policies())
    text = f"wrote {len(files)} files to {files[0].parent}\nNext: edit them to fit your team, `strongroom policy check`"
    emit({"files": [str(path) for path in files]}, as_json, text)


@app.command("check", epilog="Example: strongroom policy check --json")
def check(context: typer.Context, as_json: JsonOption = False) -> None:
    """Check policies, schema, calendar and test table. Exit code 10 if something is found."""
    from policies.policy_tests import examine_policies

    examination = examine_policies(repository_of(context).policy_files())
    used = examination.policy_set
    data = {
        "digest": None if used is None else used.digest.hex(),
        "policies": 0 if used is None else len(used.policies),
        "cases": examination.case_count,
        "findings": [
            {"rule_id": item.rule_id, "place": item.place, "text": item.text} for item in examination.findings
        ],
    }
    emit(data, as_json, _check_text(examination))
    if examination.findings:
        raise typer.Exit(ExitCode.FINDINGS)


@app.command("list", epilog="Example: strongroom policy list")
def list_policies(context: typer.Context, as_json: JsonOption = False) -> None:
    """List every policy: permits, then forbids, with what each is for."""
    policy_set = repository_of(context).policy_set()
    ordered = sorted(policy_set.policies, key=lambda item: (not item.is_permit, item.id))
    rows = [{"id": item.id, "effect": item.effect, "file": item.file, "text": item.text} for item in ordered]
    text = table(("EFFECT", "POLICY", "FILE", "SAYS"), [(r["effect"], r["id"], r["file"], r["text"]) for r in rows])
    emit({"digest": policy_set.digest.hex(), "policies": rows}, as_json, f"{text}\n\ndigest {policy_set.digest.hex()}")


@app.command("explain", epilog="Example: strongroom policy explain --case 'an application without SBOM'")
def explain(
    context: typer.Context,
    request: Annotated[
        Path | None, typer.Argument(help="A signed request; its signature is beside it, in REQUEST.sig.")
    ] = None,
    approvals: Annotated[
        list[Path] | None, typer.Option("--approval", help="A signed approval; repeat it for each.")
    ] = None,
    case: Annotated[
        str | None, typer.Option(help="A case of the test table, by its name, instead of a request.")
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Say which policies allow or deny a request, and why. Exit code 5 for a denial. Signs and logs nothing."""
    from policies.decision import Allow

    repository = repository_of(context)
    if case is not None and request is None and not approvals:
        explanation = _explained_case(repository, case)
    elif request is not None and case is None:
        from cli.policy_requests import explained_request

        explanation = explained_request(repository, request, approvals or [])
    else:
        raise InputRefused("give a request, with its approvals, or --case NAME; one of the two")
    emit(explanation.fields(), as_json, explanation.text())
    if not isinstance(explanation.decision, Allow):
        raise typer.Exit(ExitCode.POLICY)


def _explained_case(repository: AuthorityRepository, name: str) -> Explanation:
    from policies.explain import explain as explain_question
    from policies.policy_tests import read_test_table

    try:
        cases = {item.case.name: item for item in read_test_table(repository.policy_files())}
    except ValueError as error:
        raise ConfigurationError(f"[PO-20] policies/tests.toml: {error}") from None
    if name not in cases:
        raise InputRefused(f"the test table has no case {name!r}; its names are in policies/tests.toml")
    return explain_question(repository.policy_set(), cases[name].question)


def _check_text(examination: PolicyExamination) -> str:
    lines = [f"{item.rule_id} policies/{item.place}\n  {item.text}" for item in examination.findings]
    if examination.policy_set is None:
        return "\n".join([*lines, "these policies cannot be used; nothing that needs them will be signed"])
    policy_set = examination.policy_set
    lines.append(f"{len(policy_set.policies)} policies, {examination.case_count} cases, {len(lines)} findings")
    return "\n".join([*lines, f"digest {policy_set.digest.hex()}"])
