"""Chapter 7: what the device refuses; after each refusal it still starts the application that was installed."""

from __future__ import annotations

from demo.scenes.authority import BOARD, PRODUCT, generate_key, key_label
from demo.scenes.factory import make_device
from demo.scenes.updates import build_application, expect_application, package_application
from demo.stage import HEAD_SIZE_BYTES, REFUSED_BY_DEVICE, Stage, expect, write_fake_pin
from demo.story import Step, Story

SECOND_DEVICE_UID = "52a07c114d4e383012471844"
SECURITY_VERSION_OFFSET = 68
PAYLOAD_SIZE_OFFSET = 180
INSTALLED = "1.1.0"
GENUINE = "app-1.2.0.srp"


def play(story: Story, stage: Stage, product_id: str) -> None:
    """Each forgery by itself, and the genuine package as the control."""
    story.chapter(
        "7. What it refuses",
        f"The device runs {INSTALLED}. Version 1.2.0 is built, and is genuine; the forgeries are made from it, so "
        "each has exactly one thing wrong. After each refusal (but one, which is shown on a copy) nothing in flash "
        "has changed but the device's own log, and the application still starts.",
    )
    _genuine(story, stage)
    _tampered(story, stage)
    _tampered_late(story, stage)
    _downgrade(story, stage)
    _wrong_device(story, stage)
    _wrong_signer(story, stage, product_id)
    _floor_attack(story, stage)
    _log(story, stage)


def refused(stage: Stage, step: Step, package: str, name: str, code: int, installed: str = INSTALLED) -> str:
    """Send a package that must be refused with this code, and start the device; returns the outcome in words."""
    report = stage.report(step, "device", "install", "device.img", package, exit_code=REFUSED_BY_DEVICE)
    expect(report["accepted"] is False, f"{package} was accepted")
    expect(
        (report["name"], report["code"]) == (name, code), f"{package}: {report['name']} ({report['code']}), not {name}"
    )
    written = report["flash_operations_outside_journal"]
    expect(written == 0, f"{package} was refused, but only after {written} flash operations")
    expect_application(stage.report(step, "device", "boot", "device.img"), installed, confirmed=True)
    return f"refused, {name} ({code}); nothing was erased, and {installed} still starts"


def _genuine(story: Story, stage: Stage) -> None:
    step = story.begin(
        "The control: the genuine 1.2.0 would be accepted",
        "It is installed on a copy of the device's file, so that the device itself stays as it is.",
        "A device that refuses everything would pass every other test of this chapter.",
    )
    build_application(stage, step, "1.2.0", 3)
    stage.run(step, ["cp", "device.img", "control.img"])
    expect_application(stage.report(step, "device", "install", "control.img", GENUINE), "1.2.0", confirmed=False)
    story.finish(step, "accepted, and it starts")


def _tampered(story: Story, stage: Stage) -> None:
    step = story.begin(
        "Changed on the way: one bit of the head",
        f"One bit of the security version (byte {SECURITY_VERSION_OFFSET} of the package) is flipped.",
        "The head says what the package is; whoever could edit it could relabel old software as new.",
    )
    _flip_bit(stage, step, "tampered-head.srp", SECURITY_VERSION_OFFSET)
    story.finish(step, refused(stage, step, "tampered-head.srp", "SIGNATURE_INVALID", 203))
    step = story.begin(
        "Changed on the way: one bit of the first block",
        "One bit of the encrypted program is flipped.",
        "Encryption hides but does not protect: such a flip would change one instruction. The signed chain of digests "
        "catches it before anything is decrypted or written.",
    )
    _flip_bit(stage, step, "tampered-program.srp", HEAD_SIZE_BYTES + 100)
    story.finish(step, refused(stage, step, "tampered-program.srp", "CHUNK_HASH", 402))


def _tampered_late(story: Story, stage: Stage) -> None:
    step = story.begin(
        "Changed on the way: one bit of the last block",
        "The program is sent in blocks. When the last one arrives, the old program has been erased already. This is "
        "shown on a copy of the device.",
        "With one place for the application, this is the price. What counts: a program with one wrong bit never "
        "starts, and the device takes the right one.",
    )
    stage.run(step, ["cp", "device.img", "late.img"])
    last_byte = HEAD_SIZE_BYTES + _payload_size_bytes(stage) - 33
    _flip_bit(stage, step, "tampered-late.srp", last_byte)
    report = stage.report(step, "device", "install", "late.img", "tampered-late.srp", exit_code=REFUSED_BY_DEVICE)
    expect(report["name"] == "CHUNK_HASH" and report["sectors_erased"] > 0, f"the last block: {report['text']}")
    booted = stage.report(step, "device", "boot", "late.img")
    expect(booted["runs"] == "update-mode" and booted["name"] == "NO_APPLICATION", f"then: {booted['text']}")
    expect_application(stage.report(step, "device", "install", "late.img", GENUINE), "1.2.0", confirmed=False)
    story.finish(step, "refused, CHUNK_HASH (402); it waits in the bootloader, and takes the genuine package")


def _payload_size_bytes(stage: Stage) -> int:
    """What the genuine package's head says (docs/spec/package.md, section 1)."""
    head = (stage.folder / GENUINE).read_bytes()[:HEAD_SIZE_BYTES]
    return int.from_bytes(head[PAYLOAD_SIZE_OFFSET : PAYLOAD_SIZE_OFFSET + 4], "little")


def _flip_bit(stage: Stage, step: Step, name: str, offset: int) -> None:
    data = bytearray((stage.folder / GENUINE).read_bytes())
    data[offset] ^= 1
    (stage.folder / name).write_bytes(data)
    change = f"d = bytearray(open('{GENUINE}', 'rb').read()); d[{offset}] ^= 1; open('{name}', 'wb').write(d)"
    step.transcript.append(f'$ python3 -c "{change}"')


def _downgrade(story: Story, stage: Stage) -> None:
    step = story.begin(
        "Back to an old version",
        "The genuine 1.0.0, which this very device once installed, is sent again.",
        "Old software has known holes. The signature is right, so only the device's memory of what it ran can refuse "
        "it.",
    )
    story.finish(step, refused(stage, step, "app-1.0.0.srp", "BELOW_FLOOR", 307))


def _wrong_device(story: Story, stage: Stage) -> None:
    step = story.begin(
        "Made for another device",
        "A genuine 1.2.0, made for a second pump, is sent to the first. Then to the second, which takes it.",
        "Each device puts its own number into what it verifies: there is no comparison that a glitch could skip.",
    )
    make_device(stage, step, "device-2", SECOND_DEVICE_UID)
    package = "app-1.2.0-device-2.srp"
    package_application(stage, step, "app-1.2.0.elf", package, "1.2.0", 3, device="device-2")
    outcome = refused(stage, step, package, "SIGNATURE_INVALID", 203)
    expect_application(stage.report(step, "device", "install", "device-2.img", package), "1.2.0", confirmed=False)
    story.finish(step, f"{outcome}; the second device accepts it")


def _wrong_signer(story: Story, stage: Stage, product_id: str) -> None:
    step = story.begin(
        "Signed by somebody else",
        "An attacker has everything that is public: this software, the product's id, the device's public keys, and the "
        "firmware. He signs with keys of his own.",
        "Nothing but the private key in the release HSM may make a difference.",
    )
    attacker = ["--authority", "attacker"]
    stage.strongroom(step, "init", "attacker", "--name", "Somebody Else", prints="made ")
    for name in ("attacker.so.pin", "attacker.pin"):
        write_fake_pin(stage, name)
    pins = ["--so-pin-file", "fake/attacker.so.pin", "--pin-file", "fake/attacker.pin"]
    token = ["--module", "softhsm", "--label", "attacker", *pins, "--write"]
    stage.strongroom(step, *attacker, "token", "init", "release", *token, prints="initialised token 'attacker'")
    product = [PRODUCT, "--board", BOARD, "--id", product_id]
    stage.strongroom(step, *attacker, "product", "new", *product, prints=f"product id {product_id}")
    for role in ("application-release", "compat"):
        generate_key(stage, step, "release", key_label(role), authority="attacker")
    stage.strongroom(
        step, *attacker, "package", "build", "-p", PRODUCT, "app-1.2.0.elf", "--version", "1.2.0",
        "--security-version", "3", "--for-device", "device.json", "-o", "forged.srp",
        prints="application 1.2.0, security version 3, ",
    )  # fmt: skip
    story.finish(step, refused(stage, step, "forged.srp", "SIGNER_UNKNOWN", 201))


def _floor_attack(story: Story, stage: Stage) -> None:
    step = story.begin(
        "A security version of 0xFFFFFFFF",
        "The release HSM itself signs it: say, its PIN was stolen for an hour.",
        "Once confirmed it would push the floor so high that no update could ever follow. The trust bundle, which "
        "only the roots can change, allows applications up to 1,000.",
    )
    package_application(stage, step, "app-1.2.0.elf", "app-highest.srp", "1.3.0", 0xFFFFFFFF)
    story.finish(step, refused(stage, step, "app-highest.srp", "ABOVE_MAXIMUM", 308))


def _log(story: Story, stage: Stage) -> None:
    step = story.begin(
        "The device remembers",
        "Its event log, oldest first; the last sixteen events are kept.",
        "A service engineer sees that somebody tried. Refusals write little, so they cannot wear out the flash.",
    )
    said = stage.strongroom(step, "device", "events", "device.img")
    for name in ("SIGNATURE_INVALID", "CHUNK_HASH", "BELOW_FLOOR", "SIGNER_UNKNOWN", "ABOVE_MAXIMUM"):
        expect(name in said, f"the event log does not mention {name}")
    story.finish(step, "every refusal is in its log")
