"""What a plan says (docs/spec/ceremony-plans.md), as values checked when read. Nothing here knows a key or a token."""

from __future__ import annotations

import re
from datetime import date
from typing import Annotated, Any, Literal

import msgspec

from ceremonies.rules import PLAN_NOT_AS_FORMED, TOO_FEW_ASSIGNED
from ceremonies.strict_yaml import Yaml, parse_strict_yaml
from pki.errors import ConfigurationError
from policies.names import SLUG_PATTERN, Slug
from policies.people import PersonRole

PLAN_FORMAT = "strongroom-ceremony-plan-1"

Text = Annotated[str, msgspec.Meta(min_length=1, max_length=2000)]
Name = Annotated[str, msgspec.Meta(pattern=SLUG_PATTERN)]
ParameterType = Literal["product", "label", "role", "token", "file", "artefact", "integer", "choice", "text"]

KINDS = (
    "root-genesis",
    "role-key-issue",
    "role-key-rotation",
    "revocation",
    "root-rotation",
    "backup",
    "restore",
    "destruction",
    "offline-release",
    "station-issue",
)


class Parameter(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A value that a ceremony fills in. `choices` goes with type "choice", and only with it."""

    type: ParameterType
    text: Text
    choices: Annotated[list[str], msgspec.Meta(min_length=1, max_length=16)] | None = None
    default: str | int | None = None

    def __post_init__(self) -> None:
        if (self.type == "choice") != (self.choices is not None):
            raise ValueError('`choices` goes with type "choice", and only with it')


class RoleDemand(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """How many people hold a role: at least so many present, at most so many assigned."""

    minimum: Annotated[int, msgspec.Meta(ge=1, le=16)]
    maximum: Annotated[int, msgspec.Meta(ge=1, le=16)] = 16

    def __post_init__(self) -> None:
        if self.minimum > self.maximum:
            raise ValueError("`minimum` is above `maximum`")


class PlanStep(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, rename={"with_": "with"}):
    """One step: exactly one of `say`, `confirm`, `unlock`, `run`."""

    id: Name
    who: Name
    say: Text | None = None
    confirm: Text | None = None
    type: Annotated[str, msgspec.Meta(min_length=2, max_length=60)] | None = None
    unlock: str | None = None
    run: Name | None = None
    with_: dict[str, Any] = {}

    def __post_init__(self) -> None:
        kinds = [kind for kind in (self.say, self.confirm, self.unlock, self.run) if kind is not None]
        if len(kinds) != 1:
            raise ValueError(f"step {self.id!r} needs exactly one of `say`, `confirm`, `unlock`, `run`")
        if (self.confirm is not None) != (self.type is not None):
            raise ValueError(f"step {self.id!r}: `type`, the words to type, goes with `confirm`, and only with it")
        if self.with_ and self.run is None:
            raise ValueError(f"step {self.id!r}: `with` goes with `run`, and only with it")


class CeremonyPart(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What makes a plan a ceremony: its name, place, day, values, and who plays which part."""

    name: Slug
    site: Slug
    values: dict[Name, str | int]
    assignment: dict[PersonRole, Annotated[list[Slug], msgspec.Meta(min_length=1, max_length=16)]]
    air_gapped: bool = False
    date: str | None = None

    def __post_init__(self) -> None:
        if self.date is not None and (
            not re.fullmatch(r"\d{4}-\d\d-\d\d", self.date) or date.fromisoformat(self.date).year < 2000
        ):
            raise ValueError(f"`date` is the day of the ceremony as YYYY-MM-DD, not {self.date!r}")


class Plan(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A plan file. `ceremony` is absent in the plans that are shipped, and present in a ceremony's own."""

    format: Literal["strongroom-ceremony-plan-1"]
    kind: Literal[KINDS]  # type: ignore[valid-type]
    title: Text
    purpose: Text
    parameters: Annotated[dict[Name, Parameter], msgspec.Meta(max_length=24)]
    roles: Annotated[dict[PersonRole, RoleDemand], msgspec.Meta(min_length=1)]
    room: Annotated[list[Text], msgspec.Meta(max_length=32)]
    steps: Annotated[list[PlanStep], msgspec.Meta(min_length=1, max_length=200)]
    ceremony: CeremonyPart | None = None

    def __post_init__(self) -> None:
        ids = [step.id for step in self.steps]
        repeated = sorted({step_id for step_id in ids if ids.count(step_id) > 1})
        if repeated:
            raise ValueError(f"step {repeated[0]!r} stands twice")
        for step in self.steps:
            self._check_who(step)

    def _check_who(self, step: PlanStep) -> None:
        role, place = split_part(step.who)
        if role not in self.roles:
            raise ValueError(f"step {step.id!r}: `who` is {step.who!r}, a role that the plan does not have")
        demand = self.roles[role]
        if place is None and demand.maximum > 1:
            raise ValueError(f"step {step.id!r}: `who` must say which {role}, as {role}-1")
        if place is not None and not 1 <= place <= demand.minimum:
            raise ValueError(f"step {step.id!r}: only {demand.minimum} of role {role} are certain to be present")


def split_part(who: str) -> tuple[PersonRole, int | None]:
    """`witness-2` as ("witness", 2), `operator` as ("operator", None)."""
    role, _, place = who.rpartition("-")
    if role and place.isdigit():
        return role, int(place)  # type: ignore[return-value]
    return who, None  # type: ignore[return-value]


def parse_plan(data: bytes, name: str) -> Plan:
    """Read a plan file strictly. Raises ConfigurationError CE-01, CE-02 with file and field."""
    return _convert(parse_strict_yaml(data, name), name)


def _convert(value: dict[str, Yaml], name: str) -> Plan:
    try:
        return msgspec.convert(value, Plan, strict=True)
    except msgspec.ValidationError as error:
        raise ConfigurationError(f"[{PLAN_NOT_AS_FORMED}] {name}: {error}") from None


def ceremony_of(plan: Plan, name: str) -> CeremonyPart:
    """The ceremony's part, with enough people assigned. Raises ConfigurationError CE-02, CE-06."""
    part = plan.ceremony
    if part is None:
        raise ConfigurationError(
            f"[{PLAN_NOT_AS_FORMED}] {name}: has no `ceremony` section; `strongroom ceremony new` makes one"
        )
    unknown = sorted(set(part.assignment) - set(plan.roles))
    if unknown:
        raise ConfigurationError(f"[{PLAN_NOT_AS_FORMED}] {name}: assigns role {unknown[0]!r}, which no step needs")
    for role, demand in plan.roles.items():
        count = len(part.assignment.get(role, []))
        if not demand.minimum <= count <= demand.maximum:
            raise ConfigurationError(
                f"[{TOO_FEW_ASSIGNED}] {name}: needs {demand.minimum} to {demand.maximum} of role {role!r}, "
                f"{count} are assigned"
            )
    return part
