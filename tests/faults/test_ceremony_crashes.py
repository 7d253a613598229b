"""kill -9 at every PKCS#11 call and at every durable write of every kind of ceremony: `resume` always ends alike.

The whole count is the campaign's; here a few moments of two kinds, one for each sort of call, and the positive control:
a variant without intents, of which the same check finds an orphan.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator

import pytest

from tests.faults.ceremony_campaign import Prepared, prepared
from tests.faults.ceremony_kinds import KINDS

SAMPLED = ("C_GenerateKeyPair", "C_CopyObject", "C_DestroyObject", "C_Login", "fdatasync", "linkat", "unlink", "rename")


@pytest.fixture(scope="module")
def issue() -> Iterator[Prepared]:
    with prepared("role-key-issue") as ready:
        yield ready


def last_moment(ready: Prepared, function: str) -> int:
    """The last moment (from 1) at which this function is about to be called."""
    return len(ready.moments) - ready.moments[::-1].index(function)


@pytest.mark.parametrize("function", SAMPLED)
def test_a_ceremony_killed_at_a_moment_is_resumed(function: str, issue: Prepared) -> None:
    assert issue.killed_at(last_moment(issue, function)) == []


def test_a_resumption_that_is_killed_too_is_resumed(issue: Prepared) -> None:
    moment = issue.moments.index("C_GenerateKeyPair") + 1
    assert issue.killed_at(moment, again_at=moment + 10) == []


def test_a_variant_without_intents_is_caught(issue: Prepared) -> None:
    """After the key is on the token and before it is recorded: without an intent nobody knows whose it is."""
    moment = last_moment(issue, "C_CopyObject") + 1
    problems = issue.killed_at(moment, variant="without-intents")
    assert [problem for problem in problems if "orphan" in problem or "resume ended with" in problem]


PARTS = 4


@pytest.mark.campaign
@pytest.mark.parametrize("part", range(PARTS))
@pytest.mark.parametrize("kind", KINDS)
def test_every_moment_of_every_kind(kind: str, part: int, record_property: Callable[[str, object], None]) -> None:
    # Which resumptions are killed too is drawn, and the same every time.
    drawn = random.Random(f"{kind} {part}")
    failures, killed, killed_twice = {}, 0, 0
    with prepared(kind) as ready:
        for moment in range(1 + part, len(ready.moments) + 1, PARTS):
            again_at = drawn.randrange(1, len(ready.moments)) if drawn.random() < 0.25 else 0
            problems = ready.killed_at(moment, again_at=again_at)
            if problems:
                failures[moment, ready.moments[moment - 1], again_at] = problems
            killed += again_at == 0
            killed_twice += again_at > 0
    assert failures == {}
    record_property("campaign", (f"ceremony {kind}: killed, resumed to the same end", killed))
    record_property("campaign", (f"ceremony {kind}: killed, and the resumption too", killed_twice))
