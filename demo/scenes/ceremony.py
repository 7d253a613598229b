"""Chapter 2: the root genesis, a key ceremony that is planned, rehearsed, held, verified and reported."""

from __future__ import annotations

import shutil

from demo.scenes.authority import PRODUCT
from demo.stage import REFUSED_BY_DEVICE, Stage, expect
from demo.story import Step, Story

GENESIS = "trust-1.srb"
SIGNED_ONCE = "trust-1.begun.srb"
CEREMONY = "genesis"

_ANSWERS = "answers.yaml"
_PEOPLE = (
    "operator=ada", "witness=bob", "witness=cy", "custodian=dan", "custodian=eve", "custodian=fay",
)  # fmt: skip


def play(story: Story, stage: Stage) -> None:
    """From a reviewed plan to the genesis trust bundle and a report."""
    story.chapter(
        "2. A ceremony for the keys that rule everything",
        "Three *root* keys decide what devices trust, three *bootloader* keys are built into every device for life. "
        "They are made once, in front of witnesses, exactly as planned and rehearsed. Here a file answers in place of "
        "the people, which only a development environment allows.",
    )
    _plan(story, stage)
    digest = _rehearsal(story, stage)
    _ceremony(story, stage, digest)
    _report(story, stage)
    _doctor(story, stage)


def _plan(story: Story, stage: Stage) -> None:
    step = story.begin(
        "The plan, and its digest in words",
        "A shipped plan is filled in: the product, and who has which role. The script for the room is printed. Its "
        "digest covers the plan, the people, the site with its tokens, and the product.",
        "What was reviewed is what will be done: one byte changed afterwards, and the ceremony ends before its first "
        "key is made.",
    )
    people = [f"--person={person}" for person in _PEOPLE]
    values = ["--value", f"product={PRODUCT}"]
    stage.strongroom(step, "ceremony", "new", CEREMONY, "--plan", "root-genesis", *values, *people)
    stage.strongroom(step, "ceremony", "plan", CEREMONY, prints="genesis")
    story.finish(step, "authority/ceremonies/genesis/plan.yaml, and a script of numbered steps")


def _rehearsal(story: Story, stage: Stage) -> str:
    step = story.begin(
        "The rehearsal",
        "The whole ceremony, on throw-away tokens: its transcript becomes the golden one.",
        "In the ceremony itself nothing may happen that did not happen here; what may differ (keys, times, serial "
        "numbers) is declared.",
    )
    rehearsed = stage.report(step, "ceremony", "rehearse", CEREMONY)
    step.transcript.append(f"{rehearsed['steps']} steps; digest: {' '.join(rehearsed['words'][:8])} …")
    story.finish(step, f"{rehearsed['steps']} steps went as planned, on tokens that are gone already")
    return str(rehearsed["digest"])


def _ceremony(story: Story, stage: Stage, digest: str) -> None:
    step = story.begin(
        "The ceremony",
        "With a wrong digest it does not begin. With the right one the keys are made, two roots sign the genesis trust "
        "bundle, and everything is written down while it happens.",
        "A crash at any moment leaves a ceremony that `resume` continues to the same end: no key lost, none doubled.",
    )
    (stage.folder / _ANSWERS).write_text("format: strongroom-ceremony-answers-1\nas_scripted: true\n", encoding="utf-8")
    run = ["ceremony", "run", CEREMONY, "--answers", _ANSWERS, "--digest"]
    wrong = ("1" if digest[0] == "0" else "0") + digest[1:]
    said = stage.refused(step, *run, wrong, exit_code=14)
    expect("[CE-" in said, f"a wrong digest: {said}")
    stage.strongroom(step, *run, digest)
    stage.strongroom(step, "ceremony", "verify", CEREMONY)
    artefacts = stage.folder / "authority" / "ceremonies" / CEREMONY / "artefacts"
    for name, kept in (("trust-1.srb", GENESIS), ("trust-1.signed-once.srb", SIGNED_ONCE)):
        shutil.copy(artefacts / name, stage.folder / kept)
    shutil.copy(artefacts / "trust-1.srb", stage.folder / "authority" / "public" / GENESIS)
    _two_of_three(stage, step)
    story.finish(step, "three roots, three bootloader keys, and trust-1.srb; one root's signature alone is refused")


def _two_of_three(stage: Stage, step: Step) -> None:
    verdict = stage.report(step, "bundle", "verify", SIGNED_ONCE, exit_code=REFUSED_BY_DEVICE)
    expect(verdict["name"] == "BUNDLE_SIGNATURES", f"one signature was refused as {verdict['name']}")
    stage.strongroom(step, "bundle", "verify", GENESIS, "-p", PRODUCT, prints="accepted: version 1")


def _report(story: Story, stage: Stage) -> None:
    step = story.begin(
        "The report",
        "What happened, who was there, every public key, and places for signatures: as a page, and for paper.",
        "An auditor, years later, reads this first; the transcript behind it verifies with one file of Python.",
    )
    stage.strongroom(step, "ceremony", "report", CEREMONY)
    shutil.copytree(stage.folder / "authority" / "ceremonies" / CEREMONY, stage.folder / "ceremony")
    for name in ("plan.yaml", "transcript.jsonl", "report.html", "report.pdf"):
        expect((stage.folder / "ceremony" / name).stat().st_size > 0, f"there is no ceremony/{name}")
    story.finish(step, "ceremony/report.html and ceremony/report.pdf")


def _doctor(story: Story, stage: Stage) -> None:
    step = story.begin(
        "The doctor looks at everything",
        "`strongroom doctor` compares files, tokens, key store and products with each other.",
        "A wrong key in a product's file would otherwise show on the day of a release.",
    )
    said = stage.strongroom(step, "doctor").strip()
    expect("error" not in said.lower(), f"the doctor says: {said}")
    story.finish(step, said.splitlines()[-1])
