"""The test table of a policy set, `tests.toml`: cases as data (docs/spec/policies.md, "Test table")."""

from __future__ import annotations

from typing import Annotated, Any, Literal

import msgspec

from policies.facts import LastRelease, SignatureCounts, version_order
from policies.names import Slug
from policies.object_facts import PolicyFact
from policies.object_request import OBJECT_KINDS, ObjectKind
from policies.people import Person, PersonRole
from policies.question import ACTION_OF_KIND, Approver, ObjectQuestion, PolicyQuestion, Question
from policies.request import EnvironmentName, RequestKind
from policies.toml_text import convert, parse_toml

CASES_MAX = 1000
_U32_MAX = (1 << 32) - 1
_QUOTA_MAX = 10_000_000
_DEVICES_MAX = 1 << 31


class CasePerson(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Somebody of the table; `people.toml` plays no part."""

    roles: Annotated[list[PersonRole], msgspec.Meta(min_length=1)]
    groups: list[Slug] = []


class CaseLast(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The last release of the case's product and kind."""

    version: str
    security_version: Annotated[int, msgspec.Meta(ge=0, le=_U32_MAX)]


class PolicyCase(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One case, the fields of its base included."""

    name: Annotated[str, msgspec.Meta(min_length=1, max_length=100)]
    environment: EnvironmentName
    kind: RequestKind | ObjectKind
    product: Slug
    requester: Slug
    key_role: str
    expect: Literal["allow", "deny"]
    rules: list[Slug]
    approvers: Annotated[list[Slug], msgspec.Meta(max_length=16)] = []
    hardware_backed: list[Slug] = []
    version: str | None = None
    security_version: Annotated[int, msgspec.Meta(ge=0, le=_U32_MAX)] | None = None
    target: Literal["any", "uid", "grant"] = "any"
    last: CaseLast | Literal["none"] = "none"
    sbom: bool = False
    tests: bool = False
    freeze: list[Slug] = []
    signed: SignatureCounts = SignatureCounts()
    quota: Annotated[int, msgspec.Meta(ge=0, le=_QUOTA_MAX)] = 1
    stations: Annotated[int, msgspec.Meta(ge=0, le=8)] = 1
    valid_days: Annotated[int, msgspec.Meta(ge=0)] = 1
    injects_keys: bool = False
    service_action: Literal["return-for-repair", "decommission", "re-provision", "permit-reinstallation"] | None = None
    devices: Annotated[int, msgspec.Meta(ge=0, le=_DEVICES_MAX)] = 1

    def __post_init__(self) -> None:
        if self.kind not in OBJECT_KINDS and (self.version is None or self.security_version is None):
            raise ValueError("Object missing required field: a package has `version` and `security_version`")
        if (self.kind == "service-order") is not (self.service_action is not None):
            raise ValueError("`service_action` stands in cases of service orders, and only there")
        if not self.name.isprintable():
            raise ValueError(f"case {self.name!r}: the name must be printable")
        if len(set(self.rules)) != len(self.rules) or (self.expect == "allow" and not self.rules):
            raise ValueError(f"case {self.name!r}: `rules` are the ids that determine it, each once; an allow has some")


class CaseWithPeople(msgspec.Struct, frozen=True):
    """A case, and the question that it asks."""

    case: PolicyCase
    question: Question


class _Table(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    format: Literal[1]
    people: dict[Slug, CasePerson]
    bases: dict[Slug, dict[str, Any]] = {}
    cases: Annotated[list[dict[str, Any]], msgspec.Meta(min_length=1, max_length=CASES_MAX)]


def parse_test_table(data: bytes) -> tuple[CaseWithPeople, ...]:
    """The cases of a table, in its order. ValueError with the case's name and field."""
    try:
        text = data.decode("utf-8")
    except UnicodeDecodeError as error:
        raise ValueError(f"not UTF-8 at byte {error.start}") from None
    table = convert(parse_toml(text), _Table)
    people = {name: Person(id=name, name=name, roles=p.roles, groups=p.groups) for name, p in table.people.items()}
    cases: dict[str, CaseWithPeople] = {}
    for number, fields in enumerate(table.cases, start=1):
        case = _case(f"case {number} ({fields.get('name', 'without a name')!r})", fields, table.bases)
        if case.name in cases:
            raise ValueError(f"case {case.name!r} stands twice")
        cases[case.name] = CaseWithPeople(case, _question(case, people))
    unused = table.bases.keys() - {fields.get("base") for fields in table.cases}
    if unused:
        raise ValueError(f"base {min(unused)!r} is used by no case; remove it")
    return tuple(cases.values())


def _case(place: str, fields: dict[str, Any], bases: dict[str, dict[str, Any]]) -> PolicyCase:
    base = fields.get("base")
    if base is not None and (not isinstance(base, str) or base not in bases):
        raise ValueError(f"{place}: there is no base {base!r}")
    inherited = {} if base is None else bases[base]
    if {"base", "name"} & inherited.keys():
        raise ValueError(f"base {base!r}: a base has neither name nor base")
    own = {key: value for key, value in fields.items() if key != "base"}
    try:
        return convert({**inherited, **own}, PolicyCase)
    except ValueError as error:
        raise ValueError(f"{place}: {error}") from None


def _question(case: PolicyCase, people: dict[str, Person]) -> Question:
    for person in (case.requester, *case.approvers, *case.hardware_backed):
        if person not in people:
            raise ValueError(f"case {case.name!r}: {person!r} is not in [people]")
    strangers = set(case.hardware_backed) - {case.requester, *case.approvers}
    if strangers:
        raise ValueError(f"case {case.name!r}: `hardware_backed` names {min(strangers)!r}, who does not sign in it")
    asked: dict[str, Any] = {
        "action": ACTION_OF_KIND[case.kind],
        "environment": case.environment,
        "product": case.product,
        "requester": people[case.requester],
        "requester_is_hardware_backed": case.requester in case.hardware_backed,
        "approvers": tuple(Approver(people[person], person in case.hardware_backed) for person in case.approvers),
        "key_role": case.key_role,
        "freeze_windows": tuple(sorted(set(case.freeze))),
        "signed": case.signed,
    }
    if case.kind in OBJECT_KINDS:
        return ObjectQuestion(**asked, facts=_object_facts(case))
    return PolicyQuestion(**asked, **_package_facts(case))


def _object_facts(case: PolicyCase) -> dict[str, PolicyFact]:
    """As `object_facts.policy_facts` gives them."""
    if case.kind == "service-order":
        return {"service_action": str(case.service_action)}
    names = ("quota", "stations", "valid_days", "injects_keys") if case.kind == "work-order" else ("devices",)
    return {name: getattr(case, name) for name in names}


def _package_facts(case: PolicyCase) -> dict[str, Any]:
    last = None if case.last == "none" else LastRelease(case.last.version, case.last.security_version)
    try:
        order = version_order(str(case.version), last)
    except ValueError as error:
        raise ValueError(f"case {case.name!r}: {error}") from None
    return {
        "target": case.target,
        "version_order": order,
        "security_version": case.security_version,
        "last_security_version": None if last is None else last.security_version,
        "sbom": case.sbom,
        "tests": case.tests,
    }
