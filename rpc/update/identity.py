"""Whose word counts: a device's status, verified under the key that somebody else has on record for it."""

from __future__ import annotations

import hmac
from typing import Final, Protocol

from pki.errors import WrongTarget
from pki.values import PublicKey
from rpc.client import NONCE_SIZE_BYTES, DeviceClient
from rpc.objects.signed_status import SignedStatus
from rpc.update.rules import Refused
from rpc.update.sources import RandomBytes

UID_SIZE_BYTES: Final = 16


class IdentityKeys(Protocol):
    """A registry, device files, or whatever else knows devices."""

    def identity_key(self, uid: bytes) -> PublicKey | None:
        """The key on record for a UID (16 bytes, padded); None for a device that is on none."""


class KnownDevices:
    """Keys out of public device files (docs/spec/device-file.md)."""

    def __init__(self, keys: dict[bytes, PublicKey]) -> None:
        """`keys` by UID, padded or not."""
        self._keys = {uid.ljust(UID_SIZE_BYTES, b"\0"): key for uid, key in keys.items()}

    def identity_key(self, uid: bytes) -> PublicKey | None:
        """None for a device that is in no file."""
        return self._keys.get(uid)


def read_status(client: DeviceClient, keys: IdentityKeys | None, random_bytes: RandomBytes) -> SignedStatus:
    """The status over a fresh nonce, verified; without `keys` it is only what the link says.

    Raises Refused (UP-10), SignatureInvalid, WrongTarget, FormatError; DeviceRefused and LinkError from the link.
    """
    nonce = random_bytes(NONCE_SIZE_BYTES)
    status = SignedStatus.parse(client.signed_status(nonce))
    if keys is None:
        if not hmac.compare_digest(status.nonce, nonce):
            raise WrongTarget("[LK-13] the status answers another question: an old one, sent again")
        return status
    key = keys.identity_key(status.uid)
    if key is None:
        raise Refused(
            "UP-10",
            f"device {status.uid.hex()} is on no record: give --registry or its public file in --devices; whatever key "
            "it shows itself proves nothing (--unverified goes without)",
        )
    status.verify(key, nonce)
    return status
