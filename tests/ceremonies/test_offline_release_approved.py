"""Offline release in production: the signing service decides, by request and approvals, on the ceremony's tokens."""

from __future__ import annotations

import hashlib
import shutil
from pathlib import Path

import pytest

from cli.ceremony_files import shipped_plans
from cli.exit_codes import ExitCode
from tests.ceremonies.rooms import ANSWERS
from tests.cli.conftest import *  # noqa: F403
from tests.cli.service_world import *  # noqa: F403
from tests.cli.service_world import ServiceWorld
from tests.cli.world import PRODUCT, label

CREW = """
[[people]]
id = "oskar"
name = "Oskar Example"
roles = ["operator"]

[[people]]
id = "wanda"
name = "Wanda Example"
roles = ["witness"]

[[people]]
id = "kim"
name = "Kim Example"
roles = ["custodian"]

[[people]]
id = "kai"
name = "Kai Example"
roles = ["custodian"]
"""


def planned(world: ServiceWorld, *, request: bool = True) -> None:
    """A ceremony that signs an application by request: the shipped plan, changed in review."""
    prepared, asked, approvals = world.asked()
    public = world.root / "public"
    for path in (prepared, world.sbom, world.tests):
        shutil.copy(path, public / path.name)
    for path in (asked, *approvals):
        shutil.copy(path, public / path.name)
        shutil.copy(f"{path}.sig", public / f"{path.name}.sig")
    with (world.root / "people.toml").open("a", encoding="utf-8") as people:
        people.write(CREW)
    values = {"product": PRODUCT, "prepared": f"public/{prepared.name}", "package": "app.pkg"}
    options = [f"--value={name}={value}" for name, value in values.items()]
    crew = ("operator=oskar", "witness=wanda", "custodian=kim", "custodian=kai")
    options += [f"--person={person}" for person in crew]
    world.ok("ceremony", "new", "release", "--plan", "offline-release", *options)
    plan = world.root / "ceremonies" / "release" / "plan.yaml"
    text = plan.read_text(encoding="utf-8")
    assert shipped_plans()["offline-release"].rstrip("\n") in text
    by_request = (
        f"      request: public/{asked.name}\n      sbom: public/{world.sbom.name}\n"
        f"      tests: public/{world.tests.name}\n"
        f"      approvals: [{', '.join(f'public/{path.name}' for path in approvals)}]\n"
    )
    for old, new in (
        ("[<bootloader-release-1.label>, <bootloader-release-2.label>]", f"[{label('application-release')}]"),
        ("tokens_used: [<bootloader-release-1.token>, <bootloader-release-2.token>, <compat-1.token>]",
         "tokens_used: [release]"),
        ("      artefact: <package>\n", "      artefact: <package>\n" + (by_request if request else "")),
    ):  # fmt: skip
        assert old in text
        text = text.replace(old, new)
    plan.write_text(text, encoding="utf-8")
    (world.folder / "answers.yaml").write_text(ANSWERS, encoding="utf-8")


def rehearsed(world: ServiceWorld) -> str:
    return str(world.ok("ceremony", "rehearse", "release", "--json").json["digest"])


def arguments(world: ServiceWorld, digest: str) -> list[str | Path]:
    return ["ceremony", "run", "release", "--digest", digest, "--answers", world.folder / "answers.yaml"]


def test_the_service_signs_what_was_asked_for(service_world: ServiceWorld) -> None:
    planned(service_world)
    service_world.ok(*arguments(service_world, rehearsed(service_world)))
    package = service_world.root / "ceremonies" / "release" / "artefacts" / "app.pkg"
    verdict = service_world.ok("package", "verify", package, "--device", service_world.device, "--json").json
    assert verdict["accepted"] is True
    kinds = service_world.log_kinds()
    assert ("sign-intent" in kinds, "sign-result" in kinds) == (True, True)
    report = service_world.ok("ceremony", "verify", "release", "--json").json
    assert report["log_signature"] != "none"


def test_a_changed_approval_is_noticed_before_anything_begins(service_world: ServiceWorld) -> None:
    planned(service_world)
    digest = rehearsed(service_world)
    signature = next((service_world.root / "public").glob("*.ben.approval.json.sig"))
    signature.write_bytes(signature.read_bytes() + b"\n")
    result = service_world.run(*arguments(service_world, digest))
    assert (result.code, "[CE-10]" in result.err) == (ExitCode.CEREMONY, True)


def test_what_the_service_refuses_is_not_signed(service_world: ServiceWorld) -> None:
    """One person's approval given twice; the rehearsal knows no approvals, so it is the service that refuses."""
    planned(service_world)
    plan = service_world.root / "ceremonies" / "release" / "plan.yaml"
    text = plan.read_text(encoding="utf-8")
    first, _, rest = text.partition("approvals: [")
    approval, _, rest = rest.partition(",")
    plan.write_text(f"{first}approvals: [{approval}, {approval}]{rest[rest.index(chr(10)) :]}", encoding="utf-8")
    result = service_world.run(*arguments(service_world, rehearsed(service_world)))
    assert result.code not in {ExitCode.OK, ExitCode.INTERNAL}
    assert "AP-" in result.err
    assert "resume release" in result.err
    assert not (service_world.root / "ceremonies" / "release" / "artefacts" / "app.pkg").exists()


def test_the_files_of_a_request_are_in_the_digest(service_world: ServiceWorld) -> None:
    planned(service_world)
    rehearsed(service_world)
    review = (service_world.root / "ceremonies" / "release" / "review.json").read_text(encoding="utf-8")
    for path in (service_world.root / "public").glob("app-*"):
        assert f'"public/{path.name}"' in review
        assert hashlib.sha256(path.read_bytes()).hexdigest() in review


@pytest.mark.parametrize("path", ["/etc/passwd", "../outside", "public/../../outside"])
def test_no_step_reads_a_file_outside_the_repository(path: str, service_world: ServiceWorld) -> None:
    planned(service_world)
    plan = service_world.root / "ceremonies" / "release" / "plan.yaml"
    text = plan.read_text(encoding="utf-8")
    plan.write_text(text.replace(f"sbom: public/{service_world.sbom.name}", f"sbom: {path}"), encoding="utf-8")
    assert "[CE-03]" in service_world.fails(ExitCode.CONFIGURATION, "ceremony", "rehearse", "release")
