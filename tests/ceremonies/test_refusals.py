"""What stops a ceremony before its first key operation, and what stops it later."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from pathlib import Path

import pytest

from ceremonies.transcript import EntryType
from ceremonies.transcript_file import TranscriptFile, read_transcript
from cli.exit_codes import ExitCode
from pki.canonical_json import encode_canonical
from pki.errors import InputRefused
from signer.tokens.module import Module
from tests.ceremonies.conftest import ISSUE
from tests.ceremonies.rooms import CREW, CUSTODIANS, PIN, CeremonyWorld, label
from tests.cli.world import write_pin
from tests.softhsm.fault_rig import counted, failing


def digest_of(world: CeremonyWorld, name: str = "issue") -> str:
    return str(json.loads((world.ceremonies / name / "rehearsal.jsonl").read_text().split("\n")[0])["fixed"]["digest"])


def refused(world: CeremonyWorld, module: Module, rule: str, *arguments: str | Path) -> str:
    """The command is refused by this rule, and no token was logged in to."""
    with (
        counted(module, "C_Login") as logins,
        counted(module, "C_GenerateKeyPair") as pairs,
        counted(module, "C_SignInit") as signatures,
    ):
        line = ended(world, *arguments)
    assert f"[{rule}]" in line, line
    assert (logins, pairs, signatures) == ([], [], [])
    return line


def ended(world: CeremonyWorld, *arguments: str | Path) -> str:
    """The command fails as ceremonies do; its last line."""
    result = world.run("ceremony", *arguments)
    assert (result.code, result.out) == (ExitCode.CEREMONY, ""), result
    return result.err.splitlines()[-1]


def run_arguments(world: CeremonyWorld, digest: str) -> tuple[str | Path, ...]:
    return ("run", "issue", "--digest", digest, "--answers", world.answers)


def with_one_byte_more(path: Path) -> None:
    path.write_bytes(path.read_bytes() + b"\n")


@pytest.mark.parametrize(
    "name",
    [
        "ceremonies/issue/plan.yaml",
        "sites/main.toml",
        "people.toml",
        "products/pump-x2.toml",
        "boards/stm32f405-full.toml",
        "strongroom.toml",
        "policies/*.cedar",
    ],
)
def test_one_byte_changed_after_the_review_stops_it(name: str, ceremony_world: CeremonyWorld, module: Module) -> None:
    path = next(iter(sorted(ceremony_world.root.glob(name))))
    with_one_byte_more(path)
    line = refused(ceremony_world, module, "CE-10", *run_arguments(ceremony_world, digest_of(ceremony_world)))
    assert path.name in line
    assert not (ceremony_world.ceremonies / "issue" / "transcript.jsonl").exists()


def test_a_file_that_appears_after_the_review_stops_it(ceremony_world: CeremonyWorld, module: Module) -> None:
    digest = digest_of(ceremony_world)
    (ceremony_world.root / "allowed_signers").unlink(missing_ok=True)
    (ceremony_world.root / "policies" / "more.cedar").write_text("", encoding="utf-8")
    refused(ceremony_world, module, "CE-10", *run_arguments(ceremony_world, digest))


def test_another_program_stops_it(
    ceremony_world: CeremonyWorld, module: Module, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("cli.ceremony_files.tool_digest", lambda: "0" * 64)
    line = refused(ceremony_world, module, "CE-10", *run_arguments(ceremony_world, digest_of(ceremony_world)))
    assert "the program itself" in line


def test_another_digest_than_the_reviewed_one_stops_it(ceremony_world: CeremonyWorld, module: Module) -> None:
    refused(ceremony_world, module, "CE-10", *run_arguments(ceremony_world, "0" * 64))


def test_it_must_be_rehearsed(ceremony_world: CeremonyWorld, module: Module) -> None:
    digest = digest_of(ceremony_world)
    (ceremony_world.ceremonies / "issue" / "rehearsal.jsonl").unlink()
    refused(ceremony_world, module, "CE-11", *run_arguments(ceremony_world, digest))


def test_half_a_rehearsal_is_none(ceremony_world: CeremonyWorld, module: Module) -> None:
    digest = digest_of(ceremony_world)
    path = ceremony_world.ceremonies / "issue" / "rehearsal.jsonl"
    path.write_bytes(b"".join(path.read_bytes().splitlines(keepends=True)[:-1]))
    refused(ceremony_world, module, "CE-11", *run_arguments(ceremony_world, digest))


def test_a_key_of_that_label_stops_it(ceremony_world: CeremonyWorld, module: Module) -> None:
    options = ("--product", "pump-x2", "--sequence", "2")
    ceremony_world.ok("key", "generate", "application-release", "--token", "release", *options)
    line = refused(ceremony_world, module, "CE-15", *run_arguments(ceremony_world, digest_of(ceremony_world)))
    assert "CE-31" in line
    assert "exists already" in line


def test_an_artefact_of_that_name_stops_it(ceremony_world: CeremonyWorld, module: Module) -> None:
    folder = ceremony_world.ceremonies / "issue" / "artefacts"
    folder.mkdir()
    (folder / ISSUE["artefact"]).write_bytes(b"from elsewhere")
    refused(ceremony_world, module, "CE-15", *run_arguments(ceremony_world, digest_of(ceremony_world)))


def test_a_token_that_is_not_there_stops_it(ceremony_world: CeremonyWorld, module: Module) -> None:
    for path in (ceremony_world.folder / "tokens").iterdir():
        if b"release" in (path / "token.object").read_bytes():
            path.rename(ceremony_world.folder / path.name)
    module.reinitialize()
    line = refused(ceremony_world, module, "CE-15", *run_arguments(ceremony_world, digest_of(ceremony_world)))
    assert "CE-33" in line


def test_without_a_quorum_nothing_begins(ceremony_world: CeremonyWorld, module: Module) -> None:
    ceremony_world.answers.write_text(
        "format: strongroom-ceremony-answers-1\nas_scripted: true\nabsent: [bob, cy]\n", encoding="utf-8"
    )
    refused(ceremony_world, module, "CE-12", *run_arguments(ceremony_world, digest_of(ceremony_world)))
    entries = read_transcript(ceremony_world.ceremonies / "issue" / "transcript.jsonl")
    assert entries[-1].type is EntryType.ABORTED


def test_one_absent_witness_of_two_does_not_matter(ceremony_world: CeremonyWorld) -> None:
    ceremony_world.answers.write_text(
        "format: strongroom-ceremony-answers-1\nas_scripted: true\nabsent: [bob]\n", encoding="utf-8"
    )
    ceremony_world.hold("issue", digest_of(ceremony_world))
    assert ceremony_world.ok("ceremony", "verify", "issue", "--json").json["verified"] is True


def test_it_is_run_once(ceremony_world: CeremonyWorld, module: Module) -> None:
    digest = digest_of(ceremony_world)
    ceremony_world.hold("issue", digest)
    refused(ceremony_world, module, "CE-14", *run_arguments(ceremony_world, digest))
    # Resuming a complete one changes nothing and says so.
    before = (ceremony_world.ceremonies / "issue" / "transcript.jsonl").read_bytes()
    ceremony_world.ok("ceremony", "resume", "issue", "--answers", ceremony_world.answers)
    assert (ceremony_world.ceremonies / "issue" / "transcript.jsonl").read_bytes() == before


def test_a_ceremony_that_has_not_begun_cannot_be_resumed(ceremony_world: CeremonyWorld, module: Module) -> None:
    refused(ceremony_world, module, "CE-14", "resume", "issue", "--answers", ceremony_world.answers)


def test_two_processes_cannot_hold_one_ceremony(tmp_path: Path) -> None:
    with TranscriptFile(tmp_path / "t.jsonl"):
        second = TranscriptFile(tmp_path / "t.jsonl")
        with pytest.raises(InputRefused, match="another process"):
            second.__enter__()


# What happens on the way


def interrupted(world: CeremonyWorld, module: Module) -> None:
    """The token fails at the key's generation: the process ends, the ceremony can go on."""
    with failing(module, "C_GenerateKeyPair", 0x30, times=20):
        result = world.run("ceremony", *run_arguments(world, digest_of(world)))
    assert result.code == ExitCode.TOKEN
    entries = read_transcript(world.ceremonies / "issue" / "transcript.jsonl")
    assert entries[-1].type is EntryType.FAILED


def test_a_failed_step_is_written_down_and_resumed(ceremony_world: CeremonyWorld, module: Module) -> None:
    interrupted(ceremony_world, module)
    assert ceremony_world.ok("ceremony", "list", "--json").json["ceremonies"][0]["state"] == "interrupted: resume it"
    ceremony_world.ok("ceremony", "resume", "issue", "--answers", ceremony_world.answers)
    report = ceremony_world.ok("ceremony", "verify", "issue", "--json").json
    assert report["interruptions"] == 1


@pytest.mark.parametrize("name", ["ceremonies/issue/plan.yaml", "sites/main.toml"])
def test_what_changed_meanwhile_stops_the_resumption(name: str, ceremony_world: CeremonyWorld, module: Module) -> None:
    interrupted(ceremony_world, module)
    with_one_byte_more(ceremony_world.root / name)
    refused(ceremony_world, module, "CE-17", "resume", "issue", "--answers", ceremony_world.answers)


def test_drift_from_the_rehearsal_ends_it(ceremony_world: CeremonyWorld) -> None:
    """The golden transcript says another outcome than the one that comes: somebody changed what is done."""
    digest = digest_of(ceremony_world)
    path = ceremony_world.ceremonies / "issue" / "rehearsal.jsonl"
    rechain(path, lambda text: text.replace('"algorithm":"ec-p256"', '"algorithm":"ec-p384"'))
    assert "[CE-20]" in ended(ceremony_world, *run_arguments(ceremony_world, digest))
    entries = read_transcript(ceremony_world.ceremonies / "issue" / "transcript.jsonl")
    assert (entries[-1].type, entries[-1].note.varying["rule"]) == (EntryType.ABORTED, "CE-20")
    assert [entry.note.step for entry in entries if entry.type is EntryType.RESULT][-1] == "make-key"
    states = {row["label"]: row["state"] for row in ceremony_world.ok("key", "list", "--json").json}
    assert states[label("application-release", 2)] == "pre-activation"


def rechain(path: Path, change: Callable[[str], str]) -> None:
    """Change a transcript's text and make its chain right again, as a forger would."""
    lines: list[bytes] = []
    previous = "0" * 64
    for text in change(path.read_text(encoding="utf-8")).splitlines():
        entry = json.loads(text)
        entry["previous"] = previous
        lines.append(encode_canonical(entry))
        previous = hashlib.sha256(lines[-1]).hexdigest()
    path.write_bytes(b"\n".join(lines) + b"\n")


def test_people_can_stop_it_for_good(ceremony_world: CeremonyWorld, module: Module) -> None:
    ceremony_world.answers.write_text(
        "format: strongroom-ceremony-answers-1\nas_scripted: true\nanswers: {digest-heard: stop}\n", encoding="utf-8"
    )
    refused(ceremony_world, module, "CE-22", *run_arguments(ceremony_world, digest_of(ceremony_world)))
    refused(ceremony_world, module, "CE-14", "resume", "issue", "--answers", ceremony_world.answers)


def test_a_wrong_answer_does_not_go_on(ceremony_world: CeremonyWorld) -> None:
    ceremony_world.answers.write_text(
        "format: strongroom-ceremony-answers-1\nas_scripted: true\nanswers: {digest-heard: yes it does}\n",
        encoding="utf-8",
    )
    result = ceremony_world.run("ceremony", *run_arguments(ceremony_world, digest_of(ceremony_world)))
    assert result.code == ExitCode.CONFIGURATION
    assert "not one that the script takes" in result.err


# Plans that do not fit


@pytest.mark.parametrize(
    ("people", "rule"),
    [
        (("operator=ada", "witness=gil"), "CE-04"),
        (("operator=ada", "witness=nobody"), "CE-04"),
        (("operator=ada", "witness=ada"), "CE-04"),
        (("operator=ada",), "CE-06"),
        (("operator=ada", "witness=bob", "witness=bob"), "CE-05"),
    ],
)
def test_wrong_people(people: tuple[str, ...], rule: str, ceremony_world: CeremonyWorld) -> None:
    options = [f"--value={name}={value}" for name, value in ISSUE.items()] + [f"--person={each}" for each in people]
    line = ceremony_world.fails(
        ExitCode.CONFIGURATION, "ceremony", "new", "other", "--plan", "role-key-issue", *options
    )
    assert f"[{rule}]" in line
    assert not (ceremony_world.ceremonies / "other" / "plan.yaml").exists()


def test_roots_that_share_a_token(ceremony_world: CeremonyWorld) -> None:
    text = ceremony_world.product_file.read_text(encoding="utf-8")
    changed = text.replace('{ token = "root-2", label = "sr:root', '{ token = "root-1", label = "sr:root')
    assert changed != text
    ceremony_world.product_file.write_text(changed, encoding="utf-8")
    options = ["--value=product=pump-x2"] + [f"--person={each}" for each in CREW + CUSTODIANS]
    ceremony_world.ok("ceremony", "new", "genesis", "--plan", "root-genesis", *options)
    result = ceremony_world.run("ceremony", "rehearse", "genesis")
    assert result.code in {ExitCode.CEREMONY, ExitCode.CONFIGURATION}


def test_production_takes_no_answers_and_no_software_tokens(ceremony_world: CeremonyWorld, module: Module) -> None:
    path = ceremony_world.root / "strongroom.toml"
    path.write_text(path.read_text().replace('"development"', '"production"'), encoding="utf-8")
    refused(ceremony_world, module, "CE-16", *run_arguments(ceremony_world, digest_of(ceremony_world)))
    pins = write_pin(ceremony_world.root / "pins" / "user.pin", PIN)
    site = ceremony_world.site_file.read_text(encoding="utf-8").replace("fake/user.pin", f"pins/{pins.name}")
    ceremony_world.site_file.write_text(site, encoding="utf-8")
    findings = ceremony_world.run("ceremony", "preflight", "issue", "--json").json["findings"]
    assert [item["rule"] for item in findings if item["error"]] == ["CE-35"]
    assert [item["rule"] for item in findings if not item["error"]] == ["CE-36"]
