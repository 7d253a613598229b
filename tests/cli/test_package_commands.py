"""`strongroom package`: prepare, sign, build, verify, inspect, diff."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import pytest

from cli.exit_codes import ExitCode
from tests.cli.release_world import UID, ReleaseWorld, terms
from tests.cli.world import PRODUCT, label


def test_what_build_makes_the_device_accepts_and_its_file_is_not_changed(release_world: ReleaseWorld) -> None:
    package = release_world.application("1.0.0")
    before = release_world.device.read_bytes()
    verdict = release_world.ok("package", "verify", package, "--device", release_world.device, "--json").json
    assert verdict["accepted"]
    assert verdict["then"] == "application 1.0.0 (on trial, attempt 1 of 3), started by bootloader copy A"
    assert verdict["sectors_erased"] == 6
    assert release_world.device.read_bytes() == before


def test_inspect_says_what_was_asked_for(release_world: ReleaseWorld, tmp_path: Path) -> None:
    sbom = tmp_path / "sbom.json"
    sbom.write_text("{}", encoding="utf-8")
    package = release_world.application(
        "1.2.3+4", 7, "--for-device", release_world.public, "--sbom", sbom, "--bootloader-version-min", "1.0.0"
    )
    fields = release_world.ok("package", "inspect", package, "--json").json
    assert (fields["type"], fields["image_version"], fields["security_version"]) == ("application", "1.2.3+4", 7)
    assert fields["target_uid"] == f"{UID}00000000"
    assert (fields["target"], fields["recipient_mode"], fields["signed"]) == ("one-uid", "device", True)
    assert (fields["load_address"], fields["image_size_bytes"]) == ("0x08040400", 6000)
    salted = b"SR-sbom-v1".ljust(16, b"\0") + bytes.fromhex(fields["image_salt"]) + b"{}"
    assert fields["sbom_digest"] == hashlib.sha256(salted).hexdigest()
    assert fields["trailer"]["state"] == "well-formed"
    assert "encrypted for one device" in release_world.ok("package", "inspect", package).out


def test_what_prepare_froze_is_what_sign_signs(release_world: ReleaseWorld) -> None:
    prepared, signed = release_world.out / "app.prepared.srp", release_world.out / "app.srp"
    firmware = release_world.firmware("app")
    frozen = release_world.ok(
        "package", "prepare", *terms(), firmware, "-o", prepared, "--for-device", release_world.public, "--json"
    ).json
    assert not frozen["complete"]
    refused = release_world.run("package", "verify", prepared, "--device", release_world.device, "--json")
    assert (refused.code, refused.json["name"]) == (ExitCode.REFUSED_BY_DEVICE, "SIGNATURE_INVALID")
    assert "which nobody has signed" in refused.json["text"]
    done = release_world.ok("package", "sign", prepared, "-p", PRODUCT, "-o", signed, "--json").json
    assert done["complete"]
    assert done["signed_digest"] == frozen["signed_digest"]
    assert signed.read_bytes()[:448] == prepared.read_bytes()[:448]
    release_world.ok("package", "verify", signed, "--device", release_world.device)
    line = release_world.fails(ExitCode.INPUT, "package", "sign", signed, "-p", PRODUCT, "-o", release_world.out / "x")
    assert "signed already" in line


def test_two_signers_of_a_bootloader_sign_one_after_the_other(release_world: ReleaseWorld) -> None:
    release_world.bootloader("B", "1.1.0")
    firmware, out = release_world.out / "boot-b-1.1.0.bin", release_world.out
    options = ("--type", "bootloader", "--copy", "B", "--for-device", release_world.public)
    release_world.ok("package", "prepare", *terms("1.1.0"), firmware, "-o", out / "0.srp", *options)
    sign = ("package", "sign", "-p", PRODUCT)
    half = release_world.ok(
        *sign, out / "0.srp", "-o", out / "1.srp", "--key", label("bootloader-release", 2), "--json"
    )
    assert not half.json["complete"]
    refused = release_world.run("package", "verify", out / "1.srp", "--device", release_world.device, "--json")
    assert refused.json["name"] == "SIGNATURE_INVALID"
    assert release_world.ok(*sign, out / "1.srp", "-o", out / "2.srp", "--json").json["complete"]
    release_world.ok("package", "verify", out / "2.srp", "--device", release_world.device)


def test_two_packages_of_one_firmware_share_nothing_that_must_differ(release_world: ReleaseWorld) -> None:
    first = release_world.application("1.0.0")
    second = release_world.out / "again.srp"
    options = (release_world.out / "app-1.0.0.bin", "-o", second, "--for-device", release_world.public)
    release_world.ok("package", "build", *terms(), *options)
    rows = {row["field"]: row for row in release_world.ok("package", "diff", first, second, "--json").json}
    assert rows["image_salt"]["first"] != rows["image_salt"]["second"]
    assert rows["equal_ciphertext_blocks"]["first"] == 0
    assert "image_version" not in rows
    assert not any(row["finding"] for row in rows.values())


def test_diff_finds_a_keystream_used_twice(release_world: ReleaseWorld) -> None:
    first = release_world.application("1.0.0")
    result = release_world.run("package", "diff", first, first, "--json")
    assert result.code == ExitCode.FINDINGS
    findings = " ".join(row["finding"] for row in result.json)
    assert "PD-01: image_salt" in findings
    assert "PD-02: 375 blocks" in findings


@pytest.mark.parametrize(
    ("offset", "name", "step"),
    [(60, "MCUBOOT_HEADER", "reading the head"), (120, "SIGNATURE_INVALID", "the signatures of the head"),
     (500, "SIGNATURE_INVALID", "the signatures of the head"), (1100, "CHUNK_HASH", "the chunks of the payload")],
)  # fmt: skip
def test_a_changed_byte_is_refused_and_nothing_was_erased(
    release_world: ReleaseWorld, offset: int, name: str, step: str
) -> None:
    package = release_world.application("1.0.0")
    data = bytearray(package.read_bytes())
    data[offset] ^= 0x10
    package.write_bytes(data)
    result = release_world.run("package", "verify", package, "--device", release_world.device, "--json")
    assert result.code == ExitCode.REFUSED_BY_DEVICE
    verdict = result.json
    assert (verdict["name"], verdict["step"]) == (name, step)
    assert (verdict["sectors_erased"], verdict["flash_operations_outside_journal"]) == (0, 0)


def test_a_package_for_another_device_names_both(release_world: ReleaseWorld) -> None:
    other = json.loads(release_world.public.read_text(encoding="utf-8"))
    other["uid"] = UID[:-2] + "44"
    path = release_world.out / "other.json"
    path.write_text(json.dumps(other), encoding="utf-8")
    package = release_world.application("1.0.0", 1, "--for-device", path)
    result = release_world.run("package", "verify", package, "--device", release_world.device)
    assert result.code == ExitCode.REFUSED_BY_DEVICE
    assert f"bound to UID {other['uid']}, this device is {UID}" in result.out


def test_a_security_version_above_the_maximum_is_built_with_a_note_and_refused(release_world: ReleaseWorld) -> None:
    firmware, package = release_world.firmware("app"), release_world.out / "greedy.srp"
    options = (firmware, "-o", package, "--for-device", release_world.public)
    built = release_world.ok("package", "build", *terms("1.0.0", 0xFFFFFFFF), *options)
    assert built.err.startswith("note: security version 4294967295 is outside 1 to 1000")
    result = release_world.run("package", "verify", package, "--device", release_world.device, "--json")
    assert result.json["name"] == "ABOVE_MAXIMUM"


def test_verify_for_a_new_device_of_a_product(release_world: ReleaseWorld) -> None:
    package = release_world.application("1.0.0")
    ask = ("package", "verify", package, "-p", PRODUCT, "--bundle", release_world.bundle, "--json")
    verdict = release_world.ok(*ask).json
    assert verdict["accepted"]
    assert "whether it can decrypt" in verdict["not_asked"]
    data = bytearray(package.read_bytes())
    data[1024 + 4096 + 32 + 5] ^= 1
    package.write_bytes(data)
    assert release_world.run(*ask).json["name"] == "CHUNK_HASH"


def test_a_factory_test_goes_unencrypted_and_only_to_a_locked_device(release_world: ReleaseWorld) -> None:
    package = release_world.package(release_world.firmware("test"), "0.1.0", 0, "--type", "factory-test")
    assert release_world.ok("package", "inspect", package, "--json").json["recipient_mode"] == "none"
    result = release_world.run("package", "verify", package, "--device", release_world.device, "--json")
    assert result.json["name"] == "LIFECYCLE"


def test_a_key_that_the_store_suspended_signs_nothing(release_world: ReleaseWorld) -> None:
    name = label("application-release")
    release_world.ok("key", "state", name, "suspended", "--reason", "its token was seen unattended")
    out = release_world.out / "app.srp"
    line = release_world.fails(
        ExitCode.POLICY, "package", "build", *terms(), release_world.firmware("app"), "-o", out,
        "--for-device", release_world.public,
    )  # fmt: skip
    assert "suspended" in line
    assert not out.exists()


def test_group_mode_encrypts_for_the_group_of_the_product(release_world: ReleaseWorld) -> None:
    pem = release_world.root / "public" / "group.pem"
    release_world.ok("key", "export", label("compat"), "--out", pem)
    text = release_world.product_file.read_text(encoding="utf-8")
    text = text.replace('recipient = "device"', 'recipient = "group"\ngroup_public_key = "public/group.pem"', 1)
    release_world.product_file.write_text(text, encoding="utf-8")
    package = release_world.out / "group.srp"
    release_world.ok("package", "build", *terms(), release_world.firmware("app"), "-o", package)
    fields = release_world.ok("package", "inspect", package, "--json").json
    assert (fields["target"], fields["recipient_mode"]) == ("any-device", "group")
    refused = release_world.run("package", "verify", package, "--device", release_world.device, "--json")
    assert refused.json["name"] == "RECIPIENT_UNKNOWN"


def _make_production(world: ReleaseWorld) -> None:
    path = world.root / "strongroom.toml"
    text = path.read_text(encoding="utf-8").replace('environment = "development"', 'environment = "production"')
    path.write_text(text, encoding="utf-8")


def test_production_refuses_simulated_devices(release_world: ReleaseWorld) -> None:
    _make_production(release_world)
    out = release_world.out / "app.srp"
    firmware = release_world.firmware("app")
    options = ("-o", out, "--for-device", release_world.public)
    assert "[DEV-03]" in release_world.fails(ExitCode.POLICY, "package", "build", *terms(), firmware, *options)
    assert not out.exists()


def test_production_refuses_test_material(release_world: ReleaseWorld) -> None:
    _make_production(release_world)
    fake = release_world.out / "fake"
    fake.mkdir()
    firmware = release_world.firmware("app").rename(fake / "app.bin")
    options = ("-o", release_world.out / "app.srp", "--for-device", release_world.public)
    line = release_world.fails(ExitCode.POLICY, "package", "build", *terms(), firmware, *options)
    assert "[DEV-02]" in line
    assert "app.bin" in line
