"""`strongroom ceremony report` on a ceremony that does not verify: the sample has no plan and no review beside it."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from cli.exit_codes import ExitCode
from cli.main import run

SAMPLE = Path(__file__).parent / "sample"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return Path(shutil.copytree(SAMPLE, tmp_path / "ceremonies" / "issue-2026"))


def test_it_refuses_what_does_not_verify(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    before = sorted(folder.rglob("*"))
    assert run(["ceremony", "report", str(folder)]) == ExitCode.VERIFICATION
    printed = capsys.readouterr()
    assert printed.out == ""
    assert printed.err.startswith("error: [RP-01] the ceremony does not verify: [CT-")
    assert sorted(folder.rglob("*")) == before


def test_it_says_so_on_every_page_if_it_is_asked_for(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out"
    out.mkdir()
    assert run(["ceremony", "report", str(folder), "--unverified", "--out", str(out), "--json"]) == ExitCode.OK
    data = json.loads(capsys.readouterr().out)
    assert data["verified"] is False
    assert data["warning"] == "NOT VERIFIED – DO NOT SIGN"
    assert data["files"] == [str(out / "report.html"), str(out / "report.pdf")]
    assert "NOT VERIFIED – DO NOT SIGN" in (out / "report.html").read_text(encoding="utf-8")
    assert (out / "report.pdf").read_bytes().startswith(b"%PDF-")
    assert run(["ceremony", "report", str(folder), "--unverified", "--out", str(out)]) == ExitCode.OUTPUT


def test_artefacts_are_compared_with_the_transcript(folder: Path, tmp_path: Path) -> None:
    (folder / "artefacts" / "application-release-2.pem").unlink()
    (folder / "artefacts" / "stranger.txt").write_text("not of this ceremony\n", encoding="utf-8")
    assert run(["ceremony", "report", str(folder), "--unverified", "--out", str(tmp_path)]) == ExitCode.OK
    document = (tmp_path / "report.html").read_text(encoding="utf-8")
    assert "MISSING" in document
    assert "the transcript does not list this file" in document


@pytest.mark.parametrize("cut", ["middle", "empty"])
def test_a_damaged_transcript_is_refused_even_then(cut: str, folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    transcript = folder / "transcript.jsonl"
    content = transcript.read_bytes()
    transcript.write_bytes(b"" if cut == "empty" else content.replace(b"Ada", b"Eve", 1))
    code = run(["ceremony", "report", str(folder), "--unverified"])
    assert code in {ExitCode.CEREMONY, ExitCode.VERIFICATION, ExitCode.INPUT}
    assert capsys.readouterr().err.count("\n") == 1
    assert not (folder / "report.html").exists()
