"""The key-encryption key of backup files: in tokens as a session object, and in the hands of custodians as shares.

It is on the host only while it is split or recombined, in one buffer that is overwritten afterwards. That is best
effort: libraries take `bytes`, words are `str`, and Python keeps copies as it likes (docs/spec/key-backup.md).
"""

from __future__ import annotations

import hmac
from collections.abc import Sequence
from dataclasses import dataclass
from types import TracebackType
from typing import TYPE_CHECKING, Self

from pki.errors import ConfigurationError
from signer.custody.rules import violation
from signer.custody.shares import (
    SECRET_SIZE_BYTES,
    WORDS_PER_SHARE,
    CustodianShare,
    ShareCollector,
    ShareRefused,
    ShareScheme,
    ShareSet,
    ShareSink,
    ShareSource,
    split,
)
from signer.store.custody_values import KCV_SIZE_BYTES

if TYPE_CHECKING:
    from signer.tokens.session import Session
    from signer.tokens.wrapping import WrappingKey

MAC_SIZE_BYTES = 32
READ_BACK_ATTEMPTS = 3
SHARES_REFUSED_MAX = 20

_BINDING_LABEL = b"strongroom-key-backup-1 binding"
_AES_BLOCK_SIZE_BYTES = 16
_TOO_OFTEN = "too many shares were refused; begin again"


@dataclass(frozen=True, slots=True)
class KekIdentity:
    """What is public of a KEK: its check value, 5 bytes, and the share set that holds it."""

    kcv: bytes
    shares: ShareSet

    def __post_init__(self) -> None:
        if len(self.kcv) != KCV_SIZE_BYTES:
            raise ValueError(f"a key check value has {KCV_SIZE_BYTES} bytes")


class Kek:
    """A KEK as session objects of some tokens. A context manager; afterwards nothing is left of it but shares."""

    def __init__(self, identity: KekIdentity, binding_key: bytearray, keys: Sequence[WrappingKey]) -> None:
        """For `split_kek` and `combine_kek`."""
        self.identity = identity
        self._binding_key = binding_key
        self._keys = tuple(keys)

    def in_token_of(self, session: Session) -> WrappingKey:
        """The session object in this session's token; raises ConfigurationError when it was not brought there."""
        for key in self._keys:
            if key.session is session:
                return key
        raise ConfigurationError(f"the key-encryption key is not in token {session.token.label!r}; name it before")

    def mac(self, content: bytes) -> bytes:
        """HMAC-SHA-256 of a backup file's content under the binding key, 32 bytes."""
        if not any(self._binding_key):
            raise ConfigurationError("the key-encryption key was closed")
        return hmac.digest(self._binding_key, content, "sha256")

    def close(self) -> None:
        """Destroy the session objects and overwrite the binding key. Closing twice does nothing."""
        _wipe(self._binding_key)
        for key in self._keys:
            key.destroy()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def __repr__(self) -> str:
        return f"<Kek {self.identity.kcv.hex()}>"


def split_kek(
    sessions: Sequence[Session], scheme: ShareScheme, sink: ShareSink, *, words_read_back: int = WORDS_PER_SHARE
) -> Kek:
    """Draw a KEK from the first token, bring it into all of them, and hand its shares to the custodians, one by one.

    Each custodian reads back `words_read_back` words (1 to 33), all of them by default. Raises PolicyViolation KB-04
    after three attempts, and TokenError; then the KEK is gone and the shares handed out are worth nothing.
    """
    if not sessions or not 1 <= words_read_back <= WORDS_PER_SHARE:
        raise ValueError(f"at least one session, and 1 to {WORDS_PER_SHARE} words to read back")
    value = bytearray(sessions[0].random(SECRET_SIZE_BYTES))
    try:
        share_set, shares = split(bytes(value), scheme)
        kek = _bring_in(value, share_set, sessions)
    finally:
        _wipe(value)
    try:
        for share in shares:
            _hand_out(share, sink, _positions(sessions[0], words_read_back))
    except BaseException:
        kek.close()
        raise
    return kek


def combine_kek(sessions: Sequence[Session], identity: KekIdentity, source: ShareSource) -> Kek:
    """Recombine a KEK from its custodians' shares, check it, and bring it into the tokens.

    Raises PolicyViolation KB-05 when the shares do not recombine or 20 were refused, KB-06 when the check value is not
    the expected one, and then nothing was brought anywhere; TokenError.
    """
    if not sessions:
        raise ValueError("at least one session")
    value = bytearray(_collect(identity.shares, source).combine())
    try:
        if not hmac.compare_digest(key_check_value(value), identity.kcv):
            raise violation("KB-06", "the shares make another key than expected; check which backup they belong to")
        return _bring_in(value, identity.shares, sessions)
    finally:
        _wipe(value)


def key_check_value(value: bytes | bytearray) -> bytes:
    """The first 5 bytes of AES-CMAC over a block of zeros (ANSI X9.24-1-2017; CMAC: SP 800-38B)."""
    from cryptography.hazmat.primitives.ciphers.algorithms import AES
    from cryptography.hazmat.primitives.cmac import CMAC

    cmac = CMAC(AES(bytes(value)))
    cmac.update(bytes(_AES_BLOCK_SIZE_BYTES))
    return cmac.finalize()[:KCV_SIZE_BYTES]


def _collect(expected: ShareSet, source: ShareSource) -> ShareCollector:
    collector = ShareCollector(expected)
    refused = 0
    while not collector.complete:
        try:
            collector.add(source.next_share(collector.wanted))
        except ShareRefused as refusal:
            refused += 1
            source.refused(str(refusal))
            if refused == SHARES_REFUSED_MAX:
                raise violation("KB-05", _TOO_OFTEN) from None
    return collector


def _bring_in(value: bytearray, share_set: ShareSet, sessions: Sequence[Session]) -> Kek:
    from signer.tokens.wrapping import WrappingKey

    keys: list[WrappingKey] = []
    try:
        for session in sessions:
            keys.append(WrappingKey.of_bytes(session, bytes(value)))  # noqa: PERF401 (destroyed below, as far as made)
    except BaseException:
        for key in keys:
            key.destroy()
        raise
    binding_key = bytearray(hmac.digest(value, _BINDING_LABEL, "sha256"))
    return Kek(KekIdentity(key_check_value(value), share_set), binding_key, keys)


def _positions(session: Session, count: int) -> tuple[int, ...]:
    """Which words are read back, from 1: all, or so many that the token draws (64 bits leave no bias to speak of)."""
    left = list(range(1, WORDS_PER_SHARE + 1))
    if count == WORDS_PER_SHARE:
        return tuple(left)
    return tuple(sorted(left.pop(int.from_bytes(session.random(8), "big") % len(left)) for _ in range(count)))


def _hand_out(share: CustodianShare, sink: ShareSink, positions: tuple[int, ...]) -> None:
    expected = " ".join(share.words[position - 1] for position in positions).encode()
    for _ in range(READ_BACK_ATTEMPTS):
        sink.hand_out(share)
        typed = " ".join(" ".join(sink.read_back(share.custodian, positions)).lower().split()).encode()
        if hmac.compare_digest(typed, expected):
            return
    raise violation(
        "KB-04", f"{share.custodian} did not read the share back rightly; all shares of this set are void, begin again"
    )


def _wipe(buffer: bytearray) -> None:
    buffer[:] = bytes(len(buffer))
