"""A logged-in session with one token: finding, making, listing and destroying keys, and random bytes.

After any failure of the module the PKCS#11 session is discarded, since its state is unknown. The next use opens a new
one by itself if the PIN source can be read again without a person; otherwise it raises TokenLost.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self

import pkcs11

from pki.values import PublicKey
from signer.tokens import objects
from signer.tokens.errors import PinIncorrect, TokenBusy, TokenError, TokenLost
from signer.tokens.key_handle import KeyHandle
from signer.tokens.login import close_quietly, log_in, open_session
from signer.tokens.module import Module
from signer.tokens.pin_sources import PinSource
from signer.tokens.pkcs11_uri import Pkcs11Uri
from signer.tokens.return_codes import error_from_exception
from signer.tokens.values import KeyRef, TokenInfo

if TYPE_CHECKING:
    from pki.key_audit import ObservedObject
    from pki.key_specs import KeySpec
    from signer.tokens.generation import Protect
    from signer.tokens.profiles import ModuleProfile
    from signer.tokens.secret_keys import SecretKeyHandle

MAX_RANDOM_BYTES = 4096


class Session:
    """Made by `Token.open`; a context manager. Safe to share between threads (calls take turns), not with a fork."""

    def __init__(self, module: Module, uri: Pkcs11Uri, pin_source: PinSource, *, writable: bool) -> None:
        self.lock = module.lock
        self.generation = 0
        """Counts the PKCS#11 sessions given up; a handle of an older generation finds its objects again."""
        self._module = module
        self._uri = uri
        self._pin_source = pin_source
        self._writable = writable
        self._raw: pkcs11.Session | None = None
        self._closed = False
        self._handles: dict[KeyRef, KeyHandle] = {}
        self._secret_handles: dict[KeyRef, SecretKeyHandle] = {}
        module.check_process()
        with self.lock:
            if any(other.serves(uri) for other in module.sessions):
                raise TokenBusy(f"token {uri.serial} is open in this process already; use that session or close it")
            self._open()
            module.sessions.add(self)

    @property
    def token(self) -> TokenInfo:
        """What the token said about itself when the session was opened."""
        return self._info

    @property
    def module(self) -> Module:
        """The module that the token belongs to."""
        return self._module

    def serves(self, uri: Pkcs11Uri) -> bool:
        """Whether this session is with the token of `uri`."""
        return (self._uri.serial, self._uri.token) == (uri.serial, uri.token)

    def find(self, ref: KeyRef) -> KeyHandle:
        """The one EC key pair that `ref` names. Handles are cached: the token is searched once per key and session.

        Raises KeyNotFound, KeyAmbiguous, or KeyInconsistent when private and public object do not belong together.
        """
        self._module.check_process()
        with self.lock:
            if ref in self._handles:
                return self._handles[ref]
            private, label, public_key = self.locate_key_pair(ref)
            handle = KeyHandle(self, private, label, public_key)
            self._handles[ref] = handle
            return handle

    def find_secret(self, ref: KeyRef) -> SecretKeyHandle:
        """The one AES key that `ref` names. Raises KeyNotFound, KeyAmbiguous, KeyInconsistent."""
        from signer.tokens.secret_keys import SecretKeyHandle

        self._module.check_process()
        with self.lock:
            if ref in self._secret_handles:
                return self._secret_handles[ref]
            key, label, cka_id = self.locate_secret_key(ref)
            handle = SecretKeyHandle(self, key, label, cka_id)
            self._secret_handles[ref] = handle
            return handle

    def locate_key_pair(self, ref: KeyRef) -> tuple[pkcs11.PrivateKey, str, PublicKey]:
        """Search the token for a key pair: the private object, its label, and its public key."""
        with self.operation(f"looking for key {ref}") as raw:
            return objects.locate_key_pair(raw, ref)

    def locate_secret_key(self, ref: KeyRef) -> tuple[pkcs11.SecretKey, str, bytes]:
        """Search the token for an AES key: its object, label and CKA_ID."""
        with self.operation(f"looking for key {ref}") as raw:
            return objects.locate_secret_key(raw, ref)

    def generate(
        self, spec: KeySpec, label: str, profile: ModuleProfile | None = None, protect: Protect | None = None
    ) -> KeyHandle | SecretKeyHandle:
        """Generate a key by its spec, under a label that no object on the token has.

        `profile` says how this module wants it done; without one it is probed, once per module and process. `protect`
        wraps a key that may have a backup, before it is finished. Raises LabelTaken, MechanismUnsupported,
        ActionRefused, KeyInconsistent when the token did not do what was asked, and what `protect` raises.
        """
        from signer.tokens import generation

        if not self._writable:
            raise TokenError("the token was opened read-only; open it writable to generate a key")
        with self.operation(f"generating key {label!r}") as raw:
            if profile is None or not profile.probed_on_token:
                profile = self.probe_profile(on_token=True)
            ref = generation.generate(raw, spec, label, profile, protect)
        return self.find(ref) if spec.algorithm is generation.EC_P256 else self.find_secret(ref)

    def random(self, size_bytes: int) -> bytes:
        """Bytes from the token's generator (C_GenerateRandom), 1 to 4096 of them."""
        if not 1 <= size_bytes <= MAX_RANDOM_BYTES:
            raise TokenError(f"ask a token for 1 to {MAX_RANDOM_BYTES} random bytes, not {size_bytes}")
        with self.operation("drawing random bytes") as raw:
            return raw.generate_random(size_bytes * 8)

    def objects(self) -> tuple[ObservedObject, ...]:
        """Every object on the token as the audit wants it; no key material is read."""
        from signer.tokens import inventory

        with self.operation("listing the token's objects") as raw:
            return inventory.observe(raw)

    def attributes(self) -> tuple[Mapping[str, Any], ...]:
        """Every object's known public attributes by their CKA_ names, JSON-ready; no key material is read."""
        from signer.tokens import inventory

        with self.operation("listing the token's objects") as raw:
            return inventory.dump(raw)

    def dangerously_destroy_key(self, ref: KeyRef) -> None:
        """Destroy one key for ever: its private or secret object first, then its public object.

        Raises KeyNotFound, KeyAmbiguous. Objects that generation left unfinished: `dangerously_destroy_unfinished`.
        """
        with self.operation(f"destroying key {ref}") as raw:
            objects.destroy_key(raw, ref)
            self._forget_handles()

    def dangerously_destroy_unfinished(self, label: str) -> int:
        """Remove what an interrupted generation of `label` left; returns the number of objects removed, 0 if none.

        Raises KeyInconsistent when a finished key has this label: that one is not touched.
        """
        from signer.tokens import generation

        with self.operation(f"removing unfinished key {label!r}") as raw:
            return generation.destroy_unfinished(raw, label)

    def probe_profile(self, *, on_token: bool = False) -> ModuleProfile:
        """Find out by real operations what this module does with this token; once per process.

        Session objects are used, and nothing is written to the token; with `on_token`, which generation needs, objects
        are also made there and destroyed at once.
        """
        from signer.tokens.probes import probe

        with self.operation("probing the module") as raw:
            known = self._module.profile
            if known is None or (on_token and not known.probed_on_token):
                known = probe(self._module, raw, on_token=on_token)
                self._module.profile = known
            return known

    @contextmanager
    def operation(self, doing: str) -> Iterator[pkcs11.Session]:
        """Hold the module for a sequence of calls; a failure of the module discards the session and is mapped."""
        self._module.check_process()
        with self.lock:
            raw = self._usable()
            try:
                yield raw
            except pkcs11.PKCS11Error as error:
                self.discard()
                raise error_from_exception(error, doing) from None
            except TokenError:
                raise
            except BaseException:
                self.discard()
                raise

    def still_is(self, raw: pkcs11.Session) -> bool:
        """Whether the PKCS#11 session, and with it its session objects, was not given up."""
        return self._raw is raw

    def discard(self) -> None:
        """Give up the PKCS#11 session after a failure; handles find their objects again in the next one."""
        with self.lock:
            raw, self._raw = self._raw, None
            self.generation += 1
            if raw is not None:
                close_quietly(self._module, raw)

    def close(self) -> None:
        """Log out and close. Closing twice does nothing."""
        with self.lock:
            self._closed = True
            self._module.sessions.discard(self)
            self.discard()
            self._forget_handles()

    def _usable(self) -> pkcs11.Session:
        if self._closed:
            raise TokenLost(f"the session with token {self._uri.serial} is closed; open the token again")
        if self._raw is None:
            if not self._pin_source.repeatable:
                raise TokenLost(f"the session with token {self._uri.serial} was lost; open the token again")
            return self._open()
        return self._raw

    def _open(self) -> pkcs11.Session:
        refused = (self._uri.serial, self._pin_source)
        if refused in self._module.refused_pins:
            raise PinIncorrect(
                f"{self._pin_source.description} was refused by token {self._uri.serial} already; "
                "it is not tried again: correct it and start anew"
            )
        raw, self._info = open_session(self._module, self._uri, writable=self._writable, revive=self._revive)
        try:
            log_in(self._module, raw, self._uri, self._pin_source)
        except BaseException as error:
            close_quietly(self._module, raw)
            if isinstance(error, PinIncorrect) and self._pin_source.repeatable:
                self._module.refused_pins.append(refused)
            raise
        self._raw = raw
        return raw

    def _revive(self) -> None:
        """Let the module look at its tokens anew; not when that would close somebody's session."""
        with suppress(TokenError):
            self._module.reinitialize(apart_from=self)

    def _forget_handles(self) -> None:
        self._handles.clear()
        self._secret_handles.clear()
        self.generation += 1

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def __repr__(self) -> str:
        return f"<Session with token {self._uri.serial}>"
