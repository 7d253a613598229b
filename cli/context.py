"""What commands share: authority repository, site, clock, tokens and keys. They are opened here and nowhere else.

Nothing heavy is imported before it is needed: `package build` starts through this module.
"""

from __future__ import annotations

import os
from contextlib import ExitStack, nullcontext, suppress
from datetime import UTC, datetime
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Self

import typer

from pki.errors import ConfigurationError, PolicyViolation, StrongroomError
from signer.authority.development_material import refuse_fake_path, refuse_known_test_key
from signer.authority.repository import AUTHORITY_FILE, AuthorityRepository, locate

if TYPE_CHECKING:
    from bootloader.reference.board import Board
    from pki.roles import Role
    from signer.authority.model import KeyConfig, PinConfig, Site, TokenConfig
    from signer.log.audit_log import TileLog
    from signer.log.logged_key import LoggedKey
    from signer.store.key_store import KeyStore
    from signer.store.signing_gate import ContentKeyLedger, SigningPermit
    from signer.store.values import Change, KeyRecord
    from signer.tokens.key_handle import KeyHandle
    from signer.tokens.pin_sources import PinSource
    from signer.tokens.pkcs11_uri import Pkcs11Uri
    from signer.tokens.session import Session
    from signer.tokens.values import ModuleConfig


def now() -> datetime:
    """The time in UTC: the only clock that commands read."""
    return datetime.now(UTC)


def repository_of(context: typer.Context) -> AuthorityRepository:
    """The authority repository that --authority names, else the one around the working folder.

    Raises ConfigurationError, with what to do, if there is none.
    """
    given: Path | None = (context.obj or {}).get("authority")
    if given is None:
        return locate(Path.cwd())
    if not (given / AUTHORITY_FILE).is_file():
        raise ConfigurationError(
            f"{given} is no authority repository (no {AUTHORITY_FILE} in it): correct --authority, "
            f"or make one with `strongroom init {given}`"
        )
    return AuthorityRepository(given.absolute())


def site_of(context: typer.Context, repository: AuthorityRepository) -> Site:
    """The site that --site names, else the authority's default. Raises ConfigurationError."""
    return repository.site((context.obj or {}).get("site"))


def board_of(repository: AuthorityRepository, name: str) -> Board:
    """A board of the repository, checked by the bootloader's own reader. Raises ConfigurationError."""
    from bootloader.reference.board import BoardInvalid, load_board

    path = repository.board_path(name)
    try:
        board = load_board(path.read_text(encoding="utf-8"))
    except BoardInvalid as error:
        raise ConfigurationError(f"{path}: {error}") from None
    except UnicodeDecodeError:
        raise ConfigurationError(f"{path}: not UTF-8") from None
    except OSError as error:
        raise ConfigurationError(f"{path}: cannot be read ({error.strerror})") from None
    if board.name != name:
        raise ConfigurationError(f"{path}: `name` is {board.name!r}; make the two equal")
    return board


def change_by_operator(reason: str, when: datetime) -> Change:
    """Who changes the key store, as recorded: the account on this machine."""
    from signer.store.values import Change

    return Change(when, operator(), reason)


def operator() -> str:
    """The account of the process by its user id: environment variables could say anything."""
    import pwd

    try:
        return pwd.getpwuid(os.getuid()).pw_name
    except KeyError:
        return f"uid {os.getuid()}"


def open_store(repository: AuthorityRepository) -> KeyStore:
    """The key store, through SQLAlchemy (slow to import: not for signing). Raises KeyStoreError."""
    from signer.store.key_store import open_key_store

    return open_key_store(repository.key_store_path)


# Tokens


def module_config(repository: AuthorityRepository, site: Site, name: str) -> ModuleConfig:
    """A module of the site, as the token layer takes it. Raises ConfigurationError if there is none of that name."""
    from signer.tokens import ModuleConfig

    if name not in site.modules:
        have = ", ".join(sorted(site.modules)) or "none"
        raise ConfigurationError(f"site {site.name!r} has no module {name!r} (there: {have}); add it under [modules]")
    found = site.modules[name]
    return ModuleConfig(str(repository.resolve(found.path)), found.init_args)


def token_config(site: Site, name: str) -> TokenConfig:
    """A token of the site. Raises ConfigurationError if the site has none of that name."""
    if name not in site.tokens:
        have = ", ".join(sorted(site.tokens)) or "none"
        raise ConfigurationError(
            f"site {site.name!r} has no token {name!r} (there: {have}); `strongroom token init` adds one"
        )
    return site.tokens[name]


def pinned_uri(site: Site, name: str) -> Pkcs11Uri:
    """The URI of a token of the site. Raises ConfigurationError unless it pins the token by serial, and no more."""
    from signer.tokens import parse_pkcs11_uri

    place = f"site {site.name!r}, token {name!r}"
    try:
        uri = parse_pkcs11_uri(token_config(site, name).uri)
    except ConfigurationError as error:
        raise ConfigurationError(f"{place}: {error}") from None
    if uri.serial is None:
        raise ConfigurationError(f"{place}: the URI has no serial=; `strongroom token list` shows each token's")
    if uri.module_path or uri.module_name or uri.pin_source or uri.object or uri.id or uri.type:
        raise ConfigurationError(f"{place}: the URI names a token only; module, PIN and keys have entries of their own")
    return uri


def pin_source_of(repository: AuthorityRepository, config: PinConfig, token_name: str) -> PinSource:
    """The PIN source of a token's entry. Raises PolicyViolation DEV-02 for test material in production."""
    from signer.tokens import PinCommand, PinFile, PromptedPin, ProtectedPath

    if config.path is not None:
        path = repository.resolve(config.path)
        refuse_fake_path(repository.authority.environment, path)
        return PinFile(path)
    if config.argv is not None:
        return PinCommand(tuple(config.argv))
    if config.source == "protected-path":
        return ProtectedPath()
    return PromptedPin(ask_secret, f"PIN of token {token_name}: ")


def ask_secret(prompt: str) -> str:
    """Ask on the terminal, without echo. Raises PinSourceError where there is none: nothing is read from a pipe."""
    import getpass
    import warnings

    from signer.tokens.errors import PinSourceError

    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error", getpass.GetPassWarning)
            return getpass.getpass(prompt)
    except (getpass.GetPassWarning, EOFError):
        raise PinSourceError(
            "there is no terminal to ask for the PIN on; let it come from a file or a command instead"
        ) from None


def open_session(repository: AuthorityRepository, site: Site, token_name: str, *, writable: bool = False) -> Session:
    """Log in to a token of the site; use the result in a `with` statement.

    Raises ConfigurationError, TokenError (PinIncorrect after exactly one attempt), PolicyViolation DEV-02.
    """
    from signer.tokens import load_module
    from signer.tokens.token import Token

    config = token_config(site, token_name)
    uri = pinned_uri(site, token_name)
    source = pin_source_of(repository, config.pin, token_name)
    module = load_module(module_config(repository, site, config.module))
    return Token(module, uri).open(source, writable=writable)


def token_holding(site: Site, serial: str, label: str) -> str:
    """The site's name for the token of this serial and label. Raises ConfigurationError if the site has none."""
    for name in site.tokens:
        uri = pinned_uri(site, name)
        if uri.serial == serial and uri.token in (None, label):
            return name
    raise ConfigurationError(
        f"site {site.name!r} has no token with serial {serial} ({label!r}); work at the site that has it, or add it"
    )


def token_holding_any(site: Site, tokens: tuple[tuple[str, str], ...]) -> str:
    """The site's name for the first of the tokens (serial, label) that it has. Raises ConfigurationError."""
    for serial, label in tokens[:-1]:
        with suppress(ConfigurationError):
            return token_holding(site, serial, label)
    return token_holding(site, *(tokens[-1] if tokens else ("", "")))


# Keys


class SigningKeys:
    """The keys that one command signs with: each is let through by the key store, then found on its token.

    A context manager. Each token is opened once, however many of its keys are used. Where the authority has an audit
    log, every use of a key is logged, and a checkpoint is signed at the end. In production, keys of release roles are
    found `for_releases` only: that is the signing service.
    """

    def __init__(
        self, repository: AuthorityRepository, site: Site, when: datetime, *, for_releases: bool = False
    ) -> None:
        self._repository = repository
        self._site = site
        self._when = when
        self._for_releases = for_releases
        self._sessions: dict[str, Session] = {}
        self._stack = ExitStack()
        self._log: TileLog | None = None

    @property
    def log(self) -> TileLog | None:
        """The authority's audit log with its key at hand, opened when first asked for; None without [log].

        Raises AuditError, PolicyViolation AL-02 (production without a log), AL-05, KS-…, TokenError.
        """
        if self._log is None and may_be_unlogged(self._repository):
            return None
        if self._log is None:
            self._log = self._stack.enter_context(open_log(self._repository, self))
        return self._log

    def log_key(self, token_name: str, label: str) -> KeyHandle:
        """The key that signs checkpoints. Its own uses are not logged."""
        from pki.roles import Role

        return self._find(require_may_sign(self._repository, label, Role.LOG, None, self._when), token_name)

    def session(self, token_name: str) -> Session:
        """The session with a token of the site, opened when first asked for."""
        if token_name not in self._sessions:
            session = open_session(self._repository, self._site, token_name)
            self._sessions[token_name] = self._stack.enter_context(session)
        return self._sessions[token_name]

    def session_with(self, tokens: tuple[tuple[str, str], ...]) -> Session:
        """The session with the first of these tokens (serial, label) that the site has. Raises ConfigurationError."""
        return self.session(token_holding_any(self._site, tokens))

    def key(self, config: KeyConfig, role: Role, product: str | None) -> KeyHandle | LoggedKey:
        """The key that a product file names, if it may sign now for this role and product.

        Raises PolicyViolation (KS-…, DEV-01), KeyStoreError, ConfigurationError, TokenError.
        """
        permit = require_may_sign(self._repository, config.label, role, product, self._when)
        return self._logged(permit, config.token)

    def permitted(self, permit: SigningPermit, token_name: str) -> KeyHandle | LoggedKey:
        """The key of a permit that `require_may_sign` has just given. Raises what `key` raises of tokens."""
        return self._logged(permit, token_name)

    def key_of_store(self, label: str, role: Role, product: str | None) -> tuple[KeyHandle | LoggedKey, Session]:
        """The same for a key named by its label alone: the key store knows its token, and the site must have it."""
        permit = require_may_sign(self._repository, label, role, product, self._when)
        token_name = token_holding_any(self._site, permit.tokens)
        return self._logged(permit, token_name), self.session(token_name)

    def key_for_request(self, record: KeyRecord) -> KeyHandle | LoggedKey:
        """A recorded key that is to sign a certification request for itself, which it may before it is activated.

        Raises PolicyViolation KS-07, KS-23, and what `key` raises.
        """
        from pki.key_states import may_prove_possession
        from signer.store.signing_gate import SigningPermit

        may_prove_possession(record.state).require()
        if record.public_key is None:
            raise PolicyViolation("KS-23", f"keys of role {record.role} do not sign")
        token = record.token
        permit = SigningPermit(record.cka_id, record.label, record.public_key, token.serial, token.label)
        return self._logged(permit, token_holding(self._site, token.serial, token.label))

    def _logged(self, permit: SigningPermit, token_name: str) -> KeyHandle | LoggedKey:
        if not self._for_releases:
            refuse_release_role(self._repository, permit.label)
        log = self.log
        handle = self._find(permit, token_name)
        if log is None:
            return handle
        from signer.log.logged_key import LoggedKey

        return LoggedKey(handle, permit.label, log, operator(), purpose(), now)

    def _find(self, permit: SigningPermit, token_name: str) -> KeyHandle:
        from signer.tokens import KeyRef

        refuse_known_test_key(self._repository.authority.environment, permit.public_key)
        session = self.session(token_name)
        permit.require_token(session.token.serial, session.token.label)
        handle = session.find(KeyRef(permit.label, permit.cka_id))
        permit.require_public_key(handle.public_key)
        return handle

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            if self._log is not None:
                with suppress(StrongroomError) if error is not None else nullcontext():
                    self._log.checkpoint()
        finally:
            self._log = None
            self._sessions.clear()
            self._stack.close()


def signing_keys(repository: AuthorityRepository, site: Site, when: datetime) -> SigningKeys:
    """The keys for one command; `with signing_keys(…) as keys: keys.key(config, role, product).sign(…)`."""
    return SigningKeys(repository, site, when)


def require_may_sign(
    repository: AuthorityRepository, label: str, role: Role, product: str | None, when: datetime
) -> SigningPermit:
    """Ask the key store whether a key may sign now. Raises PolicyViolation KS-…, KeyStoreError."""
    from signer.store import signing_gate

    return signing_gate.require_may_sign(repository.key_store_path, label, role, product, when)


def refuse_release_role(repository: AuthorityRepository, label: str) -> None:
    """Raise PolicyViolation SV-40 for a key that in production signs through the signing service only."""
    from pki.key_specs import parse_key_label
    from pki.roles import Role

    release_roles = (
        Role.APPLICATION_RELEASE, Role.BOOTLOADER_RELEASE, Role.PRODUCTION, Role.GRANT, Role.SERVICE,
    )  # fmt: skip
    if repository.authority.environment.value == "production" and parse_key_label(label).role in release_roles:
        raise PolicyViolation(
            "SV-40",
            f"in production key {label} signs what was asked for and approved, and nothing else: `prepare` it, "
            "`request` it, `approve`, and then `sign --request` (of `strongroom package`, `workorder`, `service`, "
            "`grant`)",
        )


def content_key_ledger(repository: AuthorityRepository, when: datetime) -> ContentKeyLedger:
    """The ledger of content keys, which no package may use twice."""
    from signer.store.signing_gate import ContentKeyLedger

    return ContentKeyLedger(repository.key_store_path, when)


# The audit log


def may_be_unlogged(repository: AuthorityRepository) -> bool:
    """Whether the authority has no [log]. Raises PolicyViolation AL-02 in production, which must have one."""
    if repository.authority.log is not None:
        return False
    if repository.authority.environment.value == "production":
        raise PolicyViolation(
            "AL-02",
            "in production every use of a key is logged, and strongroom.toml has no [log]: add it, then make the log "
            "with `strongroom audit init`",
        )
    return True


def open_log(repository: AuthorityRepository, keys: SigningKeys | None) -> TileLog:
    """The audit log that [log] names, with its key if `keys` are given, to sign checkpoints.

    Raises AuditError, ConfigurationError without [log], PolicyViolation AL-05, and what finding the key raises.
    """
    from signer.log.audit_log import open_audit_log

    config, path = repository.authority.log, repository.log_path
    if config is None or path is None:
        raise ConfigurationError(
            f"{repository.root / AUTHORITY_FILE} has no [log]; add it, then `strongroom audit init`"
        )
    key = None if keys is None else keys.log_key(config.token, config.label)
    return open_audit_log(path, key)


def purpose() -> str:
    """What is being done, for the log: the command's name."""
    import click

    context = click.get_current_context(silent=True)
    words = [] if context is None else context.command_path.split()[1:]
    return " ".join(words)[:100] or "library"
