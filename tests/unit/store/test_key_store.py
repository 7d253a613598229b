"""The key store through SQLAlchemy: what it records, what it refuses, and that a refusal changes nothing."""

from __future__ import annotations

from contextlib import closing
from dataclasses import replace
from datetime import datetime, timedelta, timezone
from pathlib import Path

import pytest

from pki.errors import ConfigurationError, InputRefused, PolicyViolation
from pki.key_specs import KEY_SPECS, MAX_SEQUENCE, KeyAlgorithm
from pki.key_states import KeyState
from pki.roles import Role
from signer.store.errors import KeyConflict, KeyUnknown
from signer.store.key_store import KeyStore, open_key_store
from signer.store.maintenance import check_key_store
from signer.store.values import Change, NewKey, TokenRecord
from tests.unit.store.stores import (
    DAY,
    NOW,
    OTHER_TOKEN,
    TOKEN,
    certificate_for,
    change,
    new_key,
    public_key,
    raw,
    software_key,
)


def test_a_registered_key_is_read_back_whole(store: KeyStore, store_path: Path) -> None:
    key = new_key()
    registered = store.register(key, change(reason="generated for pump-x2"))
    with open_key_store(store_path) as again:
        record = again.key(key.label)
        history = again.state_history(key.cka_id)
    assert record == registered
    assert (record.cka_id, record.label, record.public_key, record.token) == (
        key.cka_id,
        "sr:application-release:pump-x2:0001",
        key.public_key,
        TOKEN,
    )
    assert (record.role, record.product) == (Role.APPLICATION_RELEASE, "pump-x2")
    assert record.algorithm is KeyAlgorithm.EC_P256
    assert (record.state, record.state_since, record.created_at) == (KeyState.PRE_ACTIVATION, NOW, NOW)
    assert (record.not_before, record.not_after, record.certificate) == (None, None, None)
    assert [(entry.sequence, entry.from_state, entry.to_state) for entry in history] == [
        (1, None, KeyState.PRE_ACTIVATION)
    ]
    assert history[0].change == Change(NOW, "alice@example.com", "generated for pump-x2")


def test_a_secret_key_is_recorded_without_public_key(store: KeyStore) -> None:
    record = store.register(new_key(Role.PACKAGE_WRAP, None), change())
    assert (record.algorithm, record.public_key, record.product) == (KeyAlgorithm.AES_256, None, None)


def test_keys_are_found_by_id_and_label_and_listed_by_token_and_role(store: KeyStore) -> None:
    release = store.register(new_key(), change())
    root = store.register(new_key(Role.ROOT, None, token=OTHER_TOKEN), change())
    assert store.key(release.cka_id) == store.key(release.label) == release
    assert store.keys() == (release, root)
    assert store.keys(token=TOKEN.identity) == (release,)
    assert store.keys(token=OTHER_TOKEN.identity) == (root,)
    assert store.keys(role=Role.ROOT) == (root,)
    assert store.keys(token=TOKEN.identity, role=Role.ROOT) == ()
    assert store.keys(token=("0000", "release")) == ()


def test_an_unknown_key_is_named_in_the_error(store: KeyStore) -> None:
    with pytest.raises(KeyUnknown, match="'sr:root:-:0001'"):
        store.key("sr:root:-:0001")
    with pytest.raises(KeyUnknown, match="00" * 20):
        store.state_history(bytes(20))
    with pytest.raises(KeyUnknown):
        store.activate(bytes(20), NOW, NOW + DAY, change())


def test_labels_count_up_per_role_and_product_and_never_come_back(store: KeyStore) -> None:
    spec = KEY_SPECS[Role.APPLICATION_RELEASE]
    assert store.next_label(spec, "pump-x2") == "sr:application-release:pump-x2:0001"
    store.register(new_key(sequence=7), change())
    assert store.next_label(spec, "pump-x2") == "sr:application-release:pump-x2:0008"
    assert store.next_label(spec, "pump-x3") == "sr:application-release:pump-x3:0001"
    assert store.next_label(spec, None) == "sr:application-release:-:0001"
    store.change_state(new_key(sequence=7).cka_id, KeyState.DESTROYED, change())
    assert store.next_label(spec, "pump-x2") == "sr:application-release:pump-x2:0008"
    store.register(new_key(sequence=MAX_SEQUENCE), change())
    with pytest.raises(KeyConflict, match="used up"):
        store.next_label(spec, "pump-x2")


@pytest.mark.parametrize(
    ("clash", "text"),
    [
        (new_key(), "recorded already"),
        (new_key(sequence=2, key=new_key().public_key), "recorded already, as sr:application-release:pump-x2:0001"),
        (new_key(seed=1), "take the next number"),
    ],
    ids=["same key", "same public key under another label", "same label for another key"],
)
def test_a_key_that_clashes_is_refused(store: KeyStore, clash: NewKey, text: str) -> None:
    store.register(new_key(), change())
    before = store.keys()
    with pytest.raises(KeyConflict, match=text):
        store.register(clash, change())
    assert store.keys() == before


def test_what_a_new_key_may_not_be() -> None:
    good = new_key()
    with pytest.raises(InputRefused, match="not the one derived"):
        replace(good, cka_id=bytes(20))
    with pytest.raises(InputRefused, match="20 bytes"):
        replace(good, cka_id=b"")
    with pytest.raises(InputRefused, match="public key"):
        replace(good, public_key=None)
    with pytest.raises(InputRefused, match="public key"):
        replace(new_key(Role.PACKAGE_WRAP, None), public_key=public_key(1), cka_id=public_key(1).cka_id)
    with pytest.raises(ConfigurationError, match="no role"):
        replace(good, label="sr:release:pump-x2:0001")
    with pytest.raises(ValueError, match="time zone"):
        replace(good, created_at=datetime(2026, 1, 1))  # noqa: DTZ001 (that is the point)


@pytest.mark.parametrize("text", ["", " ", "a\nb", "\x1b[2J", "x" * 513, " padded"])
def test_who_and_why_are_one_printable_line(text: str) -> None:
    with pytest.raises(InputRefused):
        Change(NOW, "alice", text)
    with pytest.raises(InputRefused):
        Change(NOW, text, "because")


def test_a_token_whose_module_moved_is_still_the_same_token(store: KeyStore) -> None:
    store.register(new_key(), change())
    moved = TokenRecord(TOKEN.serial, TOKEN.label, "/opt/hsm/libhsm.so")
    store.register(new_key(sequence=2, token=moved), change())
    assert [record.token for record in store.keys(token=TOKEN.identity)] == [moved, moved]


def test_activation_sets_the_window_once(store: KeyStore) -> None:
    key = store.register(new_key(), change())
    active = store.activate(key.cka_id, NOW, NOW + 90 * DAY, change(NOW + DAY, "approved in CH-17"))
    assert (active.state, active.not_before, active.not_after) == (KeyState.ACTIVE, NOW, NOW + 90 * DAY)
    assert active.state_since == NOW + DAY
    store.change_state(key.cka_id, KeyState.SUSPENDED, change(NOW + 2 * DAY))
    for wanted_end in (NOW + 90 * DAY, NOW + 91 * DAY):
        with pytest.raises(PolicyViolation) as refusal:
            store.activate(key.cka_id, NOW, wanted_end, change(NOW + 3 * DAY))
        assert refusal.value.rule_id == "KS-33"
    again = store.change_state(key.cka_id, KeyState.ACTIVE, change(NOW + 3 * DAY))
    assert (again.state, again.not_after) == (KeyState.ACTIVE, NOW + 90 * DAY)


def test_a_window_given_in_another_zone_is_the_same_moment(store: KeyStore) -> None:
    key = store.register(new_key(), change())
    kathmandu = timezone(timedelta(hours=5, minutes=45))
    active = store.activate(key.cka_id, NOW.astimezone(kathmandu), (NOW + DAY).astimezone(kathmandu), change())
    assert (active.not_before, active.not_after) == (NOW, NOW + DAY)


@pytest.mark.parametrize(
    ("not_before", "not_after"),
    [
        (NOW + 2 * DAY, NOW + DAY),
        (NOW + DAY, NOW + DAY),
        (NOW - 2 * DAY, NOW - DAY),
        (NOW - DAY, NOW),
        (NOW, NOW + 3 * 365 * DAY + timedelta(microseconds=1)),
    ],
    ids=["reversed", "empty", "over", "over just now", "longer than the role allows"],
)
def test_ks_30_a_bad_window_is_refused(store: KeyStore, not_before: datetime, not_after: datetime) -> None:
    key = store.register(new_key(), change())
    with pytest.raises(PolicyViolation) as refusal:
        store.activate(key.cka_id, not_before, not_after, change())
    assert refusal.value.rule_id == "KS-30"
    assert store.key(key.cka_id) == key
    assert len(store.state_history(key.cka_id)) == 1


def test_the_longest_window_is_allowed(store: KeyStore) -> None:
    key = store.register(new_key(), change())
    assert store.activate(key.cka_id, NOW, NOW + 3 * 365 * DAY, change()).state is KeyState.ACTIVE


def test_ks_31_a_backdated_change_is_refused(store: KeyStore) -> None:
    key = store.register(new_key(), change())
    with pytest.raises(PolicyViolation) as refusal:
        store.change_state(key.cka_id, KeyState.COMPROMISED, change(NOW - timedelta(microseconds=1)))
    assert refusal.value.rule_id == "KS-31"
    assert store.change_state(key.cka_id, KeyState.COMPROMISED, change(NOW)).state is KeyState.COMPROMISED


def test_ks_32_no_first_activation_without_a_window(store: KeyStore) -> None:
    key = store.register(new_key(), change())
    with pytest.raises(PolicyViolation) as refusal:
        store.change_state(key.cka_id, KeyState.ACTIVE, change())
    assert refusal.value.rule_id == "KS-32"


def test_ks_11_a_destroyed_key_stays_destroyed(store: KeyStore) -> None:
    key = store.register(new_key(), change())
    store.change_state(key.cka_id, KeyState.DESTROYED, change())
    with pytest.raises(PolicyViolation) as refusal:
        store.activate(key.cka_id, NOW, NOW + DAY, change())
    assert refusal.value.rule_id == "KS-11"
    with pytest.raises(PolicyViolation) as refusal:
        store.change_state(key.cka_id, KeyState.ACTIVE, change())
    assert refusal.value.rule_id == "KS-11"
    assert store.key(key.cka_id).not_before is None


def test_certificates_follow_each_other(store: KeyStore, store_path: Path) -> None:
    private, public = software_key()
    key = store.register(new_key(key=public), change())
    first = certificate_for(private, serial_number=0x0A1B)
    second = certificate_for(private, serial_number=0x0A1C, not_after=NOW + 2 * 365 * DAY)
    record = store.set_certificate(key.cka_id, first, change(reason="issued"))
    assert record.certificate is not None
    assert (record.certificate.der, record.certificate.serial_number) == (first, "a1b")
    assert (record.certificate.subject, record.certificate.issuer) == ("CN=Release key", "CN=Release key")
    assert record.certificate.not_before == NOW.replace(microsecond=0)
    record = store.set_certificate(key.cka_id, second, change(NOW + DAY, "renewed"))
    assert record.certificate is not None
    assert record.certificate.der == second
    history = store.certificate_history(key.cka_id)
    assert [(item.der, item.ended_at) for item in history] == [(first, NOW + DAY), (second, None)]
    with pytest.raises(KeyConflict, match="recorded already"):
        store.set_certificate(key.cka_id, first, change(NOW + DAY))
    assert store.end_certificate(key.cka_id, change(NOW + 2 * DAY)).certificate is None
    with pytest.raises(KeyConflict, match="no current certificate"):
        store.end_certificate(key.cka_id, change(NOW + 2 * DAY))
    assert [item.ended_at for item in store.certificate_history(key.cka_id)] == [NOW + DAY, NOW + 2 * DAY]
    check_key_store(store_path)


def test_a_certificate_without_end_is_recorded(store: KeyStore) -> None:
    private, public = software_key()
    key = store.register(new_key(key=public), change())
    end_of_time = datetime(9999, 12, 31, 23, 59, 59, tzinfo=NOW.tzinfo)
    record = store.set_certificate(key.cka_id, certificate_for(private, not_after=end_of_time), change())
    assert record.certificate is not None
    assert record.certificate.not_after == end_of_time


def test_only_the_keys_own_certificate_is_recorded(store: KeyStore) -> None:
    private, public = software_key()
    key = store.register(new_key(key=public), change())
    secret = store.register(new_key(Role.PACKAGE_WRAP, None), change())
    good = certificate_for(private)
    stranger, _ = software_key()
    for cka_id, der, text in (
        (key.cka_id, certificate_for(stranger), "another key"),
        (key.cka_id, good + b"\0", "cannot be read"),
        (key.cka_id, good[:-1], "cannot be read"),
        (key.cka_id, b"", "cannot be read"),
        (key.cka_id, certificate_for(private, subject="x" * 64) * 100, "cannot be read"),
        (secret.cka_id, good, "secret key"),
    ):
        with pytest.raises(InputRefused, match=text):
            store.set_certificate(cka_id, der, change())
    assert store.certificate_history(key.cka_id) == ()


def test_the_store_holds_nothing_secret(store: KeyStore, store_path: Path) -> None:
    """Every column by name: a new one has to be thought about here."""
    with closing(raw(store_path)) as connection:
        tables = connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'").fetchall()
        columns = {
            f"{table}.{column[1]}"
            for (table,) in tables
            for column in connection.execute(f"PRAGMA table_info({table})")
        }
    assert columns == {
        "alembic_version.version_num",
        *(f"tokens.{name}" for name in ("id", "serial", "label", "module_path")),
        *(f"keys.{name}" for name in ("cka_id", "label", "role", "product", "algorithm", "spki", "token_id")),
        *(f"keys.{name}" for name in ("created_at", "not_before", "not_after")),
        *(f"key_state_changes.{name}" for name in ("cka_id", "sequence", "from_state", "to_state")),
        *(f"key_state_changes.{name}" for name in ("changed_at", "changed_by", "reason")),
        *(f"certificates.{name}" for name in ("sha256", "cka_id", "der", "serial_number", "subject", "issuer")),
        *(f"certificates.{name}" for name in ("not_before", "not_after", "added_at", "added_by", "reason", "ended_at")),
        *(f"content_keys_used.{name}" for name in ("fingerprint", "claimed_at")),
        *(f"key_backups.{name}" for name in ("digest", "cka_id", "method", "kek_kcv", "ceremony_digest")),
        *(f"key_copies.{name}" for name in ("id", "cka_id", "token_id", "origin")),
        *(f"{table}.{name}" for table in ("key_backups", "key_copies") for name in ("made_at", "made_by", "reason")),
        *(f"{table}.{name}" for table in ("key_backups", "key_copies") for name in ("ended_at", "ended_by")),
        *(f"{table}.end_reason" for table in ("key_backups", "key_copies")),
    }
