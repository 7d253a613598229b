"""Chapter 10: the tokens and the log are audited, and programs that are not ours look at the results."""

from __future__ import annotations

import re
import shutil

from demo.scenes.authority import TOKENS
from demo.scenes.releases import cosign
from demo.stage import ROOT, Stage, expect
from demo.story import Story


def play(story: Story, stage: Stage) -> None:
    """Audits, imgtool, openssl."""
    story.chapter(
        "12. Others look at it",
        "What only its own maker can verify proves little. Here a verifier that shares nothing with the rest, imgtool "
        "(of the MCUboot project) and openssl do.",
    )
    audit_tokens(story, stage)
    audit_log(story, stage)
    look_with_imgtool(story, stage)
    _head_signature(story, stage)
    _chain(story, stage)


def audit_tokens(story: Story, stage: Stage) -> None:
    """Every token of the demonstration, against the key store. Raises DemoFailed."""
    step = story.begin(
        "Every object on every token is audited",
        "Can it be exported, changed, used for something else? Is it known, and is none missing?",
        "A key that was slipped in, or made exportable for convenience, is found. (The warnings say what SoftHSM "
        "cannot do: it makes no key uncopyable.)",
    )
    stage.strongroom_together(step, *(["key", "audit", token] for token in TOKENS), prints="\n0 errors, ")
    story.finish(step, f"{len(TOKENS)} tokens, 0 errors")


def audit_log(story: Story, stage: Stage) -> None:
    """By our command and by the one file that shares nothing with it; then a copy with one byte changed."""
    step = story.begin(
        "The log is verified, and a forged one is caught",
        "Every entry, every hash, the log's signature and the witness's. First by `strongroom`, then by a single file "
        "of Python that an auditor can read in an hour. Then one bit of one entry of a copy is changed.",
        "Whoever wants to hide what a key did would have to change the log, and this is what comes of it.",
    )
    cosign(stage, step, "cosigned-last")
    stage.strongroom(step, "audit", "verify", "--needed", "1")
    given = '--log-key log/log.pub.pem --witness "$(cat witness/witness.vkey)" --needed 1'
    said = stage.shell(step, f'python3 "$STRONGROOM_SOURCE/verifiers/audit_log.py" log {given}')
    expect("sound" in said, f"the standalone verifier: {said}")
    shutil.copytree(stage.folder / "log", stage.folder / "forged-log")
    bundle = max(
        (stage.folder / "forged-log" / "tile" / "entries" / "000.p").iterdir(), key=lambda path: int(path.name)
    )
    data = bytearray(bundle.read_bytes())
    place = data.index(b"sign-result") + len(b"sign-result") - 1
    data[place] ^= 1
    bundle.write_bytes(data)
    said = stage.refused(step, "audit", "verify", "forged-log", "--log-key", "log/log.pub.pem", exit_code=13)
    expect("AV-" in said, f"the forged log: {said}")
    story.finish(step, "the log holds together, and the witness agrees; of the copy it is said where it was changed")


def look_with_imgtool(story: Story, stage: Stage) -> None:
    """Both packages. Raises DemoFailed."""
    step = story.begin(
        "imgtool verifies the package",
        "The package is also an MCUboot image, signed by the `compat` key.",
        "Tools and clients that know MCUboot can carry our packages. Our devices ignore this signature.",
    )
    for package in ("app-1.0.0.srp", "app-1.1.0.srp"):
        said = stage.run(step, ["imgtool", "verify", "-k", "compat.pub.pem", package])
        expect("Image was correctly validated" in said, f"imgtool about {package}: {said}")
    story.finish(step, "both packages: Image was correctly validated")


def _head_signature(story: Story, stage: Stage) -> None:
    step = story.begin(
        "openssl verifies the signature that the device relies on",
        "The script is the one printed in docs/spec/package.md, section 3, run as it stands there.",
        "The format is written down well enough to be verified without any program of ours.",
    )
    found = re.findall(r"```sh\n(.*?)```", (ROOT / "docs/spec/package.md").read_text(encoding="utf-8"), re.DOTALL)
    expect(len(found) == 1, "docs/spec/package.md has not exactly one script")
    said = stage.shell(step, found[0])
    expect(said.strip() == "Verified OK", f"openssl: {said}")
    story.finish(step, "app-1.0.0.srp: Verified OK")


def _chain(story: Story, stage: Stage) -> None:
    step = story.begin(
        "openssl verifies the certificates",
        "From the root, over the production CA, to the code-signing certificate.",
        "The host's world verifies with its own tools.",
    )
    trusted = ["openssl", "verify", "-x509_strict", "-CAfile", "root-ca.pem"]
    said = stage.run(step, [*trusted, "root-ca.pem", "production-ca.pem"])
    said += stage.run(step, [*trusted, "-untrusted", "production-ca.pem", "code-signing.pem"])
    expect(said.split().count("OK") == 3, f"openssl: {said}")
    story.finish(step, "root-ca.pem, production-ca.pem, code-signing.pem: OK")
