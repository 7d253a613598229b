"""May a secret key wrap or unwrap: every rule, and that unwrapping goes on when wrapping has ended."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime
from pathlib import Path

import pytest

from pki.errors import PolicyViolation
from pki.key_states import KeyState, may_unwrap
from pki.roles import Role
from signer.store.key_store import KeyStore
from signer.store.wrapping_gate import WrappingPermit, require_may_unwrap, require_may_wrap
from tests.unit.store.stores import DAY, NOW, TOKEN, change, new_key

WRAP = Role.PACKAGE_WRAP
Gate = Callable[[Path, str, Role, str | None, datetime], WrappingPermit]
BOTH = pytest.mark.parametrize("gate", [require_may_wrap, require_may_unwrap], ids=["wrap", "unwrap"])


@pytest.fixture
def label(store: KeyStore) -> str:
    key = store.register(new_key(WRAP), change())
    return store.activate(key.cka_id, NOW, NOW + 90 * DAY, change()).label


def refusal(gate: Gate, path: Path, label: str, role: Role, product: str | None, now: datetime) -> str:
    with pytest.raises(PolicyViolation) as violation:
        gate(path, label, role, product, now)
    return violation.value.rule_id


@BOTH
def test_an_active_key_wraps_and_unwraps_and_the_permit_names_it(gate: Gate, store_path: Path, label: str) -> None:
    permit = gate(store_path, label, WRAP, "pump-x2", NOW + DAY)
    assert (permit.cka_id, permit.label, permit.tokens) == (new_key(WRAP).cka_id, label, (TOKEN.identity,))
    permit.require_token(*TOKEN.identity)
    with pytest.raises(PolicyViolation) as violation:
        permit.require_token("another", "token")
    assert violation.value.rule_id == "KS-26"


@BOTH
def test_ks_20_to_24_refuse_as_they_do_for_signatures(
    gate: Gate, store: KeyStore, store_path: Path, label: str
) -> None:
    other = label.replace("0001", "0002")
    assert refusal(gate, store_path, other, WRAP, "pump-x2", NOW) == "KS-20"
    assert refusal(gate, store_path, label, Role.COMPAT, "pump-x2", NOW) == "KS-21"
    assert refusal(gate, store_path, label, WRAP, "pump-x3", NOW) == "KS-22"
    assert refusal(gate, store_path, label, WRAP, None, NOW) == "KS-22"
    assert refusal(gate, store_path, label, WRAP, "pump-x2", NOW - DAY) == "KS-24"
    pair = store.register(new_key(Role.COMPAT), change())
    store.activate(pair.cka_id, NOW, NOW + DAY, change())
    assert refusal(gate, store_path, pair.label, Role.COMPAT, "pump-x2", NOW) == "KS-23"


def test_wrapping_ends_with_the_time_window_and_unwrapping_does_not(store_path: Path, label: str) -> None:
    later = NOW + 91 * DAY
    assert refusal(require_may_wrap, store_path, label, WRAP, "pump-x2", later) == "KS-05"
    assert require_may_unwrap(store_path, label, WRAP, "pump-x2", later).label == label


@pytest.mark.parametrize(
    ("state", "may"),
    [(KeyState.DEACTIVATED, True), (KeyState.SUSPENDED, False), (KeyState.COMPROMISED, False)],
)
def test_what_a_key_may_after_its_active_state(
    store: KeyStore, store_path: Path, label: str, state: KeyState, may: bool
) -> None:
    store.change_state(new_key(WRAP).cka_id, state, change(NOW + DAY))
    now = NOW + 2 * DAY
    assert refusal(require_may_wrap, store_path, label, WRAP, "pump-x2", now) == "KS-02"
    if may:
        require_may_unwrap(store_path, label, WRAP, "pump-x2", now)
    else:
        assert refusal(require_may_unwrap, store_path, label, WRAP, "pump-x2", now) == "KS-09"


def test_a_key_that_was_never_active_does_neither(store: KeyStore, store_path: Path) -> None:
    label = store.register(new_key(WRAP), change()).label
    assert refusal(require_may_wrap, store_path, label, WRAP, "pump-x2", NOW) == "KS-02"
    assert refusal(require_may_unwrap, store_path, label, WRAP, "pump-x2", NOW) == "KS-09"


def test_ks_08_names_the_states_in_which_a_key_unwraps() -> None:
    allowed = {state for state in KeyState if may_unwrap(state).allowed}
    assert allowed == {KeyState.ACTIVE, KeyState.DEACTIVATED}
    assert {may_unwrap(state).rule_id for state in allowed} == {"KS-08"}
    assert {may_unwrap(state).rule_id for state in set(KeyState) - allowed} == {"KS-09"}
