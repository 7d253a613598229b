"""One rule, one ID: what code refuses by WO- and OB- stands in docs/spec/object-requests.md, and nothing else does."""

from __future__ import annotations

import re
from pathlib import Path

ROOT = Path(__file__).resolve().parents[3]
RULE = re.compile(r"\b(?:WO|OB)-\d\d\b")
CODE = (*ROOT.glob("signer/**/*.py"), *ROOT.glob("cli/**/*.py"))


def test_every_rule_is_documented_and_every_documented_rule_exists() -> None:
    in_code = {rule for path in CODE for rule in RULE.findall(path.read_text(encoding="utf-8"))}
    documented = set(RULE.findall((ROOT / "docs" / "spec" / "object-requests.md").read_text(encoding="utf-8")))
    assert in_code == documented


def test_every_rule_is_refused_in_some_test() -> None:
    documented = set(RULE.findall((ROOT / "docs" / "spec" / "object-requests.md").read_text(encoding="utf-8")))
    tests = (path for path in ROOT.glob("tests/**/*.py") if path != Path(__file__).resolve())
    tested = {rule for path in tests for rule in RULE.findall(path.read_text(encoding="utf-8"))}
    assert documented - tested == set()
