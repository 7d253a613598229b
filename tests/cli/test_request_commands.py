"""`package request`, `package show`, and `package diff` with the last release; with the ssh-keygen that people have."""

from __future__ import annotations

import hashlib
import os
import re
import subprocess
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from cli.exit_codes import ExitCode
from policies.request import decode_request
from tests.cli.desk_world import APPROVAL, REQUEST, SBOM, Desk, changed, release
from tests.cli.release_world import UID, left_in
from tests.cli.world import PRODUCT
from tests.ssh_people import ssh_keygen_accepts

# package request


def test_a_request_says_what_the_package_says(desk: Desk) -> None:
    data = desk.ok(*desk.asking("--json")).json
    asked = decode_request(desk.request_file.read_bytes())
    fields = desk.ok("package", "inspect", desk.prepared, "--json").json
    assert data["request"] == asked.fields()
    assert data["digest"] == hashlib.sha256(desk.request_file.read_bytes()).hexdigest()
    assert (asked.kind, asked.product, asked.version, asked.security_version) == ("application", PRODUCT, "1.2.0", 3)
    assert asked.target == f"uid:{UID}00000000"
    assert asked.image_digest.hex() == fields["image_digest"]
    assert [key_id.hex() for key_id in asked.key_ids] == [fields["signer_key_id_0"]]
    head = desk.prepared.read_bytes()[:448]
    signed = b"SR-pkg-app-v1".ljust(16, b"\0") + bytes.fromhex(fields["target_uid"]) + head
    assert asked.head_digest == hashlib.sha256(signed).digest()
    assert asked.sbom_digest == hashlib.sha256(SBOM).digest()
    assert asked.test_evidence_digest is None
    assert asked.policy_digest == desk.repository.policy_set().digest
    assert (asked.requester, asked.environment) == ("rita", "development")
    assert timedelta(days=6, hours=23) < asked.not_after - datetime.now(UTC) <= timedelta(days=7)


def test_ssh_keygen_verifies_request_and_approval(desk: Desk, tmp_path: Path) -> None:
    asked = desk.ask()
    desk.ok(*desk.approving("ada", "--digest", asked.digest.hex()))
    text = desk.allowed_signers.read_text(encoding="ascii")
    for person, namespace, path in (
        ("rita", REQUEST, desk.request_file),
        ("ada", APPROVAL, desk.out / "ada.approval.json"),
    ):
        signature = path.with_name(f"{path.name}.sig").read_bytes()
        assert ssh_keygen_accepts(tmp_path, text, person, namespace, path.read_bytes(), signature)


def test_test_results_and_another_end(desk: Desk) -> None:
    results = desk.out / "tests.xml"
    results.write_text("<testsuite/>", encoding="utf-8")
    until = (datetime.now(UTC) + timedelta(days=3)).replace(microsecond=0)
    asked = desk.ask("--tests", results, "--not-after", f"{until:%Y-%m-%dT%H:%M:%SZ}")
    assert asked.test_evidence_digest == hashlib.sha256(b"<testsuite/>").digest()
    assert asked.not_after == until


REFUSED_REQUESTS: dict[str, tuple[ExitCode, list[str], dict[str, str], str]] = {
    "nobody": (ExitCode.POLICY, [], {"person": "ada"}, r"\[RQ-05\]"),
    "another's key": (ExitCode.VERIFICATION, ["--ssh-key", "{ssh}/ada"], {}, r"\[SS-10\].*not listed for 'rita'"),
    "no key": (ExitCode.INPUT, ["--ssh-key", "{ssh}/nobody"], {}, "is no file"),
    "too long": (ExitCode.POLICY, ["--not-after", "32d"], {}, r"\[RQ-07\].*31 days"),
    "over": (ExitCode.VERIFICATION, ["--not-after", "2026-01-01T00:00:00Z"], {}, r"\[RQ-06\]"),
    "no time": (ExitCode.INPUT, ["--not-after", "next week"], {}, "write 7d, 12h"),
    "another SBOM": (ExitCode.POLICY, ["--sbom", "{root}/people.toml"], {}, r"\[SV-18\]"),
    "no such product": (ExitCode.CONFIGURATION, [], {"product": "pump-x9"}, "pump-x9"),
}


@pytest.mark.parametrize("name", REFUSED_REQUESTS)
def test_requests_that_are_not_made(desk: Desk, name: str) -> None:
    code, options, others, reason = REFUSED_REQUESTS[name]
    places = {"ssh": str(desk.folder / "ssh"), "root": str(desk.root), "out": str(desk.out)}
    before = left_in(desk.out)
    line = desk.fails(code, *desk.asking(*(option.format(**places) for option in options), **others))
    assert re.search(reason, line), line
    assert left_in(desk.out) == before


def test_a_request_without_the_sbom_that_the_package_has(desk: Desk) -> None:
    command = [word for word in desk.asking() if word not in {"--sbom", desk.out / "sbom.json"}]
    assert "[SV-18]" in desk.fails(ExitCode.POLICY, *command)


def test_a_package_of_another_product(desk: Desk) -> None:
    text = desk.product_file.read_text(encoding="utf-8")
    other = text.replace(f'"{PRODUCT}"', '"pump-x3"').replace(f":{PRODUCT}:", ":pump-x3:")
    other = other.replace('id = "', 'id = "00000001-', 1).replace(other.split('id = "')[1][:9], "", 1)
    (desk.root / "products" / "pump-x3.toml").write_text(other, encoding="utf-8")
    assert "was prepared for product id" in desk.fails(ExitCode.VERIFICATION, *desk.asking(product="pump-x3"))


def test_existing_files_stay_and_nobody_is_asked_to_sign(desk: Desk) -> None:
    desk.ask()
    first = desk.request_file.read_bytes()
    assert "exists already" in desk.fails(ExitCode.OUTPUT, *desk.asking())
    desk.request_file.unlink()
    assert ".sig exists already" in desk.fails(ExitCode.OUTPUT, *desk.asking())
    assert not desk.request_file.exists()
    assert first


def test_a_key_that_needs_a_passphrase_nobody_can_be_asked_for(desk: Desk) -> None:
    path = desk.key("rita").path
    subprocess.run(["ssh-keygen", "-q", "-p", "-P", "", "-N", "fake-1234", "-f", path], capture_output=True, check=True)
    result = desk.process(*desk.asking())
    assert result.code == ExitCode.INPUT
    assert "did not sign with" in result.err
    assert result.err.count("error: ") == 1
    assert not desk.request_file.exists()


def test_without_ssh_keygen(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(desk.out))
    assert "install the OpenSSH client" in desk.run(*desk.asking()).err


def test_ssh_keygen_that_never_answers(desk: Desk, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    program = tmp_path / "bin" / "ssh-keygen"
    program.parent.mkdir()
    program.write_text("#!/bin/sh\nexec sleep 60\n", encoding="ascii")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{program.parent}:{os.environ['PATH']}")
    monkeypatch.setattr("cli.ssh_keygen.TIME_LIMIT_SECONDS", 0.3)
    begun = time.monotonic()
    result = desk.run(*desk.asking())
    assert (result.code, result.out) == (ExitCode.INPUT, "")
    assert "did not sign within" in result.err
    assert time.monotonic() - begun < 10
    assert not desk.request_file.exists()


# package show, package diff


def test_show_says_who_asks_for_what(desk: Desk) -> None:
    asked = desk.ask()
    text = desk.ok("package", "show", desk.request_file).out
    assert f"{PRODUCT}: application 1.2.0, security version 3, for DEVELOPMENT" in text
    assert f"Rita Example (rita), with SSH key {desk.key('rita').public_key.fingerprint}" in text
    assert f"one device only, UID {UID}00000000" in text
    assert "this is the FIRST" in text
    for digest in (asked.digest, asked.head_digest, asked.policy_digest, asked.sbom_digest or b""):
        assert digest.hex() in text
    data = desk.ok("package", "show", desk.request_file, "--json").json
    assert (data["accepted"], data["refusal"], data["last_release"]) == (True, None, None)


def test_show_of_a_request_that_would_not_be_accepted(desk: Desk) -> None:
    asked = desk.ask()
    desk.request_file.write_bytes(changed(asked, security_version=4).encode())
    result = desk.run("package", "show", desk.request_file)
    assert result.code == ExitCode.FINDINGS
    assert "rita (NOT proven)" in result.out
    assert "NOT ACCEPTED: [SS-11]" in result.out


def test_what_changes_against_the_last_release(desk: Desk) -> None:
    asked = desk.ask()
    release(desk, changed(asked, version="1.3.0", security_version=5, target="any", test_evidence_digest="61" * 32))
    rows = {row["field"]: row for row in desk.ok("package", "show", desk.request_file, "--json").json["differences"]}
    assert "OLDER" in rows["version"]["caution"]
    assert "LOWER" in rows["security_version"]["caution"]
    assert "OTHER devices" in rows["target"]["caution"]
    assert "NO test evidence" in rows["test_evidence_digest"]["caution"]
    assert "SAME" in rows["head_digest"]["caution"]
    assert (rows["version"]["before"], rows["version"]["now"]) == ("1.3.0", "1.2.0")
    assert not rows["sbom_digest"]["changed"]
    text = desk.ok("package", "show", desk.request_file).out
    assert "Against the last release, 1.3.0, of 2026-10-01T12:00:00Z:" in text
    assert "! version               1.3.0 -> 1.2.0   OLDER than the last release" in text


def test_a_usual_successor_has_no_caution(desk: Desk) -> None:
    asked = desk.ask()
    release(desk, changed(asked, version="1.1.0", head_digest="61" * 32, image_digest="62" * 32))
    rows = desk.ok("package", "diff", desk.request_file, "--json").json["differences"]
    assert [row["field"] for row in rows if row["caution"]] == []
    assert [row["field"] for row in rows if row["changed"]] == ["version", "image_digest", "head_digest"]


def test_diff_of_a_prepared_package_with_the_last_release(desk: Desk) -> None:
    release(desk, changed(desk.ask(), version="1.2.9"))
    data = desk.ok("package", "diff", desk.prepared, "--json").json
    rows = {row["field"]: row for row in data["differences"]}
    assert (data["product"], data["kind"]) == (PRODUCT, "application")
    assert "OLDER" in rows["version"]["caution"]
    assert "sbom_digest" not in rows, "a package has only the salted digest"
    assert "1.2.9 -> 1.2.0" in desk.ok("package", "diff", desk.prepared).out


def test_a_damaged_last_release_is_not_passed_over(desk: Desk) -> None:
    path = release(desk, desk.ask())
    path.write_bytes(path.read_bytes()[:-1])
    desk.fails(ExitCode.CONFIGURATION, "package", "show", desk.request_file)
