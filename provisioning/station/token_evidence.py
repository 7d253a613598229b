"""Evidence as private data objects of the station's token (docs/spec/station.md, section 4)."""

from __future__ import annotations

from contextlib import suppress
from typing import Any

import pkcs11
from pkcs11.constants import Attribute, ObjectClass

from provisioning.station.evidence import EVIDENCE_SIZE_BYTES, OBJECTS_MAX
from provisioning.station.rules import Rule, refused
from signer.tokens.objects import search
from signer.tokens.session import Session

_APPLICATION = "strongroom"
_LABEL = "sr:evidence:{}"


class TokenEvidence:
    """The `EvidenceStore` of one open, writable session.

    A new object is made before the old one goes, and no object is ever changed: SoftHSM takes no new CKA_VALUE, and an
    object that is written anew in place could be torn (docs/adr/0093). Of two processes that work with copies of one
    folder, each makes an object and then looks: the later one sees the other's, and stops before anything leaves.
    """

    def __init__(self, session: Session) -> None:
        self._session = session
        self._known: dict[bytes, set[bytes]] = {}

    def read(self, order_id: bytes) -> tuple[bytes, ...]:
        """Every value that is kept under the order's label. Raises TokenError."""
        with self._session.operation("reading the station's evidence") as raw:
            values = tuple(_value(item) for item in search(raw, _label(order_id))[:OBJECTS_MAX])
        self._known[order_id] = set(values)
        return values

    def replace(self, order_id: bytes, data: bytes) -> None:
        """Make a new object, then destroy the others. Raises PolicyViolation ST-28, TokenError."""
        known = self._known.setdefault(order_id, set())
        with self._session.operation("writing the station's evidence") as raw:
            old = search(raw, _label(order_id))
            _require_known(old, known)
            made = raw.create_object(_label(order_id) | _fixed(data))
            found = search(raw, _label(order_id))
            try:
                _require_known(found, known | {data})
                if not any(_value(item) == data for item in found):
                    raise pkcs11.PKCS11Error("the token shows another value than was written")
            except BaseException:
                made.destroy()
                raise
            for item in old:
                # It was there a moment ago; one that is not does no harm, and neither does one that stays: it is older.
                with suppress(pkcs11.ObjectHandleInvalid):
                    item.destroy()
        self._known[order_id] = {data}

    def dangerously_destroy(self, order_id: bytes) -> int:
        """Remove the evidence of an order; returns how many objects there were. For orders that are over."""
        with self._session.operation("destroying the station's evidence") as raw:
            found = search(raw, _label(order_id))
            for item in found:
                item.destroy()
            return len(found)


def _label(order_id: bytes) -> dict[Attribute, Any]:
    return {
        Attribute.CLASS: ObjectClass.DATA,
        Attribute.TOKEN: True,
        Attribute.LABEL: _LABEL.format(order_id.hex()),
    }


def _fixed(data: bytes) -> dict[Attribute, Any]:
    return {
        Attribute.PRIVATE: True,
        Attribute.APPLICATION: _APPLICATION,
        Attribute.VALUE: data,
        Attribute.MODIFIABLE: False,
    }


def _require_known(found: list[pkcs11.Object], known: set[bytes]) -> None:
    if any(_value(item) not in known for item in found):
        raise refused(
            Rule.TWO_AT_WORK,
            "another process counts devices of this order with this token, from a copy of the folder; end both, and "
            "start the one whose ledger the token agrees with",
        )


def _value(item: pkcs11.Object) -> bytes:
    """What an object holds; empty for one that shows nothing, or more than evidence has."""
    value = item.get_attributes([Attribute.VALUE]).get(Attribute.VALUE, b"")
    return value if isinstance(value, bytes) and len(value) == EVIDENCE_SIZE_BYTES else b""
