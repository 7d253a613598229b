"""The rules of grants that refuse something on the host: each has one id (docs/spec/grant.md, section 6)."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

from pki.errors import InputRefused, VerificationError

RULES: Mapping[str, str] = MappingProxyType(
    {
        "GR-01": "a list of devices begins with the line uid,agreement_public_key",
        "GR-02": "each further line is a UID of 4 to 16 bytes and a public key of 64, in lower-case hexadecimal digits",
        "GR-03": "a device's agreement key is a point of P-256",
        "GR-04": "a UID is not zero, and stands in a list once",
        "GR-05": "a list names at least one device, and at most 2^31",
        "GR-10": "grants are for a package whose target is grant required",
        "GR-11": "grants are for a signed package of the product that was named",
        "GR-20": "the package's content key is kept in store/content-keys",
        "GR-21": "what is kept there is what it should be",
        "GR-22": "what the token unwraps is the content key that the package's head commits to",
        "GR-30": "a batch is as docs/spec/grant.md, section 2, demands",
        "GR-31": "the size of a file of grants follows from its tree size",
        "GR-32": "a file of grants ends with the SHA-256 of all before it",
        "GR-33": "leaves and levels lead to the root that was signed",
        "GR-34": "leaves stand in ascending order of their UIDs",
        "GR-35": "a batch that is not signed grants nothing",
        "GR-36": "the batch's signature verifies under the key that it names",
        "GR-37": "the file has a grant for the UID",
        "GR-38": "what is signed is what was prepared: the file has not changed, and its signature is still missing",
    }
)


class GrantRefused(InputRefused):
    """An input for grants that cannot be used as given. `rule_id` is one of RULES."""

    def __init__(self, rule_id: str, reason: str) -> None:
        super().__init__(f"[{_known(rule_id)}] {reason}")
        self.rule_id = rule_id
        self._reason = reason

    def __reduce__(self) -> tuple[type[GrantRefused], tuple[str, str]]:
        """A worker process raises it too, and it has to arrive whole."""
        return type(self), (self.rule_id, self._reason)


class GrantInvalid(VerificationError):
    """Something that claims to be a batch of grants is none, or not a genuine one. `rule_id` is one of RULES."""

    def __init__(self, rule_id: str, reason: str) -> None:
        super().__init__(f"[{_known(rule_id)}] {reason}")
        self.rule_id = rule_id


def _known(rule_id: str) -> str:
    if rule_id not in RULES:
        raise ValueError(f"{rule_id} is no rule of grants")
    return rule_id
