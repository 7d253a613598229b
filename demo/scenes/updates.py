"""Chapters 4 to 6: the first application, an update through a power cut, and a new bootloader."""

from __future__ import annotations

from typing import Any

from demo.firmware.build import application_command
from demo.scenes.authority import PRODUCT
from demo.scenes.ceremony import GENESIS
from demo.scenes.factory import build_bootloader
from demo.stage import POWER_CUT, Stage, expect
from demo.story import Step, Story


def build_application(stage: Stage, step: Step, version: str, security_version: int) -> str:
    """Compile the application and package it for the demonstration's device; returns the package's name."""
    stem = f"app-{version}"
    command = application_command(f"{stem}.elf", version, stage.image_place("application"))
    stage.run(step, command)
    package_application(stage, step, f"{stem}.elf", f"{stem}.srp", version, security_version)
    return f"{stem}.srp"


def package_application(
    stage: Stage, step: Step, firmware: str, package: str, version: str, security_version: int, device: str = "device"
) -> None:
    """Encrypt and sign an application for one device."""
    numbers = ["--version", version, "--security-version", str(security_version)]
    stage.strongroom(
        step, "package", "build", "-p", PRODUCT, firmware, *numbers, "--for-device", f"{device}.json", "-o", package,
        prints=f"application {version}, security version {security_version}, ",
    )  # fmt: skip


def expect_application(report: dict[str, Any], version: str, *, confirmed: bool) -> None:
    """Raise DemoFailed unless this application runs."""
    runs = (report.get("runs"), report.get("version"), report.get("confirmed"))
    expect(runs == ("application", version, confirmed), f"application {version} was to run, but: {report.get('text')}")


def play(story: Story, stage: Stage) -> None:
    """From a device without an application to one with everything updated."""
    operation_count = _first_installation(story, stage)
    _update_through_a_power_cut(story, stage, operation_count)
    _bootloader_update(story, stage)


def _first_installation(story: Story, stage: Stage) -> int:
    story.chapter(
        "4. The first application",
        "A small program in C for a Cortex-M4, compiled with arm-none-eabi-gcc, encrypted for the device and signed.",
    )
    step = story.begin(
        "Application 1.0.0 is built and packaged",
        "The package holds the program encrypted for this one device; the release HSM signs what identifies it.",
        "Nobody on the way can read or change it. The signature covers the device's unique number.",
    )
    package = build_application(stage, step, "1.0.0", 1)
    stage.strongroom(step, "package", "verify", package, "--device", "device.img", prints="accepted by device ")
    story.finish(step, f"{package}; a trial run on a copy of the device says that it would be accepted")
    step = story.begin(
        "It is installed, started, and confirms itself",
        "The bootloader checks the signature, decrypts block by block, checks the whole in flash, and starts it on "
        "trial.",
        "A new version that does not work is never confirmed, and after three starts the bootloader asks for another.",
    )
    installed = stage.report(step, "device", "install", "device.img", package)
    expect_application(installed, "1.0.0", confirmed=False)
    expect_application(stage.report(step, "device", "boot", "device.img", "--confirm"), "1.0.0", confirmed=True)
    story.finish(step, "application 1.0.0 runs, and is confirmed")
    return int(installed["flash_operations"])


def _update_through_a_power_cut(story: Story, stage: Stage, operation_count: int) -> None:
    cut_at = operation_count // 2
    story.chapter(
        "5. An update, and the power fails in the middle of it",
        "A device has one place for the application, which real ones nearly fill: the new one is written over the "
        "old one.",
    )
    step = story.begin(
        "Update to 1.1.0, power cut half-way",
        "The two packages share no key and no encrypted block. Version 1.1.0 has a higher security version (2). During "
        f"flash operation {cut_at:,} the power is cut, and that "
        "operation is torn: some of its bits are written, some not.",
        "This is the worst moment: the old program is gone, the new one is not there yet.",
    )
    package = build_application(stage, step, "1.1.0", 2)
    torn = ["--cut-at-op", str(cut_at), "--tear", "torn", "--seed", "1"]
    stage.strongroom(step, "package", "diff", "app-1.0.0.srp", package, prints="nothing is shared that must differ")
    cut = stage.report(step, "device", "install", "device.img", package, *torn, exit_code=POWER_CUT)
    expect(cut["power_cut"] is True, "the power was not cut")
    story.finish(step, f"the device is off after {cut_at:,} of about {operation_count:,} flash operations")
    step = story.begin(
        "It recovers",
        "Power comes back. The bootloader finds an unfinished installation, starts nothing, and waits; the same "
        "package is sent again.",
        "A device must never run half a program, and must never be dead. (`make campaign` cuts at every single "
        "operation.)",
    )
    booted = stage.report(step, "device", "boot", "device.img")
    expect(booted["runs"] == "update-mode" and booted["name"] == "NO_APPLICATION", f"after the cut: {booted['text']}")
    expect_application(stage.report(step, "device", "install", "device.img", package), "1.1.0", confirmed=False)
    expect_application(stage.report(step, "device", "boot", "device.img", "--confirm"), "1.1.0", confirmed=True)
    _expect_status(stage, step, "floors of the security version: application 2, bootloader 1\n")
    story.finish(step, "application 1.1.0 runs and is confirmed; from now on security versions below 2 are refused")


def _bootloader_update(story: Story, stage: Stage) -> None:
    story.chapter(
        "6. A new bootloader",
        "The bootloader in use (copy A) never overwrites itself: it writes copy B, which must then prove itself.",
    )
    step = story.begin(
        "Bootloader 1.1.0 into copy B, through a power cut",
        "The power fails while copy B is written. Copy A is untouched and starts the application as ever. Then it is "
        "sent again, starts on trial, and confirms itself by verifying something that the authority signed (the "
        "trust bundle).",
        "A bootloader that cannot talk or cannot verify would lock everybody out. Such a one never gets confirmed.",
    )
    package = build_bootloader(stage, step, "B", "1.1.0", 2, "--for-device", "device.json")
    torn = ["--cut-at-op", "500", "--tear", "torn", "--seed", "2"]
    stage.report(step, "device", "install", "device.img", package, *torn, exit_code=POWER_CUT)
    booted = stage.report(step, "device", "boot", "device.img")
    expect_application(booted, "1.1.0", confirmed=True)
    expect(booted["copy"] == "A", "after the cut not copy A of the bootloader runs")
    _install_bootloader(stage, step, package, "B")
    story.finish(step, "after the cut copy A ran on; now copy B runs, version 1.1.0, confirmed")
    step = story.begin(
        "The second copy follows",
        "The same version, linked for copy A, is written by copy B.",
        "Only when both copies are new are the old bootloader's security versions refused.",
    )
    package = build_bootloader(stage, step, "A", "1.1.0", 2, "--for-device", "device.json")
    _install_bootloader(stage, step, package, "A")
    expect_application(stage.report(step, "device", "boot", "device.img"), "1.1.0", confirmed=True)
    both = "bootloader B: 1.1.0, security version 2, not the confirmed one\n"
    floors = "floors of the security version: application 2, bootloader 2\n"
    said = stage.strongroom(step, "device", "status", "device.img", prints=both)
    expect(floors in said, f"the status was to say {floors!r}, but is: {said}")
    story.finish(step, "both copies have version 1.1.0, and the application still runs")


def _install_bootloader(stage: Stage, step: Step, package: str, copy: str) -> None:
    installed = stage.report(step, "device", "install", "device.img", package, "--confirm-with", GENESIS)
    expect(installed["copy"] == copy, f"bootloader copy {installed['copy']} runs, not {copy}: {installed['text']}")
    expect_application(installed, "1.1.0", confirmed=True)
    _expect_status(stage, step, f"bootloader {copy}: 1.1.0, security version 2, confirmed\n")


def _expect_status(stage: Stage, step: Step, line: str) -> None:
    stage.strongroom(step, "device", "status", "device.img", prints=line)
