"""Chapter 3: the bootloader that carries the genesis trust bundle, and a device that leaves the factory."""

from __future__ import annotations

from demo.firmware.build import bootloader_copy_command
from demo.scenes.authority import PRODUCT
from demo.scenes.ceremony import GENESIS
from demo.stage import Stage, expect
from demo.story import Step, Story

DEVICE_UID = "31ff6b064d4e383012471843"
LOT = "DEMO-LOT-1"


def play(story: Story, stage: Stage) -> None:
    """From keys to an operational device without an application."""
    story.chapter(
        "3. What a device trusts, and the factory",
        "A device holds public keys only, in a *trust bundle*. The first one, the genesis bundle of the ceremony, is "
        "built into every bootloader. It also bounds the security versions: more on that in chapter 7.",
    )
    _bootloader(story, stage)
    _factory_image(story, stage)
    _device(story, stage)


def build_bootloader(stage: Stage, step: Step, copy: str, version: str, security_version: int, *target: str) -> str:
    """Compile and package one copy of the bootloader; returns the package's name."""
    stem = f"boot-{version}-{copy.lower()}"
    place = stage.image_place(f"bootloader_{copy.lower()}")
    stage.run(step, bootloader_copy_command(f"{stem}.elf", version, GENESIS, place))
    numbers = ["--version", version, "--security-version", str(security_version)]
    kind = ["--type", "bootloader", "--copy", copy]
    stage.strongroom(
        step, "package", "build", "-p", PRODUCT, f"{stem}.elf", *numbers, *kind, *target, "-o", f"{stem}.srp",
        prints=f"bootloader {version}, security version {security_version}, ",
    )  # fmt: skip
    return f"{stem}.srp"


def _bootloader(story: Story, stage: Stage) -> None:
    step = story.begin(
        "Bootloader 1.0.0, for both copies",
        "Compiled for each of its two places in flash, with the genesis bundle at the end, and signed by two of the "
        "three bootloader keys.",
        "With two copies, one can always be replaced while the other runs. (The program itself is a stand-in: in this "
        "simulation the reference bootloader, written in Python, runs in its place.)",
    )
    names = [build_bootloader(stage, step, copy, "1.0.0", 1, "--for-factory") for copy in "AB"]
    story.finish(step, f"{' and '.join(names)}, two signatures each")


def _factory_image(story: Story, stage: Stage) -> None:
    step = story.begin(
        "The factory image",
        "One Intel HEX file with both bootloader copies, the three bootloader keys and a first, locked state.",
        "It holds no secret, so an electronics manufacturer may have it. Everything in it was verified when it was "
        "made.",
    )
    copies = []
    for copy in "ab":
        copies += [f"--bootloader-{copy}", f"boot-1.0.0-{copy}.srp", f"--image-{copy}", f"boot-1.0.0-{copy}.elf"]
    output = ["--lot", LOT, "--bundle", GENESIS, "-o", "factory.hex"]
    stage.strongroom(step, "device", "factory-image", "-p", PRODUCT, *copies, *output)
    size_bytes = (stage.folder / "factory.hex").stat().st_size
    story.finish(step, f"factory.hex, {size_bytes:,} bytes")


def make_device(stage: Stage, step: Step, name: str, uid: str) -> None:
    """A simulated device NAME.img, its public half in NAME.json."""
    stage.strongroom(
        step, "device", "new", f"{name}.img", "-p", PRODUCT, "--factory-image", "factory.hex", "--uid", uid,
        "--operational", "--public", f"{name}.json", prints=f"UID {uid}, OPERATIONAL (in simulation only)",
    )  # fmt: skip


def _device(story: Story, stage: Stage) -> None:
    step = story.begin(
        "A simulated STM32F405",
        "Its flash is a file, which behaves as flash does: bits are only cleared, sectors erase whole, a power cut "
        "tears. It makes its own key pairs; their public halves are in device.json.",
        "Packages are encrypted for this one device. (Activation, by which a locked device becomes operational, comes "
        "later: `--operational` skips it, in simulation only, and marks the device for life.)",
    )
    make_device(stage, step, "device", DEVICE_UID)
    booted = stage.report(step, "device", "boot", "device.img")
    expect(booted["runs"] == "update-mode" and booted["name"] == "NO_APPLICATION", f"a new device: {booted['text']}")
    story.finish(step, "it starts, finds no application, and waits in the bootloader for one")
