"""A small plan and what it is made with: site, people, product."""

from __future__ import annotations

from ceremonies.plan import ceremony_of, parse_plan
from ceremonies.script import Script, make_script
from policies.people import People, Person
from signer.authority.model import ModuleConfig, PinConfig, Site, TokenConfig

PLAN = """\
format: strongroom-ceremony-plan-1
kind: role-key-issue
title: Issue of <label>
purpose: A key.
parameters:
  label: {type: label, text: The key.}
  token: {type: token, text: Where.}
roles:
  operator: {minimum: 1, maximum: 1}
  witness: {minimum: 1}
room: [Token <token> is there.]
steps:
  - {id: opening, who: operator, say: This is <name>.}
  - {id: heard, who: witness-1, confirm: The words agree., type: the digest agrees}
  - {id: unlock, who: operator, unlock: <token>}
  - {id: look, who: operator, run: check-token, with: {token: <token>}}
  - {id: make, who: operator, run: generate-key, with: {label: <label>, token: <token>}}
  - {id: closing, who: operator, say: Done.}
ceremony:
  name: small
  site: main
  values: {label: "sr:root:-:0001", token: one}
  assignment: {operator: [ada], witness: [bob, cy]}
"""

SITE = Site(
    format=1,
    name="main",
    modules={"softhsm": ModuleConfig(path="softhsm.so")},
    tokens={
        name: TokenConfig(module="softhsm", uri=f"pkcs11:serial={name}", pin=PinConfig(source="prompt"))
        for name in ("one", "two")
    },
)
PEOPLE = People(
    format=1,
    people=[
        Person(id="ada", name="Ada Example", roles=["operator"]),
        Person(id="bob", name="Bob Example", roles=["witness"]),
        Person(id="cy", name="Cy Example", roles=["witness"]),
    ],
)


def script_of(text: str = PLAN, people: People = PEOPLE) -> Script:
    plan = parse_plan(text.encode(), "plan.yaml")
    return make_script(plan, ceremony_of(plan, "plan.yaml"), SITE, people, None)
