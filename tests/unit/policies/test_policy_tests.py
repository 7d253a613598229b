"""`policy check` itself: a test table is read strictly, and what it does not prove is found."""

from __future__ import annotations

import pytest

from policies.policy_rules import FOUND
from policies.policy_tests import examine_policies
from policies.test_table import parse_test_table
from tests.unit.policies.policy_world import files_with

POLICIES = """\
@id("two")
@text("Two approvers.")
@needs1("two approvals")
@needs2("any device")
permit (principal in PersonRole::"requester", action in Action::"package", resource)
when { context.approvals.count >= 2 }
unless { context.target == Target::"uid" };

@id("sbom")
@text("An SBOM, except for factory tests.")
forbid (principal, action in Action::"package", resource)
unless { context.evidence.sbom }
unless { action == Action::"sign-factory-test" };
"""

TABLE = """\
format = 1

[people]
ada = { roles = ["requester"] }
eve = { roles = ["approver"] }
quinn = { roles = ["approver"], groups = ["quality"] }

[bases.good]
environment = "production"
kind = "application"
product = "pump-x2"
requester = "ada"
approvers = ["eve", "quinn"]
key_role = "application-release"
version = "1.0.0"
security_version = 1
sbom = true
expect = "allow"
rules = ["two"]

[[cases]]
name = "two approvers"
base = "good"

[[cases]]
name = "one approver"
base = "good"
approvers = ["eve"]
expect = "deny"
rules = []

[[cases]]
name = "one device"
base = "good"
target = "uid"
expect = "deny"
rules = []

[[cases]]
name = "no SBOM"
base = "good"
sbom = false
expect = "deny"
rules = ["sbom"]

[[cases]]
name = "a factory test"
base = "good"
kind = "factory-test"
sbom = false
"""


def found(table: str = TABLE, policies: str = POLICIES) -> list[tuple[str, str]]:
    files = files_with(
        development__cedar=None, production__cedar=None, limits__cedar=None, small__cedar=policies, tests__toml=table
    )
    examination = examine_policies(files)
    assert all(item.rule_id in FOUND for item in examination.findings)
    return [(item.rule_id, item.text) for item in examination.findings]


def without(name: str) -> str:
    before, _, rest = TABLE.partition(f'[[cases]]\nname = "{name}"')
    return before + "".join(rest.partition("[[cases]]")[1:])


def test_a_good_table_finds_nothing() -> None:
    assert found() == []


@pytest.mark.parametrize(
    ("name", "rules", "text"),
    [
        ("two approvers", ["PO-24"], "sbom: no case is decided otherwise without its clause 1"),
        ("one approver", ["PO-24"], "two: no case is decided otherwise without its clause 1"),
        ("one device", ["PO-24"], "two: no case is decided otherwise without its clause 2"),
        ("no SBOM", ["PO-23"], "sbom: no case is decided otherwise without it"),
        ("a factory test", ["PO-24"], "sbom: no case is decided otherwise without its clause 2"),
    ],
)
def test_each_case_is_missed(name: str, rules: list[str], text: str) -> None:
    wrong = found(without(name))
    assert [rule for rule, _ in wrong] == rules
    assert wrong[0][1].startswith(text)


def test_po_20_without_a_table() -> None:
    assert [item.rule_id for item in examine_policies(files_with(tests__toml=None)).findings] == ["PO-20"]
    assert [item.rule_id for item in examine_policies(files_with(tests__toml="#" * 300_000)).findings] == ["PO-20"]


def test_po_21_another_decision() -> None:
    table = TABLE.replace('name = "one device"\nbase = "good"\ntarget = "uid"', 'name = "one device"\nbase = "good"')
    wrong = found(table)
    assert [rule for rule, _ in wrong] == ["PO-21", "PO-24"]
    assert wrong[0][1] == "expected deny, but it is allow, by two"


def test_po_21_a_case_that_cannot_be_evaluated() -> None:
    wrong = found(TABLE.replace('key_role = "application-release"', 'key_role = "no-role"'))
    assert {rule for rule, _ in wrong} == {"PO-21", "PO-23"}
    assert wrong[0][1].startswith("cannot be evaluated: ")


def test_po_22_other_policies() -> None:
    wrong = found(TABLE.replace('rules = ["sbom"]', "rules = []"))
    assert wrong[0] == ("PO-22", "expected to be decided by no policy, but it is by sbom")
    assert [rule for rule, _ in wrong] == ["PO-22", "PO-23"]


def test_po_23_a_policy_that_another_covers() -> None:
    """Named in a case's rules, and still without weight: removing it changes nothing."""
    twin = POLICIES + POLICIES.partition('\n@id("sbom")')[0].replace('"two"', '"twin"')
    wrong = found(TABLE.replace('rules = ["two"]', 'rules = ["two", "twin"]'), twin)
    assert [(rule, text.partition(":")[0]) for rule, text in wrong] == [("PO-23", "twin"), ("PO-23", "two")]


def test_po_24_a_clause_that_another_covers() -> None:
    doubled = POLICIES.replace("when { context.approvals.count >= 2 }", "when { context.approvals.count >= 2 } " * 2)
    doubled = doubled.replace('@needs2("any device")', '@needs2("two again")\n@needs3("any device")')
    assert [rule for rule, _ in found(policies=doubled)] == ["PO-24", "PO-24"]


def test_a_set_that_cannot_be_used_has_no_cases_run() -> None:
    examination = examine_policies(files_with(limits__cedar="permit", tests__toml="x"))
    assert (examination.policy_set, examination.case_count) == (None, 0)
    assert [item.rule_id for item in examination.findings] == ["PO-11"]


@pytest.mark.parametrize(
    ("old", "new", "reason"),
    [
        ("format = 1", "format = 2", "format"),
        ("format = 1", 'format = 1\ncolour = "red"', "colour"),
        ('name = "one device"', 'name = "one device"\ncolour = "red"', "colour"),
        ("sbom = true\n", "sbom = true\nsboom = true\n", "sboom"),
        ('name = "one device"\n', "", "case 3 .'without a name'"),
        ('name = "one device"', 'name = "one approver"', "stands twice"),
        ('name = "one device"', 'name = ""', "name"),
        ('name = "one device"', 'name = "a\\nb"', "printable"),
        ('name = "one device"\nbase = "good"', 'name = "one device"\nbase = "none"', "no base 'none'"),
        ('name = "one device"\nbase = "good"', 'name = "one device"\nbase = 3', "no base 3"),
        ("[bases.good]", "[bases.unused]\nsbom = true\n[bases.good]", "'unused' is used by no case"),
        ("[bases.good]", '[bases.good]\nname = "x"', "neither name nor base"),
        ('target = "uid"', 'target = "moon"', "target"),
        ('kind = "application"', 'kind = "bootcode"', "kind"),
        ('environment = "production"', 'environment = "staging"', "environment"),
        ('requester = "ada"', 'requester = "nobody"', "'nobody' is not in .people."),
        ('approvers = ["eve", "quinn"]', 'approvers = ["eve", "nobody"]', "'nobody' is not in .people."),
        ('approvers = ["eve"]', 'approvers = ["eve"]\nhardware_backed = ["quinn"]', "does not sign in it"),
        ('version = "1.0.0"', 'version = "1.0"', "version"),
        ('version = "1.0.0"', 'version = "1.0.0"\nlast = { version = "1", security_version = 0 }', "version"),
        ('version = "1.0.0"', 'version = "1.0.0"\nlast = "never"', "last"),
        ("security_version = 1", "security_version = -1", "security_version"),
        ("security_version = 1", "security_version = 4294967296", "security_version"),
        ("security_version = 1", "security_version = 1.0", "security_version"),
        ("sbom = true", 'sbom = "true"', "sbom"),
        ("sbom = true", "sbom = true\nsigned = { last_week = 1 }", "last_week"),
        ("sbom = true", "sbom = true\nsigned = { last_day = -1 }", "not negative"),
        ('rules = ["two"]', 'rules = ["two", "two"]', "each once"),
        ('rules = ["two"]', "rules = []", "an allow has some"),
        ('roles = ["requester"]', 'roles = ["king"]', "people"),
        ('roles = ["requester"]', "roles = []", "people"),
        ('roles = ["requester"]', 'roles = ["requester"], ssh = "x"', "ssh"),
    ],
)
def test_po_20_a_table_is_read_strictly(old: str, new: str, reason: str) -> None:
    assert old in TABLE
    table = TABLE.replace(old, new, 1)
    assert [rule for rule, _ in found(table)] == ["PO-20"]
    with pytest.raises(ValueError, match=reason):
        parse_test_table(table.encode())


@pytest.mark.parametrize("data", [b"\xff", b"", b"format = 1", b"[", b"format = 1\ncases = []\n[people]\n"])
def test_what_is_no_table(data: bytes) -> None:
    with pytest.raises(ValueError, match=r"."):
        parse_test_table(data)


def test_a_table_is_bounded() -> None:
    case = '[[cases]]\nname = "{}"\nbase = "good"\n'
    with pytest.raises(ValueError, match="1000"):
        parse_test_table((TABLE + "".join(case.format(number) for number in range(1000))).encode())


def test_hardware_and_counts_reach_the_question() -> None:
    table = TABLE.replace(
        "sbom = true", 'sbom = true\nhardware_backed = ["ada", "eve"]\nsigned = { last_day = 3 }\nfreeze = ["b", "a"]'
    )
    first = parse_test_table(table.replace('approvers = ["eve"]', 'approvers = ["eve", "ada"]').encode())[0].question
    assert first.requester_is_hardware_backed
    assert [(item.person.id, item.is_hardware_backed) for item in first.approvers] == [("eve", True), ("quinn", False)]
    assert (first.signed.last_day, first.freeze_windows) == (3, ("a", "b"))
