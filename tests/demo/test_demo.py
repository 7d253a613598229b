"""`make demo`, whole: its artefacts, its story, and that it would notice if a step came out otherwise."""

from __future__ import annotations

import os
import re
import shutil
import stat
import subprocess
from pathlib import Path

import pytest

from demo import run as demo_run
from demo.scenes import outsiders, refusals
from demo.stage import DemoFailed, Stage, open_stage
from demo.story import Step, Story
from tests.demo.conftest import ROOT, DemoRun

ARTEFACTS = [
    "app-1.0.0.srp", "app-1.1.0.srp", "trust-1.srb", "factory.hex", "device.img", "compat.pub.pem",
    "app-release.pub.pem", "root-ca.pem", "production-ca.pem", "code-signing.pem", "device.json", "story.md", "env.sh",
    "trust-2.srb", "app-1.3.0.srp", "app-1.3.0.evidence.json", "log/checkpoint", "log/tile/entries/000.p",
    "registry.sqlite", "grants.srg", "lot-1.srw", "line-1.births", "app-2.0.0.srp", "chain.json", "star.json",
    "ceremony/plan.yaml", "ceremony/transcript.jsonl", "ceremony/report.html", "ceremony/report.pdf",
]  # fmt: skip

REFUSALS = {
    "SIGNATURE_INVALID (203)": 2,
    "CHUNK_HASH (402)": 2,
    "BELOW_FLOOR (307)": 1,
    "SIGNER_UNKNOWN (201)": 1,
    "ABOVE_MAXIMUM (308)": 1,
    "SIGNER_REVOKED (202)": 1,
}


def outside(demo: DemoRun, *argv: str) -> str:
    """What a program that is not ours prints, run in the demonstration's folder; it must end with exit code 0."""
    path = f"{ROOT / '.venv-imgtool' / 'bin'}{os.pathsep}{os.environ['PATH']}"
    done = subprocess.run(
        argv, cwd=demo.folder, env=os.environ | {"PATH": path}, capture_output=True, text=True, check=False, timeout=60
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_it_leaves_every_artefact(demo: DemoRun) -> None:
    for name in ARTEFACTS:
        assert (demo.folder / name).stat().st_size > 0, name
    for name in ("trust-1.srb", "trust-2.srb"):
        assert (demo.folder / name).stat().st_size == 2304
    assert (demo.folder / "factory.hex").read_text().endswith(":00000001FF\n")


def test_pins_stand_in_private_files_and_nowhere_else(demo: DemoRun) -> None:
    files = sorted((demo.folder / "fake").glob("*.pin"))
    assert len(files) == 16
    said = demo.printed + (demo.folder / "story.md").read_text()
    for file in files:
        assert stat.S_IMODE(file.stat().st_mode) == 0o600
        assert file.read_text().strip() not in said


def test_imgtool_validates_the_packages_of_every_version(demo: DemoRun) -> None:
    for version in ("1.0.0", "1.1.0", "1.2.0"):
        said = outside(demo, "imgtool", "verify", "-k", "compat.pub.pem", f"app-{version}.srp")
        assert "Image was correctly validated" in said


def test_openssl_accepts_the_chain_and_refuses_it_without_its_middle(demo: DemoRun) -> None:
    verify = ["openssl", "verify", "-CAfile", "root-ca.pem"]
    assert outside(demo, *verify, "production-ca.pem") == "production-ca.pem: OK\n"
    assert outside(demo, *verify, "-untrusted", "production-ca.pem", "code-signing.pem") == "code-signing.pem: OK\n"
    done = subprocess.run([*verify, "code-signing.pem"], cwd=demo.folder, capture_output=True, check=False, timeout=60)
    assert done.returncode != 0


def test_the_story_tells_every_step_with_reason_command_and_outcome(demo: DemoRun) -> None:
    story = (demo.folder / "story.md").read_text(encoding="utf-8")
    steps = re.split(r"^### ", story, flags=re.MULTILINE)[1:]
    assert len(steps) == 56
    for number, step in enumerate(steps, start=1):
        assert step.startswith(f"{number}. ")
        for part in ("*Why it matters:* ", "```console\n$ ", "**Outcome:** "):
            assert step.count(part) == 1, (number, part)


def test_the_story_has_no_path_of_this_machine(demo: DemoRun) -> None:
    story = (demo.folder / "story.md").read_text(encoding="utf-8")
    assert str(ROOT) not in story
    assert str(demo.folder) not in story
    assert re.findall(r"(?:^|[\s\"'`(=])(/[a-z][\w.-]*/\S*)", story) == []


def test_every_refusal_names_the_device_code_and_the_application_still_starts(demo: DemoRun) -> None:
    story = (demo.folder / "story.md").read_text(encoding="utf-8")
    outcomes = re.findall(r"^\*\*Outcome:\*\* refused, ([A-Z_]+ \(\d+\)); (.*)$", story, flags=re.MULTILINE)
    assert {name: sum(found == name for found, _ in outcomes) for name, _ in outcomes} == REFUSALS
    unharmed = [rest for _, rest in outcomes if re.search(r"nothing was erased, and 1\.[13]\.0 still starts", rest)]
    assert len(unharmed) == sum(REFUSALS.values()) - 1


def test_the_power_was_cut_three_times_and_each_time_it_recovered(demo: DemoRun) -> None:
    story = (demo.folder / "story.md").read_text(encoding="utf-8")
    assert story.count("POWER CUT") == 3
    assert story.count("(exit code 12)") == 3
    assert "application 1.1.0 (confirmed), started by bootloader copy B" in story


@pytest.fixture
def copied(demo: DemoRun, tmp_path: Path) -> Stage:
    """A stage of its own, with the device as it was before the release key leaked."""
    folder = Path(shutil.copytree(demo.folder, tmp_path / "demo"))
    shutil.copy(folder / "control.img", folder / "device.img")
    return Stage(folder)


def test_it_fails_if_a_package_is_accepted_that_must_be_refused(copied: Stage) -> None:
    with pytest.raises(DemoFailed, match="exit code 0, not 11"):
        refusals.refused(copied, Step("", "", ""), "app-1.2.0.srp", "SIGNATURE_INVALID", 203)


def test_it_fails_if_a_package_is_refused_for_another_reason(copied: Stage) -> None:
    with pytest.raises(DemoFailed, match=r"BELOW_FLOOR \(307\), not SIGNATURE_INVALID"):
        refusals.refused(copied, Step("", "", ""), "app-1.0.0.srp", "SIGNATURE_INVALID", 203)


def test_it_fails_if_the_application_does_not_start_after_a_refusal(copied: Stage) -> None:
    shutil.copy(copied.folder / "device-2.img", copied.folder / "device.img")
    with pytest.raises(DemoFailed, match=r"application 1\.1\.0 was to run"):
        refusals.refused(copied, Step("", "", ""), "forged.srp", "SIGNER_UNKNOWN", 201)


def test_it_fails_if_others_do_not_validate(copied: Stage) -> None:
    package = copied.folder / "app-1.1.0.srp"
    data = bytearray(package.read_bytes())
    data[2000] ^= 1
    package.write_bytes(data)
    shutil.rmtree(copied.folder / "fake")
    story = Story()
    story.chapter("", "")
    for look in (outsiders.look_with_imgtool, outsiders.audit_tokens):
        with pytest.raises(DemoFailed):
            look(story, copied)


def test_it_leaves_a_folder_alone_that_is_not_its_own(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "thesis.txt").write_text("years of work")
    monkeypatch.setattr("sys.argv", ["run.py", "--out", str(tmp_path)])
    assert demo_run.main() == 1
    assert "is not a folder of the demonstration" in capsys.readouterr().err
    assert (tmp_path / "thesis.txt").read_text() == "years of work"


def test_it_starts_afresh_in_its_own_folder(tmp_path: Path) -> None:
    first = open_stage(tmp_path / "demo")
    (first.folder / "story.md").write_text("an old story")
    open_stage(tmp_path / "demo")
    assert not (tmp_path / "demo" / "story.md").exists()
