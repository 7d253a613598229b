"""One vector of a signed object: the bytes, who is given them in which situation, and what must come of it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

# request: a host asks a device for a challenge. The three behind it are taken by devices, the last three by hosts.
KINDS = ("challenge-request", "activation", "service-order", "grant", "challenge", "receipt", "signed-status")
HOST_KINDS = ("challenge", "receipt", "signed-status")
# shape: what a parser finds by itself. signature, rules: what the taker holds against it, in the specification's order.
STAGES = ("shape", "rules", "complete")
HOST_RESULTS = ("OK", "MALFORMED", "SIGNATURE_INVALID", "WRONG_NONCE", "WRONG_EPHEMERAL", "AGREEMENT_PROOF")


@dataclass(frozen=True, slots=True)
class ObjectCase:
    """`device` takes the object, with the nonce of its last challenge, or none outstanding.

    For what hosts take, `given` is what the host knows, and `code` one of HOST_RESULTS. `fields` are the values of a
    vector that an encoder can make; `answer` is what a device answers, up to its signature.
    """

    name: str
    description: str
    kind: str
    code: str
    stage: str
    file: bytes
    device: str | None = None
    outstanding_nonce: bytes | None = None
    given: Mapping[str, object] = field(default_factory=dict)
    fields: Mapping[str, object] = field(default_factory=dict)
    answer: bytes | None = None

    def __post_init__(self) -> None:
        """Refuse a slip of the pen in a table."""
        if self.stage not in STAGES or (self.code == "OK") != (self.stage == "complete"):
            raise ValueError(f"{self.name}: code {self.code} at stage {self.stage}")
        if self.kind not in KINDS or (self.kind in HOST_KINDS) != (self.device is None):
            raise ValueError(f"{self.name}: a {self.kind} for {self.device}")
        if self.kind in HOST_KINDS and self.code not in HOST_RESULTS:
            raise ValueError(f"{self.name}: hosts do not answer {self.code}")
