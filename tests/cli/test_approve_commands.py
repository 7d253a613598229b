"""`package request`, `show`, `diff` with the last release, and `approve`, with the ssh-keygen that people have."""

from __future__ import annotations

import hashlib
import json
import os
import pty
import re
import shutil
import subprocess
import sys
import time
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from cli.exit_codes import ExitCode
from pki.canonical_json import encode_canonical
from policies.approval import decode_approval
from policies.request import SigningRequest, decode_request
from signer.service.evidence import (
    DecisionFacts,
    LogFacts,
    PackageFacts,
    ProvenEntry,
    ReleaseEvidence,
    SignedText,
    SignerFacts,
)
from signer.tokens import ModuleConfig, find_module, load_module
from tests.cli.release_world import UID, ReleaseWorld, left_in, terms
from tests.cli.world import PRODUCT, PROGRAM, World, configure_softhsm
from tests.softhsm_fixtures import close_all
from tests.ssh_people import SshKeyFile, new_ssh_key, ssh_keygen_accepts

REQUEST, APPROVAL = "strongroom-request-v1", "strongroom-approval-v1"
PEOPLE = {
    "rita": ("Rita Example", ["requester"]),
    "ada": ("Ada Example", ["approver"]),
    "bob": ("Bob Example", ["approver", "requester"]),
}
SBOM = b'{"bomFormat":"CycloneDX"}\n'


@dataclass
class Desk(World):
    """A repository whose people have SSH keys, and what was prepared there: app.srp, other.srp. It opens no token."""

    def key(self, person: str) -> SshKeyFile:
        return SshKeyFile(self.folder / "ssh" / person)

    @property
    def allowed_signers(self) -> Path:
        return self.root / "allowed_signers"

    @property
    def prepared(self) -> Path:
        return self.out / "app.srp"

    @property
    def request_file(self) -> Path:
        return self.out / "app.request.json"

    def asking(self, *options: str | Path, person: str = "rita", product: str = PRODUCT) -> list[str | Path]:
        """The command line of `package request`."""
        return [
            "package", "request", self.prepared, "-p", product, "--as", person, "--ssh-key", self.key(person).path,
            "--sbom", self.out / "sbom.json", "-o", self.request_file, *options,
        ]  # fmt: skip

    def ask(self, *options: str | Path) -> SigningRequest:
        self.ok(*self.asking(*options))
        return decode_request(self.request_file.read_bytes())

    def approving(self, person: str, *options: str | Path, key: str = "") -> list[str | Path]:
        """The command line of `approve`."""
        return [
            "approve", self.request_file, "--as", person, "--ssh-key", self.key(key or person).path,
            "-o", self.out / f"{person}.approval.json", *options,
        ]  # fmt: skip


@pytest.fixture(scope="module")
def desk_template(release_template: ReleaseWorld, tmp_path_factory: pytest.TempPathFactory) -> Desk:
    folder = tmp_path_factory.mktemp("desk")
    shutil.copytree(release_template.folder, folder, dirs_exist_ok=True)
    desk = Desk(folder, configure_softhsm(folder))
    module = load_module(ModuleConfig(find_module("softhsm2")))
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SOFTHSM2_CONF", desk.environment["SOFTHSM2_CONF"])
        module.reinitialize()
        _fill(desk)
        close_all(module)
    return desk


def _fill(desk: Desk) -> None:
    firmware, sbom = desk.out / "app.bin", desk.out / "sbom.json"
    firmware.write_bytes(ReleaseWorld(desk.folder).firmware("app").read_bytes())
    sbom.write_bytes(SBOM)
    for name, version in (("app", "1.2.0"), ("other", "1.3.0")):
        desk.ok(
            "package", "prepare", *terms(version, 3), firmware, "-o", desk.out / f"{name}.srp", "--sbom", sbom,
            "--for-device", desk.out / "device.json",
        )  # fmt: skip
    (desk.folder / "ssh").mkdir()
    text, lines = "format = 1\n", ""
    for person, (name, roles) in PEOPLE.items():
        key = new_ssh_key(desk.folder / "ssh", person, "ecdsa" if person == "ada" else "ed25519")
        text += f'[[people]]\nid = "{person}"\nname = "{name}"\nroles = {json.dumps(roles)}\n'
        lines += f'{person} namespaces="{REQUEST},{APPROVAL}" {key.line}\n'
    (desk.root / "people.toml").write_text(text, encoding="utf-8")
    desk.allowed_signers.write_text(lines, encoding="utf-8")


@pytest.fixture
def desk(desk_template: Desk, tmp_path: Path) -> Desk:
    shutil.copytree(desk_template.folder, tmp_path, dirs_exist_ok=True)
    return Desk(tmp_path)


def release(desk: Desk, asked: SigningRequest) -> Path:
    """Evidence as `package release` leaves it, in form; nothing in it is authentic."""
    package = PackageFacts(
        sha256="61" * 32, size_bytes=1, head_digest=asked.head_digest.hex(), kind=asked.kind, product=asked.product,
        product_id=asked.product_id, version=asked.version, security_version=asked.security_version,
        target=asked.target, signers=(SignerFacts("61" * 8, "61" * 91),),
    )  # fmt: skip
    evidence = ReleaseEvidence(
        made_at="2026-10-01T12:00:00Z", package=package, sbom=None, approvals=(), allowed_signers="",
        request=SignedText(asked.encode().decode(), ""), decision=DecisionFacts("61" * 32, ()),
        log=LogFacts("", (ProvenEntry(0, "", ()), ProvenEntry(1, "", ()))),
    )  # fmt: skip
    path = desk.root / "releases" / asked.product / f"{asked.kind}-{asked.version}.evidence.json"
    path.parent.mkdir(parents=True)
    path.write_bytes(evidence.encode())
    return path


def changed(asked: SigningRequest, **fields: Any) -> SigningRequest:
    return decode_request(encode_canonical(asked.fields() | fields))


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


# approve


def test_approving_in_a_pipeline(desk: Desk) -> None:
    asked = desk.ask()
    result = desk.ok(*desk.approving("ada", "--digest", asked.digest.hex(), "--package", desk.prepared, "--json"))
    approval = decode_approval((desk.out / "ada.approval.json").read_bytes())
    assert result.json["approval"] == approval.fields()
    assert approval.request_digest == asked.digest
    assert approval.not_after == asked.not_after
    assert "this is the FIRST" in result.err
    assert "app.srp is the package that this request is for" in result.err
    desk.ok(*desk.approving("bob", "--digest", asked.digest.hex(), "--not-after", "2h"))


def test_ap13_agreeing_takes_a_terminal_or_the_digest(desk: Desk) -> None:
    asked = desk.ask()
    result = desk.process(*desk.approving("ada"))
    assert result.code == ExitCode.INPUT
    assert "no terminal to agree on" in result.err
    for wrong in (asked.digest.hex()[:8], asked.head_digest.hex(), ""):
        result = desk.run(*desk.approving("ada", "--digest", wrong))
        assert result.code == ExitCode.POLICY
        assert "[AP-13]" in result.err
    assert not (desk.out / "ada.approval.json").exists()


REFUSED_APPROVALS: dict[str, tuple[ExitCode, str, list[str], str]] = {
    "no approver": (ExitCode.POLICY, "rita", [], "[AP-05]"),
    "nobody": (ExitCode.POLICY, "zoe", ["--ssh-key", "{ssh}/ada"], "[AP-04]"),
    "another's key": (ExitCode.VERIFICATION, "ada", ["--ssh-key", "{ssh}/bob"], "[SS-10]"),
    "another package": (ExitCode.POLICY, "ada", ["--package", "{out}/other.srp"], "[SV-10]"),
    "too long": (ExitCode.POLICY, "ada", ["--not-after", "40d"], "[AP-07]"),
}


@pytest.mark.parametrize("name", REFUSED_APPROVALS)
def test_approvals_that_are_not_made(desk: Desk, name: str) -> None:
    code, person, options, rule = REFUSED_APPROVALS[name]
    asked = desk.ask()
    before = left_in(desk.out)
    places = {"ssh": str(desk.folder / "ssh"), "out": str(desk.out)}
    words = [option.format(**places) for option in options]
    result = desk.run(*desk.approving(person, "--digest", asked.digest.hex(), *words))
    assert (result.code, result.out) == (code, "")
    assert rule in result.err
    assert left_in(desk.out) == before


def test_nobody_approves_their_own_request(desk: Desk) -> None:
    desk.ok(*desk.asking(person="bob"))
    digest = hashlib.sha256(desk.request_file.read_bytes()).hexdigest()
    assert "[AP-09]" in desk.fails(ExitCode.POLICY, *desk.approving("bob", "--digest", digest))


def test_a_changed_request_is_not_approved(desk: Desk) -> None:
    asked = desk.ask()
    other = changed(asked, version="1.2.1")
    desk.request_file.write_bytes(other.encode())
    assert "[SS-11]" in desk.fails(ExitCode.VERIFICATION, *desk.approving("ada", "--digest", other.digest.hex()))


def test_a_request_under_other_policies_or_for_another_environment(desk: Desk) -> None:
    asked = desk.ask()
    calendar = desk.root / "policies" / "calendar.toml"
    calendar.write_text(calendar.read_text(encoding="utf-8") + "# changed\n", encoding="utf-8")
    assert "[SV-04]" in desk.fails(ExitCode.POLICY, *desk.approving("ada", "--digest", asked.digest.hex()))
    other = changed(asked, environment="production")
    desk.request_file.write_bytes(other.encode())
    signature = desk.key("rita").sign(REQUEST, other.encode())
    desk.request_file.with_name("app.request.json.sig").write_bytes(signature)
    assert "[SV-03]" in desk.fails(ExitCode.POLICY, *desk.approving("ada", "--digest", other.digest.hex()))


def typed_at_a_terminal(desk: Desk, *arguments: str | Path, prompt: str, answer: str) -> tuple[int, str]:
    """Exit code, and everything that stood on the terminal. The answer is typed when the prompt is there."""
    child, terminal = pty.fork()
    if child == 0:
        os.environ.update(TERM="dumb")
        os.execv(PROGRAM, [str(PROGRAM), "--authority", str(desk.root), *map(str, arguments)])  # noqa: S606
    seen, answered = b"", False
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        try:
            block = os.read(terminal, 4096)
        except OSError:
            break
        if not block:
            break
        seen += block
        if not answered and prompt.encode() in seen:
            os.write(terminal, f"{answer}\n".encode())
            answered = True
    _, status = os.waitpid(child, 0)
    os.close(terminal)
    return os.waitstatus_to_exitcode(status), seen.decode("utf-8", "replace")


@pytest.mark.skipif(sys.platform != "linux", reason="pseudo-terminals as Linux has them")
def test_typing_product_and_version_on_a_terminal(desk: Desk) -> None:
    desk.ask()
    prompt = "type product and version"
    code, seen = typed_at_a_terminal(desk, *desk.approving("ada"), prompt=prompt, answer=f"{PRODUCT} 1.2.1")
    assert code == ExitCode.POLICY, seen
    assert "[AP-13]" in seen
    assert not (desk.out / "ada.approval.json").exists()
    code, seen = typed_at_a_terminal(desk, *desk.approving("ada"), prompt=prompt, answer=f"{PRODUCT} 1.2.0")
    assert code == ExitCode.OK, seen
    assert (desk.out / "ada.approval.json.sig").exists()


@pytest.mark.skipif(sys.platform != "linux", reason="pseudo-terminals as Linux has them")
def test_a_passphrase_goes_from_the_terminal_to_ssh_keygen(desk: Desk) -> None:
    asked = desk.ask()
    path = desk.key("ada").path
    subprocess.run(["ssh-keygen", "-q", "-p", "-P", "", "-N", "fake-1234", "-f", path], capture_output=True, check=True)
    command = desk.approving("ada", "--digest", asked.digest.hex())
    code, seen = typed_at_a_terminal(desk, *command, prompt="Enter passphrase", answer="fake-1234")
    assert code == ExitCode.OK, seen
    assert "fake-1234" not in seen
