"""`strongroom device`: a whole life in one file, power cuts, refusals, and what people are told."""

from __future__ import annotations

import fcntl
import json
import resource
import subprocess
from pathlib import Path

import bincopy
import pytest

from bootloader.reference.codes import DeviceCode
from bootloader.simulation.device_file import read_device_file
from bootloader.simulation.sim_flash import Tear
from cli.device_session import TearChoice
from cli.device_words import code_in_words, step_in_words
from cli.exit_codes import ExitCode
from tests.cli.release_world import UID, ReleaseWorld, left_in
from tests.cli.world import PRODUCT, label

SPEC = Path(__file__).resolve().parents[2] / "docs" / "spec"


def flash_of(path: Path) -> list[bytes]:
    """The content of every sector."""
    return [bytes(sector.content) for sector in read_device_file(path).flash.snapshot().sectors]


def test_a_new_device_waits_for_its_application(release_world: ReleaseWorld) -> None:
    status = release_world.device_json("status")
    assert (status["uid"], status["lifecycle"], status["simulation_only"]) == (UID, "OPERATIONAL", True)
    assert [part["version"] for part in status["bootloaders"]] == ["1.0.0", "1.0.0"]
    assert status["floors"] == {"application": 0, "bootloader": 0, "factory-test": 0}
    report = release_world.device_json("boot")
    assert (report["runs"], report["name"], report["copy"]) == ("update-mode", "NO_APPLICATION", "A")
    assert release_world.device_json("status")["floors"]["bootloader"] == 1, "both copies have security version 1"


def test_first_install_trial_and_confirmation(release_world: ReleaseWorld) -> None:
    installed = release_world.device_json("install", release_world.application("1.0.0"))
    assert installed["accepted"]
    assert installed["text"].startswith("application 1.0.0 (on trial, attempt 1 of 3)")
    assert release_world.device_json("boot")["attempts"] == 2
    assert release_world.device_json("boot", "--confirm")["confirmed"]
    assert "application 1.0.0 (confirmed)" in release_world.ok("device", "boot", release_world.device).out
    assert release_world.device_json("status")["floors"]["application"] == 1


def test_an_application_that_never_confirms_ends_in_update_mode(release_world: ReleaseWorld) -> None:
    release_world.device_json("install", release_world.application("1.0.0"))
    assert [release_world.device_json("boot")["attempts"] for _ in range(2)] == [2, 3]
    assert release_world.device_json("boot")["name"] == "TRIAL_EXHAUSTED"


def test_every_tear_of_the_simulation_can_be_asked_for() -> None:
    assert {choice.tear for choice in TearChoice} == set(Tear)


@pytest.mark.parametrize("tear", TearChoice)
def test_an_update_cut_in_the_middle_is_taken_again(release_world: ReleaseWorld, tear: str) -> None:
    release_world.device_json("install", release_world.application("1.0.0"))
    release_world.device_json("boot", "--confirm")
    update = release_world.application("1.1.0", 2)
    whole = release_world.ok("package", "verify", update, "--device", release_world.device, "--json").json
    middle = str(whole["flash_operations"] // 2)
    cut = release_world.device_json(
        "install", update, "--cut-at-op", middle, "--tear", tear, "--seed", "7", code=ExitCode.POWER_CUT
    )
    assert cut["power_cut"]
    assert release_world.device_json("boot")["name"] == "NO_APPLICATION"
    assert release_world.device_json("install", update)["accepted"]
    assert release_world.device_json("boot", "--confirm")["version"] == "1.1.0"


def test_the_flash_of_a_cut_is_what_was_there_up_to_the_cut(release_world: ReleaseWorld) -> None:
    """Cut before the first operation: nothing changed; each later cut has changed no less."""
    package = release_world.application("1.0.0")
    release_world.device_json("boot")
    before = flash_of(release_world.device)
    saved = release_world.device.read_bytes()
    changed = []
    for operation in (0, 40, 400, 1000):
        release_world.device.write_bytes(saved)
        options = ("--cut-at-op", str(operation), "--tear", "before")
        release_world.device_json("install", package, *options, code=ExitCode.POWER_CUT)
        pairs = zip(before, flash_of(release_world.device), strict=True)
        changed.append(sum(a != b for old, new in pairs for a, b in zip(old, new, strict=True)))
    assert changed == sorted(changed)
    assert changed[-1] > 3000


def test_a_start_can_be_cut_too(release_world: ReleaseWorld) -> None:
    release_world.device_json("install", release_world.application("1.0.0"))
    release_world.device_json("boot", "--cut-at-op", "1", "--tear", "torn", code=ExitCode.POWER_CUT)
    assert release_world.device_json("boot", "--confirm")["confirmed"]


def test_a_cut_behind_the_last_operation_is_said_not_to_have_happened(release_world: ReleaseWorld) -> None:
    package = release_world.application("1.0.0")
    result = release_world.ok("device", "install", release_world.device, package, "--cut-at-op", "999999")
    assert "the power was not cut" in result.err
    assert "installed" in result.out


def test_a_bootloader_is_updated_copy_by_copy(release_world: ReleaseWorld) -> None:
    release_world.device_json("install", release_world.application("1.0.0"))
    release_world.device_json("boot", "--confirm")
    second = release_world.bootloader("B", "1.1.0", 2, "--for-device", release_world.public)
    report = release_world.device_json("install", second, "--confirm-with", release_world.bundle)
    assert (report["runs"], report["version"], report["copy"]) == ("application", "1.0.0", "B")
    assert release_world.device_json("status")["floors"]["bootloader"] == 1
    first = release_world.bootloader("A", "1.1.0", 2, "--for-device", release_world.public)
    report = release_world.device_json("install", first)
    assert (report["runs"], report["name"], report["copy"]) == ("update-mode", "UPDATE_REQUESTED", "A")
    sent = release_world.ok("device", "trust-bundle", release_world.device, release_world.bundle, "--json").json
    assert sent["accepted"]
    status = release_world.device_json("status")
    assert [(part["version"], part["confirmed"]) for part in status["bootloaders"]] == [
        ("1.1.0", True),
        ("1.1.0", False),
    ]
    assert status["floors"]["bootloader"] == 2


def test_a_bootloader_linked_for_the_running_copy_is_refused(release_world: ReleaseWorld) -> None:
    package = release_world.bootloader("A", "1.1.0", 2, "--for-device", release_world.public)
    report = release_world.device_json("install", package, code=ExitCode.REFUSED_BY_DEVICE)
    assert report["name"] == "WRONG_LOAD_ADDRESS"


def test_refusals_leave_the_application_and_one_event(release_world: ReleaseWorld) -> None:
    release_world.device_json("install", release_world.application("1.1.0", 2))
    release_world.device_json("boot", "--confirm")
    old = release_world.application("1.0.0", 1)
    report = release_world.device_json("install", old, code=ExitCode.REFUSED_BY_DEVICE)
    assert (report["name"], report["step"]) == (
        "BELOW_FLOOR",
        "the rules that decide whether this device may install it",
    )
    assert report["flash_operations_outside_journal"] == 0
    text = release_world.run("device", "install", release_world.device, old).out
    assert "REFUSED, BELOW_FLOOR (307)" in text
    assert "nothing but the event log was written" in text
    assert "application 1.1.0 (confirmed)" in release_world.device_json("boot")["text"]
    events = release_world.device_json("events")
    assert [event["text"].split(":")[0] for event in events][:3] == ["installation", "confirmation", "refusal"]  # type: ignore[index]


def test_the_entry_pin_asks_for_update_mode(release_world: ReleaseWorld) -> None:
    release_world.device_json("install", release_world.application("1.0.0"))
    release_world.device_json("boot", "--confirm")
    assert release_world.device_json("boot", "--entry-pin")["name"] == "UPDATE_REQUESTED"
    assert release_world.device_json("boot")["runs"] == "application"


def test_status_and_events_change_nothing(release_world: ReleaseWorld) -> None:
    before = release_world.device.read_bytes()
    release_world.ok("device", "status", release_world.device)
    assert "no events" in release_world.ok("device", "events", release_world.device).out
    assert release_world.device.read_bytes() == before


def test_a_device_file_that_cannot_be_saved_is_as_it_was(release_world: ReleaseWorld) -> None:
    package = release_world.application("1.0.0")
    before, names = release_world.device.read_bytes(), left_in(release_world.out)

    def limit() -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (1000, 1000))

    result = release_world.process("device", "install", release_world.device, package, preexec_fn=limit)
    assert result.code == ExitCode.OUTPUT, result
    assert "it is as it was before" in result.error
    assert release_world.device.read_bytes() == before
    assert left_in(release_world.out) == names


@pytest.mark.parametrize("block_size", ["1", "1500", "65536"])
def test_any_block_size_installs_the_same(release_world: ReleaseWorld, block_size: str) -> None:
    report = release_world.device_json("install", release_world.application("1.0.0"), "--block-size", block_size)
    assert report["accepted"]


def test_a_device_file_in_use_is_left_alone(release_world: ReleaseWorld) -> None:
    before = release_world.device.read_bytes()
    with release_world.device.open("rb") as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        result = release_world.process("device", "boot", release_world.device)
    assert result.code == ExitCode.INPUT
    assert "another process is using it" in result.error
    assert release_world.device.read_bytes() == before


@pytest.mark.parametrize(
    "content", [b"", b"junk\n", b"Strongroom simulated device, SIMULATION ONLY, format version 9\n"]
)
def test_what_is_no_device_file(release_world: ReleaseWorld, content: bytes) -> None:
    release_world.device.write_bytes(content)
    for command in ("boot", "status", "events"):
        assert "device file" in release_world.fails(ExitCode.INPUT, "device", command, release_world.device)
    assert release_world.device.read_bytes() == content


def new_device(world: ReleaseWorld, *options: str | Path) -> tuple[str | Path, ...]:
    made = ("--factory-image", world.out / "factory.hex", "--uid", UID)
    return ("device", "new", world.out / "second.img", "-p", PRODUCT, *made, *options)


def test_a_device_that_is_not_operational_is_locked_and_runs_nothing(release_world: ReleaseWorld) -> None:
    report = release_world.ok(*new_device(release_world, "--json")).json
    assert (report["operational"], report["simulation_only"]) == (False, True)
    status = release_world.ok("device", "status", release_world.out / "second.img", "--json").json
    assert status["lifecycle"].startswith("LOCKED")
    package = release_world.application("1.0.0")
    refused = release_world.run("device", "install", release_world.out / "second.img", package, "--json")
    assert refused.json["name"] == "LIFECYCLE"


def test_device_new_refuses_what_cannot_be(release_world: ReleaseWorld) -> None:
    assert "is not hexadecimal" in release_world.fails(ExitCode.INPUT, *new_device(release_world, "--uid", "xyz"))
    assert "has 12 bytes" in release_world.fails(ExitCode.INPUT, *new_device(release_world, "--uid", "00" * 16))
    public = ("--operational", "--public", release_world.public)
    assert "exists already" in release_world.fails(ExitCode.OUTPUT, *new_device(release_world, *public))
    assert not (release_world.out / "second.img").exists()
    hex_file = release_world.out / "factory.hex"
    hex_file.write_text("".join(hex_file.read_text(encoding="ascii").splitlines(keepends=True)[:-1]), encoding="ascii")
    assert "has no end record" in release_world.fails(ExitCode.INPUT, *new_device(release_world))


def test_a_group_key_must_be_the_products(release_world: ReleaseWorld) -> None:
    key = release_world.out / "group.pem"
    key.write_text("no key", encoding="utf-8")
    line = release_world.fails(ExitCode.INPUT, *new_device(release_world, "--operational", "--group-key", key))
    assert "not the PEM file of an unencrypted P-256 private key" in line


def make_group_key(folder: Path, public: Path) -> Path:
    """A group's agreement key by openssl; the product knows its public half."""
    private = folder / "lot-7.pem"
    generate = ["genpkey", "-algorithm", "EC", "-pkeyopt", "ec_paramgen_curve:P-256", "-out", str(private)]
    subprocess.run(["openssl", *generate], check=True, capture_output=True)
    subprocess.run(["openssl", "pkey", "-in", str(private), "-pubout", "-out", str(public)], check=True)
    return private


def test_one_group_package_installs_on_every_device_of_the_group_and_no_other(release_world: ReleaseWorld) -> None:
    public = release_world.root / "public" / "lot-7.pub.pem"
    private = make_group_key(release_world.out, public)
    product = release_world.product_file
    text = product.read_text(encoding="utf-8")
    group = 'recipient = "group"\ngroup_public_key = "public/lot-7.pub.pem"'
    assert 'recipient = "device"' in text
    product.write_text(text.replace('recipient = "device"', group), encoding="utf-8")
    package = release_world.package(release_world.firmware("group"), "1.0.0", 1)
    for uid in ("0a" * 12, "0b" * 12):
        image = release_world.out / f"{uid}.img"
        made = ("--factory-image", release_world.out / "factory.hex", "--uid", uid)
        release_world.ok("device", "new", image, "-p", PRODUCT, *made, "--operational", "--group-key", private)
        assert release_world.ok("device", "install", image, package, "--json").json["accepted"]
        assert release_world.ok("device", "boot", image, "--confirm", "--json").json["version"] == "1.0.0"
    outside = release_world.run("device", "install", release_world.device, package, "--json")
    assert (outside.code, outside.json["name"]) == (ExitCode.REFUSED_BY_DEVICE, "RECIPIENT_UNKNOWN")


def test_the_factory_image_is_what_an_independent_reader_finds(release_world: ReleaseWorld) -> None:
    file = bincopy.BinFile(str(release_world.out / "factory.hex"))
    segments = {segment.address: bytes(segment.data) for segment in file.segments}
    assert sorted(segments) == [0x08000000, 0x08004000, 0x0800C000, 0x08010000]
    keys = segments[0x08000000][3904:]
    shown = release_world.ok("bundle", "show", release_world.bundle, "--json").json
    built_in = [item["public_key"] for item in shown["role_keys"] if item["role"] == "bootloader-release"]
    assert keys.hex() == "".join(sorted(built_in))
    assert segments[0x08004000].endswith(release_world.bundle.read_bytes())
    assert segments[0x0800C000].startswith(b"SRJ1")


def test_a_factory_image_of_parts_that_do_not_fit(release_world: ReleaseWorld) -> None:
    out = release_world.out
    parts = ("--bootloader-a", out / "boot-a-1.0.0-1.srp", "--bootloader-b", out / "boot-b-1.0.0-1.srp")
    images = ("--image-a", out / "boot-a-1.0.0.bin", "--image-b", out / "boot-b-1.0.0.bin")
    ask = ("device", "factory-image", "-p", PRODUCT, "-o", out / "new.hex", *parts, *images)
    assert "--lot" in release_world.fails(ExitCode.INPUT, *ask, "--lot", "a lot with too long a name")
    assert "hardware revision 9" in release_world.fails(ExitCode.INPUT, *ask, "--lot", "L", "--hardware-revision", "9")
    other = out / "other.srb"
    other.write_bytes(bytes(2304))
    assert "does not end with" in release_world.fails(ExitCode.INPUT, *ask, "--lot", "L", "--bundle", other)
    image = bytearray((out / "boot-b-1.0.0.bin").read_bytes())
    image[100] ^= 1
    (out / "boot-b-1.0.0.bin").write_bytes(image)
    assert "IMAGE_DIGEST" in release_world.fails(ExitCode.INPUT, *ask, "--lot", "L")
    assert not (out / "new.hex").exists()


def test_the_public_file_is_as_its_specification_says(release_world: ReleaseWorld) -> None:
    public = json.loads(release_world.public.read_text(encoding="utf-8"))
    status = release_world.device_json("status")
    rows = (SPEC / "device-file.md").read_text(encoding="utf-8").splitlines()
    assert list(public) == [row.split("`")[1] for row in rows if row.startswith("| `")]
    for name in ("uid", "product_id", "hardware_revision", "lot", "identity_public_key", "agreement_public_key"):
        assert public[name] == status[name]


@pytest.mark.parametrize("code", DeviceCode)
def test_every_code_has_words_and_a_step(code: DeviceCode) -> None:
    assert code_in_words(code)
    if code is not DeviceCode.OK:
        assert step_in_words(code)


def test_the_device_file_is_private_to_its_owner(release_world: ReleaseWorld) -> None:
    """It holds device keys, if only simulated ones."""
    assert release_world.device.stat().st_mode & 0o077 == 0
    release_world.device_json("boot")
    assert release_world.device.stat().st_mode & 0o077 == 0


def test_a_wrong_signer_is_named_as_such(release_world: ReleaseWorld) -> None:
    """A release key that the key store knows and the device's trust bundle does not."""
    second = ("--product", PRODUCT, "--token", "release", "--sequence", "2", "--activate")
    release_world.ok("key", "generate", "application-release", *second)
    name = label("application-release")
    text = release_world.product_file.read_text(encoding="utf-8")
    release_world.product_file.write_text(text.replace(name, label("application-release", 2)), encoding="utf-8")
    report = release_world.device_json("install", release_world.application("1.0.0"), code=ExitCode.REFUSED_BY_DEVICE)
    assert report["name"] == "SIGNER_UNKNOWN"
