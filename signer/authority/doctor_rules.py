"""What an examination can find, how a finding looks, and what the examination asks of the outside."""

from __future__ import annotations

from contextlib import AbstractContextManager
from dataclasses import dataclass
from types import MappingProxyType
from typing import Protocol

from pki.key_audit import Severity
from signer.store.key_store import KeyStore
from signer.tokens import Pkcs11Uri, TokenInfo
from signer.tokens.session import Session

_E, _W = Severity.ERROR, Severity.WARNING

DOCTOR_RULES = MappingProxyType(
    {
        "DR-01": (_E, "a file does not pass its checks"),
        "DR-02": (_E, "two products have one id"),
        "DR-03": (_E, "a product's board is missing, or its file does not pass"),
        "DR-04": (_E, "no site has a token that a product names"),
        "DR-05": (_E, "a module cannot be used"),
        "DR-06": (_E, "a token is not pinned"),
        "DR-07": (_E, "a token is not there"),
        "DR-08": (_E, "two names stand for one token"),
        "DR-09": (_E, "a PIN source cannot be used"),
        "DR-10": (_E, "the key store cannot be used"),
        "DR-11": (_E, "a key that a product names is not in the key store"),
        "DR-12": (_E, "a key is recorded on another token than the product names"),
        "DR-13": (_E, "a key can sign no more"),
        "DR-14": (_W, "a key cannot sign yet, or not now"),
        "DR-15": (_W, "a key ends soon"),
        "DR-16": (_E, "a token cannot be opened"),
        "DR-17": (_E, "a key is not on its token exactly once, as recorded"),
        "DR-18": (_E, "development material in production"),
        "DR-19": (_W, "an interrupted key generation"),
        "DR-20": (_W, "root keys share a token"),
        "DR-21": (_E, "the group's public key cannot be used"),
        "DR-22": (_E, "there is no audit log where there must be one"),
        "DR-23": (_E, "the audit log cannot be used"),
        "DR-24": (_W, "in production, the audit log has no witness"),
        "DR-26": (_W, "somebody who requests or approves has no SSH key for it now"),
        "DR-27": (_E, "one SSH key is listed for two people"),
        "DR-28": (_W, "an SSH key is listed for nobody"),
        "DR-29": (_W, "somebody's last SSH key ends soon"),
        "DR-30": (_E, "policies that are missing, or do not pass `strongroom policy check`"),
        "DR-31": (_E, "the calendar freezes a product that is not there"),
        "DR-32": (_W, "in production, a group that policies name and nobody is in"),
    }
)
"""Every rule: its severity and what it finds. DR-20 is an error in production."""


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that is wrong, where, and what to do about it (in `text`)."""

    rule_id: str
    severity: Severity
    place: str
    text: str


class Surroundings(Protocol):
    """What the examination needs of the outside; the command line provides it."""

    def check_board(self, name: str) -> None:
        """Raises ConfigurationError."""

    def tokens_of_module(self, name: str) -> tuple[TokenInfo, ...]:
        """Every token of a module of the site, without login. Raises TokenError, ConfigurationError."""

    def pinned_uri(self, token_name: str) -> Pkcs11Uri:
        """The checked URI of a token of the site. Raises ConfigurationError."""

    def open_store(self) -> KeyStore:
        """The key store, checked whole. Raises KeyStoreError."""

    def open_session(self, token_name: str) -> AbstractContextManager[Session]:
        """Log in to a token of the site. Raises TokenError, PolicyViolation."""


def finding(rule_id: str, place: str, text: str, severity: Severity | None = None) -> Finding:
    """A finding of a rule, with the rule's severity unless another is given."""
    return Finding(rule_id, severity or DOCTOR_RULES[rule_id][0], place, " ".join(text.split()))
