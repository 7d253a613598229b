"""Chapter 9: the release key leaks; a ceremony replaces it, devices follow, and the old key is worth nothing."""

from __future__ import annotations

import shutil

from demo.firmware.build import application_command
from demo.scenes.authority import PRODUCT, key_label
from demo.scenes.ceremony import GENESIS
from demo.scenes.refusals import refused
from demo.scenes.releases import VERSION
from demo.scenes.updates import expect_application, package_application
from demo.stage import POWER_CUT, Stage, expect
from demo.story import Story

SUCCESSOR = "trust-2.srb"
CEREMONY = "leaked-key"
OLD, NEW = key_label("application-release"), key_label("application-release", sequence=2)

_STOLEN, _NEW_VERSION = "app-1.4.0-stolen.srp", "1.4.0"
_PEOPLE = ("operator=ada", "witness=bob", "custodian=dan", "custodian=eve")


def play(story: Story, stage: Stage) -> None:
    """From a leaked key to a device that knows better, and goes on working."""
    story.chapter(
        "9. The release key leaks",
        "Somebody has the application-release key. He makes a package with it while he can. The authority replaces the "
        "key: a new trust bundle names the new one and revokes the old one, signed by two roots.",
    )
    _theft(story, stage)
    _ceremony(story, stage)
    _device_follows(story, stage)
    _old_key(story, stage)
    _new_key(story, stage)


def _theft(story: Story, stage: Stage) -> None:
    step = story.begin(
        "A package by the thief",
        "Version 1.4.0, signed with the genuine key, past all approvals.",
        "Today every device would take it: to a device the key is good. That is what the next bundle ends.",
    )
    elf = f"app-{_NEW_VERSION}.elf"
    stage.run(step, application_command(elf, _NEW_VERSION, stage.image_place("application")))
    package_application(stage, step, elf, _STOLEN, _NEW_VERSION, 3)
    stage.strongroom(step, "package", "verify", _STOLEN, "--device", "device.img", prints="accepted by device ")
    story.finish(step, "the device would accept it")


def _ceremony(story: Story, stage: Stage) -> None:
    step = story.begin(
        "A ceremony replaces the key",
        "Planned, rehearsed and held like the first one: a new key is made, the old one is recorded as compromised, "
        "two roots sign trust bundle 2. `bundle impact` says what it touches: which packages install no more, which "
        "devices stop (none), and what each has to be sent.",
        "In a bad hour nobody should have to invent the steps.",
    )
    values = {
        "product": PRODUCT, "previous": f"public/{GENESIS}", "old-label": OLD, "new-label": NEW,
        "new-token": "release", "days": "365", "bundle": SUCCESSOR,
    }  # fmt: skip
    given = [word for name, value in values.items() for word in ("--value", f"{name}={value}")]
    people = [f"--person={person}" for person in _PEOPLE]
    stage.strongroom(step, "ceremony", "new", CEREMONY, "--plan", "leaked-key", *given, *people)
    digest = str(stage.report(step, "ceremony", "rehearse", CEREMONY)["digest"])
    stage.strongroom(step, "ceremony", "run", CEREMONY, "--answers", "answers.yaml", "--digest", digest)
    stage.strongroom(step, "ceremony", "verify", CEREMONY)
    made = stage.folder / "authority" / "ceremonies" / CEREMONY / "artefacts" / SUCCESSOR
    for place in (stage.folder / SUCCESSOR, stage.folder / "authority" / "public" / SUCCESSOR):
        shutil.copy(made, place)
    stage.strongroom(step, "bundle", "diff", GENESIS, SUCCESSOR, prints="revoked")
    stage.strongroom(step, "bundle", "verify", SUCCESSOR, "--after", GENESIS, prints="accepted: version 2")
    touched = [word for name in (f"app-{VERSION}.srp", _STOLEN) for word in ("--package", name)]
    impact = ["bundle", "impact", SUCCESSOR, "-p", PRODUCT, "--after", GENESIS, *touched, "--device", "device.img"]
    stage.strongroom(step, *impact, prints="SIGNER_REVOKED")
    story.finish(step, f"{SUCCESSOR}: {NEW} comes, {OLD} is revoked")


def _device_follows(story: Story, stage: Stage) -> None:
    step = story.begin(
        "The device follows, through a power cut",
        "The bundle is sent; the power fails while it is being stored; it is sent again.",
        "At every moment the device has one whole bundle, the old or the new. And the application it runs, signed by "
        "the old key, goes on starting: a revocation must not stop a pump.",
    )
    follow = ["device", "trust-bundle", "device.img", SUCCESSOR]
    stage.report(step, *follow, "--cut-at-op", "200", "--tear", "torn", "--seed", "3", exit_code=POWER_CUT)
    expect_application(stage.report(step, "device", "boot", "device.img"), VERSION, confirmed=True)
    stage.strongroom(step, *follow)
    expect_application(stage.report(step, "device", "boot", "device.img"), VERSION, confirmed=True)
    stage.strongroom(step, "device", "status", "device.img", prints="trust bundle")
    story.finish(step, f"trust bundle 2 is in force, and application {VERSION} still starts")


def _old_key(story: Story, stage: Stage) -> None:
    step = story.begin(
        "The thief's package",
        "The same file that the device would have accepted an hour ago.",
        "A stolen key is worth something only until the next trust bundle.",
    )
    story.finish(step, refused(stage, step, _STOLEN, "SIGNER_REVOKED", 202, installed=VERSION))


def _new_key(story: Story, stage: Stage) -> None:
    step = story.begin(
        "The new key at work",
        "The product's file names the new key now, and the old one as revoked. Version 1.4.0, the genuine one, is "
        "signed with it and installed.",
        "Work goes on. The old key is destroyed on its token; the thief's copy convinces no device that followed.",
    )
    path = stage.folder / "authority" / "products" / f"{PRODUCT}.toml"
    path.write_text(path.read_text(encoding="utf-8").replace(OLD, NEW), encoding="utf-8")
    stage.run(step, ["grep", NEW, f"authority/products/{PRODUCT}.toml"])
    stage.append(step, f"authority/products/{PRODUCT}.toml", f'\n[[trust.revoked]]\nlabel = "{OLD}"\n')
    stage.strongroom(
        step, "key", "destroy", OLD, "--token", "release", "--yes-destroy-this-key", OLD, "--reason", "it leaked"
    )
    package = f"app-{_NEW_VERSION}.srp"
    package_application(stage, step, f"app-{_NEW_VERSION}.elf", package, _NEW_VERSION, 3)
    expect_application(stage.report(step, "device", "install", "device.img", package), _NEW_VERSION, confirmed=False)
    booted = stage.report(step, "device", "boot", "device.img", "--confirm")
    expect_application(booted, _NEW_VERSION, confirmed=True)
    expect(booted["runs"] == "application", "the new application does not run")
    story.finish(step, f"application {_NEW_VERSION} runs, and is confirmed")
