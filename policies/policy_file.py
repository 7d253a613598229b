"""One `*.cedar` file: its policies, each with an id, words for people, and its clauses."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import msgspec

from policies.cedar import PolicyForm, TemplateFound, parse_policies
from policies.names import is_slug
from policies.policy_rules import PolicyFinding, policy_finding

_TEXT_CHARACTERS_MAX = 300


class Policy(msgspec.Struct, frozen=True):
    """One policy. `needs` says what each clause of a permit asks for, in order; `form` is what the engine gets."""

    id: str
    file: str
    effect: str
    text: str
    needs: tuple[str, ...]
    form: PolicyForm

    @property
    def is_permit(self) -> bool:
        """Whether it permits; else it forbids."""
        return self.effect == "permit"

    @property
    def clauses(self) -> list[dict[str, Any]]:
        """Its `when` and `unless` clauses, in order."""
        return list(self.form["conditions"])

    def with_clauses(self, clauses: list[dict[str, Any]], **scope: Any) -> PolicyForm:
        """The form with other clauses, and another scope where given; without annotations."""
        return {**self.form, "annotations": {}, **scope, "conditions": clauses}

    def groups_named(self) -> frozenset[str]:
        """Every group it speaks of: as an entity, or as a tag of the tally of approvals."""
        return frozenset(_groups(self.form))


def read_policy_file(name: str, text: str) -> tuple[list[Policy], list[PolicyFinding]]:
    """The policies of a file, and what is wrong with it (PO-11, PO-14)."""
    try:
        forms = parse_policies(text)
    except TemplateFound as error:
        return [], [policy_finding("PO-14", name, str(error))]
    except ValueError as error:
        return [], [policy_finding("PO-11", name, f"not Cedar policies: {error}")]
    if not forms:
        return [], [policy_finding("PO-11", name, "it has no policy; remove it")]
    policies, findings = [], []
    for number, form in enumerate(forms, start=1):
        wrong = list(_wrong_annotations(form))
        place = form.get("annotations", {}).get("id") or f"policy {number}"
        findings += [policy_finding("PO-14", name, f"{place}: {text}") for text in wrong]
        if not wrong:
            policies.append(_policy(name, form))
    return policies, findings


def _policy(name: str, form: PolicyForm) -> Policy:
    annotations = form["annotations"]
    needs = tuple(annotations[f"needs{number}"] for number in range(1, len(annotations) - 1))
    return Policy(annotations["id"], name, form["effect"], annotations["text"], needs, form)


def _wrong_annotations(form: PolicyForm) -> Iterator[str]:
    annotations: dict[str, str | None] = form.get("annotations", {})
    if not is_slug(annotations.get("id") or ""):
        yield '@id("…") must be a name: 1 to 32 lower-case letters, digits and inner hyphens'
    clause_count = len(form["conditions"]) if form["effect"] == "permit" else 0
    wanted = ["text", *(f"needs{number}" for number in range(1, clause_count + 1))]
    for key in wanted:
        value = annotations.get(key) or ""
        if not 1 <= len(value) <= _TEXT_CHARACTERS_MAX or not value.isprintable():
            yield f'@{key}("…") must say in 1 to {_TEXT_CHARACTERS_MAX} printable characters what the policy asks for'
    for key in sorted(annotations.keys() - {"id", *wanted}):
        yield f"@{key} is not known here, or there is no such clause; remove it"


def _groups(part: Any) -> Iterator[str]:
    """Walks Cedar's JSON form, whose depth the engine's own parser has bounded."""
    if isinstance(part, list):
        for item in part:
            yield from _groups(item)
    elif isinstance(part, dict):
        if part.get("type") == "Group" and isinstance(part.get("id"), str):
            yield part["id"]
        for key, item in part.items():
            if key in {"hasTag", "getTag"} and isinstance(item.get("right", {}).get("Value"), str):
                yield item["right"]["Value"]
            yield from _groups(item)
