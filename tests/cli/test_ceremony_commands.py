"""The commands of ceremonies: their data, and a ceremony held by people at a real terminal (a pseudo-terminal here)."""

from __future__ import annotations

import os
import pty
import re
import select
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from cli.ceremony_checks import interfaces_up
from cli.exit_codes import ExitCode
from tests.ceremonies.conftest import *  # noqa: F403
from tests.ceremonies.rooms import CREW, CUSTODIANS, PIN, CeremonyWorld
from tests.ceremonies.test_refusals import digest_of
from tests.cli.world import PROGRAM
from tests.faults.ceremony_kinds import BACKED_UP

WAIT_SECONDS = 40.0


def test_plan_prints_script_and_digest(ceremony_world: CeremonyWorld) -> None:
    data = ceremony_world.ok("ceremony", "plan", "issue", "--json").json
    assert data["digest"] == digest_of(ceremony_world)
    assert len(data["words"]) == 32
    text = ceremony_world.ok("ceremony", "plan", "issue").out
    assert data["digest"] in text
    assert all(word in text for word in data["words"])


def test_the_digest_as_words_or_in_a_file(ceremony_world: CeremonyWorld) -> None:
    words = ceremony_world.ok("ceremony", "plan", "issue", "--json").json["words"]
    file = ceremony_world.folder / "words.txt"
    file.write_text("\n".join(words).upper(), encoding="utf-8")
    line = ceremony_world.fails(
        *(ExitCode.INPUT, "ceremony", "run", "issue", "--answers", ceremony_world.answers),
        *("--digest", " ".join([*words[:-1], "aardvark"])),
    )
    assert "word 32" in line
    ceremony_world.ok("ceremony", "run", "issue", "--digest", f"@{file}", "--answers", ceremony_world.answers)


def test_list_show_verify(ceremony_world: CeremonyWorld) -> None:
    listed = ceremony_world.ok("ceremony", "list", "--json").json
    assert listed["ceremonies"] == [{"name": "issue", "state": "rehearsed"}]
    assert "root-genesis" in listed["plans"]
    ceremony_world.fails(ExitCode.INPUT, "ceremony", "show", "issue")
    ceremony_world.hold("issue", digest_of(ceremony_world))
    assert ceremony_world.ok("ceremony", "list", "--json").json["ceremonies"][0]["state"] == "complete"
    shown = ceremony_world.ok("ceremony", "show", "issue").out
    assert "make-key: done: generate-key" in shown
    assert ceremony_world.ok("ceremony", "verify", "issue", "--json").json["verified"] is True
    artefact = ceremony_world.ceremonies / "issue" / "artefacts" / "application-release-2.pem"
    artefact.write_text("other", encoding="utf-8")
    assert "[CT-09]" in ceremony_world.fails(ExitCode.VERIFICATION, "ceremony", "verify", "issue")


def test_preflight_says_what_people_must_look_at(ceremony_world: CeremonyWorld) -> None:
    report = ceremony_world.ok("ceremony", "preflight", "issue", "--json").json
    assert report["ready"] is True
    assert len(report["room"]) == 2


def test_preflight_finds_the_wrong_day_and_the_network(ceremony_world: CeremonyWorld) -> None:
    plan = ceremony_world.ceremonies / "issue" / "plan.yaml"
    plan.write_text(plan.read_text() + '  air_gapped: true\n  date: "2031-01-01"\n', encoding="utf-8")
    result = ceremony_world.run("ceremony", "preflight", "issue", "--json")
    assert result.code == ExitCode.FINDINGS
    rules = {finding["rule"] for finding in result.json["findings"]}
    assert "CE-38" in rules
    assert ("CE-39" in rules) is bool(interfaces_up(Path("/sys/class/net")))


def test_interfaces_that_are_up(tmp_path: Path) -> None:
    for name, flags in (("lo", "0x9"), ("eth0", "0x1003"), ("eth1", "0x1002"), ("wlan0", "0x1")):
        (tmp_path / name).mkdir()
        (tmp_path / name / "flags").write_text(flags + "\n", encoding="ascii")
    assert interfaces_up(tmp_path) == ["eth0", "wlan0"]
    assert interfaces_up(tmp_path / "none") == []


@pytest.mark.parametrize(
    ("name", "options", "code"),
    [
        ("issue", ["--plan", "role-key-issue"], ExitCode.OUTPUT),
        ("x", ["--plan", "coffee"], ExitCode.CONFIGURATION),
        ("X!", ["--plan", "role-key-issue"], ExitCode.CONFIGURATION),
        ("x", ["--plan", "role-key-issue"], ExitCode.CONFIGURATION),
    ],
)
def test_new_refuses(name: str, options: list[str], code: ExitCode, ceremony_world: CeremonyWorld) -> None:
    ceremony_world.fails(code, "ceremony", "new", name, *options)


def test_without_a_terminal_nobody_answers(ceremony_world: CeremonyWorld) -> None:
    result = ceremony_world.process("ceremony", "run", "issue", "--digest", digest_of(ceremony_world))
    assert (result.code, "a ceremony needs a terminal" in result.err) == (ExitCode.INPUT, True)


# At a terminal


class Terminal:
    """The program on a pseudo-terminal; people who read what it shows, and type."""

    def __init__(self, world: CeremonyWorld, *arguments: str) -> None:
        self._ours, theirs = pty.openpty()
        self.shown = ""
        self._read_up_to = 0
        self.process = subprocess.Popen(
            [PROGRAM, *arguments],
            cwd=world.root,
            env={**os.environ, **world.environment, "TERM": "xterm"},
            stdin=theirs,
            stdout=theirs,
            stderr=theirs,
            start_new_session=True,
        )
        os.close(theirs)

    def expect(self, pattern: str) -> str:
        """Read until the pattern is shown after what was matched before; the text up to its end."""
        deadline = time.monotonic() + WAIT_SECONDS
        while not (match := re.compile(pattern).search(self.shown, self._read_up_to)):
            assert time.monotonic() < deadline, f"{pattern!r} was not shown; the end of what was: {self.shown[-1500:]}"
            if select.select([self._ours], [], [], 0.2)[0]:
                try:
                    self.shown += os.read(self._ours, 65536).decode("utf-8", errors="replace").replace("\r", "")
                except OSError:
                    assert re.compile(pattern).search(self.shown, self._read_up_to), self.shown[-1500:]
        before = self.shown[self._read_up_to : match.end()]
        self._read_up_to = match.end()
        return before

    def type(self, text: str) -> None:
        os.write(self._ours, f"{text}\n".encode())

    def end(self) -> int:
        return self.process.wait(WAIT_SECONDS)

    def close(self) -> None:
        if self.process.poll() is None:
            self.process.kill()
            self.process.wait(WAIT_SECONDS)
        os.close(self._ours)


@pytest.fixture
def prompting_world(ceremony_world: CeremonyWorld) -> CeremonyWorld:
    """The PIN of the token is typed by a person; so the ceremony is reviewed and rehearsed anew."""
    text = ceremony_world.site_file.read_text(encoding="utf-8")
    entry = text.index("\n[tokens.release]")
    changed = re.sub(r"pin = \{.*\}", 'pin = { source = "prompt" }', text[entry:], count=1)
    ceremony_world.site_file.write_text(text[:entry] + changed, encoding="utf-8")
    rehearsed = ceremony_world.process("ceremony", "rehearse", "issue")
    assert rehearsed.code == ExitCode.OK, rehearsed
    return ceremony_world


@pytest.fixture
def at_terminal(prompting_world: CeremonyWorld) -> Iterator[Callable[..., Terminal]]:
    """Starts the program at a terminal; each is closed at the end."""
    terminals: list[Terminal] = []

    def start(*arguments: str) -> Terminal:
        terminals.append(Terminal(prompting_world, "ceremony", *arguments))
        return terminals[-1]

    yield start
    for terminal in terminals:
        terminal.close()


def roll_call(terminal: Terminal) -> None:
    for number, (person, words) in enumerate([("Ada", "ada"), ("Bob", "bob"), ("Cy", "cy")], start=1):
        head = terminal.expect(rf"STEP {number} of 11 +ROLL CALL\n\w+: {person} Example")
        assert "=" * 78 in head
        terminal.expect(r"> ")
        terminal.type(f"{words} present")


def test_people_hold_a_ceremony_at_a_terminal(
    prompting_world: CeremonyWorld, at_terminal: Callable[..., Terminal]
) -> None:
    terminal = at_terminal("run", "issue", "--digest", digest_of(prompting_world))
    roll_call(terminal)
    terminal.expect(r"STEP 4 of 11 +READ ALOUD\nOPERATOR: Ada Example \(ada\)")
    terminal.expect(r"Read it aloud, then press Enter: ")
    terminal.type("")
    terminal.expect(r"STEP 5 of 11 +CONFIRM BY TYPING\nWITNESS: Bob Example")
    terminal.expect(r"Type exactly: +the digest agrees\n")
    terminal.type("y")
    terminal.expect(r"THAT IS NOT WHAT THE SCRIPT SAYS")
    terminal.expect(r"Attempt 2 of 5")
    terminal.expect(r"> ")
    terminal.type("The digest agrees")
    terminal.expect(r"STEP 6 of 11 +ENTER A PIN\nOPERATOR")
    terminal.expect(r"PIN of token release: ")
    terminal.type(PIN)
    for number in (7, 8, 9, 10):
        terminal.expect(rf"STEP {number} of 11 +THE PROGRAM ACTS")
        terminal.expect(r"Press Enter to have it done: ")
        terminal.type("")
        terminal.expect(r"DONE\n")
    terminal.expect(r"STEP 11 of 11 +READ ALOUD")
    terminal.expect(r"press Enter: ")
    terminal.type("")
    terminal.expect(r"ceremony issue is complete: 11 steps")
    assert terminal.end() == 0
    assert PIN not in terminal.shown
    assert prompting_world.ok("ceremony", "verify", "issue", "--json").json["mode"] == "live"


def test_a_terminal_that_is_closed_and_a_wrong_pin_leave_a_ceremony_to_resume(
    prompting_world: CeremonyWorld, at_terminal: Callable[..., Terminal]
) -> None:
    terminal = at_terminal("run", "issue", "--digest", digest_of(prompting_world))
    roll_call(terminal)
    terminal.expect(r"press Enter: ")
    terminal.process.kill()
    terminal.end()
    terminal = at_terminal("resume", "issue")
    terminal.expect(r"STEP 4 of 11")
    terminal.expect(r"press Enter: ")
    terminal.type("")
    terminal.expect(r"> ")
    terminal.type("the digest agrees")
    terminal.expect(r"PIN of token release: ")
    terminal.type("wrong-pin")
    terminal.expect(r"error: .*PIN")
    assert terminal.end() == ExitCode.TOKEN
    terminal = at_terminal("resume", "issue")
    terminal.expect(r"STEP 6 of 11 +ENTER A PIN")
    terminal.expect(r"PIN of token release: ")
    terminal.type(PIN)
    terminal.expect(r"Press Enter to have it done: ")
    terminal.type("stop")
    terminal.expect(r"stop this ceremony for good")
    terminal.type("no, go on")
    terminal.expect(r"Press Enter to have it done: ")
    terminal.type("stop")
    terminal.expect(r"stop this ceremony for good")
    terminal.type("stop this ceremony for good")
    terminal.expect(r"error: \[CE-22\]")
    assert terminal.end() == ExitCode.CEREMONY
    assert prompting_world.ok("ceremony", "list", "--json").json["ceremonies"][0]["state"] == "aborted"


def test_shares_are_shown_to_one_custodian_and_cleared(ceremony_world: CeremonyWorld) -> None:
    """A key with a backup, at a terminal: three custodians write their share down and read words of it back."""
    values = {**BACKED_UP, "words": "2"}
    options = [f"--value={name}={value}" for name, value in values.items()]
    options += [f"--person={person}" for person in CREW + CUSTODIANS]
    assert ceremony_world.process("ceremony", "new", "kept", "--plan", "backup", *options).code == ExitCode.OK
    digest = str(ceremony_world.process("ceremony", "rehearse", "kept", "--json").json["digest"])
    terminal = Terminal(ceremony_world, "ceremony", "run", "kept", "--digest", digest)
    for person in ("ada", "bob", "cy", "dan", "eve", "fay"):
        terminal.expect(r"> $")
        terminal.type(f"{person} present")
    terminal.expect(r"press Enter: $")
    terminal.type("")
    terminal.expect(r"> $")
    terminal.type("the digest agrees")
    terminal.expect(r"Press Enter to have it done: $")
    terminal.type("")
    for name in ("Dan Example (custodian-1)", "Eve Example (custodian-2)", "Fay Example (custodian-3)"):
        terminal.expect(rf"{re.escape(name)}: come to the screen ALONE.*Press Enter\. $")
        terminal.type("")
        share = terminal.expect(r"Then press Enter: the screen is cleared\. $")
        words = {int(number): word for number, word in re.findall(r"(\d+) ([a-z]+)", share)}
        assert sorted(words) == list(range(1, 34))
        terminal.type("")
        terminal.expect(re.escape("\033[H\033[2J\033[3J"))
        for _ in range(2):
            asked = re.search(r"word (\d+) of 33: $", terminal.expect(r"word \d+ of 33: $"))
            assert asked is not None
            shown_before = len(terminal.shown)
            terminal.type(words[int(asked[1])])
            terminal.expect(r"\n")
            assert words[int(asked[1])] not in terminal.shown[shown_before:].split("come to the screen")[0]
    terminal.expect(r"DONE\n")
    terminal.expect(r"Press Enter to have it done: $")
    terminal.close()
    transcript = (ceremony_world.ceremonies / "kept" / "transcript.jsonl").read_text(encoding="utf-8")
    assert " ".join(words[number] for number in range(1, 5)) not in transcript
