"""What somebody changes on the disk while a ceremony is held: noticed before the next act, and nothing is signed."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from ceremonies.conduct import StepView
from ceremonies.transcript import EntryType
from ceremonies.transcript_file import read_transcript
from cli.ceremony_answers import AnsweringRoom
from cli.exit_codes import ExitCode
from signer.tokens.module import Module
from tests.ceremonies.rooms import CREW, CUSTODIANS, CeremonyWorld
from tests.ceremonies.test_refusals import digest_of, run_arguments
from tests.faults.ceremony_kinds import ROTATED
from tests.softhsm.fault_rig import counted


def at_step(step: str, change: Callable[[], object], monkeypatch: pytest.MonkeyPatch) -> None:
    """Somebody changes something when this step's act has been announced."""

    def before_act(_room: AnsweringRoom, view: StepView) -> None:
        if view.step.id == step:
            change()

    monkeypatch.setattr(AnsweringRoom, "before_act", before_act)


@pytest.mark.parametrize("name", ["people.toml", "sites/main.toml", "products/pump-x2.toml", "policies/more.cedar"])
def test_a_reviewed_file_changed_on_the_way(
    name: str, ceremony_world: CeremonyWorld, module: Module, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = ceremony_world.root / name
    before = path.read_bytes() if path.exists() else None
    at_step("make-key", lambda: path.write_bytes((before or b"") + b"\n"), monkeypatch)
    with counted(module, "C_GenerateKeyPair") as pairs:
        result = ceremony_world.run("ceremony", *run_arguments(ceremony_world, digest_of(ceremony_world)))
    assert (result.code, "[CE-17]" in result.err, pairs) == (ExitCode.CEREMONY, True, [])
    monkeypatch.undo()
    monkeypatch.setenv("SOFTHSM2_CONF", ceremony_world.environment["SOFTHSM2_CONF"])
    if before is None:
        path.unlink()
    else:
        path.write_bytes(before)
    ceremony_world.ok("ceremony", "resume", "issue", "--answers", ceremony_world.answers)


def test_a_bundle_exchanged_between_its_making_and_its_signing(
    rooted_world: CeremonyWorld, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Another bundle, well made, in the place of the one that the step before wrote: no root signs it."""
    digest = rooted_world.new("held", "role-key-rotation", ROTATED, CREW + CUSTODIANS)
    unsigned = rooted_world.ceremonies / "held" / "artefacts" / "unsigned.srb"

    def exchange() -> None:
        content = bytearray(unsigned.read_bytes())
        content[56:60] = (7).to_bytes(4, "little")
        unsigned.unlink()
        unsigned.write_bytes(content)

    at_step("sign-1", exchange, monkeypatch)
    result = rooted_world.run("ceremony", "run", "held", "--digest", digest, "--answers", rooted_world.answers)
    assert (result.code, "[CE-23]" in result.err) == (ExitCode.CEREMONY, True)
    assert not Path(unsigned.with_name("signed-once.srb")).exists()
    entries = read_transcript(rooted_world.ceremonies / "held" / "transcript.jsonl")
    assert (entries[-1].type, entries[-1].note.step) == (EntryType.FAILED, "sign-1")
    monkeypatch.undo()
    monkeypatch.setenv("SOFTHSM2_CONF", rooted_world.environment["SOFTHSM2_CONF"])
    # After an interruption the transcript knows the digest, so it is noticed then too.
    again = rooted_world.run("ceremony", "resume", "held", "--answers", rooted_world.answers)
    assert (again.code, "[CE-23]" in again.err) == (ExitCode.CEREMONY, True)
