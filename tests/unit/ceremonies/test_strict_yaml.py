"""Plans are YAML in which nothing means something else than a reviewer reads (CE-01)."""

from __future__ import annotations

import pytest

from ceremonies.strict_yaml import SIZE_BYTES_MAX, parse_strict_yaml
from pki.errors import ConfigurationError


def test_what_plans_use() -> None:
    text = """\
# a comment
text: yes, it is {text}
no: no
on: off
date: 2026-11-27
version: 1.10
octal: 012
number: 42
negative: -7
flag: true
quoted: "true"
list: [a, "1", 2]
folded: >-
  two
  lines
map: {inner: {deep: x}}
empty: ""
"""
    assert parse_strict_yaml(text.encode(), "plan") == {
        "text": "yes, it is {text}",
        "no": "no",
        "on": "off",
        "date": "2026-11-27",
        "version": "1.10",
        "octal": "012",
        "number": 42,
        "negative": -7,
        "flag": True,
        "quoted": "true",
        "list": ["a", "1", 2],
        "folded": "two lines",
        "map": {"inner": {"deep": "x"}},
        "empty": "",
    }


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("a: &x 1\nb: *x\n", "anchors"),
        ("a: &x {b: c}\n", "anchors"),
        ("a: *x\n", "alias"),
        ("a: !!str 1\n", "tags"),
        ("a: !own 1\n", "tags"),
        ("a: !!python/object:os.system {}\n", "tags"),
        ("%YAML 1.1\n---\na: no\n", "directives"),
        ("%TAG ! tag:example.org,2000:\n---\na: b\n", "directives"),
        ("a: 1\n---\nb: 2\n", "one document"),
        ("a: 1\na: 2\n", "twice"),
        ("a: {b: 1, b: 2}\n", "twice"),
        ("<<: {a: 1}\n", "merge"),
        ("a:\n", "no value"),
        ("a: ~\n", "no value"),
        ("a: null\n", "no value"),
        ("1: a\n", "key must be text"),
        ("[a]: b\n", "key must be text"),
        ("- a\n", "not a map"),
        ("just text\n", "not a map"),
        ("", "empty"),
        ("a: [1, 2\n", "line"),
        ("a: b: c\n", "line"),
        ("\ta: b\n", "line"),
        ("a: " + "[" * 12 + "]" * 12 + "\n", "deeper"),
        ("a: [" + "x," * 10_001 + "x]\n", "more"),
    ],
)
def test_what_plans_must_not_have(text: str, reason: str) -> None:
    with pytest.raises(ConfigurationError, match=r"^\[CE-01\] plan: ") as refused:
        parse_strict_yaml(text.encode(), "plan")
    assert reason in str(refused.value)


def test_size_and_encoding_are_bounded() -> None:
    with pytest.raises(ConfigurationError, match=r"CE-01.*bytes"):
        parse_strict_yaml(b"a: " + b"x" * SIZE_BYTES_MAX, "plan")
    with pytest.raises(ConfigurationError, match=r"CE-01.*UTF-8 at byte 3"):
        parse_strict_yaml(b"a: \xff\n", "plan")
