"""Puts what a token shows beside what the key store records. Pure; the token's word alone counts for nothing."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from pki.key_audit import ObjectClass, ObservedObject
from pki.key_specs import KeyAlgorithm
from pki.key_states import KeyState
from signer.store.values import KeyRecord

_CLASS_OF_ALGORITHM = {
    KeyAlgorithm.EC_P256: ObjectClass.PRIVATE_KEY,
    KeyAlgorithm.AES_256: ObjectClass.SECRET_KEY,
}


@dataclass(frozen=True, slots=True)
class Contradiction:
    """A recorded key of which the token shows something else; `text` says what."""

    record: KeyRecord
    text: str


@dataclass(frozen=True, slots=True)
class Reconciliation:
    """Every record is in exactly one of the first five; every object of no recorded key is a stranger.

    `lingering` keys are destroyed by the store, or recorded as no longer on this token, and still on it; `gone` ones
    are gone.
    """

    present: tuple[KeyRecord, ...]
    vanished: tuple[KeyRecord, ...]
    contradicting: tuple[Contradiction, ...]
    lingering: tuple[KeyRecord, ...]
    gone: tuple[KeyRecord, ...]
    strangers: tuple[ObservedObject, ...]


def reconcile(
    observed: Sequence[ObservedObject], records: Sequence[KeyRecord], token: tuple[str, str] | None = None
) -> Reconciliation:
    """Compare every object of one token (seen while logged in) with the records of exactly that token.

    With `token` (serial, label), keys that are recorded to be no longer there count as destroyed ones do.
    """
    present: list[KeyRecord] = []
    vanished: list[KeyRecord] = []
    lingering: list[KeyRecord] = []
    gone: list[KeyRecord] = []
    contradicting: list[Contradiction] = []
    for record in records:
        objects = [item for item in observed if item.cka_id == record.cka_id]
        on_token = any(item.object_class is _CLASS_OF_ALGORITHM[record.algorithm] for item in objects)
        contradiction = _contradiction(objects, record)
        if record.state is KeyState.DESTROYED or (token is not None and record.origin_on(token) is None):
            (lingering if on_token else gone).append(record)
        elif not on_token:
            vanished.append(record)
        elif contradiction is not None:
            contradicting.append(Contradiction(record, contradiction))
        else:
            present.append(record)
    known_ids = {record.cka_id for record in records}
    return Reconciliation(
        present=tuple(present),
        vanished=tuple(vanished),
        contradicting=tuple(contradicting),
        lingering=tuple(lingering),
        gone=tuple(gone),
        strangers=tuple(item for item in observed if item.cka_id not in known_ids),
    )


def _contradiction(objects: Sequence[ObservedObject], record: KeyRecord) -> str | None:
    """What makes the objects of this CKA_ID something else than the recorded key; None when nothing does."""
    keys = [item for item in objects if item.object_class is _CLASS_OF_ALGORITHM[record.algorithm]]
    if len(keys) > 1:
        return f"{len(keys)} keys on the token have this CKA_ID"
    for item in objects:
        if item.label != record.label:
            return f"{item.name} should have the label {record.label!r}"
        if item.algorithm is not record.algorithm:
            return f"{item.name} is not of algorithm {record.algorithm.value}"
        if item.public_point is not None and (
            record.public_key is None or item.public_point != record.public_key.point
        ):
            return f"{item.name} has another public key than the key store"
    if record.public_key is not None and all(item.object_class is not ObjectClass.PUBLIC_KEY for item in objects):
        return f"the public key of {record.label!r} is not on the token"
    return None
