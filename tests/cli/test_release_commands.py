"""From `package prepare` to evidence that anybody can check, by the commands alone, on real tokens."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from cli.context import now, signing_keys
from cli.exit_codes import ExitCode
from pki.errors import PolicyViolation
from pki.roles import Role
from signer.log.audit_log import open_audit_log
from tests.cli.release_world import terms
from tests.cli.service_world import ServiceWorld
from tests.cli.world import PRODUCT, PROGRAM, label

ROOT = Path(__file__).resolve().parents[2]


def test_asked_for_approved_signed_released_and_verified(service_world: ServiceWorld) -> None:
    prepared, request, approvals = service_world.asked("1.1.0")
    signed = service_world.sign(prepared, request, approvals)
    assert not signed["repeated"]
    assert signed["policy_ids"] == ["development-application"]
    out = service_world.out / "app-1.1.0.srp"
    released = service_world.ok("package", "release", request, "-o", out, "--json").json
    assert hashlib.sha256(out.read_bytes()).hexdigest() == released["package_digest"] == signed["package_digest"]
    assert service_world.log_kinds() == ["sign-intent", "sign-result", "released"]
    assert released["kept"] == str(service_world.root / "releases" / PRODUCT / "application-1.1.0.evidence.json")
    service_world.ok("package", "verify", out, "--device", service_world.device)
    evidence = service_world.out / "app-1.1.0.evidence.json"
    report = service_world.ok(
        "package", "verify-evidence", evidence, out, "--approvals-min", "2", "--sbom", service_world.sbom,
        "--policies", service_world.root / "policies", "--json",
    ).json  # fmt: skip
    assert report["verified"]
    assert (report["requester"], report["approvers"]) == ("ada", ["ben", "cleo"])


def test_the_log_has_the_request_and_every_use_of_a_key(service_world: ServiceWorld) -> None:
    prepared, request, approvals = service_world.asked()
    service_world.sign(prepared, request, approvals)
    with open_audit_log(service_world.root / "log", None) as log:
        entries = [entry.event for entry in log.entries(1)]
    by_key = [
        event.details["key_label"]
        for event in entries
        if event.kind.value == "sign-result"
        if "key_label" in event.details
    ]
    assert by_key == [label("application-release"), label("compat")]
    story = service_world.log_story()
    assert story[0]["approvers"] == ["ben", "cleo"]
    assert story[0]["request_digest"] == hashlib.sha256(request.read_bytes()).hexdigest()


def test_evidence_is_verified_without_authority_and_without_strongroom(
    service_world: ServiceWorld, tmp_path: Path
) -> None:
    prepared, request, approvals = service_world.asked()
    service_world.sign(prepared, request, approvals)
    out = service_world.out / "app.srp"
    service_world.ok("package", "release", request, "-o", out)
    for path in (
        out,
        service_world.out / "app.evidence.json",
        service_world.log_key,
        service_world.root / "allowed_signers",
    ):
        shutil.copy(path, tmp_path)
    own = ("--allowed-signers", "allowed_signers", "--log-key", "log.pub.pem")
    command: list[str | Path] = [
        sys.executable,
        "-I",
        ROOT / "verifiers" / "release_evidence.py",
        "app.evidence.json",
        "app.srp",
        *own,
    ]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    result = service_world.process("package", "verify-evidence", "app.evidence.json", "app.srp", *own, cwd=tmp_path)
    assert result.code == 0, result.err


def test_the_same_calls_again_give_the_same_files(service_world: ServiceWorld) -> None:
    prepared, request, approvals = service_world.asked()
    first = service_world.sign(prepared, request, approvals)
    second = service_world.sign(prepared, request, approvals)
    assert second["repeated"]
    assert second["package_digest"] == first["package_digest"]
    out = service_world.out / "app.srp"
    released = service_world.ok("package", "release", request, "-o", out, "--json").json
    again = service_world.ok("package", "release", request, "-o", out, "--json").json
    assert again["repeated"]
    assert again["evidence_digest"] == released["evidence_digest"]
    assert service_world.log_kinds() == ["sign-intent", "sign-result", "released"]


def test_a_bootloader_is_signed_by_two_keys_on_two_tokens(service_world: ServiceWorld) -> None:
    firmware = service_world.firmware("boot-b", 3000, 0x08010400)
    firmware.write_bytes(firmware.read_bytes() + service_world.bundle.read_bytes())
    prepared = service_world.out / "boot.prepared.srp"
    service_world.ok(
        "package", "prepare", *terms("1.1.0"), firmware, "--sbom", service_world.sbom, "-o", prepared,
        "--type", "bootloader", "--copy", "B", "--for-device", service_world.public,
    )  # fmt: skip
    request = service_world.request(prepared)
    approval = service_world.approve(request, "ben")
    signed = service_world.sign(prepared, request, [approval])
    assert service_world.log_story()[-1]["key_labels"] == [
        label("bootloader-release", 1),
        label("bootloader-release", 2),
    ]
    out = service_world.out / "boot.srp"
    service_world.ok("package", "release", request, "-o", out)
    service_world.ok("package", "verify", out, "--device", service_world.device)
    assert signed["policy_ids"] == ["development-bootloader"]


def test_a_refusal_says_which_rule_and_the_log_has_it(service_world: ServiceWorld) -> None:
    _, request, approvals = service_world.asked()
    other = service_world.prepare("1.2.0")
    line = service_world.fails(ExitCode.POLICY, *service_world.sign_arguments(other, request, approvals))
    assert "[SV-10]" in line
    assert service_world.log_story()[-1]["rule_id"] == "SV-10"
    assert not list(service_world.shelf.glob("*.srp"))


def test_a_policy_changed_after_the_request_is_refused_before_the_hsm(service_world: ServiceWorld) -> None:
    prepared, request, approvals = service_world.asked()
    calendar = service_world.root / "policies" / "calendar.toml"
    calendar.write_bytes(calendar.read_bytes() + b"\n")
    line = service_world.fails(ExitCode.POLICY, *service_world.sign_arguments(prepared, request, approvals))
    assert "[PO-02]" in line
    assert service_world.log_kinds() == ["request-refused"]


def test_what_the_devices_would_refuse_is_not_released(service_world: ServiceWorld) -> None:
    """A security version above the product's maximum: signed in vain, logged as failed, nothing kept."""
    prepared = service_world.prepare("1.0.0", 0xFFFFFFFF)
    request = service_world.request(prepared)
    line = service_world.fails(ExitCode.POLICY, *service_world.sign_arguments(prepared, request, []))
    assert "[SV-30]" in line
    assert "ABOVE_MAXIMUM" in line
    assert service_world.log_kinds() == ["sign-intent", "sign-failed"]
    assert not list(service_world.shelf.glob("*.srp"))


def test_without_a_trust_bundle_nothing_is_released(service_world: ServiceWorld) -> None:
    prepared, request, approvals = service_world.asked()
    (service_world.root / "public" / "trust-1.srb").unlink()
    line = service_world.fails(ExitCode.CONFIGURATION, *service_world.sign_arguments(prepared, request, approvals))
    assert "no trust bundle" in line
    assert not list(service_world.shelf.glob("*.srp"))


def test_a_log_that_cannot_be_written_releases_nothing(service_world: ServiceWorld) -> None:
    prepared, request, approvals = service_world.asked()
    index = service_world.root / "log" / "index.sqlite"
    content = index.read_bytes()
    index.write_bytes(b"no longer a database" + content[20:])
    assert "error: " in service_world.fails(
        ExitCode.AUDIT_LOG, *service_world.sign_arguments(prepared, request, approvals)
    )
    assert not list(service_world.shelf.glob("*.srp"))
    index.write_bytes(content)
    service_world.sign(prepared, request, approvals)


def test_a_key_suspended_after_the_request_signs_nothing(service_world: ServiceWorld) -> None:
    prepared, request, approvals = service_world.asked()
    service_world.ok("key", "state", label("application-release"), "suspended", "--reason", "its token is missed")
    line = service_world.fails(ExitCode.POLICY, *service_world.sign_arguments(prepared, request, approvals))
    assert "[SV-21]" in line
    assert "suspended" in line


def test_of_three_processes_at_once_one_signs_and_all_say_the_same(service_world: ServiceWorld) -> None:
    arguments = service_world.sign_arguments(*service_world.asked())
    command = [PROGRAM, "--authority", service_world.root, *arguments, "--json"]
    environment = {**os.environ, **service_world.environment}
    running = [
        subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment)
        for _ in range(3)
    ]
    outputs = [process.communicate(timeout=120) for process in running]
    assert [process.returncode for process in running] == [0, 0, 0], outputs
    answers = [json.loads(out) for out, _ in outputs]
    assert sorted(answer["repeated"] for answer in answers) == [False, True, True]
    assert len({answer["package_digest"] for answer in answers}) == 1
    assert service_world.log_kinds() == ["sign-intent", "sign-result"]


def test_without_an_audit_log_the_service_does_not_work(service_world: ServiceWorld) -> None:
    prepared, request, approvals = service_world.asked()
    settings = service_world.root / "strongroom.toml"
    settings.write_text(settings.read_text(encoding="utf-8").partition("[log]")[0], encoding="utf-8")
    line = service_world.fails(ExitCode.CONFIGURATION, *service_world.sign_arguments(prepared, request, approvals))
    assert "[log]" in line


def test_an_output_that_exists_is_not_replaced(service_world: ServiceWorld) -> None:
    prepared, request, approvals = service_world.asked()
    service_world.sign(prepared, request, approvals)
    out = service_world.out / "app.srp"
    out.write_bytes(b"mine")
    assert "exists" in service_world.fails(ExitCode.OUTPUT, "package", "release", request, "-o", out)
    assert out.read_bytes() == b"mine"
    assert service_world.log_kinds() == ["sign-intent", "sign-result"]


def test_releasing_what_was_not_signed_is_refused(service_world: ServiceWorld) -> None:
    _, request, _ = service_world.asked()
    out = service_world.out / "app.srp"
    assert "[SV-41]" in service_world.fails(ExitCode.POLICY, "package", "release", request, "-o", out)


def test_changed_evidence_is_refused(service_world: ServiceWorld) -> None:
    prepared, request, approvals = service_world.asked()
    service_world.sign(prepared, request, approvals)
    out = service_world.out / "app.srp"
    service_world.ok("package", "release", request, "-o", out)
    evidence = service_world.out / "app.evidence.json"
    document = json.loads(evidence.read_bytes())
    document["package"]["version"] = "9.9.9"
    evidence.write_text(
        json.dumps(document, sort_keys=True, separators=(",", ":"), ensure_ascii=False), encoding="utf-8"
    )
    line = service_world.fails(ExitCode.VERIFICATION, "package", "verify-evidence", evidence, out)
    assert "[EV-04]" in line


def test_options_that_do_not_go_together_are_a_usage_error(service_world: ServiceWorld) -> None:
    prepared, request, _ = service_world.asked()
    assert service_world.run("package", "sign", prepared).code == ExitCode.USAGE
    assert (
        service_world.run("package", "sign", prepared, "-p", PRODUCT, "-o", "x", "--approval", "y").code
        == ExitCode.USAGE
    )
    assert service_world.run("package", "sign", prepared, "--request", request, "--key", "k").code == ExitCode.USAGE


# Production


def _in_production(world: ServiceWorld) -> ServiceWorld:
    """A world in production: group mode, for a simulated device has no place there (DEV-03), and no test material."""
    pem = world.root / "public" / "group.pem"
    world.ok("key", "export", label("compat"), "--out", pem)
    text = world.product_file.read_text(encoding="utf-8")
    text = text.replace('recipient = "device"', 'recipient = "group"\ngroup_public_key = "public/group.pem"', 1)
    world.product_file.write_text(text, encoding="utf-8")
    world.make_production()
    return world


def _prepared(world: ServiceWorld, version: str = "1.0.0") -> Path:
    prepared = world.out / f"app-{version}.prepared.srp"
    firmware = world.firmware(f"app-{version}")
    world.ok("package", "prepare", *terms(version), firmware, "--sbom", world.sbom, "-o", prepared)
    return prepared


def test_in_production_release_keys_sign_through_the_service_only(service_world: ServiceWorld) -> None:
    world = _in_production(service_world)
    prepared, out = _prepared(world), world.out / "direct.srp"
    assert "[SV-40]" in world.fails(ExitCode.POLICY, "package", "sign", prepared, "-p", PRODUCT, "-o", out)
    assert "[SV-40]" in world.fails(ExitCode.POLICY, "package", "build", *terms(), world.firmware("app"), "-o", out)
    request = world.request(prepared)
    arguments = world.sign_arguments(prepared, request, [])
    assert "[SV-40]" in world.fails(ExitCode.POLICY, *arguments, "-o", out)
    assert not out.exists()
    assert world.log_kinds() == []


def test_any_command_that_asks_for_a_release_key_in_production_is_refused(service_world: ServiceWorld) -> None:
    """Not only those that are known to: the keys themselves are not handed out."""
    world = _in_production(service_world)
    repository = world.repository
    product = repository.product(PRODUCT)
    with signing_keys(repository, repository.site(), now()) as keys:
        for role in (Role.APPLICATION_RELEASE, Role.BOOTLOADER_RELEASE, Role.PRODUCTION):
            with pytest.raises(PolicyViolation, match="SV-40"):
                keys.key(product.keys.of_role(role)[0], role, PRODUCT)
            with pytest.raises(PolicyViolation, match="SV-40"):
                keys.key_of_store(product.keys.of_role(role)[0].label, role, PRODUCT)


def test_in_production_two_groups_approve_and_a_witness_has_seen_it(service_world: ServiceWorld) -> None:
    world = _in_production(service_world)
    made = world.ok("audit", "witness", "new", world.folder / "witness", "--name", "auditor-1", "--json").json
    text = (world.root / "strongroom.toml").read_text(encoding="utf-8")
    (world.root / "strongroom.toml").write_text(text.replace("witnesses = []", f'witnesses = ["{made["key"]}"]'))
    prepared = _prepared(world)
    request = world.request(prepared)
    ben, cleo, dan = (world.approve(request, person) for person in ("ben", "cleo", "dan"))
    line = world.fails(ExitCode.POLICY, *world.sign_arguments(prepared, request, [ben, dan]))
    assert "[PO-05]" in line
    world.sign(prepared, request, [ben, cleo])
    out = world.out / "app.srp"
    release = ("package", "release", request, "-o", out)
    assert "[SV-42]" in world.fails(ExitCode.POLICY, *release)
    assert "[SV-42]" in world.fails(ExitCode.POLICY, *release, "--not-witnessed")
    assert not out.exists()
    _cosign(world)
    released = world.ok(*release, "--json").json
    assert released["witnesses"] == ["auditor-1"]
    world.ok("package", "verify-evidence", world.out / "app.evidence.json", out, "--witnesses-min", "1")
    assert world.log_kinds() == ["request-refused", "sign-intent", "sign-result", "released"]
    assert world.ok("audit", "verify", "--json").json
    story = world.ok("audit", "show").out
    assert "asked for by ada, approved by ben, cleo, allowed by production-application" in story
    assert "has signed application 1.0.0 of pump-x2" in story
    assert "[PO-05]" in story


def _cosign(world: ServiceWorld) -> None:
    """On another machine, in truth; and the cosignature carried back."""
    cosigned = world.out / "cosigned"
    log = ("--log", world.root / "log", "--log-key", world.log_key)
    world.ok("audit", "witness", "cosign", world.folder / "witness", *log, "-o", cosigned)
    world.ok("audit", "witness", "add", cosigned)
