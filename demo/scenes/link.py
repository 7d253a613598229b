"""Chapter 11: updates over real sockets and serial lines: a chain, a star, and a stock client."""

from __future__ import annotations

import json

from demo.firmware.build import application_command
from demo.scenes.authority import PRODUCT
from demo.scenes.line import QUOTA, REGISTRY, UIDS, board_file, smpmgr
from demo.scenes.rotation import SUCCESSOR
from demo.stage import Stage, expect
from demo.story import Step, Story

_DEVICES = UIDS[:QUOTA]
_CHAIN, _STAR, _ONE = "2.0.0", "2.1.0", "2.2.0"
_SECURITY_VERSION = "3"
_GRANTS = "grants.srg"
_LINE = "line-chain"


def play(story: Story, stage: Stage) -> None:
    """From three devices without an application to three with different ones."""
    story.chapter(
        "11. The link",
        "The three devices are installed: in a chain, later in a star. One package goes to all of them, and each gets "
        "a *grant*, the right and the key to install it: any number of grants under one signature of the HSM. Every "
        "device runs as a process of its own, and what is sent goes over pseudo-terminals and sockets.",
    )
    _grants(story, stage)
    _chain(story, stage)
    _star(story, stage)
    _stock_client(story, stage)


def _package(stage: Stage, step: Step, version: str) -> str:
    """An application for whoever is granted it."""
    stem = f"app-{version}"
    stage.run(step, application_command(f"{stem}.elf", version, stage.image_place("application")))
    numbers = ["--version", version, "--security-version", _SECURITY_VERSION]
    stage.strongroom(
        step, "package", "build", "-p", PRODUCT, f"{stem}.elf", *numbers, "--grant", "-o", f"{stem}.srp",
        prints=f"application {version}, ",
    )  # fmt: skip
    return f"{stem}.srp"


def _issue(stage: Stage, step: Step, package: str, devices: str, grants: str) -> None:
    stage.strongroom(step, "grant", "issue", "--package", package, "--devices", devices, "-o", grants)


def _grants(story: Story, stage: Stage) -> None:
    step = story.begin(
        f"Application {_CHAIN}, and a grant for each device",
        "The package is encrypted once. The registry lists the devices with their keys; each gets the package's key, "
        "wrapped for it alone. The HSM signs once, over all of them.",
        "Keys read out of one device open nothing for another one; and a million devices do not take a million "
        "signatures.",
    )
    package = _package(stage, step, _CHAIN)
    stage.strongroom(step, "registry", "export", "--grants", "--registry", REGISTRY, "--out", "devices.csv")
    _issue(stage, step, package, "devices.csv", _GRANTS)
    stage.strongroom(step, "grant", "verify", _GRANTS, prints=f"{QUOTA} grants, whole and genuine")
    stage.strongroom(step, "registry", "import", _GRANTS, "--registry", REGISTRY)
    story.finish(step, f"{_GRANTS}: {QUOTA} grants, one signature")


def _update(stage: Stage, step: Step, package: str, via: str, grants: str, report: str, *more: str) -> None:
    stage.strongroom(
        step, "update", package, "--via", via, "--grants", grants, "--bundles", SUCCESSOR, "--registry", REGISTRY,
        "--report", report, *more, prints=f"{QUOTA} of {QUOTA} devices",
    )  # fmt: skip
    devices = json.loads((stage.folder / report).read_text(encoding="utf-8"))["devices"]
    expect(len(devices) == QUOTA, f"{report} has {len(devices)} devices")


def _chain(story: Story, stage: Stage) -> None:
    step = story.begin(
        "A daisy chain of three",
        "Master, slave 1, slave 2, a serial line between each. The tool finds them, checks who they are by their "
        "signed status and the registry, hands each its grant, sends the package, and asks for signed status again.",
        "A host that believes what a wire says updates whoever pretends to be a pump.",
    )
    files = [board_file(uid) for uid in _DEVICES]
    with stage.serving(step, "device", "serve", *files, "--topology", "chain", "--on", f"serial:{_LINE}", lines=1):
        _update(stage, step, f"app-{_CHAIN}.srp", f"chain:serial:{_LINE}", _GRANTS, "chain.json")
    stage.strongroom(step, "registry", "import", "chain.json", "--registry", REGISTRY)
    story.finish(step, f"all three run {_CHAIN}, and confirmed it themselves")


def _star(story: Story, stage: Stage) -> None:
    step = story.begin(
        "A star, over bad lines",
        "The same three, each on a line of its own; of every hundred frames three are lost and one is damaged.",
        "Hospitals have long cables. An update over a bad one takes longer, and ends the same.",
    )
    package = _package(stage, step, _STAR)
    _issue(stage, step, package, "devices.csv", "grants-2.srg")
    files = [board_file(uid) for uid in _DEVICES]
    bad = ["--topology", "star", "--on", "serial:wire", "--lose", "3%", "--corrupt", "1%", "--seed", "4"]
    with stage.serving(step, "device", "serve", *files, *bad, lines=1) as said:
        _update(stage, step, package, said[0].split()[0], "grants-2.srg", "star.json")
    stage.strongroom(step, "registry", "import", "star.json", "--registry", REGISTRY)
    stage.strongroom(step, "registry", "freezes", "--bundle", "2", "--registry", REGISTRY)
    story.finish(step, f"all three run {_STAR}, whatever was lost on the way")


def _stock_client(story: Story, stage: Stage) -> None:
    step = story.begin(
        "One device, by a stock client",
        "Version 2.2.0 is granted to one device only. The device gets its grant; the package is sent by `smpmgr`, an "
        "SMP client that knows nothing of us. Another device, which was not granted it, refuses the same upload.",
        "Whoever integrates these devices has tools already. None of them has to be trusted.",
    )
    package = _package(stage, step, _ONE)
    stage.run(step, ["sh", "-c", f"grep -E '^(uid|{_DEVICES[0]})' devices.csv > one.csv"])
    _issue(stage, step, package, "one.csv", "grant-one.srg")
    first, second = (board_file(uid) for uid in _DEVICES[:2])
    with stage.serving(step, "device", "serve", first, second, "--on", "serial:wire", lines=2):
        stage.strongroom(step, "grant", "send", "grant-one.srg", "--via", "serial:wire-1", prints="has its grant")
        stage.outsider(step, [*smpmgr("wire-1"), "image", "upload", package], says="100.0%")
        stage.outsider(step, [*smpmgr("wire-1"), "os", "reset"], says="ResetWriteResponse")
        upload = [*smpmgr("wire-2"), "image", "upload", package]
        stage.outsider(step, upload, says="SMPUploadError: ", exit_code=1)
    _expect_version(stage, step, first, _ONE)
    _expect_version(stage, step, second, _STAR)
    story.finish(step, f"the first runs {_ONE}; the second refused it and still runs {_STAR}")


def _expect_version(stage: Stage, step: Step, device: str, version: str) -> None:
    stage.strongroom(step, "device", "status", device, prints=f"application: {version}, ")
