"""A logged key: intent, token, result, in this order, and no signature without all three."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from datetime import datetime

import pytest

from pki.errors import AuditError, Rollback
from pki.values import Digest, Scheme, Signature
from signer.log.logged_key import LoggedKey
from signer.log.values import Event, LoggedEntry
from signer.signing_key import sign_verified, verify_signature
from tests.unit.log.logs import BEGUN, LABEL, later
from tests.unit.log.memory_log import MemoryLog
from tests.unit.log.software_key import SoftwareKey

DIGEST = Digest(hashlib.sha256(b"what is signed").digest())


class FailingLog(MemoryLog):
    """Fails from the given append on."""

    appends = 0
    fails_from = 99

    def append(self, events: Sequence[Event], now: datetime) -> tuple[LoggedEntry, ...]:
        self.appends += 1
        self.fails = self.appends >= self.fails_from
        return super().append(events, now)


def logged(key: SoftwareKey, log: MemoryLog, now: datetime = BEGUN) -> LoggedKey:
    return LoggedKey(key, LABEL, log, "ada", "package sign", lambda: now)


def test_intent_and_result_are_logged_around_the_signature() -> None:
    key, log = SoftwareKey(), MemoryLog()
    signature = sign_verified(logged(key, log), DIGEST)
    intent, result = log.entries
    common = {
        "digest": DIGEST.value.hex(),
        "key_id": key.public_key.key_id.hex(),
        "key_label": LABEL,
        "product": "pump-x2",
        "purpose": "package sign",
    }
    assert (intent.event.kind, intent.event.actor, intent.event.details) == ("sign-intent", "ada", common)
    assert result.event.kind == "sign-result"
    assert result.event.details == {
        **common,
        "intent": 0,
        "signature_sha256": hashlib.sha256(signature.value).hexdigest(),
    }


def test_it_looks_like_its_key() -> None:
    key = SoftwareKey()
    made = logged(key, MemoryLog())
    assert (made.public_key, made.label, made.cka_id) == (key.public_key, LABEL, key.public_key.cka_id)


def test_the_token_is_asked_after_the_intent_only() -> None:
    key, log = SoftwareKey(), FailingLog()
    log.fails_from = 1
    with pytest.raises(AuditError):
        logged(key, log).sign(DIGEST, Scheme.ECDSA_P256_SHA256_RAW)
    assert key.calls == 0


def test_no_signature_is_released_without_its_result() -> None:
    key, log = SoftwareKey(), FailingLog()
    log.fails_from = 2
    with pytest.raises(AuditError):
        logged(key, log).sign(DIGEST, Scheme.ECDSA_P256_SHA256_RAW)
    assert key.calls == 1
    assert log.kinds() == ["sign-intent"]


def test_a_clock_set_back_asks_no_token() -> None:
    key, log = SoftwareKey(), MemoryLog()
    logged(key, log, later(100)).sign(DIGEST, Scheme.ECDSA_P256_SHA256_RAW)
    with pytest.raises(Rollback, match="AL-01"):
        logged(key, log, later(50)).sign(DIGEST, Scheme.ECDSA_P256_SHA256_RAW)
    assert key.calls == 1


class TokenLostError(Exception):
    pass


def test_a_failure_is_logged_and_is_what_the_caller_hears_of() -> None:
    key, log = SoftwareKey(), MemoryLog()
    key.fails_with = TokenLostError("secret things in here")
    with pytest.raises(TokenLostError):
        logged(key, log).sign(DIGEST, Scheme.ECDSA_P256_SHA256_RAW)
    assert log.kinds() == ["sign-intent", "sign-failed"]
    details = log.entries[1].event.details
    assert (details["intent"], details["error"]) == (0, "TokenLostError")
    assert "secret" not in str(details)


def test_a_failure_that_cannot_be_logged_is_still_heard_of() -> None:
    key, log = SoftwareKey(), FailingLog()
    log.fails_from = 2
    key.fails_with = TokenLostError()
    with pytest.raises(TokenLostError):
        logged(key, log).sign(DIGEST, Scheme.ECDSA_P256_SHA256_RAW)


def test_a_key_outside_the_scheme_of_labels_has_no_product() -> None:
    log = MemoryLog()
    LoggedKey(SoftwareKey(), "other", log, "ada", "a test", lambda: BEGUN).sign(DIGEST, Scheme.ECDSA_P256_SHA256_RAW)
    assert "product" not in log.entries[0].event.details


def test_many_are_signed_between_two_appends() -> None:
    key, log = SoftwareKey(), FailingLog()
    digests = [Digest(bytes([number]) * 32) for number in range(5)]
    made = logged(key, log)
    signatures = made.sign_all(digests, Scheme.ECDSA_P256_SHA256_RAW)
    for digest, signature in zip(digests, signatures, strict=True):
        verify_signature(key.public_key, digest, signature)
    assert log.appends == 2
    assert log.kinds() == ["sign-intent"] * 5 + ["sign-result"] * 5
    results = [entry.event.details for entry in log.entries[5:]]
    assert [item["intent"] for item in results] == list(range(5))
    assert [item["digest"] for item in results] == [digest.value.hex() for digest in digests]


def test_of_many_none_is_released_when_one_fails() -> None:
    class FailsThird(SoftwareKey):
        def sign(self, digest: Digest, scheme: Scheme) -> Signature:
            self.fails_with = TokenLostError() if self.calls == 2 else None
            return super().sign(digest, scheme)

    key, log = FailsThird(), MemoryLog()
    digests = [Digest(bytes([number]) * 32) for number in range(5)]
    with pytest.raises(TokenLostError):
        logged(key, log).sign_all(digests, Scheme.ECDSA_P256_SHA256_RAW)
    assert log.kinds() == ["sign-intent"] * 5 + ["sign-result"] * 2 + ["sign-failed"]
    assert log.entries[-1].event.details["intent"] == 2
    assert key.calls == 3
