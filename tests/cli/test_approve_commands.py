"""`approve`: what is shown, what is refused before anybody signs, and how a person agrees."""

from __future__ import annotations

import hashlib
import subprocess
import sys

import pytest

from cli.exit_codes import ExitCode
from policies.approval import decode_approval
from tests.cli.desk_world import REQUEST, Desk, changed, typed_at_a_terminal
from tests.cli.release_world import left_in
from tests.cli.world import PRODUCT


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
