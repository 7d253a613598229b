"""Where a PIN comes from. A PIN lives in one wipeable buffer, is used for one login attempt, and has no readable repr.

A source hands out a fresh `Pin` each time it is read. `repeatable` says whether it may be read again without a person:
only then may a discarded session be opened again by itself.
"""

from __future__ import annotations

import os
import stat
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

import msgspec

from signer.tokens.errors import PinSourceError

if TYPE_CHECKING:
    import subprocess

MAX_PIN_BYTES = 255
MAX_COMMAND_SECONDS = 30.0
_READ_LIMIT_BYTES = MAX_PIN_BYTES + 3
"""One PIN, its line end, and one byte more to notice that there is too much."""


class Pin:
    """A PIN for exactly one login attempt."""

    __slots__ = ("_buffer", "_taken")

    def __init__(self, buffer: bytearray) -> None:
        self._buffer = buffer
        self._taken = False

    def take(self) -> bytearray:
        """The buffer, once; asking again is a defect of the caller."""
        if self._taken:
            raise PinSourceError("a PIN is used for one login attempt only; this one was used already")
        self._taken = True
        return self._buffer

    def wipe(self) -> None:
        """Overwrite the buffer with zeros."""
        self._taken = True
        self._buffer[:] = bytes(len(self._buffer))

    def __len__(self) -> int:
        """Length in bytes, for the limits of a token."""
        return len(self._buffer)

    def __repr__(self) -> str:
        return "<Pin>"


class PinSource(Protocol):
    """`read` gives a fresh PIN, or None for a token that takes it on its own keypad."""

    @property
    def description(self) -> str:
        """How messages name the source; never the PIN."""

    @property
    def repeatable(self) -> bool:
        """Whether it can be read again without a person."""

    def read(self) -> Pin | None:
        """Raises PinSourceError."""


class PromptedPin:
    """A person types the PIN. `ask` shows its argument and returns what was typed, unechoed."""

    repeatable = False

    def __init__(self, ask: Callable[[str], str], prompt: str) -> None:
        self._ask = ask
        self._prompt = prompt

    @property
    def description(self) -> str:
        """Names the prompt."""
        return "the prompt"

    def read(self) -> Pin:
        """Ask once."""
        return _checked(bytearray(self._ask(self._prompt).encode("utf-8")), self.description)


class PinFile(msgspec.Struct, frozen=True):
    """A file with the PIN and at most one line end, owned by the user, closed to everybody else (mode 0600 or 0400)."""

    path: Path

    @property
    def repeatable(self) -> bool:
        """A file can always be read again."""
        return True

    @property
    def description(self) -> str:
        """Names the file."""
        return f"PIN file {self.path}"

    def read(self) -> Pin:
        """Check owner and permissions of the open file, then read it."""
        flags = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
        try:
            descriptor = os.open(self.path, flags)
        except OSError as error:
            raise PinSourceError(f"{self.description}: {_open_advice(error)}") from None
        try:
            self._check(os.fstat(descriptor))
            data = bytearray(_READ_LIMIT_BYTES)
            size_bytes = os.readv(descriptor, [data])
        finally:
            os.close(descriptor)
        return _without_line_end(data, size_bytes, self.description)

    def _check(self, status: os.stat_result) -> None:
        if not stat.S_ISREG(status.st_mode):
            raise PinSourceError(f"{self.description}: it is not a regular file")
        if status.st_uid != os.geteuid():
            raise PinSourceError(f"{self.description}: it belongs to somebody else; it must be your own")
        if status.st_mode & 0o077:
            raise PinSourceError(f"{self.description}: others can read or write it; run chmod 600 on it")


class PinCommand(msgspec.Struct, frozen=True):
    """A program that prints the PIN and at most one line end. It is run without a shell, within a time limit."""

    arguments: tuple[str, ...]
    time_limit_seconds: float = 10.0

    def __post_init__(self) -> None:
        if not self.arguments or not self.arguments[0]:
            raise PinSourceError("a PIN command has at least the name of a program")
        if not 0 < self.time_limit_seconds <= MAX_COMMAND_SECONDS:
            raise PinSourceError(f"the time limit of a PIN command is at most {MAX_COMMAND_SECONDS:.0f} seconds")

    @property
    def repeatable(self) -> bool:
        """A program can always be run again."""
        return True

    @property
    def description(self) -> str:
        """Names the program; its arguments may be private."""
        return f"PIN command {self.arguments[0]}"

    def read(self) -> Pin:
        """Run the program; it must exit with 0 within the time limit."""
        import subprocess

        deadline = time.monotonic() + self.time_limit_seconds
        data = bytearray(_READ_LIMIT_BYTES)
        read_end, write_end = os.pipe()
        try:
            process = self._start(write_end)
            try:
                size_bytes = self._read_until(read_end, data, deadline)
                # With more than a PIN the program may be blocked on the rest: what there is, is refused below.
                is_complete = size_bytes < len(data)
                status = process.wait(timeout=max(0.0, deadline - time.monotonic())) if is_complete else 0
            except subprocess.TimeoutExpired:
                raise self._too_slow() from None
            finally:
                if process.poll() is None:
                    process.kill()
                    process.wait()
        finally:
            os.close(read_end)
        if status != 0:
            raise PinSourceError(f"{self.description}: it failed with status {status}")
        return _without_line_end(data, size_bytes, self.description)

    def _start(self, write_end: int) -> subprocess.Popen[bytes]:
        import subprocess

        try:
            return subprocess.Popen(
                self.arguments, stdin=subprocess.DEVNULL, stdout=write_end, stderr=subprocess.DEVNULL
            )
        except OSError as error:
            raise PinSourceError(f"{self.description}: it cannot be started: {error.strerror}") from None
        finally:
            os.close(write_end)

    def _read_until(self, descriptor: int, data: bytearray, deadline: float) -> int:
        """Fill `data` until the end of the output or of the buffer; returns the bytes read."""
        import select

        filled = 0
        view = memoryview(data)
        while filled < len(data):
            remaining_seconds = deadline - time.monotonic()
            if remaining_seconds <= 0 or not select.select([descriptor], [], [], remaining_seconds)[0]:
                raise self._too_slow()
            count = os.readv(descriptor, [view[filled:]])
            if count == 0:
                break
            filled += count
        return filled

    def _too_slow(self) -> PinSourceError:
        return PinSourceError(f"{self.description}: no answer in {self.time_limit_seconds:g} seconds")


class ProtectedPath(msgspec.Struct, frozen=True):
    """The token takes the PIN on its own keypad or reader (CKF_PROTECTED_AUTHENTICATION_PATH)."""

    @property
    def repeatable(self) -> bool:
        """A person types it."""
        return False

    @property
    def description(self) -> str:
        """Names the path."""
        return "the token's own keypad"

    def read(self) -> None:
        """Nothing passes through this program."""
        return


def pin_source_from_text(text: str, ask: Callable[[str], str], prompt: str) -> PinSource:
    """A source from its name: `prompt`, `protected`, `file:PATH` or `command:PROGRAM ARGUMENTS` (quoted, but no shell).

    Raises PinSourceError for anything else; the text itself is not repeated, in case somebody gave the PIN.
    """
    kind, colon, rest = text.partition(":")
    if kind == "prompt" and not colon:
        return PromptedPin(ask, prompt)
    if kind == "protected" and not colon:
        return ProtectedPath()
    if kind == "file" and rest:
        return PinFile(Path(rest))
    if kind == "command" and rest:
        import shlex

        try:
            return PinCommand(tuple(shlex.split(rest)))
        except ValueError:
            raise PinSourceError("the PIN command has an open quotation mark") from None
    raise PinSourceError("a PIN source is prompt, protected, file:PATH or command:PROGRAM; a PIN itself is not taken")


def _open_advice(error: OSError) -> str:
    import errno

    if error.errno == errno.ELOOP:
        return "it is a symbolic link; name the file itself"
    return f"it cannot be opened: {error.strerror}"


def _without_line_end(data: bytearray, size_bytes: int, description: str) -> Pin:
    if data.endswith(b"\r\n", 0, size_bytes):
        end = size_bytes - 2
    elif data.endswith(b"\n", 0, size_bytes):
        end = size_bytes - 1
    else:
        end = size_bytes
    pin = data[:end]
    data[:] = bytes(len(data))
    return _checked(pin, description)


def _checked(buffer: bytearray, description: str) -> Pin:
    """One line of UTF-8 (CK_UTF8CHAR) of 1 to 255 bytes; a message never shows any of it."""
    reason = None
    if not buffer:
        reason = "it gave no PIN"
    elif len(buffer) > MAX_PIN_BYTES:
        reason = f"it gave more than {MAX_PIN_BYTES} bytes"
    elif any(byte < 0x20 or byte == 0x7F for byte in buffer):
        reason = "the PIN has a control character or a second line"
    else:
        try:
            buffer.decode("utf-8")
        except UnicodeDecodeError:
            reason = "the PIN is not UTF-8"
    if reason is not None:
        buffer[:] = bytes(len(buffer))
        raise PinSourceError(f"{description}: {reason}")
    return Pin(buffer)
