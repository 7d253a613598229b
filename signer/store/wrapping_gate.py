"""May a secret key wrap or unwrap now? The key store is asked as it is for a signature (signing_gate.py)."""

from __future__ import annotations

from datetime import datetime
from pathlib import Path

import msgspec

from pki.errors import PolicyViolation
from pki.key_specs import KEY_SPECS, KeyUsage
from pki.key_states import may_sign, may_unwrap
from pki.roles import Role
from signer.store.signing_gate import GateRecord, read_gate_record


class WrappingPermit(msgspec.Struct, frozen=True):
    """A secret key that may be used: its CKA_ID, and (serial, label) of the tokens that have it."""

    cka_id: bytes
    label: str
    tokens: tuple[tuple[str, str], ...]

    def require_token(self, serial: str, label: str) -> None:
        """Raise PolicyViolation KS-26 unless the key is recorded on the token that was opened."""
        if (serial, label) not in self.tokens:
            raise PolicyViolation("KS-26", f"key {self.label} is not recorded on token {serial} ({label!r})")


def require_may_wrap(path: Path, label: str, role: Role, product: str | None, now: datetime) -> WrappingPermit:
    """Raise PolicyViolation unless the key may wrap at `now`, as a key pair may sign: KS-02 to KS-05, KS-20 to KS-24.

    Raises KeyStoreError when the store at `path` cannot be read.
    """
    record = _record(path, label, role, product, KeyUsage.WRAP, now)
    decision = may_sign(record.state, record.not_before, record.not_after, now)
    if not decision.allowed:
        raise PolicyViolation(decision.rule_id, f"key {label}: {decision.reason}")
    return WrappingPermit(record.cka_id, record.label, record.tokens)


def require_may_unwrap(path: Path, label: str, role: Role, product: str | None, now: datetime) -> WrappingPermit:
    """The same for unwrapping, which goes on after the key's time (KS-08, KS-09)."""
    record = _record(path, label, role, product, KeyUsage.UNWRAP, now)
    decision = may_unwrap(record.state)
    if not decision.allowed:
        raise PolicyViolation(decision.rule_id, f"key {label}: {decision.reason}")
    return WrappingPermit(record.cka_id, record.label, record.tokens)


def _record(path: Path, label: str, role: Role, product: str | None, usage: KeyUsage, now: datetime) -> GateRecord:
    record = read_gate_record(path, label)
    if record is None:
        raise PolicyViolation("KS-20", f"no key {label!r} is recorded in the key store; check the name, or register it")
    if record.role is not role:
        raise PolicyViolation("KS-21", f"key {label} has the role {record.role}, and {role} is needed")
    if record.product not in (None, product):
        raise PolicyViolation("KS-22", f"key {label} is for product {record.product}, not for {product or 'none'}")
    if usage not in KEY_SPECS[role].usages:
        raise PolicyViolation("KS-23", f"keys of role {role} do not {usage.value}")
    if now < record.state_since:
        raise PolicyViolation(
            "KS-24",
            f"it is {now.isoformat()}, but key {label} became {record.state} at {record.state_since.isoformat()}; the "
            "clock of this machine is wrong",
        )
    return record
