"""The Cedar engine (cedarpy), and all that is known about its ways: nothing else imports it.

Found by trying (docs/adr/0058): a policy whose evaluation errors is skipped, a `forbid` too, so any diagnostic counts
as a refusal; without the schema, context that no policy was written for passes, so it always gets the schema.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from typing import Any

import cedarpy
import msgspec

from policies.cedar_text import require_shallow

_POSITIONAL_ID = re.compile(r"^for policy `policy\d+`[:,] ")
_ERROR_CHARACTERS_MAX = 200
_EMPTY: dict[str, Any] = {"staticPolicies": {}, "templates": {}, "templateLinks": []}

PolicyForm = Mapping[str, Any]
"""A policy in Cedar's JSON form: effect, principal, action, resource, conditions, annotations."""


class CedarAnswer(msgspec.Struct, frozen=True):
    """`allowed` only if the engine said Allow, named a policy, and had nothing to report.

    `policy_ids`: the policies that determined it, in ascending order. `errors`: what it could not evaluate.
    """

    allowed: bool
    policy_ids: tuple[str, ...]
    errors: tuple[str, ...]


class CedarQuery(msgspec.Struct, frozen=True):
    """A request to the engine: its JSON forms, ready to be asked more than once."""

    request: dict[str, Any]
    entities: str


class Schema:
    """A parsed schema. ValueError for text that is none."""

    def __init__(self, text: str) -> None:
        require_shallow(text)
        self.handle = cedarpy.Schema.from_str(text)

    def errors_in(self, policies: str) -> list[tuple[str, str]]:
        """What strict validation says against Cedar text: (annotated id or nothing, error)."""
        result = cedarpy.validate_policies(policies, self.handle)
        if result.validation_passed:
            return []
        ids = result.id_annotations_by_policy_id
        found = [(ids.get(item.policy_id, ""), _POSITIONAL_ID.sub("", item.error)) for item in result.errors]
        return found or [("", "validation failed without saying why")]


class CedarEngine:
    """Policies by id and their schema, parsed once. Immutable; safe to share between threads."""

    def __init__(self, policies: Mapping[str, PolicyForm], schema: Schema) -> None:
        self._policies = cedarpy.PolicySet.from_json_str(json.dumps({**_EMPTY, "staticPolicies": dict(policies)}))
        self._schema = schema

    def ask(self, query: CedarQuery) -> CedarAnswer:
        """Evaluate one query. Whatever goes wrong is in `errors`, and then nothing is allowed."""
        try:
            result = cedarpy.is_authorized(query.request, self._policies, query.entities, self._schema.handle)
        except (ValueError, KeyError, TypeError) as error:
            return CedarAnswer(allowed=False, policy_ids=(), errors=(_short(str(error)),))
        errors = [_short(text) for text in result.diagnostics.errors]
        if result.decision is cedarpy.Decision.NoDecision and not errors:
            errors = ["the engine gave no decision"]
        policy_ids = tuple(sorted(result.diagnostics.reasons))
        allowed = result.decision is cedarpy.Decision.Allow and bool(policy_ids) and not errors
        return CedarAnswer(allowed=allowed, policy_ids=policy_ids, errors=tuple(errors))


def parse_policies(text: str) -> list[PolicyForm]:
    """The policies of Cedar text in its order, in JSON form.

    ValueError if it does not parse, or is nested too deeply for the engine to take back; TemplateFound.
    """
    require_shallow(text)
    document_text = cedarpy.policies_to_json_str(text)
    try:
        document = json.loads(document_text)
        static: dict[str, PolicyForm] = document["staticPolicies"]
        cedarpy.PolicySet.from_json_str(json.dumps({**_EMPTY, "staticPolicies": static}))
    except (ValueError, RecursionError):
        raise ValueError("an expression is nested too deeply for the engine; make two policies of it") from None
    if document["templates"] or document["templateLinks"]:
        raise TemplateFound
    return [static[f"policy{number}"] for number in range(len(static))]


class TemplateFound(ValueError):
    """A policy with a slot, which stands for nobody in particular."""

    def __init__(self) -> None:
        super().__init__("templates (`?principal`, `?resource`) are not used here: write each policy out")


def _short(text: str) -> str:
    return " ".join(text.split())[:_ERROR_CHARACTERS_MAX]
