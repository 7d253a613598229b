"""The policy set: what its folder may hold, and its digest by an oracle of its own."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable

import pytest

from pki.errors import ConfigurationError
from policies.policy_rules import DENIED, FOUND, PolicyFinding
from policies.policy_set import PolicySet, policy_set_digest, read_policy_set
from tests.unit.policies.policy_world import DEFAULTS, ROOT, default_files, default_set, files_with
from verifiers import release_evidence

PERMIT = '@id("a") @text("A.") permit (principal, action, resource);'


def findings(**changes: bytes | str | None) -> list[PolicyFinding]:
    found, wrong = read_policy_set(files_with(**changes))
    assert (found is None) is bool(wrong)
    return wrong


def rules(**changes: bytes | str | None) -> list[str]:
    return [item.rule_id for item in findings(**changes)]


def extra(text: str) -> list[PolicyFinding]:
    """What is found when one more policy file has this text."""
    return findings(extra__cedar=text)


# Digest


def oracle(files: dict[str, bytes]) -> str:
    """Written from docs/spec/policies.md alone."""
    text = b"strongroom-policy-set-1" + b"\x00"
    for name in sorted(name.encode() for name in files if name not in {"tests.toml", "README.md"}):
        content = files[name.decode()]
        text += len(name).to_bytes(4, "big") + name + len(content).to_bytes(4, "big") + content
    return hashlib.sha256(text).hexdigest()


def test_the_digest_is_as_specified() -> None:
    assert default_set().digest.hex() == oracle(default_files())
    assert len(default_set().digest) == 32


def test_the_digest_of_the_documents_example() -> None:
    files = {"a.cedar": b"", "calendar.toml": b"format = 1\n", "tests.toml": b"anything"}
    text = (ROOT / "docs" / "spec" / "policies.md").read_text(encoding="utf-8")
    assert f"`{policy_set_digest(files).hex()}`" in text
    assert policy_set_digest(files).hex() == oracle(files)


def test_the_standalone_verifier_computes_the_same_digest() -> None:
    assert release_evidence.policy_set_digest(DEFAULTS) == default_set().digest.hex()


@pytest.mark.parametrize("name", sorted(default_files()))
def test_one_byte_of_what_decides_changes_the_digest(name: str) -> None:
    files = default_files()
    changed = {**files, name: files[name] + b"\n"}
    assert (policy_set_digest(changed) == policy_set_digest(files)) is (name in {"tests.toml", "README.md"})


def test_names_and_contents_cannot_be_shifted_into_each_other() -> None:
    pairs = [{"a": b"bc"}, {"ab": b"c"}, {"a": b"b", "c": b""}, {"a": b"", "b": b"c"}, {"a": b""}, {}]
    assert len({policy_set_digest(files) for files in pairs}) == len(pairs)


def test_the_order_of_files_does_not_matter() -> None:
    files = default_files()
    assert PolicySet.of(dict(reversed(files.items()))).digest == PolicySet.of(files).digest


# Files


@pytest.mark.parametrize(
    "name", ["notes.txt", "X.cedar", "a b.cedar", ".cedar", "-a.cedar", "a.cedar~", "a.cedar.bak", f"{'a' * 33}.cedar"]
)
def test_a_stranger_in_the_folder_is_refused(name: str) -> None:
    wrong = read_policy_set({**default_files(), name: b""})[1]
    assert [(item.rule_id, item.place) for item in wrong] == [("PO-10", name)]


def test_a_name_that_cannot_be_shown_is_escaped() -> None:
    (wrong,) = read_policy_set({**default_files(), "a\n\udcff.cedar": b""})[1]
    assert (wrong.rule_id, wrong.place) == ("PO-10", r"'a\n\udcff.cedar'")


@pytest.mark.parametrize("name", ["schema.cedarschema", "calendar.toml"])
def test_what_is_missing_is_named(name: str) -> None:
    files = {key: value for key, value in default_files().items() if key != name}
    assert [(item.rule_id, item.place) for item in read_policy_set(files)[1]] == [("PO-10", name)]


def test_size_and_encoding() -> None:
    assert rules(limits__cedar=b"// " + b"x" * 300_000) == ["PO-10"]
    assert rules(limits__cedar=b"\xff") == ["PO-10"]


def test_readme_and_tests_may_be_missing_and_are_not_read() -> None:
    assert rules(README__md=None, tests__toml=None) == []
    assert rules(README__md=b"\xff", tests__toml=b"\xff") == []


@pytest.mark.parametrize("text", ["permit", "permit (principal, action, resource)", "// nothing", "", "\0"])
def test_a_file_without_policies_is_refused(text: str) -> None:
    assert {item.rule_id for item in extra(text)} == {"PO-11"}


def test_a_folder_without_policies_is_refused() -> None:
    files = {name: content for name, content in default_files().items() if not name.endswith(".cedar")}
    assert [item.rule_id for item in read_policy_set(files)[1]] == ["PO-11"]


def test_numbers_of_files_and_policies_are_bounded() -> None:
    files = {f"f{number}.cedar": PERMIT.encode() for number in range(65)}
    assert "PO-11" in {item.rule_id for item in read_policy_set({**default_files(), **files})[1]}
    many = "".join(PERMIT.replace('"a"', f'"a{number}"', 1) for number in range(257))
    assert "PO-11" in {item.rule_id for item in extra(many)}


def test_the_schema_must_parse() -> None:
    assert rules(schema__cedarschema="entity;") == ["PO-12"]


@pytest.mark.parametrize(
    "condition",
    [
        "when { context.sbom }",
        'when { principal in Group::"x" && context.approvals.count > "2" }',
        'when { context.target == Target::"grantt" }',
        'when { resource in Environment::"prod" }',
        'when { principal in PersonRole::"boss" }',
        'when { context.approvals.of_group.getTag("quality") >= 1 }',
    ],
)
def test_what_the_schema_does_not_know_is_found(condition: str) -> None:
    needs = '@needs1("it")'
    wrong = extra(f'@id("a") @text("A.") {needs} permit (principal, action, resource) {condition};')
    assert {item.rule_id for item in wrong} == {"PO-13"}
    assert all(item.place == "extra.cedar" and item.text.startswith("a: ") for item in wrong)


@pytest.mark.parametrize(
    "text",
    [
        'permit (principal, action, resource);',
        '@id("a") permit (principal, action, resource);',
        '@id @text("A.") permit (principal, action, resource);',
        '@id("A B") @text("A.") permit (principal, action, resource);',
        '@id("a/1") @text("A.") permit (principal, action, resource);',
        '@id("a") @text("") permit (principal, action, resource);',
        '@id("a") @text("one\\ntwo") permit (principal, action, resource);',
        f'@id("a") @text("{"x" * 301}") permit (principal, action, resource);',
        '@id("a") @text("A.") @note("n") permit (principal, action, resource);',
        '@id("a") @text("A.") @needs1("n") permit (principal, action, resource);',
        '@id("a") @text("A.") permit (principal, action, resource) when { true };',
        '@id("a") @text("A.") @needs2("n") permit (principal, action, resource) when { true };',
        '@id("a") @text("A.") @needs1("n") forbid (principal, action, resource) when { true };',
        '@id("frozen") @text("A.") permit (principal, action, resource);',
        f"{PERMIT} {PERMIT}",
        '@id("a") @text("A.") permit (principal == ?principal, action, resource);',
    ],
)  # fmt: skip
def test_annotations_are_demanded(text: str) -> None:
    assert {item.rule_id for item in extra(text)} == {"PO-14"}


def test_annotations_that_pass() -> None:
    needs = '@needs1("x") @needs2("y")'
    assert (
        extra(f'@id("a") @text("A.") {needs} permit (principal, action, resource) when {{true}} unless {{false}};')
        == []
    )
    assert extra('@id("a") @text("Ä – „x“.") forbid (principal, action, resource) when { false };') == []


def test_every_finding_is_named_at_once() -> None:
    assert rules(limits__cedar="permit", schema__cedarschema="entity;", calendar__toml="x") == [
        "PO-12", "PO-15", "PO-11",
    ]  # fmt: skip


def test_an_unusable_set_is_a_configuration_error() -> None:
    with pytest.raises(ConfigurationError, match=r"^\[PO-11\] policies/limits\.cedar: .*policy check"):
        PolicySet.of(files_with(limits__cedar="permit"))


def test_a_deeply_nested_calendar_is_refused() -> None:
    assert rules(calendar__toml=f"format = 1\nx = {'[' * 50_000}") == ["PO-15"]


def test_the_document_has_every_rule() -> None:
    text = (ROOT / "docs" / "spec" / "policies.md").read_text(encoding="utf-8")
    rows = re.findall(r"^\| (PO-\d\d) \| (.*) \|$", text, re.MULTILINE)
    assert rows == [*DENIED.items(), *FOUND.items()]


def test_the_document_has_every_shipped_policy() -> None:
    text = (ROOT / "docs" / "spec" / "policies.md").read_text(encoding="utf-8").partition("## The shipped defaults")[2]
    named = [
        name for cell in re.findall(r"^\| (`.*?) \|", text, re.MULTILINE) for name in re.findall(r"`([a-z-]+)`", cell)
    ]
    assert sorted(named) == [policy.id for policy in default_set().policies]


DEEP: dict[str, Callable[[int], str]] = {
    "brackets": lambda n: "(" * n + "true" + ")" * n,
    "sets": lambda n: "[" * n + "]" * n + ".isEmpty()",
    "conditions": lambda n: "if true then true else " * n + "true",
    "conjunctions": lambda n: " && ".join(["true"] * n),
    "calls": lambda n: "[1]" + ".contains(1)" * n,
}


@pytest.mark.parametrize("shape", DEEP)
@pytest.mark.parametrize("levels", [150, 5_000])
def test_what_would_overflow_the_engine_is_refused_before(shape: str, levels: int) -> None:
    """Without the bound, 5,000 levels end the process."""
    body = DEEP[shape](levels)
    wrong = extra(f'@id("a") @text("A.") @needs1("x") permit (principal, action, resource) when {{ {body} }};')
    assert {item.rule_id for item in wrong} == {"PO-11"}


def test_a_schema_that_would_overflow_the_engine_is_refused_before() -> None:
    nested = "Set<" * 30_000 + "Long" + ">" * 30_000
    assert rules(schema__cedarschema=f"type X = {nested};") == ["PO-12"]


def test_comparisons_and_comments_are_no_brackets() -> None:
    body = "context.signed.last_day < 5 && " * 19 + "true"
    forbids = [f'@id("a{n}") @text("A.") forbid (principal, action, resource) when {{ {body} }};' for n in range(5)]
    assert extra("// ((((((\n" * 100 + "\n".join(forbids)) == []
