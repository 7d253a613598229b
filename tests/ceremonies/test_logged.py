"""An authority with an audit log: what ceremonies do is logged, and their transcript is signed by the log's key."""

from __future__ import annotations

import json
from pathlib import Path

from ceremonies.transcript import EntryType
from ceremonies.transcript_file import read_transcript
from cli.exit_codes import ExitCode
from tests.ceremonies.rooms import CREW, CeremonyWorld
from tests.faults.ceremony_kinds import ISSUED, with_log


def held_and_logged(world: CeremonyWorld) -> Path:
    with_log(world)
    digest = world.new("logged", "role-key-issue", ISSUED, CREW)
    world.hold("logged", digest)
    pem = world.folder / "log.pem"
    world.ok("key", "export", "sr:log:-:0001", "--out", pem)
    return pem


def test_a_ceremony_is_logged_and_its_transcript_signed(ceremony_world: CeremonyWorld) -> None:
    pem = held_and_logged(ceremony_world)
    report = ceremony_world.ok("ceremony", "verify", "logged", "--log-key", pem, "--json").json
    assert "the key demanded" in report["log_signature"]
    entries = [json.loads(line) for line in ceremony_world.ok("audit", "show", "--json").out.splitlines()]
    kinds = [entry["kind"] for entry in entries]
    wanted = ["ceremony-begun", "key-generated", "key-state-changed", "ceremony-ended"]
    assert [kind for kind in kinds if kind in wanted] == wanted
    digests = {entry["details"].get("ceremony_digest") for entry in entries if entry["kind"] in wanted}
    assert digests == {report["digest"]}
    ended = next(entry for entry in entries if entry["kind"] == "ceremony-ended")
    assert ended["details"]["head"] == report["head"]


def test_another_log_key_is_noticed(ceremony_world: CeremonyWorld) -> None:
    held_and_logged(ceremony_world)
    pem = ceremony_world.folder / "other.pem"
    ceremony_world.ok("key", "export", "sr:production:pump-x2:0001", "--out", pem)
    line = ceremony_world.fails(ExitCode.VERIFICATION, "ceremony", "verify", "logged", "--log-key", pem)
    assert "[CT-10]" in line


def test_an_aborted_ceremony_is_logged(ceremony_world: CeremonyWorld) -> None:
    with_log(ceremony_world)
    digest = ceremony_world.new("logged", "role-key-issue", ISSUED, CREW)
    ceremony_world.answers.write_text(
        "format: strongroom-ceremony-answers-1\nas_scripted: true\nanswers: {opening: x, digest-heard: stop}\n",
        encoding="utf-8",
    )
    result = ceremony_world.run(*("ceremony", "run", "logged", "--digest", digest, "--answers", ceremony_world.answers))
    assert result.code == ExitCode.CEREMONY
    entries = read_transcript(ceremony_world.ceremonies / "logged" / "transcript.jsonl")
    assert entries[-1].type is EntryType.ABORTED
    assert "ceremony-aborted" in ceremony_world.ok("audit", "show", "--json").out


def test_without_the_log_nothing_begins(ceremony_world: CeremonyWorld) -> None:
    """A log that is damaged: not even the first step is done."""
    with_log(ceremony_world)
    digest = ceremony_world.new("logged", "role-key-issue", ISSUED, CREW)
    for path in (ceremony_world.root / "log").glob("*.sqlite*"):
        path.write_bytes(b"not a database any more")
    result = ceremony_world.run(*("ceremony", "run", "logged", "--digest", digest, "--answers", ceremony_world.answers))
    assert result.code == ExitCode.AUDIT_LOG
    assert (ceremony_world.ceremonies / "logged" / "transcript.jsonl").read_bytes() == b""
