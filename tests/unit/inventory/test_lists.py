"""Lists of keys and of what ends soon: their columns, their cells, and that no cell can do harm."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Sequence
from datetime import timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pki.errors import InputRefused
from pki.key_states import KeyState
from pki.roles import Role
from signer.inventory.expiring import EXPIRING_COLUMNS, MAX_WITHIN_DAYS, expiring
from signer.inventory.key_rows import KEY_COLUMNS, key_rows, rows_as_csv, rows_as_text
from signer.inventory.text_table import printable, text_table
from signer.store.key_store import KeyStore
from signer.store.values import KeyRecord, TokenRecord
from tests.unit.store.stores import (
    BACKUP,
    DAY,
    NOW,
    OTHER_TOKEN,
    THIRD_TOKEN,
    certificate_for,
    change,
    new_key,
    software_key,
)

SECOND = timedelta(seconds=1)


@pytest.fixture
def records(store: KeyStore) -> Sequence[KeyRecord]:
    """An active key with a certificate, and an AES key that waits."""
    private, public = software_key()
    key = store.register(new_key(key=public), change())
    store.activate(key.cka_id, NOW, NOW + 90 * DAY, change())
    store.set_certificate(key.cka_id, certificate_for(private, not_after=NOW + 60 * DAY), change())
    store.register(new_key(Role.PACKAGE_WRAP, None), change())
    return store.keys()


def test_the_columns_are_those_of_the_specification() -> None:
    expected = (
        *("label", "state", "signs_now", "not_before", "not_after", "role", "product", "algorithm", "key_id", "cka_id"),
        *("spki_sha256", "token_serial", "token_label", "module_path", "created_at", "state_since"),
        *("certificate_serial_number", "certificate_not_after", "certificate_sha256", "copies_on", "backups"),
    )
    assert expected == KEY_COLUMNS
    assert EXPIRING_COLUMNS == ("what", "label", "state", "not_after", "days_left", "certificate_serial_number")


def test_rows_say_everything(records: Sequence[KeyRecord]) -> None:
    release, wrap = key_rows(records, NOW)
    record = records[0]
    assert record.public_key is not None
    assert record.certificate is not None
    assert release == {
        "label": "sr:application-release:pump-x2:0001",
        "state": "active",
        "signs_now": "yes",
        "not_before": "2026-11-22T12:00:00.123456Z",
        "not_after": "2027-02-20T12:00:00.123456Z",
        "role": "application-release",
        "product": "pump-x2",
        "algorithm": "ec-p256",
        "key_id": record.cka_id.hex()[:16],
        "cka_id": record.public_key.spki_sha256.hex()[:40],
        "spki_sha256": record.public_key.spki_sha256.hex(),
        "token_serial": "7bd61f2e0a9c4e01",
        "token_label": "release",
        "module_path": "/usr/lib/softhsm/libsofthsm2.so",
        "created_at": "2026-11-22T12:00:00.123456Z",
        "state_since": "2026-11-22T12:00:00.123456Z",
        "certificate_serial_number": "123456789abcdef",
        "certificate_not_after": "2027-01-21T12:00:00.000000Z",
        "certificate_sha256": record.certificate.sha256.hex(),
        "copies_on": "",
        "backups": "",
    }
    assert (wrap["signs_now"], wrap["product"], wrap["not_after"], wrap["key_id"]) == ("KS-23", "", "", "")
    assert tuple(release) == tuple(wrap) == KEY_COLUMNS
    assert json.loads(json.dumps([release, wrap])) == [release, wrap]


def test_rows_say_where_copies_are(store: KeyStore) -> None:
    key = store.register(new_key(), change(), backup=BACKUP, copies_on=[OTHER_TOKEN])
    store.add_restored(key.cka_id, THIRD_TOKEN, change())
    (row,) = key_rows(store.keys(), NOW)
    assert (row["copies_on"], row["backups"]) == ("7bd61f2e0a9c4e01/roots, 00c0ffee00c0ffee/spare", "1")
    store.end_instance(key.cka_id, OTHER_TOKEN.identity, change())
    store.end_backup(key.cka_id, BACKUP.digest, change())
    (row,) = key_rows(store.keys(), NOW)
    assert (row["copies_on"], row["backups"]) == ("00c0ffee00c0ffee/spare", "0")


def test_signs_now_names_the_rule_that_forbids_it(records: Sequence[KeyRecord], store: KeyStore) -> None:
    assert key_rows(records, NOW - SECOND)[0]["signs_now"] == "KS-04"
    assert key_rows(records, NOW + 91 * DAY)[0]["signs_now"] == "KS-05"
    store.change_state(records[0].cka_id, KeyState.SUSPENDED, change())
    assert key_rows(store.keys(), NOW)[0]["signs_now"] == "KS-02"


def test_csv_is_rfc_4180_in_the_order_of_the_columns(records: Sequence[KeyRecord]) -> None:
    rows = key_rows(records, NOW)
    text = rows_as_csv(KEY_COLUMNS, rows)
    assert text.endswith("\r\n")
    assert text.count("\r\n") == 3
    assert list(csv.DictReader(io.StringIO(text, newline=""), strict=True)) == rows


@pytest.mark.parametrize("beginning", ["=", "+", "-", "@", "\t", "\r", " =", "  @", "\t=", "\n-"])
def test_a_cell_is_never_a_formula(beginning: str) -> None:
    text = rows_as_csv(("cell",), [{"cell": f'{beginning}cmd|"/c calc"!A1'}])
    (_, (cell,)) = csv.reader(io.StringIO(text, newline=""), strict=True)
    assert cell.startswith("'")


@given(st.text(max_size=40))
def test_any_cell_stays_one_harmless_cell(content: str) -> None:
    text = rows_as_csv(("cell",), [{"cell": content}])
    header, row = csv.reader(io.StringIO(text, newline=""), strict=True)
    assert header == ["cell"]
    assert len(row) == 1
    assert row[0].isprintable()
    assert not row[0].lstrip().startswith(("=", "+", "-", "@"))
    if content.isprintable() and content.lstrip()[:1] not in tuple("=+-@"):
        assert row[0] == content


def test_a_hostile_token_label_reaches_no_list_raw(store: KeyStore) -> None:
    token = TokenRecord("1", "=HYPERLINK(1)", "/usr/lib/x.so")
    store.register(new_key(token=token), change())
    rows = key_rows(store.keys(), NOW)
    assert '"\'=HYPERLINK(1)"' in rows_as_csv(KEY_COLUMNS, rows)
    assert rows_as_text(rows).count("\n") == 2


@given(st.lists(st.lists(st.text(max_size=10), min_size=2, max_size=2), max_size=4))
def test_tables_have_one_printable_line_per_row(rows: list[list[str]]) -> None:
    lines = text_table(("a", "b"), rows).split("\n")
    assert len(lines) == len(rows) + 2
    assert lines[-1] == ""
    assert all(line.isprintable() for line in lines)


def test_unprintable_characters_are_shown_as_escapes() -> None:
    assert printable("a\x1b[2J\u202eä\n") == "a\\x1b[2J\\u202eä\\n"


def test_what_ends_soon_comes_soonest_first(records: Sequence[KeyRecord]) -> None:
    assert expiring(records, 59, NOW) == []
    certificate = {
        "what": "certificate",
        "label": "sr:application-release:pump-x2:0001",
        "state": "active",
        "not_after": "2027-01-21T12:00:00.000000Z",
        "days_left": "59",
        "certificate_serial_number": "123456789abcdef",
    }
    assert expiring(records, 60, NOW) == [certificate]
    both = expiring(records, 90, NOW)
    assert [(row["what"], row["days_left"]) for row in both] == [("certificate", "59"), ("key", "90")]
    assert all(tuple(row) == EXPIRING_COLUMNS for row in both)


def test_what_has_ended_stays_until_the_key_is_put_away(records: Sequence[KeyRecord], store: KeyStore) -> None:
    later = NOW + 90 * DAY + SECOND
    assert [(row["what"], row["days_left"]) for row in expiring(records, 0, later)] == [
        ("certificate", "-31"),
        ("key", "-1"),
    ]
    store.change_state(records[0].cka_id, KeyState.DEACTIVATED, change(later))
    assert [row["what"] for row in expiring(store.keys(), 0, later)] == ["certificate"]
    store.change_state(records[0].cka_id, KeyState.COMPROMISED, change(later))
    assert expiring(store.keys(), 0, later) == []


def test_the_last_moment_is_within(records: Sequence[KeyRecord]) -> None:
    end = NOW + 90 * DAY
    assert [row["days_left"] for row in expiring(records, 0, end) if row["what"] == "key"] == ["0"]
    assert [row for row in expiring(records, 0, end - timedelta(microseconds=1)) if row["what"] == "key"] == []


@pytest.mark.parametrize("within_days", [-1, MAX_WITHIN_DAYS + 1])
def test_days_are_bounded(within_days: int) -> None:
    with pytest.raises(InputRefused):
        expiring([], within_days, NOW)
