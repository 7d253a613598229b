"""Injected keys, wrapped inside the station's token to one device (docs/spec/activation.md, section 3; ADR 0073).

The wrapping key is derived in the token from a pair made for this one wrap and the device's agreement key. Every object
is of the session, and destroyed at once; the private keys that are wrapped never leave the token otherwise.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING

import pkcs11

from pki.key_specs import KeyUsage
from pki.values import PublicKey
from signer.device_objects.activation import InjectedAgreementKey, InjectedKey
from signer.tokens.errors import MechanismUnsupported
from signer.tokens.generation import generate_unlocked_pair
from signer.tokens.objects import public_key_of
from signer.tokens.wrapped_key import Framing
from signer.tokens.wrapping import derive_wrapping_key, framing_made_by

if TYPE_CHECKING:
    from signer.tokens.session import Session

GroupKey = Callable[[], "pkcs11.PrivateKey"]
"""Gives the group's private key as a session object that may be wrapped; the caller destroys it."""


class TokenInjector:
    """The `Injector` of one open session. `group_key` is None where the order injects none."""

    def __init__(self, session: Session, group_key: GroupKey | None) -> None:
        """Raises MechanismUnsupported for a module that cannot wrap so that a device can unwrap."""
        profile = session.probe_profile()
        framing, _ = framing_made_by(profile)
        if framing is not Framing.RFC_3394 or not profile.ecdh_null_kdf:
            raise MechanismUnsupported(
                "the module has no ECDH with CKD_NULL, or no RFC 3394 wrap: it cannot inject keys"
            )
        self._session = session
        self._group_key = group_key

    def wrap_group_key(self, device_agreement_key: PublicKey) -> InjectedKey:
        """Raises TokenError."""
        if self._group_key is None:
            raise MechanismUnsupported("the station has no group key; station init --group-key")
        with self._session.operation("wrapping the group's key to a device"):
            return self._wrap(self._group_key(), device_agreement_key)

    def make_agreement_key(self, device_agreement_key: PublicKey) -> InjectedAgreementKey:
        """Raises TokenError."""
        usages = frozenset({KeyUsage.DERIVE})
        with self._session.operation("making an agreement key for a device") as raw:
            profile = self._session.probe_profile()
            public, private = generate_unlocked_pair(raw, "", usages, profile, on_token=False, extractable=True)
            public_key = public_key_of(public)
            public.destroy()
            wrapped = self._wrap(private, device_agreement_key)
            return InjectedAgreementKey(public_key, wrapped)

    def _wrap(self, private: pkcs11.PrivateKey, device_agreement_key: PublicKey) -> InjectedKey:
        """Wrap and destroy."""
        with _destroyed_afterwards(private):
            ephemeral, wrapping_key = derive_wrapping_key(self._session, device_agreement_key)
            try:
                return InjectedKey(ephemeral, wrapping_key.wrap(private).data)
            finally:
                wrapping_key.destroy()


@contextmanager
def _destroyed_afterwards(item: pkcs11.Object) -> Iterator[None]:
    try:
        yield
    finally:
        with suppress(pkcs11.PKCS11Error):
            item.destroy()
