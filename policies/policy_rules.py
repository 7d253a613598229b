"""The rules of policies: what is denied, and what an examination of the folder finds (docs/spec/policies.md)."""

from __future__ import annotations

from types import MappingProxyType

import msgspec

DENIED = MappingProxyType(
    {
        "PO-01": "the request is for another environment than this authority's",
        "PO-02": "the request was made under another policy set",
        "PO-03": "the facts are not those of this request: keys missing, of another product, or of several roles",
        "PO-04": "the engine reported any error, or gave no decision",
        "PO-05": "no policy permits it",
        "PO-06": "a policy forbids it",
    }
)

FOUND = MappingProxyType(
    {
        "PO-10": "a file of `policies/` that does not belong there, is missing, too large, or not UTF-8",
        "PO-11": "a policy file that does not parse, or has too many policies or none",
        "PO-12": "the schema does not parse",
        "PO-13": "a policy does not pass validation against the schema",
        "PO-14": "annotations missing, wrong, unknown or not unique; a template",
        "PO-15": "the calendar does not pass",
        "PO-20": "the test table does not pass",
        "PO-21": "a case is decided otherwise than expected",
        "PO-22": "a case is decided by other policies than expected",
        "PO-23": "a policy is decisive in no case",
        "PO-24": "a clause is decisive in no case",
    }
)


class PolicyFinding(msgspec.Struct, frozen=True):
    """One thing that is wrong with a policy set or its tests: rule, place (a file, a case), and what to do."""

    rule_id: str
    place: str
    text: str

    def __str__(self) -> str:
        return f"[{self.rule_id}] policies/{self.place}: {self.text}"


def policy_finding(rule_id: str, place: str, text: str) -> PolicyFinding:
    """A finding in one line of at most 500 characters: engines like to quote their whole input, and names are any."""
    shown = place if place.isprintable() else ascii(place)
    return PolicyFinding(rule_id, shown, " ".join(text.split())[:500])
