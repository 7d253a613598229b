"""Chapter 10: the production line. Boards travel locked; a station makes as many devices as its order says."""

from __future__ import annotations

import hashlib
import json
import shutil
from pathlib import Path

from demo.hands import Hands
from demo.scenes.authority import APPROVERS, PRODUCT, REQUESTER, generate_key, key_label
from demo.scenes.ceremony import GENESIS
from demo.scenes.factory import LOT
from demo.scenes.rotation import SUCCESSOR
from demo.stage import Stage, expect, write_fake_pin
from demo.story import Step, Story

UIDS = tuple(f"3b00{number:02x}000f51373235363537" for number in range(1, 5))
STOLEN_UID = "3b00ff000f51373235363537"
BOARDS = "boards"
REGISTRY = "sqlite:///registry.sqlite"
QUOTA = 3

_TOKEN, _STATION, _ORDER, _LOT_CA = "line-1", "line-1", "lot-1.srw", "lot-ca.pem"
_PREPARED, _REQUEST = "lot-1.prepared.srw", "lot-1.request.json"
_SOCKET = "fixture.sock"
_LEDGER, _OLD_LEDGER = "line-1/ledger.sqlite", "ledger-of-this-morning.sqlite"
_ORGANIZATION = "Example Pumps"
_NOT_ALLOWED = 5


def play(story: Story, stage: Stage) -> None:
    """From locked boards to three devices in the registry, and a fourth that is not made."""
    story.chapter(
        "10. The production line",
        "An electronics manufacturer solders boards and flashes `factory.hex`. They travel *locked*: such a board "
        "runs nothing, and takes nothing but what the production role signed. At the assembler's, a *station* makes "
        "devices of them, as many as a signed *work order* says. Boards are simulated; the lines to them are real.",
    )
    _stolen_board(story, stage)
    _station_keys(story, stage)
    _work_order(story, stage)
    _station(story, stage)
    _quota(story, stage)
    _registry(story, stage)


def _stolen_board(story: Story, stage: Stage) -> None:
    step = story.begin(
        "A board falls off the lorry",
        "Somebody has a locked board on his desk and sends it a genuine application over its serial line, with a "
        "stock program that everybody can have (`smpmgr`, an SMP client).",
        "Whoever buys stolen boards buys bricks.",
    )
    new = ["device", "new", "stolen.img", "-p", PRODUCT, "--factory-image", "factory.hex", "--uid", STOLEN_UID]
    stage.strongroom(step, *new, prints="LOCKED")
    with stage.serving(step, "device", "serve", "stolen.img", "--on", "serial:line-stolen", lines=1):
        stage.outsider(step, [*smpmgr("line-stolen"), "os", "echo", "hello"], says="r='hello'")
        upload = [*smpmgr("line-stolen"), "image", "upload", "app-1.4.0.srp"]
        stage.outsider(step, upload, says="SMPUploadError: ", exit_code=1)
    said = stage.strongroom(step, "device", "status", "stolen.img", prints="LOCKED")
    expect("application: none is installed" in said, f"the stolen board has an application: {said}")
    story.finish(step, "it answers, and refuses everything; nothing is installed")


def _station_keys(story: Story, stage: Stage) -> None:
    step = story.begin(
        "The station's HSM",
        "A token for the line, with three keys: the lot's, which activates devices of this lot; the lot's certificate "
        "authority; and the station's own, which signs what it did. The production CA certifies the lot's.",
        "What a station has is good for one lot, and only together with a work order.",
    )
    for pin in (f"{_TOKEN}.so.pin", f"{_TOKEN}.pin"):
        write_fake_pin(stage, pin)
    pins = ["--so-pin-file", f"fake/{_TOKEN}.so.pin", "--pin-file", f"fake/{_TOKEN}.pin"]
    stage.strongroom(step, "token", "init", _TOKEN, "--module", "softhsm", "--label", _TOKEN, *pins, "--write")
    for role in ("lot", "lot-ca", "station"):
        generate_key(stage, step, _TOKEN, key_label(role))
    stage.strongroom(step, "key", "export", key_label("station"), "--out", "station.pub.pem")
    name = ["--organization", _ORGANIZATION, "--common-name", f"Lot {LOT}"]
    stage.strongroom(step, "cert", "csr", "--key", key_label("lot-ca"), *name, "--out", "lot-ca.csr.pem")
    signing = ["--ca-key", key_label("production-ca", "-"), "--ca-cert", "production-ca.pem", "--csr", "lot-ca.csr.pem"]
    stage.strongroom(step, "cert", "lot-ca", *signing, *name, "--out", _LOT_CA)
    for certificate in ("root-ca.pem", "production-ca.pem", _LOT_CA):
        shutil.copy(stage.folder / certificate, stage.folder / "authority" / "public" / certificate)
    story.finish(step, "three keys in a seventh token, and lot-ca.pem")


def _work_order(story: Story, stage: Stage) -> None:
    step = story.begin(
        "A work order for three devices",
        "Rita asks for it, Quinn and Sam approve it, the production key signs it. It names product, lot, the lot's "
        "key, the CA, the station and its share, and an end.",
        "The number of devices is a signed number that the devices check themselves, not a setting of the line.",
    )
    stage.strongroom(
        step, "workorder", "prepare", "-p", PRODUCT, "--lot", LOT, "--quota", str(QUOTA),
        "--station", f"station.pub.pem={QUOTA}", "--lot-key", key_label("lot"), "--issuing-ca", _LOT_CA,
        "--trust-bundle-min", "2", "--not-after", "60d", "--protection", "readout", "-o", _PREPARED,
    )  # fmt: skip
    identity = ["--as", REQUESTER, "--ssh-key", f"fake/{REQUESTER}"]
    stage.strongroom(step, "workorder", "request", _PREPARED, *identity, "-o", _REQUEST)
    digest = hashlib.sha256((stage.folder / _REQUEST).read_bytes()).hexdigest()
    given: list[str] = []
    for person in APPROVERS:
        approval = f"lot-1.{person}.approval.json"
        stage.strongroom(
            step, "approve", _REQUEST, "--as", person, "--ssh-key", f"fake/{person}",
            "--package", _PREPARED, "--digest", digest, "-o", approval,
        )  # fmt: skip
        given += ["--approval", approval]
    stage.strongroom(step, "workorder", "sign", _PREPARED, "--request", _REQUEST, *given, "-o", _ORDER)
    stage.strongroom(step, "workorder", "show", _ORDER, prints=LOT)
    story.finish(step, f"{_ORDER}: {QUOTA} devices of lot {LOT}, signed and logged")


def _station(story: Story, stage: Stage) -> None:
    step = story.begin(
        "Three boards become devices",
        "The operator puts three boards into the fixture. For each, at the same time: the flash is compared with the "
        "factory image, the protection of the chip is set and read back, the device makes its keys and proves that it "
        "has them, gets the newest trust bundle and a certificate, is counted, and is activated.",
        "It is counted on disk, and on the token, before it is activated; so no crash makes one device too many, or "
        "one that nobody knows of.",
    )
    stage.strongroom(
        step, "station", "init", _STATION, "--token", _TOKEN, "-p", PRODUCT, "--order", _ORDER, "--issuing-ca", _LOT_CA,
        "--bundle", GENESIS, "--bundle", SUCCESSOR, "--factory-image", "factory.hex",
        "--hardware-type", "1.3.6.1.4.1.99999.1",
    )  # fmt: skip
    (stage.folder / BOARDS).mkdir()
    shutil.copy(stage.folder / _LEDGER, stage.folder / _OLD_LEDGER)
    passed = _run_station(stage, step, UIDS[:QUOTA])
    expect([board["passed"] for board in passed] == [True] * QUOTA, f"the station said: {passed}")
    story.finish(step, "PASS, PASS, PASS: three devices are OPERATIONAL, each with a record")


def _quota(story: Story, stage: Stage) -> None:
    step = story.begin(
        "The fourth board",
        "The order is used up. The operator tries all the same; then somebody puts the station's database of this "
        "morning back, to count from the beginning.",
        "The token remembers what the database has forgotten.",
    )
    failed = _run_station(stage, step, UIDS[QUOTA:])
    expect([board["rule"] for board in failed] == ["ST-25"], f"the station said: {failed}")
    shutil.copy(stage.folder / _LEDGER, stage.folder / "ledger.sqlite")
    stage.run(step, ["cp", _OLD_LEDGER, _LEDGER])
    said = stage.refused(step, "station", "run", _STATION, "--fixture", _SOCKET, exit_code=_NOT_ALLOWED)
    expect("[ST-20]" in said, f"with the old database: {said}")
    (stage.folder / "ledger.sqlite").rename(stage.folder / _LEDGER)
    story.finish(step, "FAIL: the fourth board stays locked, and the old database is refused")


def _run_station(stage: Stage, step: Step, uids: tuple[str, ...]) -> list[dict[str, object]]:
    """The station with these boards in the fixture's nests; what it says of each, in order of the UIDs."""
    fixture = ["device", "fixture", "-p", PRODUCT, "--factory-image", "factory.hex", "--links", str(len(uids))]
    with (
        stage.serving(step, *fixture, "--socket", _SOCKET, "--boards", BOARDS, lines=len(uids)),
        Hands(stage.folder / _SOCKET) as hands,
    ):
        for nest, uid in enumerate(uids):
            hands.insert(nest, uid)
        run = ["strongroom", "station", "run", _STATION, "--fixture", _SOCKET, "--boards", str(len(uids)), "--json"]
        said = stage.run(step, run)
    boards = [json.loads(line) for line in said.splitlines()]
    return sorted(boards, key=lambda board: str(board["uid"]))


def _registry(story: Story, stage: Stage) -> None:
    step = story.begin(
        "The registry",
        "The station's records come as a signed file, on a stick if need be. The registry verifies every signature, "
        "certificate and receipt, and counts.",
        "Ordered, injected, failed, scrapped, unaccounted: for every device that may exist there is a record, and for "
        "every record a device.",
    )
    stage.strongroom(step, "station", "export", _STATION, "-o", "line-1.births")
    stage.strongroom(step, "registry", "init", "--registry", REGISTRY)
    stage.strongroom(step, "registry", "import", "line-1.births", "--registry", REGISTRY)
    listed = stage.strongroom(step, "registry", "list", "--registry", REGISTRY)
    expect(listed.count("operational") == QUOTA, f"the registry was to have {QUOTA} devices: {listed}")
    order = json.loads(stage.run(Step("", "", ""), ["strongroom", "workorder", "show", _ORDER, "--json"]))["order"]
    stage.strongroom(step, "registry", "reconcile", str(order["order_id"]), "--registry", REGISTRY)
    stage.strongroom(step, "registry", "show", UIDS[0], "--registry", REGISTRY)
    story.finish(step, f"{QUOTA} devices, each with keys, certificate and activation; the sums are right")


def smpmgr(port: str) -> list[str]:
    """The stock client at a serial port."""
    return ["smpmgr", "--timeout", "20", "--port", port]


def board_file(uid: str) -> str:
    """The device file in which the fixture kept a board."""
    return str(Path(BOARDS) / f"{uid}.img")
