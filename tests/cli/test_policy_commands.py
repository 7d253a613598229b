"""`strongroom policy`: init, check, list, explain, as people run them."""

from __future__ import annotations

import io
import re
import shutil
import subprocess
from contextlib import redirect_stdout
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from cli.exit_codes import ExitCode
from cli.main import run
from policies.approval import Approval
from policies.request import SigningRequest
from signer.store.key_store import open_key_store
from tests.cli.service_world import ServiceWorld
from tests.cli.world import PRODUCT, World, label

PEOPLE = """\
format = 1
[[people]]
id = "ada"
name = "Ada"
roles = ["requester"]
groups = ["engineering"]
[[people]]
id = "eve"
name = "Eve"
roles = ["approver"]
groups = ["quality"]
"""


@pytest.fixture
def authority(tmp_path: Path) -> World:
    """A new authority repository without tokens: policies need none."""
    world = World(tmp_path)
    with redirect_stdout(io.StringIO()):
        assert run(["init", str(world.root), "--name", "Example Pumps"]) == ExitCode.OK
    return world


def edit(world: World, name: str, old: str, new: str) -> None:
    path = world.root / "policies" / name
    text = path.read_text(encoding="utf-8")
    assert old in text
    path.write_text(text.replace(old, new, 1), encoding="utf-8")


# init


def test_a_new_authority_has_policies_that_pass(authority: World) -> None:
    done = authority.ok("policy", "check", "--json")
    assert done.json["findings"] == []
    assert (done.json["policies"], done.json["cases"] > 60) == (28, True)
    assert done.json["digest"] == authority.repository.policy_set().digest.hex()


def test_init_writes_the_same_where_there_are_none_and_never_replaces(authority: World) -> None:
    folder = authority.root / "policies"
    before = {path.name: path.read_bytes() for path in folder.iterdir()}
    assert "exists already" in authority.fails(ExitCode.OUTPUT, "policy", "init")
    shutil.rmtree(folder)
    assert "policy init" in authority.fails(ExitCode.CONFIGURATION, "policy", "check")
    assert len(authority.ok("policy", "init", "--json").json["files"]) == len(before)
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == before
    assert [path.name for path in authority.root.glob(".*part")] == []


# check


def test_check_finds_a_loosened_quorum(authority: World) -> None:
    edit(authority, "production.cedar", "context.approvals.count >= 3", "context.approvals.count >= 2")
    done = authority.run("policy", "check")
    assert (done.code, done.err) == (ExitCode.FINDINGS, "")
    assert "PO-21 policies/tests.toml, 'a bootloader with two approvers'\n  expected deny, but it is allow" in done.out
    assert re.search(r"^28 policies, \d+ cases, 2 findings\ndigest [0-9a-f]{64}$", done.out, re.MULTILINE)


def test_check_of_a_set_that_cannot_be_used(authority: World) -> None:
    edit(authority, "limits.cedar", "context.evidence.sbom", "context.evidence.bom")
    done = authority.run("policy", "check", "--json")
    assert done.code == ExitCode.FINDINGS
    assert {item["rule_id"] for item in done.json["findings"]} == {"PO-13"}
    assert (done.json["digest"], done.json["policies"]) == (None, 0)
    assert "cannot be used" in authority.run("policy", "check").out
    assert "[PO-13] policies/limits.cedar: sbom-required" in authority.fails(ExitCode.CONFIGURATION, "policy", "list")


def test_what_is_no_plain_file_is_refused(authority: World) -> None:
    link = authority.root / "policies" / "more.cedar"
    link.symlink_to(authority.root / "policies" / "limits.cedar")
    assert "[PO-10]" in authority.fails(ExitCode.CONFIGURATION, "policy", "check")
    link.unlink()
    link.mkdir()
    assert "[PO-10]" in authority.fails(ExitCode.CONFIGURATION, "policy", "check")
    link.rmdir()
    for number in range(100):
        (authority.root / "policies" / f"f{number}.cedar").touch()
    assert "[PO-10]" in authority.fails(ExitCode.CONFIGURATION, "policy", "check")


def test_the_whole_folder_may_not_be_a_link(authority: World) -> None:
    (authority.root / "policies").rename(authority.root / "other")
    (authority.root / "policies").symlink_to("other")
    assert "there is no folder" in authority.fails(ExitCode.CONFIGURATION, "policy", "check")


# list


def test_list_shows_permits_first(authority: World) -> None:
    done = authority.ok("policy", "list", "--json")
    effects = [item["effect"] for item in done.json["policies"]]
    assert effects == sorted(effects, reverse=True)
    text = authority.ok("policy", "list").out
    assert "sbom-required" in text
    assert done.json["digest"] in text


# explain --case


def test_explain_a_case(authority: World) -> None:
    done = authority.run("policy", "explain", "--case", "an application without SBOM")
    assert (done.code, done.err) == (ExitCode.POLICY, "")
    assert "[PO-06] sbom-required: A production release needs its SBOM" in done.out
    allowed = authority.ok("policy", "explain", "--case", "a bootloader with three approvers, one of quality", "--json")
    assert (allowed.json["decision"], allowed.json["policy_ids"]) == ("allow", ["production-bootloader"])


def test_explain_what_is_not_there(authority: World, tmp_path: Path) -> None:
    assert "no case 'x'" in authority.fails(ExitCode.INPUT, "policy", "explain", "--case", "x")
    assert "one of the two" in authority.fails(ExitCode.INPUT, "policy", "explain")
    both = ("policy", "explain", tmp_path / "r.json", "--case", "x")
    assert "one of the two" in authority.fails(ExitCode.INPUT, *both)
    assert "cannot be read" in authority.fails(ExitCode.INPUT, "policy", "explain", tmp_path / "r.json")
    edit(authority, "tests.toml", "format = 1", "format = 2")
    assert "[PO-20]" in authority.fails(ExitCode.CONFIGURATION, "policy", "explain", "--case", "x")


# explain REQUEST


class Desk:
    """People with SSH keys, and the files that they sign with `ssh-keygen`."""

    def __init__(self, world: World) -> None:
        self.world = world
        lines = []
        for name in ("ada", "eve"):
            key = world.root / "fake" / name
            subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", "", "-f", key], check=True, timeout=30)
            lines.append(f"{name} {key.with_suffix('.pub').read_text(encoding='utf-8').strip()}\n")
        (world.root / "allowed_signers").write_text("".join(lines), encoding="utf-8")
        (world.root / "people.toml").write_text(PEOPLE, encoding="utf-8")

    def request(self, kind: str = "application", **changes: Any) -> SigningRequest:
        labels = {
            "application": [label("application-release")],
            "bootloader": [label("bootloader-release", number) for number in (1, 2)],
        }[kind]
        with open_key_store(self.world.repository.key_store_path) as store:
            keys = [store.key(name).public_key for name in labels]
        fields: dict[str, Any] = {
            "environment": "development",
            "head_digest": b"\x01" * 32,
            "image_digest": b"\x02" * 32,
            "kind": kind,
            "product": PRODUCT,
            "product_id": self.world.repository.product(PRODUCT).id_bytes.hex(),
            "version": "1.0.0",
            "security_version": 1,
            "target": "any",
            "key_ids": tuple(sorted(key.key_id for key in keys if key is not None)),
            "sbom_digest": None,
            "test_evidence_digest": None,
            "not_after": tomorrow(),
            "policy_digest": self.world.repository.policy_set().digest,
            "requester": "ada",
        }
        return SigningRequest(**{**fields, **changes})

    def sign(self, name: str, who: str, namespace: str, statement: bytes) -> Path:
        path = self.world.out / name
        path.write_bytes(statement)
        path.with_name(f"{name}.sig").unlink(missing_ok=True)
        command = [
            "ssh-keygen",
            "-q",
            "-Y",
            "sign",
            "-n",
            namespace,
            "-f",
            str(self.world.root / "fake" / who),
            str(path),
        ]
        subprocess.run(command, check=True, timeout=30, capture_output=True)
        return path

    def explain(self, asked: SigningRequest, *approvers: str) -> tuple[str | Path, ...]:
        """The command's arguments."""
        request = self.sign("request.json", "ada", "strongroom-request-v1", asked.encode())
        arguments: list[str | Path] = ["policy", "explain", request]
        for who in approvers:
            statement = Approval(request_digest=asked.digest, approver=who, not_after=tomorrow()).encode()
            arguments += ["--approval", self.sign(f"{who}.json", who, "strongroom-approval-v1", statement)]
        return tuple(arguments)


def tomorrow() -> datetime:
    return datetime.now(UTC).replace(microsecond=0) + timedelta(days=1)


@pytest.fixture
def desk(world: World) -> Desk:
    return Desk(world)


def test_explain_a_signed_request(desk: Desk) -> None:
    done = desk.world.ok(*desk.explain(desk.request()), "--json")
    assert (done.json["decision"], done.json["policy_ids"]) == ("allow", ["development-application"])
    assert done.json["question"]["key_role"] == "application-release"
    assert done.json["question"]["version_order"] == "first"


def test_explain_says_what_an_approval_would_change(desk: Desk) -> None:
    denied = desk.world.run(*desk.explain(desk.request("bootloader")))
    assert denied.code == ExitCode.POLICY
    assert "[PO-05] development-bootloader: needs one approval by somebody else" in denied.out
    allowed = desk.world.ok(*desk.explain(desk.request("bootloader"), "eve"))
    assert "1, standing for 1 groups: eve (quality)" in allowed.out


def test_explain_a_request_made_under_other_policies(desk: Desk) -> None:
    asked = desk.request()
    edit(desk.world, "limits.cedar", "last_day >= 50", "last_day >= 40")
    done = desk.world.run(*desk.explain(asked), "--json")
    assert done.code == ExitCode.POLICY
    assert [item["rule_id"] for item in done.json["violations"]] == ["PO-02"]


def test_explain_a_request_for_keys_of_another_role_or_none(desk: Desk) -> None:
    with open_key_store(desk.world.repository.key_store_path) as store:
        production = store.key(label("production")).public_key
    assert production is not None
    done = desk.world.run(*desk.explain(desk.request(key_ids=(production.key_id,))))
    assert "[PO-06] key-role" in done.out
    unknown = desk.explain(desk.request(key_ids=(b"\x05" * 8,)))
    assert "does not have" in desk.world.fails(ExitCode.INPUT, *unknown)


def test_what_is_not_authentic_is_not_explained(desk: Desk) -> None:
    arguments = desk.explain(desk.request(), "eve")
    request = Path(arguments[2])
    request.write_bytes(request.read_bytes().replace(b'"version":"1.0.0"', b'"version":"1.0.1"'))
    assert "[SS-11]" in desk.world.fails(ExitCode.VERIFICATION, *arguments)


def test_explain_changes_nothing(desk: Desk) -> None:
    arguments = desk.explain(desk.request())

    def snapshot() -> dict[Path, bytes]:
        return {path: path.read_bytes() for path in sorted(desk.world.folder.rglob("*")) if path.is_file()}

    before = snapshot()
    desk.world.ok(*arguments)
    assert snapshot() == before


# With an audit log and a release behind it


def test_explain_counts_what_the_log_has_and_agrees_with_the_signing_service(service_world: ServiceWorld) -> None:
    prepared, request, approvals = service_world.asked("1.1.0")
    before = service_world.ok("policy", "explain", request, *options_of(approvals), "--json").json["question"]
    assert (before["version_order"], before["signed"]["last_day"]) == ("first", 0)
    assert before["approvers"] == ["ben", "cleo"]
    service_world.sign(prepared, request, approvals)
    service_world.ok("package", "release", request, "-o", service_world.out / "app.srp")

    prepared, request, approvals = service_world.asked("1.0.9")
    explained = service_world.run("policy", "explain", request, *options_of(approvals), "--json")
    assert explained.code == ExitCode.POLICY
    assert [item["policy_id"] for item in explained.json["violations"]] == ["version-older"]
    signed = {"last_day": 1, "last_day_of_product": 1, "last_day_by_requester": 1, "of_product": 1}
    assert explained.json["question"]["signed"] == signed
    refusal = service_world.fails(ExitCode.POLICY, *service_world.sign_arguments(prepared, request, approvals))
    assert "[PO-06] version-older" in refusal
    assert service_world.log_kinds()[-1] == "request-refused"


def options_of(approvals: list[Path]) -> list[str | Path]:
    return [word for path in approvals for word in ("--approval", path)]
