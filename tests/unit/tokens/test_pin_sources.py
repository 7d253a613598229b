"""PIN sources: what is taken, what is refused, and that no PIN shows anywhere."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from signer.tokens.errors import PinSourceError
from signer.tokens.pin_sources import (
    Pin,
    PinCommand,
    PinFile,
    PinSource,
    PromptedPin,
    ProtectedPath,
    pin_source_from_text,
)

SECRET = "geheim-4711"


def never_ask(_prompt: str) -> str:
    raise AssertionError("nobody may be asked here")


@pytest.fixture
def pin_path(tmp_path: Path) -> Path:
    folder = tmp_path / "fake"
    folder.mkdir()
    path = folder / "user.pin"
    path.write_text(SECRET + "\n")
    path.chmod(0o600)
    return path


def taken(source: PinSource) -> bytes:
    pin = source.read()
    assert pin is not None
    return bytes(pin.take())


@pytest.mark.parametrize("line_end", ["", "\n", "\r\n"])
@pytest.mark.parametrize("mode", [0o600, 0o400])
def test_a_pin_file(pin_path: Path, line_end: str, mode: int) -> None:
    pin_path.write_text(SECRET + line_end, newline="")
    pin_path.chmod(mode)
    source = PinFile(pin_path)
    assert taken(source) == SECRET.encode()
    assert taken(source) == SECRET.encode()
    assert source.repeatable


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"", "gave no PIN"),
        (b"\n", "gave no PIN"),
        (b"12\n34\n", "second line"),
        (b"1234\n\n", "second line"),
        (b"12\x0034", "control character"),
        (b"\xff\xfe1234", "not UTF-8"),
        (b"1" * 256, "more than 255"),
        (b"1" * 100_000, "more than 255"),
    ],
)
def test_a_pin_file_with_something_else_in_it(pin_path: Path, content: bytes, reason: str) -> None:
    pin_path.write_bytes(content)
    with pytest.raises(PinSourceError, match=reason) as failure:
        PinFile(pin_path).read()
    assert "1234" not in str(failure.value)


def test_the_longest_pin(pin_path: Path) -> None:
    pin_path.write_bytes(b"1" * 255 + b"\r\n")
    assert taken(PinFile(pin_path)) == b"1" * 255


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o620, 0o602, 0o660, 0o644, 0o777])
def test_a_pin_file_that_others_can_reach(pin_path: Path, mode: int) -> None:
    pin_path.chmod(mode)
    with pytest.raises(PinSourceError, match="chmod 600"):
        PinFile(pin_path).read()


def test_a_pin_file_of_somebody_else(pin_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: pin_path.stat().st_uid + 1)
    with pytest.raises(PinSourceError, match="somebody else"):
        PinFile(pin_path).read()


def test_what_is_not_a_regular_file(pin_path: Path) -> None:
    link = pin_path.parent / "link.pin"
    link.symlink_to(pin_path)
    pipe = pin_path.parent / "pipe.pin"
    os.mkfifo(pipe, 0o600)
    for path, reason in (
        (link, "symbolic link"),
        (pipe, "not a regular file"),
        (pin_path.parent, "not a regular file"),
        (pin_path.parent / "none.pin", "No such file"),
        (Path("/dev/null"), "not a regular file"),
    ):
        with pytest.raises(PinSourceError, match=reason):
            PinFile(path).read()


def command(code: str, time_limit_seconds: float = 10.0) -> PinCommand:
    return PinCommand((sys.executable, "-c", code), time_limit_seconds)


def test_a_pin_command() -> None:
    assert taken(command(f"print({SECRET!r})")) == SECRET.encode()
    assert taken(command(f"print({SECRET!r}, end='')")) == SECRET.encode()


@pytest.mark.parametrize(
    ("code", "reason"),
    [
        ("", "gave no PIN"),
        ("print('1234'); raise SystemExit(3)", "status 3"),
        ("import sys; print('1234', file=sys.stderr)", "gave no PIN"),
        ("print('1' * 1_000_000)", "more than 255"),
        ("print('12'); print('34')", "second line"),
        ("import os, signal; os.kill(os.getpid(), signal.SIGKILL)", "status -9"),
    ],
)
def test_a_pin_command_that_fails(code: str, reason: str) -> None:
    with pytest.raises(PinSourceError, match=reason) as failure:
        command(code).read()
    assert "1234" not in str(failure.value)


@pytest.mark.parametrize(
    "code",
    [
        "import time; time.sleep(60)",
        "import sys, time\nsys.stdout.close(); import os; os.close(1); time.sleep(60)",
        "import time\nwhile True: print('1', end='', flush=True); time.sleep(0.3)",
    ],
)
def test_a_pin_command_that_takes_too_long(code: str) -> None:
    started = time.monotonic()
    with pytest.raises(PinSourceError, match=r"no answer in 0\.7 seconds"):
        command(code, 0.7).read()
    assert time.monotonic() - started < 20


def test_a_pin_command_runs_without_a_shell(tmp_path: Path) -> None:
    assert taken(PinCommand(("/bin/echo", "$HOME;id"))) == b"$HOME;id"
    with pytest.raises(PinSourceError, match="cannot be started"):
        PinCommand((str(tmp_path / "none"),)).read()
    for arguments, limit in (((), 1.0), (("",), 1.0), (("/bin/true",), 0.0), (("/bin/true",), 31.0)):
        with pytest.raises(PinSourceError):
            PinCommand(arguments, limit)


def test_a_prompt_is_asked_each_time() -> None:
    prompts = []

    def ask(prompt: str) -> str:
        prompts.append(prompt)
        return SECRET

    source = PromptedPin(ask, "PIN of hsm: ")
    assert not source.repeatable
    assert taken(source) == taken(source) == SECRET.encode()
    assert prompts == ["PIN of hsm: "] * 2
    with pytest.raises(PinSourceError, match="gave no PIN"):
        PromptedPin(lambda _prompt: "", "x").read()


def test_a_pin_is_taken_once_and_wiped() -> None:
    buffer = bytearray(SECRET.encode())
    pin = Pin(buffer)
    assert len(pin) == len(SECRET)
    assert pin.take() is buffer
    with pytest.raises(PinSourceError, match="one login attempt"):
        pin.take()
    pin.wipe()
    assert buffer == bytes(len(SECRET))
    untaken = Pin(bytearray(b"1234"))
    untaken.wipe()
    with pytest.raises(PinSourceError):
        untaken.take()


def test_no_pin_in_any_representation(pin_path: Path) -> None:
    pin = PinFile(pin_path).read()
    for shown in (pin, PinFile(pin_path), command("x"), PromptedPin(lambda _: SECRET, "PIN: "), ProtectedPath()):
        assert SECRET not in repr(shown)
        assert SECRET not in str(shown)
        assert SECRET not in f"{shown}"


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("protected", ProtectedPath()),
        ("file:/run/pin", PinFile(Path("/run/pin"))),
        ("file:fake/a b.pin", PinFile(Path("fake/a b.pin"))),
        ("command:/usr/bin/pass show 'hsm one'", PinCommand(("/usr/bin/pass", "show", "hsm one"))),
    ],
)
def test_sources_by_name(text: str, expected: PinSource) -> None:
    assert pin_source_from_text(text, never_ask, "PIN: ") == expected


def test_the_prompt_by_name() -> None:
    source = pin_source_from_text("prompt", lambda prompt: prompt + SECRET, "PIN-")
    assert taken(source) == b"PIN-" + SECRET.encode()


@pytest.mark.parametrize("text", ["", SECRET, "1234", "file:", "file", "command:", "prompt:", "protected:x", "File:/x"])
def test_what_is_no_source_is_not_repeated_in_the_message(text: str) -> None:
    with pytest.raises(PinSourceError, match="a PIN itself is not taken") as failure:
        pin_source_from_text(text, never_ask, "PIN: ")
    assert SECRET not in str(failure.value)
    assert "1234" not in str(failure.value)


def test_an_open_quotation_mark() -> None:
    with pytest.raises(PinSourceError, match="quotation mark"):
        pin_source_from_text("command:pass 'x", never_ask, "PIN: ")


def test_protected_path_passes_nothing() -> None:
    read: Callable[[], None] = ProtectedPath().read
    assert read() is None  # type: ignore[func-returns-value]
    assert not ProtectedPath().repeatable
