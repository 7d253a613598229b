"""The signing gate and the content-key ledger: every rule, and agreement with the store's other access."""

from __future__ import annotations

import shutil
import subprocess
import sys
from datetime import datetime, timedelta
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pki.errors import PolicyViolation
from pki.key_states import KeyState, may_sign
from pki.roles import Role
from signer.store.errors import KeyStoreDamaged
from signer.store.key_store import KeyStore, open_key_store
from signer.store.signing_gate import ContentKeyLedger, require_may_sign
from tests.unit.store.stores import DAY, NOW, TOKEN, change, new_key, public_key, raw

RELEASE = Role.APPLICATION_RELEASE


@pytest.fixture
def active(store: KeyStore) -> bytes:
    key = store.register(new_key(), change())
    return store.activate(key.cka_id, NOW, NOW + 90 * DAY, change()).cka_id


def refusal(path: Path, key: bytes | str, role: Role, product: str | None, now: datetime) -> str:
    with pytest.raises(PolicyViolation) as violation:
        require_may_sign(path, key, role, product, now)
    return violation.value.rule_id


def test_an_active_key_signs_and_the_permit_names_it(store_path: Path, active: bytes) -> None:
    key = new_key()
    for name in (active, key.label):
        permit = require_may_sign(store_path, name, RELEASE, "pump-x2", NOW + DAY)
        assert (permit.cka_id, permit.label, permit.public_key) == (active, key.label, key.public_key)
        assert (permit.token_serial, permit.token_label) == TOKEN.identity


def test_ks_25_the_key_on_the_token_must_be_the_recorded_one(store_path: Path, active: bytes) -> None:
    permit = require_may_sign(store_path, active, RELEASE, "pump-x2", NOW)
    permit.require_public_key(permit.public_key)
    with pytest.raises(PolicyViolation) as violation:
        permit.require_public_key(public_key(99))
    assert violation.value.rule_id == "KS-25"


def test_ks_20_an_unrecorded_key_does_not_sign(store_path: Path, active: bytes) -> None:
    assert refusal(store_path, bytes(20), RELEASE, "pump-x2", NOW) == "KS-20"
    assert refusal(store_path, "sr:application-release:pump-x2:0002", RELEASE, "pump-x2", NOW) == "KS-20"
    assert refusal(store_path, "", RELEASE, "pump-x2", NOW) == "KS-20"


def test_ks_21_a_key_of_another_role_does_not_sign(store_path: Path, active: bytes) -> None:
    for role in Role:
        if role is not RELEASE:
            assert refusal(store_path, active, role, "pump-x2", NOW) == "KS-21"


def test_ks_22_a_key_of_another_product_does_not_sign(store: KeyStore, store_path: Path, active: bytes) -> None:
    assert refusal(store_path, active, RELEASE, "pump-x3", NOW) == "KS-22"
    assert refusal(store_path, active, RELEASE, None, NOW) == "KS-22"
    common = store.register(new_key(Role.COMPAT, None), change())
    store.activate(common.cka_id, NOW, NOW + DAY, change())
    for product in ("pump-x2", "pump-x3", None):
        assert require_may_sign(store_path, common.cka_id, Role.COMPAT, product, NOW).cka_id == common.cka_id


def test_ks_23_a_key_that_does_not_sign_does_not_sign(store: KeyStore, store_path: Path) -> None:
    wrap = store.register(new_key(Role.PACKAGE_WRAP, None), change())
    store.activate(wrap.cka_id, NOW, NOW + DAY, change())
    assert refusal(store_path, wrap.cka_id, Role.PACKAGE_WRAP, None, NOW) == "KS-23"


def test_ks_24_a_clock_set_back_is_noticed(store: KeyStore, store_path: Path) -> None:
    key = store.register(new_key(), change())
    store.activate(key.cka_id, NOW - 30 * DAY, NOW + DAY, change())
    assert refusal(store_path, key.cka_id, RELEASE, "pump-x2", NOW - timedelta(microseconds=1)) == "KS-24"
    assert require_may_sign(store_path, key.cka_id, RELEASE, "pump-x2", NOW).cka_id == key.cka_id


def test_states_and_window_decide_as_in_pki(store: KeyStore, store_path: Path) -> None:
    key = store.register(new_key(), change())
    assert refusal(store_path, key.cka_id, RELEASE, "pump-x2", NOW) == "KS-02"
    store.activate(key.cka_id, NOW + DAY, NOW + 2 * DAY, change())
    assert refusal(store_path, key.cka_id, RELEASE, "pump-x2", NOW + DAY - timedelta(microseconds=1)) == "KS-04"
    assert require_may_sign(store_path, key.cka_id, RELEASE, "pump-x2", NOW + DAY).cka_id == key.cka_id
    assert require_may_sign(store_path, key.cka_id, RELEASE, "pump-x2", NOW + 2 * DAY).cka_id == key.cka_id
    assert refusal(store_path, key.cka_id, RELEASE, "pump-x2", NOW + 2 * DAY + timedelta(microseconds=1)) == "KS-05"
    for state in (KeyState.SUSPENDED, KeyState.DEACTIVATED, KeyState.COMPROMISED, KeyState.DESTROYED):
        store.change_state(key.cka_id, state, change(NOW + DAY))
        assert refusal(store_path, key.cka_id, RELEASE, "pump-x2", NOW + DAY) == "KS-02"


def test_the_refusal_names_the_key(store_path: Path, active: bytes) -> None:
    with pytest.raises(PolicyViolation, match=r"^\[KS-05\] key sr:application-release:pump-x2:0001: "):
        require_may_sign(store_path, active, RELEASE, "pump-x2", NOW + 91 * DAY)


@settings(max_examples=40)
@given(data=st.data())
def test_both_ways_of_access_agree(
    data: st.DataObject, empty_key_store: Path, tmp_path_factory: pytest.TempPathFactory
) -> None:
    """Random histories written through SQLAlchemy; the gate answers as the pure rule does on the record read back."""
    path = Path(shutil.copy2(empty_key_store, tmp_path_factory.mktemp("agree") / "keys.sqlite"))
    with open_key_store(path) as store:
        product = data.draw(st.sampled_from([None, "pump-x2"]))
        key = store.register(new_key(product=product), change())
        if data.draw(st.booleans()):
            start = NOW + data.draw(st.timedeltas(-3 * DAY, 3 * DAY))
            end = max(start, NOW) + data.draw(st.timedeltas(timedelta(microseconds=1), 3 * DAY))
            store.activate(key.cka_id, start, end, change())
            for state in data.draw(st.sampled_from([(), (KeyState.SUSPENDED,), (KeyState.DEACTIVATED,)])):
                store.change_state(key.cka_id, state, change())
        record = store.key(key.cka_id)
    now = NOW + data.draw(st.timedeltas(timedelta(), 7 * DAY))
    expected = may_sign(record.state, record.not_before, record.not_after, now)
    if expected.allowed:
        permit = require_may_sign(path, record.label, record.role, "pump-x2", now)
        assert (permit.cka_id, permit.public_key) == (record.cka_id, record.public_key)
        assert (permit.token_serial, permit.token_label) == record.token.identity
    else:
        assert refusal(path, record.label, record.role, "pump-x2", now) == expected.rule_id


def test_a_record_that_contradicts_itself_does_not_sign(store_path: Path, active: bytes) -> None:
    connection = raw(store_path)
    connection.execute("DROP TRIGGER keys_are_fixed")
    connection.execute("UPDATE keys SET spki = ?", (public_key(99).spki,))
    connection.close()
    with pytest.raises(KeyStoreDamaged, match="not the one derived"):
        require_may_sign(store_path, active, RELEASE, "pump-x2", NOW)


def test_cek_reuse_a_content_key_is_claimed_once(store_path: Path) -> None:
    first, second = bytes(range(32)), bytes(32)
    ContentKeyLedger(store_path, NOW).claim(first)
    for ledger in (ContentKeyLedger(store_path, NOW), ContentKeyLedger(store_path, NOW + DAY)):
        with pytest.raises(PolicyViolation) as violation:
            ledger.claim(first)
        assert violation.value.rule_id == "CEK-REUSE"
    ContentKeyLedger(store_path, NOW).claim(second)
    connection = raw(store_path)
    rows = connection.execute("SELECT fingerprint, claimed_at FROM content_keys_used ORDER BY 1").fetchall()
    connection.close()
    assert rows == [(second, "2026-11-22T12:00:00.123456Z"), (first, "2026-11-22T12:00:00.123456Z")]


@pytest.mark.parametrize("size_bytes", [0, 31, 33])
def test_a_fingerprint_of_another_size_is_a_mistake_of_the_caller(store_path: Path, size_bytes: int) -> None:
    with pytest.raises(ValueError, match="32 bytes"):
        ContentKeyLedger(store_path, NOW).claim(bytes(size_bytes))


def test_the_gate_imports_nothing_heavy() -> None:
    heavy = {"sqlalchemy", "alembic", "cryptography", "rich", "pydantic", "pkcs11", "asn1crypto", "cyclonedx"}
    code = "import sys, signer.store.signing_gate; print(*{name.split('.')[0] for name in sys.modules})"
    loaded = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True).stdout.split()
    assert "sqlite3" in loaded
    assert heavy.isdisjoint(loaded)
