"""Destroying a key covers every instance and backup, says what remains, and continues when called again."""

from __future__ import annotations

import pytest

from pki.errors import InputRefused, PolicyViolation
from pki.key_states import KeyState
from pki.roles import Role
from signer.custody.destruction import destroy_everywhere, record_lost
from signer.log.values import EventKind
from signer.store.errors import KeyConflict, KeyUnknown
from signer.store.signing_gate import require_may_sign
from signer.store.values import KeyRecord
from signer.tokens import KeyRef
from tests.unit.custody.places import LABEL, PAIR, Place
from tests.unit.store.stores import DAY, NOW, change

END = change(NOW + DAY, "end of product")


@pytest.fixture
def record(place: Place) -> KeyRecord:
    return place.generate().record


def token(place: Place, name: str) -> tuple[str, str]:
    session = {"home": place.home, "spare": place.spare}[name]
    return (session.token.serial, session.token.label)


def test_everything_at_once(place: Place, record: KeyRecord) -> None:
    digest = record.backups[0].digest
    done = destroy_everywhere(place.store, LABEL, [place.home, place.spare], END, backups_destroyed=[digest])
    assert (done.tokens, done.backups) == ((), ())
    assert done.record.state is KeyState.DESTROYED
    assert place.labels_on(place.home) == place.labels_on(place.spare) == []
    assert place.errors_on(place.home) == place.errors_on(place.spare) == set()
    ends = [copy.ended for copy in done.record.copies] + [backup.ended for backup in done.record.backups]
    assert ends == [END] * 3
    events = done.events("alice")
    assert [event.kind for event in events] == [EventKind.KEY_DESTROYED] * 3
    assert events[2].details["backup_digest"] == digest.hex()


def test_what_remains_is_said_until_nothing_does(place: Place, record: KeyRecord) -> None:
    digest = record.backups[0].digest
    first = destroy_everywhere(place.store, LABEL, [place.spare], END)
    assert (first.tokens, first.backups) == ((token(place, "home"),), (digest,))
    assert place.labels_on(place.home) == PAIR
    assert any("KA-18" in error for error in place.errors_on(place.home))
    second = destroy_everywhere(place.store, LABEL, [place.home], END)
    assert (second.tokens, second.backups) == ((), (digest,))
    third = destroy_everywhere(place.store, LABEL, [], END, backups_destroyed=[digest])
    assert (third.tokens, third.backups, third.ended_backups) == ((), (), (digest,))
    again = destroy_everywhere(place.store, LABEL, [place.home, place.spare], END, backups_destroyed=[digest])
    assert again.events("alice") == ()


def test_a_lost_token_is_named(place: Place, record: KeyRecord) -> None:
    done = destroy_everywhere(place.store, LABEL, [place.home], END, lost=[token(place, "spare")])
    assert (done.tokens, done.lost) == ((), (token(place, "spare"),))
    (copy, _) = done.record.copies
    assert copy.ended is not None
    assert copy.ended.reason == "token lost: end of product"
    assert {"lost": True}.items() <= done.events("alice")[1].details.items()


def test_an_instance_that_is_gone_already_is_recorded(place: Place, record: KeyRecord) -> None:
    """As after a kill between token and store."""
    place.store.change_state(record.cka_id, KeyState.DESTROYED, END)
    place.home.dangerously_destroy_key(KeyRef(LABEL))
    done = destroy_everywhere(place.store, LABEL, [place.home, place.spare], END)
    assert done.tokens == ()
    assert place.labels_on(place.spare) == []


def test_half_a_key_is_removed_too(place: Place, record: KeyRecord) -> None:
    from pkcs11.constants import Attribute, ObjectClass

    from signer.tokens.objects import search

    with place.home.operation("cutting") as raw:
        (private,) = search(raw, {Attribute.CLASS: ObjectClass.PRIVATE_KEY})
        private.destroy()
    destroy_everywhere(place.store, LABEL, [place.home], END)
    assert place.labels_on(place.home) == []


def test_nothing_is_done_where_the_key_never_was(place: Place) -> None:
    record = place.generate(place.plan(copy=False)).record
    before = place.record()
    with pytest.raises(InputRefused, match="never on token"):
        destroy_everywhere(place.store, LABEL, [place.home, place.spare], END)
    with pytest.raises(InputRefused, match="never on token"):
        destroy_everywhere(place.store, LABEL, [place.home], END, lost=[("00", "other")])
    with pytest.raises(InputRefused, match="no backup"):
        destroy_everywhere(place.store, LABEL, [place.home], END, backups_destroyed=[bytes(32)])
    with pytest.raises(KeyUnknown):
        destroy_everywhere(place.store, "sr:root:-:0009", [place.home], END)
    with pytest.raises(PolicyViolation, match="KS-31"):
        destroy_everywhere(place.store, LABEL, [place.home], change(NOW - DAY))
    assert place.record() == before == record
    assert place.labels_on(place.home) == PAIR


def test_a_lost_token_does_not_sign_and_the_copy_does(place: Place, record: KeyRecord) -> None:
    place.store.activate(record.cka_id, NOW, NOW + 10 * DAY, change())
    record_lost(place.store, LABEL, token(place, "home"), END)
    permit = require_may_sign(place.store._path, LABEL, Role.ROOT, None, NOW + DAY)
    permit.require_token(*token(place, "spare"))
    with pytest.raises(PolicyViolation, match="KS-26"):
        permit.require_token(*token(place, "home"))
    assert any("KA-24" in error for error in place.errors_on(place.home)), "it came back"
    with pytest.raises(KeyConflict):
        record_lost(place.store, LABEL, token(place, "home"), END)
