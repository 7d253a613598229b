"""Disk full, log unwritable: an AuditError, nothing is released, and the log is as it was."""

from __future__ import annotations

import errno
import os
import resource
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from pki.errors import AuditError, OutputError
from pki.values import Digest, Scheme, Signature
from signer.log.audit_log import open_audit_log
from signer.log.logged_key import LoggedKey
from signer.log.recovery import begin_log
from tests.unit.log.logs import BEGUN, LABEL, event, fast_folder, later, new_log
from tests.unit.log.software_key import SoftwareKey
from verifiers.audit_log import verify_log


@contextmanager
def file_size_limit(size_bytes: int) -> Iterator[None]:
    """No file grows beyond this: what a full disk does, for this process alone."""
    old = resource.getrlimit(resource.RLIMIT_FSIZE)
    handler = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size_bytes, old[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, old)
        signal.signal(signal.SIGXFSZ, handler)


def test_a_full_disk_releases_nothing() -> None:
    log_key, key = SoftwareKey(), SoftwareKey()
    digest, scheme = Digest(bytes(32)), Scheme.ECDSA_P256_SHA256_RAW
    with fast_folder() as folder, new_log(folder / "log", log_key) as log:
        logged = LoggedKey(key, LABEL, log, "ada", "a test", lambda: later(1))
        size = (folder / "log" / "index.sqlite").stat().st_size
        signatures: list[Signature] = []
        with file_size_limit(size), pytest.raises(AuditError, match="nothing was released"):
            signatures.extend(logged.sign(digest, scheme) for _ in range(1000))
        done = len(signatures)
        assert log.size <= 1 + 2 * done + 1
        assert key.calls <= done + 1
        logged.sign(digest, scheme)
        log.checkpoint()
        kinds = [entry.event.kind.value for entry in log.entries(1)]
        assert kinds.count("sign-result") == done + 1
        verify_log(folder / "log", [log_key.pem])


@pytest.mark.parametrize("limit", [0, 100, 4096])
def test_a_full_disk_publishes_no_checkpoint(limit: int) -> None:
    key = SoftwareKey()
    with fast_folder() as folder, new_log(folder / "log", key) as log:
        note = log.checkpoint()
        log.append([event(number) for number in range(300)], later(1))
        with file_size_limit(limit), pytest.raises(AuditError, match="nothing was released"):
            log.checkpoint()
        assert (folder / "log" / "checkpoint").read_bytes() == note
        log.checkpoint()
        verify_log(folder / "log", [key.pem], earlier=[("before", note)])


def test_a_full_disk_begins_no_log() -> None:
    with fast_folder() as folder:
        with file_size_limit(1000), pytest.raises((OutputError, AuditError)):
            begin_log(folder / "log", SoftwareKey(), "ada", BEGUN)
        assert list(folder.iterdir()) == []


def no_space(*_: object) -> None:
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


@pytest.mark.parametrize("call", ["fsync", "replace"])
def test_every_failing_call_of_a_publication_is_an_audit_error(call: str, monkeypatch: pytest.MonkeyPatch) -> None:
    key = SoftwareKey()
    with fast_folder() as folder, new_log(folder / "log", key) as log:
        log.append([event()], later(1))
        with monkeypatch.context() as patch:
            if call == "fsync":
                patch.setattr(os, "fsync", no_space)
            else:
                patch.setattr(Path, "replace", no_space)
            with pytest.raises(AuditError, match="No space left"):
                log.checkpoint()
        log.checkpoint()
        verify_log(folder / "log", [key.pem])


def test_a_database_that_cannot_be_written_appends_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    """Read-only as SQLite sees it, which holds for root as well."""
    from signer.log import index_file

    key, log_key = SoftwareKey(), SoftwareKey()
    with fast_folder() as folder:
        new_log(folder / "log", log_key).close()
        real = index_file.connect

        def read_only(path: Path) -> object:
            connection = real(path)
            connection.execute("PRAGMA query_only = ON")
            return connection

        monkeypatch.setattr(index_file, "connect", read_only)
        with open_audit_log(folder / "log", log_key) as log:
            logged = LoggedKey(key, LABEL, log, "ada", "a test", lambda: later(1))
            with pytest.raises(AuditError, match="read-only"):
                logged.sign(Digest(bytes(32)), Scheme.ECDSA_P256_SHA256_RAW)
        assert key.calls == 0
