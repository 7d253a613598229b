"""A file that appears whole and durable, or not at all, and never in place of another.

The content goes to a hidden file in the same folder; publishing makes it durable and then gives it its name in one
step that fails when the name is taken. Whatever goes wrong before that, a full disk included, leaves nothing behind.
"""

from __future__ import annotations

import errno
import os
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Self

from pki.errors import OutputError
from signer.durable import sync_folder

# What link(2) answers on file systems without hard links (FAT, on the sticks that ceremonies use: EPERM).
_NO_HARD_LINKS = frozenset({errno.EPERM, errno.EOPNOTSUPP, errno.ENOSYS})
# From linux/fcntl.h and linux/fs.h.
_AT_FDCWD = -100
_RENAME_NOREPLACE = 1


class NewFile:
    """A file being written. Use as a context manager; without `publish` it is gone afterwards."""

    def __init__(self, path: Path, mode: int = 0o666) -> None:
        """Refuse an existing name and a folder that cannot be written, before any work is done; raises OutputError.

        `mode` is the file's permissions, less the process's umask.
        """
        self.path = path
        self._mode = mode
        # The process id keeps two processes apart; O_EXCL refuses whatever stands there all the same.
        self._temporary = path.with_name(f".{path.name}.{os.getpid()}.part")
        self._descriptor = -1

    def __enter__(self) -> Self:
        if os.path.lexists(self.path):
            raise _exists(self.path)
        flags = os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
        try:
            self._descriptor = os.open(self._temporary, flags, self._mode)
        except FileExistsError:
            raise OutputError(f"{self._temporary} is in the way; remove it if nothing is writing it") from None
        except OSError as error:
            raise self._failed(error) from None
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._descriptor >= 0:
            os.close(self._descriptor)
            self._descriptor = -1
            self._temporary.unlink(missing_ok=True)

    def write_at(self, offset: int, content: bytes | bytearray | memoryview) -> None:
        """Write all of `content` at `offset`, in bytes from the start; raises OutputError."""
        view = memoryview(content)
        try:
            while view.nbytes:
                written = os.pwrite(self._descriptor, view, offset)
                view = view[written:]
                offset += written
        except OSError as error:
            raise self._failed(error) from None

    def read_at(self, offset: int, views: list[memoryview]) -> None:
        """Fill `views` in turn with what was written from `offset` on; raises OutputError when it is not all there."""
        try:
            count = os.preadv(self._descriptor, views, offset)
        except OSError as error:
            raise self._failed(error) from None
        if count != sum(view.nbytes for view in views):
            raise OutputError(f"{self.path} does not read back as it was written; check the disk, then try again")

    def start_writing_out(self) -> None:
        """Let the kernel begin to bring to the disk what was written so far; `publish` then has less to wait for."""
        # The advice not to keep pages makes it write the dirty ones at once, without waiting (posix_fadvise(2)). A
        # failure to write shows in `publish`; that advice is not taken is no failure.
        with suppress(OSError):
            os.posix_fadvise(self._descriptor, 0, 0, os.POSIX_FADV_DONTNEED)

    def publish(self) -> None:
        """Make the content durable and give the file its name; raises OutputError when the name was taken meanwhile."""
        try:
            os.fsync(self._descriptor)
            _give_name(self._temporary, self.path)
        except FileExistsError:
            raise _exists(self.path) from None
        except OSError as error:
            raise self._failed(error) from None
        try:
            self._temporary.unlink(missing_ok=True)
            sync_folder(self.path.parent)
        except OSError as error:
            # Not certain to survive a power cut, so it is not handed over.
            self.path.unlink(missing_ok=True)
            raise self._failed(error) from None

    def _failed(self, error: OSError) -> OutputError:
        return OutputError(f"cannot write {self.path}: {error.strerror}; nothing was left behind")


def _exists(path: Path) -> OutputError:
    return OutputError(f"{path} exists already; remove it or choose another name")


def _give_name(temporary: Path, path: Path) -> None:
    """A hard link fails when the name is taken. Where a file system has no hard links, the kernel renames likewise."""
    try:
        os.link(temporary, path, follow_symlinks=False)
    except OSError as error:
        if error.errno not in _NO_HARD_LINKS:
            raise
        _rename_without_replacing(temporary, path)


def _rename_without_replacing(temporary: Path, path: Path) -> None:
    import ctypes

    rename: Callable[..., int] = ctypes.CDLL(None, use_errno=True).renameat2
    if rename(_AT_FDCWD, os.fsencode(temporary), _AT_FDCWD, os.fsencode(path), _RENAME_NOREPLACE):
        code = ctypes.get_errno()
        raise OSError(code, os.strerror(code))
