"""Evidence as private data objects of the station's token (docs/spec/station.md, section 4)."""

from __future__ import annotations

from contextlib import suppress
from typing import Any

import pkcs11
from pkcs11.constants import Attribute, ObjectClass

from provisioning.station.evidence import EVIDENCE_SIZE_BYTES, OBJECTS_MAX
from signer.tokens.objects import search
from signer.tokens.session import Session

_APPLICATION = "strongroom"
_LABEL = "sr:evidence:{}"


class TokenEvidence:
    """The `EvidenceStore` of one open, writable session.

    A new object is made before the old one goes, and no object is ever changed: SoftHSM takes no new CKA_VALUE, and an
    object that is written anew in place could be torn (docs/adr/0093).
    """

    def __init__(self, session: Session) -> None:
        self._session = session

    def read(self, order_id: bytes) -> tuple[bytes, ...]:
        """Every value that is kept under the order's label. Raises TokenError."""
        with self._session.operation("reading the station's evidence") as raw:
            return tuple(_value(item) for item in search(raw, _label(order_id))[:OBJECTS_MAX])

    def replace(self, order_id: bytes, data: bytes) -> None:
        """Make a new object, then destroy the others. Raises TokenError."""
        with self._session.operation("writing the station's evidence") as raw:
            old = search(raw, _label(order_id))
            made = raw.create_object(
                _label(order_id)
                | {
                    Attribute.PRIVATE: True,
                    Attribute.APPLICATION: _APPLICATION,
                    Attribute.VALUE: data,
                    Attribute.MODIFIABLE: False,
                }
            )
            if _value(made) != data:
                made.destroy()
                raise pkcs11.PKCS11Error("the token shows another value than was written")
            for item in old:
                # It was there a moment ago; one that is not does no harm, and neither does one that stays: it is older.
                with suppress(pkcs11.ObjectHandleInvalid):
                    item.destroy()

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


def _value(item: pkcs11.Object) -> bytes:
    """What an object holds; empty for one that shows nothing, or more than evidence has."""
    value = item.get_attributes([Attribute.VALUE]).get(Attribute.VALUE, b"")
    return value if isinstance(value, bytes) and len(value) == EVIDENCE_SIZE_BYTES else b""
