"""Keys that a station puts into a device: wrapped inside its token, never on the host in the clear."""

from __future__ import annotations

from typing import Protocol

import msgspec

from pki.values import PublicKey
from provisioning.station.rules import Rule, refused
from signer.device_objects.activation import InjectedAgreementKey, InjectedKey
from signer.device_objects.common import Injection


class Injector(Protocol):
    """The token, as far as it injects."""

    def wrap_group_key(self, device_agreement_key: PublicKey) -> InjectedKey:
        """The group's private key, wrapped to the device. Raises TokenError."""

    def make_agreement_key(self, device_agreement_key: PublicKey) -> InjectedAgreementKey:
        """A key pair made for this device, its private half wrapped to it. Raises TokenError."""


class Injected(msgspec.Struct, frozen=True):
    """What one activation carries."""

    group_key: InjectedKey | None = None
    agreement_key: InjectedAgreementKey | None = None

    def agreement_key_in_force(self, made: PublicKey) -> PublicKey:
        """The agreement key once the device is activated: the injected one, or the one that it made."""
        return made if self.agreement_key is None else self.agreement_key.public_key


def inject(wanted: Injection, injector: Injector | None, device_agreement_key: PublicKey) -> Injected:
    """What the order demands, for one device. Raises PolicyViolation ST-11, TokenError."""
    if not wanted:
        return Injected()
    if injector is None:
        raise refused(Rule.GROUP_KEY, "the order injects keys, and the station was not set up for it: station init")
    return Injected(
        group_key=injector.wrap_group_key(device_agreement_key) if wanted & Injection.GROUP_KEY else None,
        agreement_key=injector.make_agreement_key(device_agreement_key) if wanted & Injection.AGREEMENT_KEY else None,
    )
