"""Preflight, rule by rule: each finds its fault, and is silent where there is none."""

from __future__ import annotations

import os
from datetime import UTC, datetime, timedelta
from typing import NamedTuple

import msgspec
import pytest

from cli.ceremony_checks import Finding, preflight
from cli.ceremony_files import load_ceremony
from cli.context import now
from cli.exit_codes import ExitCode
from signer.tokens import list_tokens
from signer.tokens.module import Module
from tests.ceremonies.rooms import CeremonyWorld
from tests.ceremonies.test_refusals import digest_of, interrupted


class Usage(NamedTuple):
    free: int


def found(world: CeremonyWorld, when: datetime | None = None) -> list[Finding]:
    return preflight(world.repository, load_ceremony(world.repository, "issue"), when or now())


def rules(findings: list[Finding]) -> set[str]:
    return {finding.rule for finding in findings}


def test_a_world_that_is_ready(ceremony_world: CeremonyWorld) -> None:
    assert found(ceremony_world) == []


def test_two_names_for_one_token(ceremony_world: CeremonyWorld) -> None:
    text = ceremony_world.site_file.read_text(encoding="utf-8")
    entry = text[text.index("\n[tokens.release]") :].split("\n\n")[0]
    ceremony_world.site_file.write_text(text + entry.replace("[tokens.release]", "[tokens.again]"), encoding="utf-8")
    plan = ceremony_world.ceremonies / "issue" / "plan.yaml"
    step = "  - {id: unlock-token, who: operator, unlock: <token>}\n"
    changed = plan.read_text(encoding="utf-8").replace(
        step, step + step.replace("<token>", "again").replace("k-t", "k-a")
    )
    plan.write_text(changed, encoding="utf-8")
    assert "CE-32" in rules(found(ceremony_world))


@pytest.mark.parametrize(
    ("field", "value", "is_error"),
    [
        ("initialised", False, True),
        ("user_pin_set", False, True),
        ("user_pin_locked", True, True),
        ("write_protected", True, True),
        ("user_pin_final_try", True, False),
        ("user_pin_count_low", True, False),
    ],
)
def test_the_state_of_a_token(
    field: str,
    value: bool,
    is_error: bool,
    ceremony_world: CeremonyWorld,
    module: Module,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    tokens = [msgspec.structs.replace(token, **{field: value}) for token in list_tokens(module)]
    monkeypatch.setattr("signer.tokens.list_tokens", lambda _module: tokens)
    findings = [finding for finding in found(ceremony_world) if finding.rule == "CE-34"]
    assert [finding.is_error for finding in findings] == [is_error]


def test_a_full_disk(ceremony_world: CeremonyWorld, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("cli.ceremony_checks.shutil.disk_usage", lambda _folder: Usage(1024))
    assert rules(found(ceremony_world)) == {"CE-37"}


@pytest.mark.parametrize(
    "when",
    [
        datetime(2001, 1, 1, tzinfo=UTC),
        datetime(2150, 1, 1, tzinfo=UTC),
        datetime(2026, 1, 2, tzinfo=UTC),
    ],
)
def test_a_clock_that_cannot_be_right(when: datetime, ceremony_world: CeremonyWorld) -> None:
    assert rules(found(ceremony_world, when)) == {"CE-38"}


def test_a_clock_before_the_plan_was_written(ceremony_world: CeremonyWorld) -> None:
    later = now() + timedelta(hours=1)
    plan = ceremony_world.ceremonies / "issue" / "plan.yaml"
    os.utime(plan, (later.timestamp(), later.timestamp()))
    assert rules(found(ceremony_world)) == {"CE-38"}


def test_a_key_that_another_made_meanwhile_is_not_taken_over(ceremony_world: CeremonyWorld, module: Module) -> None:
    """The generation was interrupted; before it is resumed, somebody ends it by hand."""
    interrupted(ceremony_world, module)
    options = ("--product", "pump-x2", "--sequence", "2")
    ceremony_world.ok("key", "generate", "application-release", "--token", "release", *options)
    result = ceremony_world.run("ceremony", "resume", "issue", "--answers", ceremony_world.answers)
    assert result.code == ExitCode.CEREMONY
    assert "[CE-23]" in result.err
    assert digest_of(ceremony_world)
