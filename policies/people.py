"""Who is who: `people.toml`, reviewed. Roles and groups say what each may do; keys are in `allowed_signers`."""

from __future__ import annotations

from typing import Annotated, Literal

import msgspec

from policies.names import Slug

PersonRole = Literal["requester", "approver", "custodian", "operator", "witness", "auditor"]


class Person(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Somebody who may request, approve or hold a role in a ceremony. `groups` are what policies count quorums of."""

    id: Slug
    name: Annotated[str, msgspec.Meta(min_length=1, max_length=100)]
    roles: Annotated[list[PersonRole], msgspec.Meta(min_length=1)]
    groups: Annotated[list[Slug], msgspec.Meta(max_length=16)] = []

    def __post_init__(self) -> None:
        for what, names in (("role", self.roles), ("group", self.groups)):
            if len(set(names)) != len(names):
                raise ValueError(f"person {self.id!r} has a {what} twice")


class People(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """`people.toml`."""

    format: Literal[1]
    people: Annotated[list[Person], msgspec.Meta(max_length=1000)] = []

    def __post_init__(self) -> None:
        ids = [person.id for person in self.people]
        repeated = sorted({person_id for person_id in ids if ids.count(person_id) > 1})
        if repeated:
            raise ValueError(f"person {repeated[0]!r} is named twice")

    def find(self, person_id: str) -> Person | None:
        """The person of that id, or None."""
        return next((person for person in self.people if person.id == person_id), None)
