"""Copies and backups in the key store; the signing gate lets a key sign where it is recorded and nowhere else."""

from __future__ import annotations

from pathlib import Path

import pytest

from pki.errors import InputRefused, PolicyViolation
from pki.roles import Role
from signer.store.custody_values import BACKUP_METHOD, CopyOrigin, NewBackup
from signer.store.errors import KeyConflict, KeyStoreDamaged, KeyStoreError
from signer.store.key_store import KeyStore
from signer.store.maintenance import check_key_store
from signer.store.signing_gate import SigningPermit, require_may_sign
from signer.store.values import KeyRecord
from tests.unit.store.stores import BACKUP, DAY, NOW, OTHER_TOKEN, THIRD_TOKEN, TOKEN, change, new_key

RELEASE = Role.APPLICATION_RELEASE
LATER = change(NOW + DAY, "lost")


@pytest.fixture
def key(store: KeyStore) -> KeyRecord:
    """An active key with a backup and a copy."""
    made = store.register(new_key(), change(), backup=BACKUP, copies_on=[OTHER_TOKEN])
    return store.activate(made.cka_id, NOW, NOW + 90 * DAY, change())


def permit_of(store_path: Path) -> SigningPermit:
    return require_may_sign(store_path, new_key().label, RELEASE, "pump-x2", NOW + DAY)


def test_a_key_is_recorded_with_its_backup_and_copies(store: KeyStore, store_path: Path, key: KeyRecord) -> None:
    assert key == store.key(key.label)
    (copy,), (backup,) = key.copies, key.backups
    assert (copy.token, copy.origin, copy.made, copy.ended) == (OTHER_TOKEN, CopyOrigin.TRANSFERRED, change(), None)
    assert (backup.digest, backup.method, backup.kek_kcv) == (BACKUP.digest, BACKUP_METHOD, BACKUP.kek_kcv)
    assert (backup.ceremony_digest, backup.made, backup.ended) == (None, change(), None)
    assert key.tokens == (TOKEN, OTHER_TOKEN)
    assert key.was_extractable
    assert [key.origin_on(token.identity) for token in (TOKEN, OTHER_TOKEN, THIRD_TOKEN)] == [
        CopyOrigin.GENERATED,
        CopyOrigin.TRANSFERRED,
        None,
    ]
    for token in (TOKEN, OTHER_TOKEN):
        assert store.keys(token=token.identity) == (key,)
    assert store.keys(token=THIRD_TOKEN.identity) == ()
    check_key_store(store_path)


@pytest.mark.parametrize("role", [Role.LOG, Role.GRANT])
def test_the_check_finds_copies_that_cannot_be(store: KeyStore, store_path: Path, role: Role) -> None:
    store.register(new_key(role, None), change(), copies_on=[OTHER_TOKEN])
    with pytest.raises(KeyStoreDamaged, match="have none"):
        check_key_store(store_path)


def test_the_check_finds_a_restoration_from_nothing(store: KeyStore, store_path: Path) -> None:
    key = store.register(new_key(), change())
    store.add_restored(key.cka_id, THIRD_TOKEN, LATER)
    with pytest.raises(KeyStoreDamaged, match="never had a backup"):
        check_key_store(store_path)


def test_a_key_without_either_is_as_before(store: KeyStore) -> None:
    key = store.register(new_key(), change())
    assert (key.copies, key.backups, key.tokens, key.was_extractable) == ((), (), (TOKEN,), False)


def test_a_restored_key_was_not_extractable_where_it_was_made(store: KeyStore) -> None:
    key = store.register(new_key(), change())
    key = store.add_restored(key.cka_id, THIRD_TOKEN, LATER)
    assert key.tokens == (TOKEN, THIRD_TOKEN)
    assert key.origin_on(THIRD_TOKEN.identity) is CopyOrigin.RESTORED
    assert not key.was_extractable


def test_ks_26_a_key_signs_on_its_home_and_its_current_copies(
    store: KeyStore, store_path: Path, key: KeyRecord
) -> None:
    permit = permit_of(store_path)
    assert permit.tokens == (TOKEN.identity, OTHER_TOKEN.identity)
    assert (permit.token_serial, permit.token_label) == TOKEN.identity
    for token in (TOKEN, OTHER_TOKEN):
        permit.require_token(*token.identity)
    for serial, label in (THIRD_TOKEN.identity, (TOKEN.serial, "spare"), ("", "")):
        with pytest.raises(PolicyViolation) as violation:
            permit.require_token(serial, label)
        assert violation.value.rule_id == "KS-26"
    store.add_restored(key.cka_id, THIRD_TOKEN, LATER)
    permit_of(store_path).require_token(*THIRD_TOKEN.identity)


def test_ks_26_a_key_does_not_sign_where_it_ended(store: KeyStore, store_path: Path, key: KeyRecord) -> None:
    ended = store.end_instance(key.cka_id, OTHER_TOKEN.identity, LATER)
    assert ended.copies[0].ended == LATER
    assert permit_of(store_path).tokens == ended_tokens(ended) == (TOKEN.identity,)
    left = store.end_instance(key.cka_id, TOKEN.identity, LATER)
    assert left.origin_on(TOKEN.identity) is None
    assert permit_of(store_path).tokens == ended_tokens(left) == ()
    with pytest.raises(PolicyViolation, match=r"KS-26.* on token none"):
        permit_of(store_path).require_token(*TOKEN.identity)
    with pytest.raises(PolicyViolation, match="KS-26"):
        permit_of(store_path).require_token("", "")
    again = store.add_restored(key.cka_id, TOKEN, LATER)
    assert permit_of(store_path).tokens == ended_tokens(again) == (TOKEN.identity,)
    assert again.origin_on(TOKEN.identity) is CopyOrigin.RESTORED


def ended_tokens(record: KeyRecord) -> tuple[tuple[str, str], ...]:
    return tuple(token.identity for token in record.tokens)


def test_a_key_whose_home_ended_is_named_by_its_copy(store: KeyStore, store_path: Path, key: KeyRecord) -> None:
    store.end_instance(key.cka_id, TOKEN.identity, LATER)
    permit = permit_of(store_path)
    assert (permit.token_serial, permit.token_label, permit.other_tokens) == (*OTHER_TOKEN.identity, ())


def test_nothing_ends_twice_or_where_it_never_was(store: KeyStore, key: KeyRecord) -> None:
    for token in (TOKEN, OTHER_TOKEN):
        store.end_instance(key.cka_id, token.identity, LATER)
        with pytest.raises(KeyConflict, match="is no more"):
            store.end_instance(key.cka_id, token.identity, LATER)
    with pytest.raises(KeyConflict):
        store.end_instance(key.cka_id, THIRD_TOKEN.identity, LATER)
    store.end_backup(key.cka_id, BACKUP.digest, LATER)
    for digest in (BACKUP.digest, bytes(32)):
        with pytest.raises(KeyConflict, match="no backup"):
            store.end_backup(key.cka_id, digest, LATER)
    assert store.key(key.label).backups[0].ended == LATER


def test_ks_31_an_end_is_not_dated_before_the_beginning(store: KeyStore, key: KeyRecord) -> None:
    early = change(NOW - DAY)
    for token in (TOKEN, OTHER_TOKEN):
        with pytest.raises(PolicyViolation, match="KS-31"):
            store.end_instance(key.cka_id, token.identity, early)
    with pytest.raises(PolicyViolation, match="KS-31"):
        store.end_backup(key.cka_id, BACKUP.digest, early)
    assert store.key(key.label) == key


def test_a_key_is_not_restored_to_where_it_is(store: KeyStore, key: KeyRecord) -> None:
    for token in (TOKEN, OTHER_TOKEN):
        with pytest.raises(KeyConflict, match="already"):
            store.add_restored(key.cka_id, token, LATER)


def test_a_copy_on_the_keys_own_token_records_nothing(store: KeyStore) -> None:
    for tokens in ([TOKEN], [OTHER_TOKEN, OTHER_TOKEN]):
        with pytest.raises(KeyStoreError):
            store.register(new_key(), change(), copies_on=tokens)
    assert store.keys() == ()


def test_one_backup_belongs_to_one_key(store: KeyStore, key: KeyRecord) -> None:
    with pytest.raises(KeyStoreError):
        store.register(new_key(sequence=2), change(), backup=BACKUP)
    assert store.keys() == (key,)


@pytest.mark.parametrize("sizes", [(31, 5, 32), (32, 4, 32), (32, 5, 31), (33, 5, 32)])
def test_a_backup_has_values_of_the_right_size(sizes: tuple[int, int, int]) -> None:
    with pytest.raises(InputRefused):
        NewBackup(*(bytes(size) for size in sizes))
