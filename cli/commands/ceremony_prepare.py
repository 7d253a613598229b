"""Commands before a ceremony: making its plan, printing the script for the room, looking whether all is ready."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from ceremonies.script_text import script_text
from ceremonies.word_list import to_words
from cli.ceremony_files import ceremony_folder, load_ceremony, new_plan_text, shipped_plans
from cli.context import now, repository_of
from cli.exit_codes import ExitCode
from cli.options import JsonOption
from cli.output import emit, say, write_new_file
from pki.errors import ConfigurationError, OutputError

if TYPE_CHECKING:
    from ceremonies.script import Script

NameArgument = Annotated[str, typer.Argument(help="The ceremony, by the name of its folder under ceremonies/.")]


def new(
    context: typer.Context,
    name: NameArgument,
    plan: Annotated[str, typer.Option("--plan", help="The shipped plan to begin with; `ceremony list` shows them.")],
    value: Annotated[
        list[str] | None, typer.Option("--value", metavar="NAME=VALUE", help="A value of the plan; repeat for each.")
    ] = None,
    person: Annotated[
        list[str] | None,
        typer.Option("--person", metavar="ROLE=ID", help="Who has a role, by the id in people.toml; repeat for each."),
    ] = None,
    at_site: Annotated[str | None, typer.Option("--at-site", help="The site; by default the authority's.")] = None,
    date: Annotated[str | None, typer.Option(help="The day of the ceremony, YYYY-MM-DD; by default any.")] = None,
    air_gapped: Annotated[
        bool, typer.Option("--air-gapped", help="Refuse to run while a network interface is up.")
    ] = False,
    as_json: JsonOption = False,
) -> None:
    """Make a ceremony from a shipped plan, to be reviewed: ceremonies/NAME/plan.yaml."""
    repository = repository_of(context)
    folder = ceremony_folder(repository, name)
    plans = shipped_plans()
    if plan not in plans:
        raise ConfigurationError(f"there is no plan {plan!r} (there: {', '.join(plans)})")
    if folder.plan.exists():
        raise OutputError(f"{folder.plan} exists already; choose another name")
    part: dict[str, Any] = {
        "name": name,
        "site": at_site or repository.authority.default_site,
        "values": _typed(plans[plan], _pairs(value or [], "--value")),
        "assignment": _assignment(_pairs(person or [], "--person")),
    }
    if air_gapped:
        part["air_gapped"] = True
    if date is not None:
        part["date"] = date
    _make_folder(folder.path)
    write_new_file(folder.plan, new_plan_text(plans[plan], part).encode())
    try:
        loaded = load_ceremony(repository, name)
    except BaseException:
        folder.plan.unlink()
        raise
    data = {"plan": str(folder.plan), "kind": loaded.plan.kind, "digest": loaded.digest.hex()}
    emit(data, as_json, f"wrote {folder.plan}: review it, then `strongroom ceremony rehearse {name}`")


def _make_folder(path: Path) -> None:
    """The ceremony's folder, durably. Raises OutputError."""
    from signer.durable import sync_folder

    try:
        for folder in (path.parent, path):
            folder.mkdir(exist_ok=True)
            sync_folder(folder.parent)
    except OSError as error:
        raise OutputError(f"{path}: cannot be made ({error.strerror})") from None


def _pairs(given: list[str], option: str) -> list[tuple[str, str]]:
    pairs = []
    for text in given:
        name, equals, value = text.partition("=")
        if not (name and equals and value):
            raise typer.BadParameter(f"{option} takes NAME=VALUE, not {text!r}")
        pairs.append((name, value))
    return pairs


def _typed(plan: str, pairs: list[tuple[str, str]]) -> dict[str, str | int]:
    """Whole numbers where the plan wants them; everything else stays text."""
    from ceremonies.plan import parse_plan

    parameters = parse_plan(plan.encode(), "the shipped plan").parameters
    typed: dict[str, str | int] = {}
    for name, value in pairs:
        if name in typed:
            raise typer.BadParameter(f"--value {name} is given twice")
        wants_number = name in parameters and parameters[name].type == "integer" and value.isdigit()
        typed[name] = int(value) if wants_number else value
    return typed


def _assignment(pairs: list[tuple[str, str]]) -> dict[str, list[str]]:
    assignment: dict[str, list[str]] = {}
    for role, person_id in pairs:
        assignment.setdefault(role, []).append(person_id)
    return assignment


def plan(context: typer.Context, name: NameArgument, as_json: JsonOption = False) -> None:
    """Print the script for the room, and the digest of everything that decides, as words to read aloud."""
    repository = repository_of(context)
    loaded = load_ceremony(repository, name)
    environment = repository.authority.environment.value
    data = {**_summary(loaded.script), "digest": loaded.digest.hex(), "words": to_words(loaded.digest)}
    emit(data, as_json, script_text(loaded.script, loaded.digest, environment))


def _summary(script: Script) -> dict[str, Any]:
    return {
        "name": script.name,
        "kind": script.kind,
        "title": script.title,
        "site": script.site,
        "people": [{"id": person.id, "name": person.name, "role": person.role} for person in script.people],
        "steps": [{"id": step.id, "does": step.does, "who": step.who, "text": step.text} for step in script.steps],
    }


def preflight(context: typer.Context, name: NameArgument, as_json: JsonOption = False) -> None:
    """Look whether everything is ready: tokens, keys, outputs, clock, network, space. No PIN is asked for."""
    from cli.ceremony_checks import preflight as all_checks

    repository = repository_of(context)
    loaded = load_ceremony(repository, name)
    findings = all_checks(repository, loaded, now())
    errors = [finding for finding in findings if finding.is_error]
    data = {
        "ready": not errors,
        "findings": [{"rule": item.rule, "error": item.is_error, "text": item.text} for item in findings],
        "room": list(loaded.script.room),
    }
    lines = [f"{'ERROR' if item.is_error else 'warning'} {item.rule}: {item.text}" for item in findings]
    lines += ["", "To be looked at by people:", *(f"  [ ] {item}" for item in loaded.script.room)]
    lines += ["", "not ready" if errors else "ready, as far as the program can see"]
    emit(data, as_json, "\n".join(lines).lstrip("\n"))
    if not (loaded.folder.review.is_file() and loaded.folder.rehearsal.is_file()):
        say(f"not rehearsed yet: strongroom ceremony rehearse {name}")
    if errors:
        raise typer.Exit(ExitCode.FINDINGS)
