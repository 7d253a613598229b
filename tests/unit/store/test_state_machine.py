"""Random sequences of all that the key store does, against a model: only what SP 800-57 allows ever happens."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from pathlib import Path

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, initialize, invariant, rule

from pki.errors import PolicyViolation
from pki.key_states import KeyState, may_sign
from pki.roles import Role
from signer.store.errors import KeyConflict
from signer.store.key_store import KeyStore, open_key_store
from signer.store.maintenance import backup_key_store, check_key_store
from signer.store.signing_gate import ContentKeyLedger, require_may_sign
from signer.store.values import KeyRecord
from tests.unit.store.stores import DAY, NOW, change, new_key

# Written here a second time, from SP 800-57 Part 1 Rev 5, figure 3 and sections 7.1 to 7.6, as an oracle of its own.
P, A, S, D, C, X = "pre-activation", "active", "suspended", "deactivated", "compromised", "destroyed"
MAY_FOLLOW = {
    (P, A),
    (P, C),
    (P, X),
    (A, S),
    (A, D),
    (A, C),
    (A, X),
    (S, A),
    (S, D),
    (S, C),
    (S, X),
    (D, C),
    (D, X),
    (C, X),
}


@dataclass
class ModelKey:
    sequence: int
    states: list[str] = field(default_factory=lambda: [P])
    window: tuple[datetime, datetime] | None = None


class KeyStoreMachine(RuleBasedStateMachine):
    template: Path
    keys = Bundle("keys")

    @initialize()
    def open(self) -> None:
        self.folder = Path(tempfile.mkdtemp())
        self.path = Path(shutil.copy2(self.template, self.folder / "keys.sqlite"))
        self.store: KeyStore = open_key_store(self.path)
        self.model: dict[bytes, ModelKey] = {}
        self.claimed: set[bytes] = set()
        self.now = NOW

    def teardown(self) -> None:
        if hasattr(self, "store"):
            self.store.close()
            shutil.rmtree(self.folder)

    def refused(self, rule_id: str, attempt: Callable[[], KeyRecord]) -> None:
        with pytest.raises(PolicyViolation) as violation:
            attempt()
        assert violation.value.rule_id == rule_id

    @rule(target=keys, sequence=st.integers(1, 5))
    def register(self, sequence: int) -> bytes:
        key = new_key(sequence=sequence)
        if key.cka_id in self.model:
            with pytest.raises(KeyConflict):
                self.store.register(key, change(self.now))
        else:
            self.store.register(key, change(self.now))
            self.model[key.cka_id] = ModelKey(sequence)
        return key.cka_id

    @rule(days=st.integers(0, 3))
    def time_passes(self, days: int) -> None:
        self.now += days * DAY

    @rule(cka_id=keys, begin=st.integers(-2, 2), length=st.integers(-1, 5))
    def activate(self, cka_id: bytes, begin: int, length: int) -> None:
        key = self.model[cka_id]
        window = (self.now + begin * DAY, self.now + (begin + length) * DAY)

        def attempt() -> KeyRecord:
            return self.store.activate(cka_id, *window, change(self.now))

        if key.window is not None:
            self.refused("KS-33" if (key.states[-1], A) in MAY_FOLLOW else "KS-11", attempt)
        elif length <= 0 or begin + length <= 0:
            self.refused("KS-30", attempt)
        elif (key.states[-1], A) not in MAY_FOLLOW:
            self.refused("KS-11", attempt)
        else:
            attempt()
            key.window = window
            key.states.append(A)

    @rule(cka_id=keys, wanted=st.sampled_from(KeyState))
    def change_state(self, cka_id: bytes, wanted: KeyState) -> None:
        key = self.model[cka_id]

        def attempt() -> KeyRecord:
            return self.store.change_state(cka_id, wanted, change(self.now))

        if (key.states[-1], wanted.value) not in MAY_FOLLOW:
            self.refused("KS-11", attempt)
        elif wanted.value == A and key.window is None:
            self.refused("KS-32", attempt)
        else:
            attempt()
            key.states.append(wanted.value)

    @rule(cka_id=keys)
    def backdate(self, cka_id: bytes) -> None:
        if (self.model[cka_id].states[-1], C) in MAY_FOLLOW:
            earlier = self.store.key(cka_id).state_since - timedelta(microseconds=1)
            self.refused("KS-31", lambda: self.store.change_state(cka_id, KeyState.COMPROMISED, change(earlier)))

    @rule(number=st.integers(0, 5))
    def claim(self, number: int) -> None:
        fingerprint = bytes([number]) * 32
        ledger = ContentKeyLedger(self.path, self.now)
        if fingerprint in self.claimed:
            with pytest.raises(PolicyViolation, match="CEK-REUSE"):
                ledger.claim(fingerprint)
        else:
            ledger.claim(fingerprint)
            self.claimed.add(fingerprint)

    @rule()
    def go_on_with_a_backup(self) -> None:
        self.store.close()
        backup = self.folder / "backup.sqlite"
        backup_key_store(self.path, backup)
        backup.replace(self.path)
        self.store = open_key_store(self.path)

    @invariant()
    def the_store_is_the_model(self) -> None:
        if not hasattr(self, "store"):
            return
        check_key_store(self.path)
        records = self.store.keys()
        assert {record.cka_id for record in records} == self.model.keys()
        for record in records:
            key = self.model[record.cka_id]
            assert record.state == key.states[-1]
            assert (record.not_before, record.not_after) == (key.window or (None, None))
            assert [entry.to_state for entry in self.store.state_history(record.cka_id)] == key.states

    @invariant()
    def the_gate_agrees(self) -> None:
        for cka_id, key in getattr(self, "model", {}).items():
            begin, end = key.window or (None, None)
            expected = may_sign(KeyState(key.states[-1]), begin, end, self.now)
            assert self.rule_of_the_gate(cka_id) == (None if expected.allowed else expected.rule_id)

    def rule_of_the_gate(self, cka_id: bytes) -> str | None:
        try:
            require_may_sign(self.path, cka_id, Role.APPLICATION_RELEASE, "pump-x2", self.now)
        except PolicyViolation as violation:
            return violation.rule_id
        return None


@pytest.fixture
def _template(empty_key_store: Path) -> None:
    KeyStoreMachine.template = empty_key_store


@pytest.mark.usefixtures("_template")
class TestKeyStore(KeyStoreMachine.TestCase):  # type: ignore[misc,valid-type]
    settings = settings(max_examples=15, stateful_step_count=20)
