"""The workplace of a ceremony: the authority repository, its tokens as they are unlocked, its key store, its log."""

from __future__ import annotations

from contextlib import ExitStack
from datetime import datetime
from functools import cached_property
from types import TracebackType
from typing import TYPE_CHECKING, Any, Protocol, Self

from ceremonies.workplace import reason_of
from cli.context import SigningKeys, change_by_operator, now, open_session, open_store, operator
from cli.output import say
from pki.errors import PolicyViolation
from signer.authority.key_intents import KeyIntents
from signer.custody.intents import CustodyIntents
from signer.custody.shares import ShareSink, ShareSource
from signer.log.values import Event, EventKind

if TYPE_CHECKING:
    from pathlib import Path

    from ceremonies.acts.packages import SignPackage
    from ceremonies.artefacts import Artefacts
    from pki.roles import Role
    from signer.authority.model import Site
    from signer.authority.repository import AuthorityRepository
    from signer.certificates import CertificateKey
    from signer.log.values import AuditLog
    from signer.signing_key import SigningKey
    from signer.store.key_store import KeyStore
    from signer.store.values import Change
    from signer.tokens.session import Session
    from signer.trust_bundles.content import TrustBundleContent
    from signer.trust_bundles.succession_rules import SuccessionFacts


class _CeremonyKeys(SigningKeys):
    """Signing keys on writable sessions, since a ceremony also makes keys; each is judged by the time of its use."""

    def session(self, token_name: str) -> Session:
        if token_name not in self._sessions:
            session = open_session(self._repository, self._site, token_name, writable=True)
            self._sessions[token_name] = self._stack.enter_context(session)
        return self._sessions[token_name]

    def has_session(self, token_name: str) -> bool:
        """Whether the token is unlocked in this process."""
        return token_name in self._sessions

    def at(self, when: datetime) -> Self:
        """Judge keys by this time from now on."""
        self._when = when
        return self


class Shares(ShareSink, ShareSource, Protocol):
    """Where shares go and come from."""


class Reviewed(Protocol):
    """What was reviewed, and whether the disk still says so."""

    def require_unchanged(self) -> None:
        """Raises CeremonyAborted CE-17."""

    def content(self, path: str) -> bytes:
        """A reviewed file."""


class CeremonyPlace:
    """Implements `ceremonies.workplace.Workplace`; a context manager, which locks every token again."""

    def __init__(
        self,
        repository: AuthorityRepository,
        site: Site,
        ceremony: str,
        digest: str,
        artefacts: Artefacts,
        *,
        shares: Shares,
        files: Reviewed,
        is_rehearsal: bool = False,
    ) -> None:
        self.repository = repository
        self.ceremony = ceremony
        self.digest = digest
        self.artefacts = artefacts
        self.intents = KeyIntents(repository.key_intents_path)
        self.custody_intents = CustodyIntents(repository.key_intents_path)
        self._site = site
        self._shares = shares
        self._files = files
        self._is_rehearsal = is_rehearsal
        self._stack = ExitStack()
        self._unlocked: set[str] = set()
        self._keys = self._stack.enter_context(_CeremonyKeys(repository, site, now()))

    @cached_property
    def store(self) -> KeyStore:
        """The key store, opened when first asked for."""
        return self._stack.enter_context(open_store(self.repository))

    def require_reviewed(self) -> None:
        """Looked at again before every act."""
        self._files.require_unchanged()

    def reviewed_file(self, path: str) -> bytes:
        """From memory: what the digest covers."""
        return self._files.content(path)

    def now(self) -> datetime:
        """The clock of the command line."""
        return now()

    def unlock(self, token: str) -> dict[str, str]:
        """Log in, with the PIN from the source that the site file names."""
        if self._keys.has_session(token) and token not in self._unlocked:
            say(f"Token {token} is unlocked already: its PIN was entered for the key of the audit log.")
        info = self._keys.session(token).token
        self._unlocked.add(token)
        return {"serial": info.serial, "token_label": info.label}

    def session(self, token: str) -> Session:
        """The session with an unlocked token."""
        if token not in self._unlocked:
            raise AssertionError(f"token {token} is used before it is unlocked")
        return self._keys.session(token)

    def signing_key(self, label: str, role: Role, product: str | None, token: str) -> SigningKey:
        """Through the gate of the key store, and logged where there is a log."""
        return self.certificate_key(label, role, product, token)

    def certificate_key(self, label: str, role: Role, product: str | None, token: str) -> CertificateKey:
        """The same; such a key knows its label."""
        from signer.authority.model import KeyConfig

        return self._keys.at(now()).key(KeyConfig(token=token, label=label), role, product)

    def change(self, step: str) -> Change:
        """By the account that runs the program; the reason names ceremony and step."""
        return change_by_operator(reason_of(self.ceremony, step), now())

    def genesis_content(self, product: str) -> TrustBundleContent:
        """From the product's file and the key store."""
        from cli.trust_bundle_content import genesis_content

        return genesis_content(self.repository.product(product), self.store, self.repository.authority.environment)

    def succession_facts(self, product: str) -> SuccessionFacts:
        """From the key store, the product's file and the releases."""
        from cli.trust_bundle_content import succession_facts

        return succession_facts(self.repository.product(product), self.store, self.repository)

    def sign_package(self, act: SignPackage, out: Path) -> None:
        """By the service if there is a request, else by the keys themselves, which production refuses (SV-40)."""
        from cli.ceremony_packages import sign_by_request, sign_directly

        keys = self._keys.at(now())
        if act.request is None or self._is_rehearsal:
            sign_directly(self.repository, keys, act, out)
        else:
            sign_by_request(self.repository, self._site, keys, act, out)

    def share_sink(self) -> ShareSink:
        """The custodians at the terminal, or their stand-ins."""
        return self._shares

    def share_source(self) -> ShareSource:
        """The same people."""
        return self._shares

    # The log

    @property
    def audit_log(self) -> AuditLog | None:
        """The authority's audit log, or None for an authority without one. Its key's token is opened with it."""
        config = self.repository.authority.log
        if config is not None and not self._keys.has_session(config.token) and self._is_asked_for(config.token):
            say(f"The key of the audit log is on token {config.token}; its PIN is asked for now, before the next step.")
        return self._keys.at(now()).log

    def open_log(self) -> None:
        """Have the log open, if there is one: what a kill left is ended, and a checkpoint is signed at the end."""
        _ = self.audit_log

    def _is_asked_for(self, token: str) -> bool:
        """Whether a person enters the PIN."""
        return token in self._site.tokens and self._site.tokens[token].pin.source in {"prompt", "protected-path"}

    def log(self, kind: EventKind, step: str, details: dict[str, Any]) -> None:
        """Log what a step did, once."""
        self._log_once(kind, {"ceremony": self.ceremony, "ceremony_digest": self.digest, "step": step, **details})

    def log_ceremony(self, kind: EventKind, details: dict[str, Any]) -> None:
        """Log that the ceremony began, was resumed, aborted or ended."""
        self._log_once(kind, details)

    def _log_once(self, kind: EventKind, details: dict[str, Any]) -> None:
        log = self.audit_log
        if log is None:
            return
        event = Event(kind=kind, actor=operator(), details=details)
        logged = log.find("ceremony_digest", self.digest)
        if any(entry.event.kind is kind and entry.event.details == details for entry in logged):
            return
        log.append([event], now())

    def sign_head(self, text: bytes) -> dict[str, str] | None:
        """The log key's signature over a transcript's head; None for an authority without a log."""
        import base64

        from pki.values import Digest
        from signer.signing_key import sign_verified

        config = self.repository.authority.log
        if self.audit_log is None or config is None:
            return None
        key = self._keys.log_key(config.token, config.label)
        signature = sign_verified(key, Digest.of(text))
        return {
            "key_label": config.label,
            "public_key": base64.b64encode(key.public_key.spki).decode("ascii"),
            "signature": signature.value.hex(),
        }

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._unlocked.clear()
        self._stack.__exit__(kind, error, trace)


def require_own_tokens(site: Site, names: list[str]) -> None:
    """That no two of these names stand for one token. Raises PolicyViolation DR-08."""
    from cli.context import pinned_uri

    seen: dict[tuple[str | None, str | None], str] = {}
    for name in names:
        uri = pinned_uri(site, name)
        other = seen.setdefault((uri.serial, uri.token), name)
        if other != name:
            raise PolicyViolation("DR-08", f"{other!r} and {name!r} are one token; correct site {site.name!r}")
