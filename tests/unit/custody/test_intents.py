"""Intents of custody: strict, under the lock of all intents, one for each label."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from pki.errors import ConfigurationError, InputRefused
from signer.authority.key_intents import KeyIntent, KeyIntents
from signer.custody.intents import Act, CustodyIntent, CustodyIntents

LABEL = "sr:root:-:0001"
INTENT = CustodyIntent(
    act=Act.GENERATE,
    label=LABEL,
    token=("00c0ffee", "root-1"),
    copies_on=(("00c0ffee", "root-2"),),
    file="/media/stick/root-1.backup",
    begun_at="2026-11-27T17:00:00.000000Z",
    who="alice@example.com",
)


@pytest.fixture
def intents(tmp_path: Path) -> CustodyIntents:
    made = CustodyIntents(tmp_path / "intents")
    with made.exclusively():
        made.write(INTENT)
    return made


def test_an_intent_is_written_read_and_removed(intents: CustodyIntents) -> None:
    assert intents.of(LABEL) == INTENT
    assert intents.all() == [INTENT]
    assert intents.path(LABEL).stat().st_mode & 0o777 == 0o600
    intents.remove(LABEL)
    assert intents.of(LABEL) is None
    assert intents.all() == []


@pytest.mark.parametrize(
    "change",
    [
        {"format": "strongroom-custody-intent-2"},
        {"act": "steal"},
        {"label": "sr:root:-:0002"},
        {"label": "mine"},
        {"token": ["only one"]},
        {"file_digest": "00"},
        {"pin": "1234"},
        {"who": None},
    ],
)
def test_a_damaged_intent_is_refused(intents: CustodyIntents, change: dict[str, object]) -> None:
    path = intents.path(LABEL)
    path.write_text(json.dumps(json.loads(path.read_text(encoding="utf-8")) | change), encoding="utf-8")
    for read in (intents.all, lambda: intents.of(LABEL)):
        with pytest.raises(ConfigurationError, match="damaged"):
            read()


def test_half_an_intent_is_refused(intents: CustodyIntents) -> None:
    path = intents.path(LABEL)
    path.write_bytes(path.read_bytes()[:40])
    with pytest.raises(ConfigurationError, match="damaged"):
        intents.of(LABEL)


def test_acts_of_custody_and_generations_exclude_each_other(intents: CustodyIntents) -> None:
    def enter(both: CustodyIntents | KeyIntents) -> None:
        with both.exclusively():
            pass

    with intents.exclusively():
        for other in (CustodyIntents(intents.path(LABEL).parent.parent), KeyIntents(intents.path(LABEL).parent.parent)):
            with pytest.raises(InputRefused, match="another process"):
                enter(other)


def test_a_label_has_one_kind_of_intent(intents: CustodyIntents) -> None:
    with pytest.raises(ConfigurationError, match="resume the ceremony"):
        intents.of_keys.refuse_in_custody(LABEL)
    intents.of_keys.refuse_pending(LABEL)
    intents.of_keys.write(KeyIntent(LABEL, "00", "x", "2026-11-27T17:00:00.000000+00:00", "alice"))
    with pytest.raises(ConfigurationError, match="key generate"):
        intents.of_keys.refuse_pending(LABEL)
    assert [intent.label for intent in intents.of_keys.all()] == [LABEL], "the folder of custody is not among them"
