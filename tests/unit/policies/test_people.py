"""People, and the names that they and other things have."""

from __future__ import annotations

from pathlib import Path

import pytest

from pki.errors import ConfigurationError
from policies.names import is_slug
from policies.people import People
from signer.authority.toml_files import parse_toml

ADA = '[[people]]\nid = "ada"\nname = "Ada Example"\nroles = ["approver", "custodian"]\n'


def people_of(text: str) -> People:
    return parse_toml(Path("people.toml"), "format = 1\n" + text, People)


def test_people_are_found_by_id() -> None:
    people = people_of(ADA + 'groups = ["quality", "security"]\n' + ADA.replace('"ada"', '"bob"'))
    ada, bob = people.find("ada"), people.find("bob")
    assert ada is not None
    assert bob is not None
    assert (ada.groups, bob.groups) == (["quality", "security"], [])
    assert people.find("Ada") is None


@pytest.mark.parametrize(
    "text",
    [
        ADA + ADA,
        ADA.replace('"custodian"', '"approver"'),
        ADA + 'groups = ["quality", "quality"]\n',
        ADA + 'groups = ["Quality"]\n',
        ADA + f"groups = {[f'g{number}' for number in range(17)]}\n",
        ADA + 'ssh_public_keys = ["ssh-ed25519 AAAA"]\n',
        ADA.replace('"ada"', '"ada\\n"'),
        ADA.replace('"Ada Example"', '""'),
    ],
)
def test_people_that_do_not_pass(text: str) -> None:
    with pytest.raises(ConfigurationError, match=r"people\.toml: "):
        people_of(text)


@pytest.mark.parametrize(
    ("text", "expected"),
    [("a", True), ("a-1", True), ("a" * 32, True), ("", False), ("-a", False), ("a-", False), ("a" * 33, False),
     ("A", False), ("a\n", False), ("ä", False), ("a_b", False), ("a.b", False)],
)  # fmt: skip
def test_names(text: str, expected: bool) -> None:
    assert is_slug(text) is expected
