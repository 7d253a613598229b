"""Chapter 8: a release that is asked for, approved, decided by policies, logged, and proved by evidence."""

from __future__ import annotations

import hashlib
import json

from demo.firmware.build import application_command
from demo.scenes.authority import APPROVERS, PRODUCT, REQUESTER
from demo.scenes.updates import expect_application
from demo.stage import Stage, expect
from demo.story import Step, Story

VERSION = "1.3.0"
PREPARED, REQUEST, PACKAGE, EVIDENCE, SBOM, TESTS = (
    f"app-{VERSION}.{kind}"
    for kind in ("prepared.srp", "request.json", "srp", "evidence.json", "cdx.json", "tests.xml")
)
POLICY = 5

_POLICY = """\
@id("pump-x2-two-approvals")
@text("Releases of pump-x2 need two approvals by people of two groups, in development too: ask the missing group.")
forbid (principal, action in Action::"release", resource == Product::"pump-x2")
unless { context.approvals.count >= 2 && context.approvals.spread >= 2 };
"""
_CASES = """
[[cases]]
name = "pump-x2 with two approvals of one group"
base = "dev-application"
product = "pump-x2"
approvers = ["quinn", "quentin"]
expect = "deny"
rules = ["pump-x2-two-approvals"]

[[cases]]
name = "pump-x2 with two approvals of two groups"
base = "dev-application"
product = "pump-x2"
approvers = ["quinn", "sam"]
"""


def play(story: Story, stage: Stage) -> None:
    """From a prepared package to an installed one, with everything in between signed and logged."""
    story.chapter(
        "8. A release that people agree to",
        "Until now whoever held the release token's PIN could sign. A real release is asked for by one person and "
        "approved by others, each with an SSH key of their own, for exactly one package.",
    )
    _policy(story, stage)
    _request(story, stage)
    approvals = _approvals(story, stage)
    _signing(story, stage, approvals)
    _evidence(story, stage)
    _installation(story, stage)


def _policy(story: Story, stage: Stage) -> None:
    step = story.begin(
        "A policy of one's own",
        "Policies are written in Cedar, lie in the authority's folder, and are reviewed like code. The shipped ones "
        "let a developer sign alone in development; this team wants two approvals here too. The rule gets a test: "
        "without a case in which it decides, `policy check` would say so.",
        "Who may sign what is a text that can be read, tested and compared, and whose digest stands in every request.",
    )
    stage.write(step, "authority/policies/pump-x2.cedar", _POLICY)
    stage.append(step, "authority/policies/tests.toml", _CASES)
    stage.strongroom(step, "policy", "check")
    story.finish(step, "the policies pass their tests; every rule decides in at least one of them")


def _request(story: Story, stage: Stage) -> None:
    step = story.begin(
        "Rita prepares 1.3.0 and asks",
        "The package is encrypted and frozen; the request names its digest, its SBOM and its test results, and is "
        "signed with Rita's SSH key. She tries to have it signed at once.",
        "What is approved is one package, byte for byte, not a file name and not a version number.",
    )
    elf = f"app-{VERSION}.elf"
    stage.run(step, application_command(elf, VERSION, stage.image_place("application")))
    sbom = {"bomFormat": "CycloneDX", "specVersion": "1.6", "components": [{"type": "firmware", "name": "demo-app"}]}
    (stage.folder / SBOM).write_text(json.dumps(sbom, indent=1) + "\n", encoding="utf-8")
    (stage.folder / TESTS).write_text('<testsuite name="demo-app" tests="1" failures="0"/>\n', encoding="utf-8")
    stage.strongroom(
        step, "package", "prepare", "-p", PRODUCT, elf, "--version", VERSION, "--security-version", "3",
        "--for-device", "device.json", "--sbom", SBOM, "-o", PREPARED, prints=f"application {VERSION}",
    )  # fmt: skip
    stage.strongroom(
        step, "package", "request", PREPARED, "-p", PRODUCT, "--as", REQUESTER, "--ssh-key", f"fake/{REQUESTER}",
        "--sbom", SBOM, "--tests", TESTS, "-o", REQUEST,
    )  # fmt: skip
    said = stage.refused(step, *_sign([]), exit_code=POLICY)
    expect("pump-x2-two-approvals" in said, f"without approvals: {said}")
    story.finish(step, "the request is there; alone it is refused by the policy pump-x2-two-approvals")


def _approvals(story: Story, stage: Stage) -> list[str]:
    step = story.begin(
        "Quinn and Sam approve",
        "Each reads what is asked for and what changes, and signs with the SSH key they have. Quinn uses `strongroom "
        "approve`; `ssh-keygen` verifies what came out. `policy explain` then says what the policies will say.",
        "Quality and security each look, and neither can be the one who asked.",
    )
    stage.strongroom(step, "package", "show", REQUEST)
    digest = hashlib.sha256((stage.folder / REQUEST).read_bytes()).hexdigest()
    approvals = []
    for person in APPROVERS:
        name = f"app-{VERSION}.{person}.approval.json"
        stage.strongroom(
            step, "approve", REQUEST, "--as", person, "--ssh-key", f"fake/{person}", "--package", PREPARED,
            "--digest", digest, "-o", name,
        )  # fmt: skip
        approvals.append(name)
    stage.shell(
        step,
        "ssh-keygen -Y verify -n strongroom-approval-v1 -f authority/allowed_signers -I quinn "
        f"-s {approvals[0]}.sig < {approvals[0]}",
    )
    explain = [word for name in approvals for word in ("--approval", name)]
    stage.strongroom(step, "policy", "explain", REQUEST, *explain)
    story.finish(step, "two approvals, of two groups")
    return approvals


def _sign(approvals: list[str]) -> list[str]:
    given = [word for name in approvals for word in ("--approval", name)]
    return ["package", "sign", PREPARED, "--request", REQUEST, *given, "--sbom", SBOM, "--tests", TESTS]


def _signing(story: Story, stage: Stage, approvals: list[str]) -> None:
    step = story.begin(
        "The signing service decides and signs",
        "It reads the package itself, compares it with the request, verifies every signature, asks the policies, logs "
        "its intent, lets the HSM sign, lets the reference bootloader judge the result, and logs that.",
        "The log is written before the signature leaves. If the log fails, nothing leaves.",
    )
    stage.strongroom(step, *_sign(approvals))
    cosign(stage, step, "cosigned-1")
    stage.strongroom(step, "package", "release", REQUEST, "--witnessed", "-o", PACKAGE)
    stage.strongroom(step, "audit", "show", "--product", PRODUCT)
    story.finish(step, f"{PACKAGE} is released, and a witness has cosigned the log that says so")


def cosign(stage: Stage, step: Step, name: str) -> None:
    """The witness looks at the log's newest checkpoint, and its cosignature is brought back."""
    stage.strongroom(step, "audit", "checkpoint")
    stage.strongroom(
        step, "audit", "witness", "cosign", "witness", "--log", "log", "--log-key", "log/log.pub.pem", "-o", name
    )
    stage.strongroom(step, "audit", "witness", "add", name)


def _evidence(story: Story, stage: Stage) -> None:
    step = story.begin(
        "Evidence, for anybody",
        "One file has the request, the approvals, the decision, and the proof that the log has it all. It is verified "
        "here without token and without network.",
        "The question of an authority, years later: who released this, and who agreed? One file answers.",
    )
    given = ["--witnesses-min", "1", "--approvals-min", "2", "--sbom", SBOM, "--policies", "authority/policies"]
    stage.strongroom(step, "package", "verify-evidence", EVIDENCE, PACKAGE, *given)
    other = ["package", "verify-evidence", EVIDENCE, "app-1.2.0.srp"]
    said = stage.refused(step, *other, exit_code=4)
    expect("EV-" in said, f"evidence of another package: {said}")
    story.finish(step, f"{EVIDENCE} fits {PACKAGE}, and no other package")


def _installation(story: Story, stage: Stage) -> None:
    step = story.begin(
        "1.3.0 is installed",
        "Over the link, as every update.",
        "A release process that is careful and slow is bypassed. This one took seconds.",
    )
    expect_application(stage.report(step, "device", "install", "device.img", PACKAGE), VERSION, confirmed=False)
    expect_application(stage.report(step, "device", "boot", "device.img", "--confirm"), VERSION, confirmed=True)
    story.finish(step, f"application {VERSION} runs, and is confirmed")
