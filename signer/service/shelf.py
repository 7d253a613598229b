"""The shelf: signed packages kept by the digest of their request, durably (docs/spec/signing-service.md)."""

from __future__ import annotations

import fcntl
import hashlib
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from pki.errors import OutputError, PolicyViolation
from signer.durable import sync_folder

LOCK_WAIT_SECONDS = 60.0
PACKAGE_SUFFIX = "srp"
OBJECT_SUFFIX = "object"
RECORD_SIZE_BYTES_MAX = 1024 * 1024
_LOCK_POLL_SECONDS = 0.02
_READ_SIZE_BYTES = 1 << 20


class Shelf:
    """The folder `store/signed/`, and its lock. Names follow from the request's digest (32 bytes).

    `suffix` is that of packages, or of other objects; the lock is the same, so that counts are exact for all.
    """

    def __init__(
        self, folder: Path, lock_wait_seconds: float = LOCK_WAIT_SECONDS, *, suffix: str = PACKAGE_SUFFIX
    ) -> None:
        self._folder = folder
        self._suffix = suffix
        self._lock_wait_seconds = lock_wait_seconds

    def unjudged(self, request_digest: bytes) -> Path:
        """Signed, and nobody is given it yet."""
        return self._folder / f"{request_digest.hex()}.unjudged.{self._suffix}"

    def released(self, request_digest: bytes) -> Path:
        """What callers are given."""
        return self._folder / f"{request_digest.hex()}.{self._suffix}"

    def record(self, request_digest: bytes) -> Path:
        """The record of how it came to be signed."""
        return self._folder / f"{request_digest.hex()}.json"

    def evidence(self, request_digest: bytes) -> Path:
        """Release evidence, written before the release is logged."""
        return self._folder / f"{request_digest.hex()}.evidence.json"

    @contextmanager
    def exclusively(self) -> Iterator[None]:
        """Hold the one lock, waiting for it a bounded time. Raises PolicyViolation SV-02, OutputError."""
        try:
            self._folder.mkdir(mode=0o700, exist_ok=True)
            flags = os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC
            descriptor = os.open(self._folder / "lock", flags, 0o600)
        except OSError as error:
            raise OutputError(f"{self._folder}: cannot be written ({error.strerror}); nothing was signed") from None
        try:
            self._wait_for(descriptor)
            self._remove_parts()
            yield
        finally:
            os.close(descriptor)

    def _remove_parts(self) -> None:
        """What killed calls had begun to write: nobody writes while the lock is held. Raises OutputError."""
        for part in self._folder.glob(".*.part"):
            try:
                part.unlink(missing_ok=True)
            except OSError as error:
                raise OutputError(f"{part}: cannot be removed ({error.strerror}); nothing was signed") from None

    def _wait_for(self, descriptor: int) -> None:
        end = time.monotonic() + self._lock_wait_seconds
        while True:
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
                return
            except BlockingIOError:
                if time.monotonic() >= end:
                    raise PolicyViolation(
                        "SV-02", "another call of the signing service has not ended yet; try again when it has"
                    ) from None
                time.sleep(_LOCK_POLL_SECONDS)

    def publish(self, request_digest: bytes) -> Path:
        """Give the signed package the name under which callers get it. Raises OutputError."""
        path = self.released(request_digest)
        try:
            self.unjudged(request_digest).rename(path)
            sync_folder(self._folder)
        except OSError as error:
            raise OutputError(f"{path}: cannot be written ({error.strerror}); call again") from None
        return path

    def drop_unjudged(self, request_digest: bytes) -> None:
        """Remove a signed package that may not be released. Raises OutputError."""
        path = self.unjudged(request_digest)
        try:
            if not path.exists():
                return
            path.unlink()
            sync_folder(self._folder)
        except OSError as error:
            raise OutputError(f"{path}: cannot be removed ({error.strerror}); nothing was signed") from None

    def write(self, path: Path, content: bytes) -> None:
        """Write a file of the shelf, whole and durable, in place of an older one. Raises OutputError."""
        temporary = path.with_name(f".{path.name}.{os.getpid()}.part")
        flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW | os.O_CLOEXEC
        try:
            with os.fdopen(os.open(temporary, flags, 0o600), "wb") as stream:
                stream.write(content)
                stream.flush()
                os.fsync(stream.fileno())
            temporary.replace(path)
            sync_folder(self._folder)
        except OSError as error:
            temporary.unlink(missing_ok=True)
            raise OutputError(f"{path}: cannot be written ({error.strerror}); nothing was released") from None

    def read(self, path: Path) -> bytes | None:
        """A file of the shelf, None if it is not there. Raises OutputError."""
        try:
            with path.open("rb") as stream:
                content = stream.read(RECORD_SIZE_BYTES_MAX + 1)
        except FileNotFoundError:
            return None
        except OSError as error:
            raise OutputError(f"{path}: cannot be read ({error.strerror})") from None
        if len(content) > RECORD_SIZE_BYTES_MAX:
            raise OutputError(f"{path}: has more than {RECORD_SIZE_BYTES_MAX} bytes; it is not ours")
        return content


def file_digest(path: Path) -> tuple[bytes, int] | None:
    """SHA-256 (32 bytes) and size in bytes of a file; None if it is not there. Raises OutputError."""
    state, size_bytes = hashlib.sha256(), 0
    try:
        with path.open("rb") as stream:
            while block := stream.read(_READ_SIZE_BYTES):
                state.update(block)
                size_bytes += len(block)
    except FileNotFoundError:
        return None
    except OSError as error:
        raise OutputError(f"{path}: cannot be read ({error.strerror})") from None
    return state.digest(), size_bytes
