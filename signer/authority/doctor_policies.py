"""What the examination of an authority says about its policies: whether they hold, and whether their names exist."""

from __future__ import annotations

from collections.abc import Iterator

from pki.errors import ConfigurationError
from policies.people import People
from signer.authority.doctor_rules import Finding, finding
from signer.authority.model import Environment
from signer.authority.repository import AuthorityRepository

_PLACE = "policies"
_SHOWN_MAX = 20


def examine_policies_of(
    repository: AuthorityRepository, environment: Environment, people: People | None
) -> Iterator[Finding]:
    """DR-30 to DR-32. `people` is None if its file does not pass."""
    from policies.policy_tests import examine_policies

    try:
        examination = examine_policies(repository.policy_files())
    except ConfigurationError as error:
        yield finding("DR-30", _PLACE, str(error))
        return
    for item in examination.findings[:_SHOWN_MAX]:
        yield finding("DR-30", f"{_PLACE}/{item.place}", f"[{item.rule_id}] {item.text}")
    policy_set = examination.policy_set
    if policy_set is None:
        return
    for product in sorted(policy_set.calendar.products - set(repository.product_names())):
        text = f"a window freezes product {product!r}, which is not there; correct its name"
        yield finding("DR-31", f"{_PLACE}/calendar.toml", text)
    if environment is Environment.PRODUCTION and people is not None:
        named = frozenset[str]().union(*(policy.groups_named() for policy in policy_set.policies))
        empty = named - {group for person in people.people for group in person.groups}
        if empty:
            text = f"nobody is in {', '.join(sorted(empty))}, which policies ask for; name groups that people have"
            yield finding("DR-32", "people.toml", text)
