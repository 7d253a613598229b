"""From a plan to the script for the room: values put in, parts given to people, the roll call first. Pure.

A value stands in a plan as `<value>`. Besides the ceremony's values there are `<name>` and `<site>`, and, where the
plan has a product, `<ROLE-N.label>` and `<ROLE-N.token>` for every key in its file, counted from 1 in each role.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

import msgspec

from ceremonies.acts.registry import Act, act_of
from ceremonies.plan import CeremonyPart, Parameter, Plan, PlanStep, split_part
from ceremonies.rules import PERSON_NOT_FIT, PERSON_TWICE, STEPS_DO_NOT_FIT, VALUE_REFUSED
from pki.errors import ConfigurationError
from pki.key_specs import parse_key_label
from pki.roles import Role
from policies.names import is_slug
from policies.people import People
from signer.authority.model import Product, Site

_PLACEHOLDER = re.compile(r"<([a-z0-9-]+(?:\.[a-z]+)?)>")
_ARTEFACT = re.compile(r"[a-z0-9](?:[a-z0-9._-]{0,62}[a-z0-9])?")
_TEXT_LENGTH_MAX = 200
_NOT_IN_REPOSITORY = "a file is named relative to the authority repository, and is in it"

# What `does` says in scripts and transcripts for steps that run no act.
SAY = "say"
CONFIRM = "confirm"
UNLOCK = "unlock"
PRESENT = "present"


class Participant(msgspec.Struct, frozen=True):
    """Somebody who is assigned to a role of the ceremony."""

    id: str
    name: str
    role: str


class ScriptStep(msgspec.Struct, frozen=True, kw_only=True):
    """One step as it will be done. `typed`: words that confirm; `token`: what is unlocked; `person`: who is called."""

    id: str
    does: str
    who: str
    text: str
    typed: str | None = None
    token: str | None = None
    person: str | None = None
    act: Act | None = None
    parameters: dict[str, Any] = {}


class Script(msgspec.Struct, frozen=True, kw_only=True):
    """Everything that will be said and done, in order, and by whom."""

    name: str
    kind: str
    title: str
    purpose: str
    site: str
    air_gapped: bool
    date: str | None
    product: str | None
    files: tuple[str, ...]
    room: tuple[str, ...]
    people: tuple[Participant, ...]
    minimum: dict[str, int]
    steps: tuple[ScriptStep, ...]

    def people_in(self, role: str) -> list[Participant]:
        """Who is assigned to a role, in the plan's order."""
        return [person for person in self.people if person.role == role]


def product_name(plan: Plan, part: CeremonyPart) -> str | None:
    """The product that the ceremony is about; None if its plan has none."""
    names = [name for name, parameter in plan.parameters.items() if parameter.type == "product"]
    return str(part.values[names[0]]) if names and names[0] in part.values else None


def make_script(plan: Plan, part: CeremonyPart, site: Site, people: People, product: Product | None) -> Script:
    """Put everything together. Raises ConfigurationError CE-03 to CE-07 for what does not fit."""
    values = _checked_values(plan.parameters, part.values, site)
    participants = _participants(plan, part, people)
    texts = {**values, "name": part.name, "site": part.site, **_keys_of(product)}
    own_steps = [_step(step, texts, site) for step in plan.steps]
    return Script(
        name=part.name,
        kind=plan.kind,
        title=_filled(plan.title, texts, "title"),
        purpose=_filled(plan.purpose, texts, "purpose"),
        site=part.site,
        air_gapped=part.air_gapped,
        date=part.date,
        product=product_name(plan, part),
        files=_files(plan.parameters, values, own_steps),
        room=tuple(_filled(item, texts, "room") for item in plan.room),
        people=participants,
        minimum={role: demand.minimum for role, demand in plan.roles.items()},
        steps=(*_roll_call(participants), *own_steps),
    )


def _files(
    parameters: Mapping[str, Parameter], values: Mapping[str, str | int], steps: list[ScriptStep]
) -> tuple[str, ...]:
    """Every file that the ceremony reads, whether a value names it or a step does. Raises ConfigurationError CE-03."""
    named = {str(values[name]) for name, given in parameters.items() if given.type == "file"}
    read = {path for step in steps if step.act is not None for path in step.act.files()}
    for path in sorted(read):
        if _leads_out(path):
            raise _refused(path, _NOT_IN_REPOSITORY)
    return tuple(sorted(named | read))


# Values


def _checked_values(
    parameters: Mapping[str, Parameter], given: Mapping[str, str | int], site: Site
) -> dict[str, str | int]:
    unknown = sorted(set(given) - set(parameters))
    if unknown:
        raise _refused(unknown[0], "the plan has no such value")
    values: dict[str, str | int] = {}
    for name, parameter in parameters.items():
        value = given.get(name, parameter.default)
        if value is None:
            raise _refused(name, f"is missing: {parameter.text}")
        _check_value(name, parameter, value, site)
        values[name] = value
    return values


def _check_value(name: str, parameter: Parameter, value: str | int, site: Site) -> None:
    if parameter.type == "integer":
        if type(value) is not int or not 0 <= value <= 1_000_000:
            raise _refused(name, f"must be a whole number of 0 to 1,000,000, not {value!r}")
        return
    if type(value) is not str or not 1 <= len(value) <= _TEXT_LENGTH_MAX or not value.isprintable() or "<" in value:
        raise _refused(name, f"must be 1 to {_TEXT_LENGTH_MAX} printable characters without '<', not {value!r}")
    problem = _problem_of(parameter, value, site)
    if problem:
        raise _refused(name, problem)


def _problem_of(parameter: Parameter, value: str, site: Site) -> str | None:
    if parameter.type == "choice" and value not in (parameter.choices or []):
        return f"must be one of {', '.join(parameter.choices or [])}, not {value!r}"
    if parameter.type == "product" and not is_slug(value):
        return f"{value!r} is no product's name"
    if parameter.type == "token" and value not in site.tokens:
        return f"site {site.name!r} has no token {value!r}"
    if parameter.type == "role" and value not in {role.value for role in Role}:
        return f"there is no role {value!r}"
    if parameter.type == "artefact" and not _ARTEFACT.fullmatch(value):
        return f"{value!r} cannot be the name of an artefact"
    if parameter.type == "file" and _leads_out(value):
        return _NOT_IN_REPOSITORY
    if parameter.type == "label":
        try:
            parse_key_label(value)
        except ConfigurationError as error:
            return str(error)
    return None


def _leads_out(path: str) -> bool:
    return path.startswith("/") or ".." in path.split("/")


def _refused(name: str, problem: str) -> ConfigurationError:
    return ConfigurationError(f"[{VALUE_REFUSED}] value {name!r}: {problem}")


def _keys_of(product: Product | None) -> dict[str, str]:
    found: dict[str, str] = {}
    if product is None:
        return found
    for role in Role:
        for number, key in enumerate(product.keys.of_role(role), start=1):
            found[f"{role.value}-{number}.label"] = key.label
            found[f"{role.value}-{number}.token"] = key.token
    return found


def _filled(text: str, values: Mapping[str, str | int], where: str) -> str:
    def put(match: re.Match[str]) -> str:
        if match[1] not in values:
            raise ConfigurationError(f"[{VALUE_REFUSED}] {where}: there is no value <{match[1]}>")
        return str(values[match[1]])

    return _PLACEHOLDER.sub(put, text)


def _filled_value(value: Any, values: Mapping[str, str | int], where: str) -> Any:
    """A whole placeholder keeps the value's type; inside other text it becomes text."""
    if isinstance(value, str):
        whole = _PLACEHOLDER.fullmatch(value)
        if whole and whole[1] in values:
            return values[whole[1]]
        return _filled(value, values, where)
    if isinstance(value, list):
        return [_filled_value(item, values, where) for item in value]
    if isinstance(value, dict):
        return {name: _filled_value(item, values, where) for name, item in value.items()}
    return value


# People


def _participants(plan: Plan, part: CeremonyPart, people: People) -> tuple[Participant, ...]:
    found: list[Participant] = []
    for role in plan.roles:
        for person_id in part.assignment[role]:
            person = next((person for person in people.people if person.id == person_id), None)
            if person is None:
                raise ConfigurationError(f"[{PERSON_NOT_FIT}] {person_id!r} is not in people.toml")
            if role not in person.roles:
                raise ConfigurationError(
                    f"[{PERSON_NOT_FIT}] {person.name} ({person_id}) is assigned as {role}, a role that people.toml "
                    "does not give"
                )
            if any(person_id == other.id for other in found):
                raise ConfigurationError(f"[{PERSON_TWICE}] {person.name} ({person_id}) is assigned twice")
            found.append(Participant(person_id, person.name, role))
    return tuple(found)


def _roll_call(people: tuple[Participant, ...]) -> list[ScriptStep]:
    return [
        ScriptStep(
            id=f"present-{person.id}",
            does=PRESENT,
            who=person.role,
            text=f"{person.name}, {person.role}: say your name, and show your papers to somebody of another role.",
            person=person.id,
        )
        for person in people
    ]


# Steps


def _step(step: PlanStep, values: Mapping[str, str | int], site: Site) -> ScriptStep:
    where = f"step {step.id!r}"
    if step.id.startswith("present-"):
        raise ConfigurationError(f"[{STEPS_DO_NOT_FIT}] {where}: names with present- are the roll call's")
    if step.say is not None:
        return ScriptStep(id=step.id, does=SAY, who=step.who, text=_filled(step.say, values, where))
    if step.confirm is not None and step.type is not None:
        typed = _filled(step.type, values, where)
        text = _filled(step.confirm, values, where)
        return ScriptStep(id=step.id, does=CONFIRM, who=step.who, text=text, typed=typed)
    if step.unlock is not None:
        token = _filled(step.unlock, values, where)
        if token not in site.tokens:
            raise ConfigurationError(f"[{STEPS_DO_NOT_FIT}] {where}: site {site.name!r} has no token {token!r}")
        text = f"Put token {token} in its reader and enter its PIN."
        return ScriptStep(id=step.id, does=UNLOCK, who=step.who, text=text, token=token)
    parameters = _filled_value(step.with_, values, where)
    act = act_of(str(step.run), parameters, where)
    return ScriptStep(
        id=step.id, does=str(step.run), who=step.who, text=act.text(), act=act, parameters=act.public_parameters()
    )


def holder(script: Script, who: str, absent: frozenset[str] = frozenset()) -> Participant:
    """Who plays a part: `operator` the one of that role, `witness-2` the second of those present."""
    role, place = split_part(who)
    present = [person for person in script.people_in(role) if person.id not in absent]
    return present[(place or 1) - 1]


def parts_of(script: Script, absent: frozenset[str]) -> dict[str, str]:
    """The names of those who are present, by part: `witness-1`, `witness-2` …"""
    return {
        f"{role}-{place}": person.name
        for role in script.minimum
        for place, person in enumerate(
            (person for person in script.people_in(role) if person.id not in absent), start=1
        )
    }
