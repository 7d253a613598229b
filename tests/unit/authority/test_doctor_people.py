"""People and their SSH keys, as the examination of an authority sees them."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path

import pytest

from pki.errors import ConfigurationError
from policies.people import People, Person
from signer.authority.doctor_people import examine_people
from signer.authority.doctor_rules import DOCTOR_RULES
from signer.authority.repository import ALLOWED_SIGNERS_FILE, AuthorityRepository
from tests.unit.policies.statements import NOW, key_line

RITA = Person(id="rita", name="Rita", roles=["requester"])
ADA = Person(id="ada", name="Ada", roles=["approver", "custodian"])
OLGA = Person(id="olga", name="Olga", roles=["operator"])


def found(root: Path, text: str | None, *people: Person) -> list[tuple[str, str]]:
    """Rule and place of each finding."""
    if text is not None:
        (root / ALLOWED_SIGNERS_FILE).write_text(text, encoding="utf-8")
    findings = examine_people(AuthorityRepository(root), People(format=1, people=list(people)), NOW)
    assert DOCTOR_RULES.keys() >= {item.rule_id for item in findings}
    again = examine_people(AuthorityRepository(root), People(format=1, people=list(people)), NOW)
    return [(item.rule_id, item.place) for item in again]


def test_an_authority_as_it_should_be(tmp_path: Path) -> None:
    text = f"rita {key_line('rita')}\nada,ada@example.com {key_line('ada')}\nada@example.org {key_line('ada')}\n"
    assert found(tmp_path, text, RITA, ADA, OLGA) == []


def test_nobody_signs_and_there_is_no_file(tmp_path: Path) -> None:
    assert found(tmp_path, None, OLGA) == []
    assert list(examine_people(AuthorityRepository(tmp_path), None, NOW)) == []


def test_dr01_the_file_is_missing_or_does_not_pass(tmp_path: Path) -> None:
    assert found(tmp_path, None, ADA) == [("DR-01", ALLOWED_SIGNERS_FILE)]
    assert found(tmp_path, f"* {key_line('ada')}\n", OLGA) == [("DR-01", ALLOWED_SIGNERS_FILE)]


def test_dr26_somebody_without_a_key(tmp_path: Path) -> None:
    assert found(tmp_path, f"rita {key_line('rita')}\n", RITA, ADA) == [("DR-26", "people.toml")]
    for option in ('namespaces="git"', 'valid-before="20260101Z"', 'valid-after="20270101Z"'):
        assert found(tmp_path, f"ada {option} {key_line('ada')}\n", ADA) == [("DR-26", "people.toml")]
    both = Person(id="both", name="B", roles=["requester", "approver"])
    text = f'both namespaces="strongroom-request-v1" {key_line("both")}\n'
    assert found(tmp_path, text, both) == [("DR-26", "people.toml")]


def test_dr27_one_key_for_two_people(tmp_path: Path) -> None:
    text = f"rita {key_line('shared')}\n# ada\nada {key_line('shared')}\nrita {key_line('own')}\n"
    assert found(tmp_path, text, RITA, ADA) == [("DR-27", f"{ALLOWED_SIGNERS_FILE}, line 1")]


def test_dr28_a_key_of_nobody(tmp_path: Path) -> None:
    text = f"rita {key_line('rita')}\nrtia {key_line('x')}\n"
    assert found(tmp_path, text, RITA) == [("DR-28", f"{ALLOWED_SIGNERS_FILE}, line 2")]


def test_dr29_a_last_key_that_ends_soon(tmp_path: Path) -> None:
    soon = f"{NOW + timedelta(days=29):%Y%m%d}Z"
    text = f'ada valid-before="{soon}" {key_line("ada")}\n'
    assert found(tmp_path, text, ADA) == [("DR-29", ALLOWED_SIGNERS_FILE)]
    assert found(tmp_path, f"{text}ada {key_line('next')}\n", ADA) == []


def test_the_repository_reads_the_file(tmp_path: Path) -> None:
    path = tmp_path / ALLOWED_SIGNERS_FILE
    repository = AuthorityRepository(tmp_path)
    with pytest.raises(ConfigurationError, match="cannot be read"):
        repository.allowed_signers()
    path.write_bytes(b"ada \xff")
    with pytest.raises(ConfigurationError, match="not UTF-8 at byte 4"):
        repository.allowed_signers()
    path.write_text(f"ada {key_line('ada')}\n", encoding="utf-8")
    assert len(repository.allowed_signers().entries) == 1
