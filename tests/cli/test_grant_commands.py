"""`strongroom grant`, and packages that are built for it: from a package to a device that runs it."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import pytest

from cli.exit_codes import ExitCode
from signer.log.audit_log import open_audit_log
from tests.cli.grant_world import *  # noqa: F403
from tests.cli.grant_world import UID, GrantWorld
from tests.cli.release_world import left_in
from tests.cli.world import PRODUCT, label
from tests.unit.reference.fake.keys import fake_key


def issue(world: GrantWorld, package: Path, *more: str | Path, devices: Path | None = None) -> Path:
    out = world.out / f"grants-{len(left_in(world.out))}.srg"
    world.ok("grant", "issue", "--package", package, "--devices", devices or world.devices, "-o", out, *more)
    return out


def test_a_package_is_granted_to_a_list_and_the_device_installs_it(grant_world: GrantWorld) -> None:
    world = grant_world
    package = world.granted_application()
    refused = world.device_json("install", package, code=ExitCode.REFUSED_BY_DEVICE)
    assert refused["name"] == "GRANT_REQUIRED"
    grants = issue(world, package)
    world.ok("grant", "verify", grants)
    taken = world.device_json("grant", grants)
    assert taken["accepted"]
    assert world.device_json("install", package)["accepted"]


def test_what_a_file_of_grants_says(grant_world: GrantWorld) -> None:
    world = grant_world
    package = world.granted_application()
    grants = issue(world, package)
    shown = world.ok("grant", "show", grants, "--uid", UID, "--json").json
    assert shown["grants"] == 20
    assert shown["head_hash"] == hashlib.sha256(package.read_bytes()[:1024]).hexdigest()
    assert shown["signature_verified"]
    assert shown["grant"]["size_bytes"] == 320 + 32 * len(shown["grant"]["proof"])
    words = world.ok("grant", "show", grants).out
    assert "signature genuine" in words
    assert "20" in words


def test_prepared_grants_are_refused_until_they_are_signed(grant_world: GrantWorld) -> None:
    world = grant_world
    package, prepared, signed = world.granted_application(), world.out / "p.srg", world.out / "s.srg"
    made = world.ok("grant", "prepare", "--package", package, "--devices", world.devices, "-o", prepared, "--json").json
    assert not made["signed"]
    assert "[GR-35]" in world.fails(ExitCode.VERIFICATION, "grant", "verify", prepared)
    assert "[GR-35]" in world.fails(ExitCode.VERIFICATION, "device", "grant", world.device, prepared)
    done = world.ok("grant", "sign", prepared, "-o", signed, "--json").json
    assert done["signed_digest"] == made["signed_digest"]
    world.ok("grant", "verify", signed)
    assert "[GR-38]" in world.fails(ExitCode.INPUT, "grant", "sign", signed, "-o", world.out / "again.srg")
    assert world.device_json("grant", signed)["accepted"]


def test_a_later_batch_needs_no_new_package(grant_world: GrantWorld) -> None:
    """The first batch was for others only; the device comes later."""
    world = grant_world
    package = world.granted_application()
    others = world.out / "others.csv"
    lines = world.devices.read_text(encoding="ascii").splitlines(keepends=True)
    others.write_text("".join(line for line in lines if UID not in line), encoding="ascii")
    first = issue(world, package, devices=others)
    assert "[GR-37]" in world.fails(ExitCode.INPUT, "device", "grant", world.device, first)
    second = issue(world, package)
    assert world.device_json("grant", second)["accepted"]
    assert world.device_json("install", package)["accepted"]


def test_an_extracted_grant_is_what_the_device_takes(grant_world: GrantWorld) -> None:
    world = grant_world
    grants, alone = issue(world, world.granted_application()), world.out / "one.grant"
    report = world.ok("grant", "extract", grants, "--uid", UID, "-o", alone, "--json").json
    assert alone.stat().st_size == report["size_bytes"]
    assert world.device_json("grant", alone, "--extracted")["accepted"]
    again = world.device_json("grant", alone, "--extracted")
    assert again["accepted"]
    damaged = bytearray(alone.read_bytes())
    damaged[-1] ^= 1
    alone.write_bytes(damaged)
    refused = world.device_json("grant", alone, "--extracted", code=ExitCode.REFUSED_BY_DEVICE)
    assert refused["name"] == "GRANT_PROOF"


def test_a_product_may_encrypt_by_grant_for_all_its_packages(grant_world: GrantWorld) -> None:
    world = grant_world
    text = world.product_file.read_text(encoding="utf-8")
    world.product_file.write_text(text.replace('recipient = "device" ', 'recipient = "grant" '), encoding="utf-8")
    package = world.package(world.firmware("app"), "1.0.0", 1)
    fields = world.ok("package", "inspect", package, "--json").json
    assert (fields["target"], fields["recipient_mode"]) == ("grant-required", "grant")
    assert [row["recipient"] for row in world.ok("product", "list", "--json").json] == ["grant"]
    findings = world.run("doctor", "--json").json["findings"]
    assert not [one for one in findings if one["severity"] == "error"]


def test_a_product_by_grant_without_a_wrapping_key_is_refused(grant_world: GrantWorld) -> None:
    world = grant_world
    lines = world.product_file.read_text(encoding="utf-8").splitlines()
    kept = [line.replace('recipient = "device" ', 'recipient = "grant" ') for line in lines]
    kept = [line for line in kept if not line.startswith("package-wrap")]
    world.product_file.write_text("\n".join(kept), encoding="utf-8")
    line = world.fails(ExitCode.CONFIGURATION, "product", "list")
    assert "package-wrap" in line


def test_without_a_wrapping_key_no_package_by_grant_is_made(release_world: GrantWorld) -> None:
    world = release_world
    firmware, out = world.firmware("app"), world.out / "app.srp"
    line = world.fails(
        ExitCode.CONFIGURATION, "package", "build", "-p", PRODUCT, "--version", "1.0.0", "--security-version", "1",
        firmware, "-o", out, "--grant",
    )  # fmt: skip
    assert "strongroom key generate package-wrap" in line
    assert not out.exists()


@pytest.mark.parametrize("flags", [("--for-device", "public"), ("--type", "factory-test")])
def test_by_grant_goes_with_nothing_else(grant_world: GrantWorld, flags: tuple[str, str]) -> None:
    world = grant_world
    chosen = [str(world.public) if flag == "public" else flag for flag in flags]
    line = world.fails(
        ExitCode.INPUT, "package", "build", "-p", PRODUCT, "--version", "1.0.0", "--security-version", "1",
        world.firmware("app"), "-o", world.out / "app.srp", "--grant", *chosen,
    )  # fmt: skip
    assert "--grant goes with" in line


def test_content_keys_are_kept_wrapped_and_nowhere_in_the_clear(grant_world: GrantWorld) -> None:
    world = grant_world
    package = world.granted_application()
    commitment = package.read_bytes()[216:248].hex()
    kept = json.loads((world.content_keys / f"{commitment}.json").read_text(encoding="utf-8"))
    assert kept["wrapping_label"] == label("package-wrap")
    assert (world.content_keys / f"{commitment}.json").stat().st_mode & 0o777 == 0o600
    assert world.content_keys.stat().st_mode & 0o777 == 0o700


@pytest.mark.parametrize(
    ("rule", "damage"),
    [
        ("GR-20", lambda path: path.unlink()),
        ("GR-21", lambda path: path.write_bytes(path.read_bytes()[:-2])),
        ("GR-21", lambda path: path.write_text(path.read_text().replace('pump-x2"', 'pump-x3"', 1))),
        ("GR-21", lambda path: path.write_text(path.read_text().replace('"wrapped_key"', '"wrapped"'))),
    ],
)
def test_what_is_kept_wrongly_grants_nothing(grant_world: GrantWorld, rule: str, damage: object) -> None:
    world = grant_world
    package = world.granted_application()
    (kept,) = world.content_keys.glob("*.json")
    assert callable(damage)
    damage(kept)
    before = left_in(world.out)
    line = world.fails(
        ExitCode.INPUT, "grant", "issue", "--package", package, "--devices", world.devices, "-o", world.out / "g.srg"
    )
    assert f"[{rule}]" in line
    assert left_in(world.out) == before


def test_a_changed_wrapped_key_does_not_unwrap(grant_world: GrantWorld) -> None:
    world = grant_world
    package = world.granted_application()
    (kept,) = world.content_keys.glob("*.json")
    content = json.loads(kept.read_text(encoding="utf-8"))
    content["wrapped_key"] = "00" * 40
    kept.write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")
    world.fails(
        ExitCode.TOKEN, "grant", "issue", "--package", package, "--devices", world.devices, "-o", world.out / "g.srg"
    )


def test_another_packages_content_key_is_noticed_before_any_grant(grant_world: GrantWorld) -> None:
    world = grant_world
    first, second = world.granted_application("1.0.0"), world.granted_application("1.1.0")
    paths = [world.content_keys / f"{path.read_bytes()[216:248].hex()}.json" for path in (first, second)]
    contents = [json.loads(path.read_text(encoding="utf-8")) for path in paths]
    contents[0]["wrapped_key"] = contents[1]["wrapped_key"]
    paths[0].write_text(json.dumps(contents[0], indent=2) + "\n", encoding="utf-8")
    line = world.fails(
        ExitCode.INPUT, "grant", "issue", "--package", first, "--devices", world.devices, "-o", world.out / "g.srg"
    )
    assert "[GR-22]" in line


def test_a_package_that_is_not_by_grant_or_not_signed_is_refused(grant_world: GrantWorld) -> None:
    world = grant_world
    for_one, prepared = world.application("1.0.0"), world.out / "app.prepared.srp"
    arguments = ("--devices", world.devices, "-o", world.out / "g.srg")
    assert "[GR-10]" in world.fails(ExitCode.INPUT, "grant", "issue", "--package", for_one, *arguments)
    world.ok(
        "package", "prepare", "-p", PRODUCT, "--version", "1.0.0", "--security-version", "1", world.firmware("app"),
        "-o", prepared, "--grant",
    )  # fmt: skip
    assert "[GR-11]" in world.fails(ExitCode.INPUT, "grant", "issue", "--package", prepared, *arguments)
    signed = bytearray(world.granted_application("1.2.0").read_bytes())
    signed[500] ^= 1
    forged = world.out / "forged.srp"
    forged.write_bytes(signed)
    assert "[GR-11]" in world.fails(ExitCode.INPUT, "grant", "issue", "--package", forged, *arguments)


def test_a_bad_line_of_the_list_is_named_and_nothing_is_written(grant_world: GrantWorld) -> None:
    world = grant_world
    package, bad = world.granted_application(), world.out / "bad.csv"
    bad.write_text(world.devices.read_text(encoding="ascii") + f"{UID},{'00' * 64}\n", encoding="ascii")
    before = left_in(world.out)
    line = world.fails(
        ExitCode.INPUT, "grant", "issue", "--package", package, "--devices", bad, "-o", world.out / "g.srg"
    )
    assert "[GR-03]" in line
    assert "line 22" in line
    assert left_in(world.out) == before


def test_reading_needs_no_authority_but_then_a_key(grant_world: GrantWorld, tmp_path: Path) -> None:
    world = grant_world
    grants = issue(world, world.granted_application())
    pem = world.out / "grant.pub.pem"
    world.ok("key", "export", label("grant"), "-o", pem)
    shown = world.process("grant", "show", grants, "--uid", UID, cwd=tmp_path)
    assert shown.code == 0, shown
    assert "signature not verified" in shown.out
    assert "not verified" in shown.err
    assert world.process("grant", "verify", grants, cwd=tmp_path).code == ExitCode.CONFIGURATION
    assert world.process("grant", "verify", grants, "--key", pem, cwd=tmp_path).code == 0


@pytest.mark.parametrize("uid", ["", "zz", "AABBCCDD", "aabbcc", "aa" * 17, "00" * 12])
def test_a_uid_is_given_strictly(grant_world: GrantWorld, uid: str) -> None:
    world = grant_world
    grants = issue(world, world.granted_application())
    world.fails(ExitCode.INPUT, "grant", "show", grants, "--uid", uid)


def test_the_command_spreads_a_large_list_over_worker_processes(grant_world: GrantWorld) -> None:
    """In a process of its own, as people run it: spawned workers import its main module anew."""
    world = grant_world
    package, devices, grants = world.granted_application(), world.out / "many.csv", world.out / "many.srg"
    keys = [fake_key(f"device {number}").public.hex() for number in range(1, 20)]
    more = {f"{number:024x}": keys[number % len(keys)] for number in range(1_000, 5_200)}
    world.list_devices(devices, more)
    done = world.process("grant", "issue", "--package", package, "--devices", devices, "-o", grants, "--workers", "2")
    assert done.code == ExitCode.OK, done
    assert done.err == ""
    world.ok("grant", "verify", grants)
    assert world.device_json("grant", grants)["accepted"]
    assert world.device_json("install", package)["accepted"]


def test_a_bootloader_is_granted_too(grant_world: GrantWorld) -> None:
    """Its head has two signatures, and the hash that grants name covers both."""
    world = grant_world
    package = world.bootloader("B", "1.1.0", 1, "--grant")
    world.ok("device", "boot", world.device)
    refused = world.device_json("install", package, code=ExitCode.REFUSED_BY_DEVICE)
    assert refused["name"] == "GRANT_REQUIRED"
    assert world.device_json("grant", issue(world, package))["accepted"]
    assert world.device_json("install", package)["accepted"]


@pytest.fixture
def logged_world(grant_world: GrantWorld) -> GrantWorld:
    world = grant_world
    world.ok("key", "generate", "log", "--token", "ca", "--sequence", "1", "--activate")
    with (world.root / "strongroom.toml").open("a", encoding="utf-8") as stream:
        stream.write('\n[log]\ntoken = "ca"\nlabel = "sr:log:-:0001"\n')
    world.ok("audit", "init")
    return world


def logged(world: GrantWorld) -> list[tuple[str, str]]:
    """Kind of each entry, and the key that it is about."""
    with open_audit_log(world.root / "log", None) as log:
        events = [entry.event for entry in log.entries(1)]
    return [(event.kind.value, event.details["key_label"]) for event in events]


def test_the_log_says_when_a_content_key_was_kept_and_used_and_the_grant_key_signed_once(
    logged_world: GrantWorld,
) -> None:
    world = logged_world
    package = world.granted_application()
    built = logged(world)
    assert built[0] == ("content-key-kept", label("package-wrap"))
    issue(world, package)
    assert logged(world)[len(built) :] == [
        ("content-key-used", label("package-wrap")),
        ("sign-intent", label("grant")),
        ("sign-result", label("grant")),
    ]
    story = world.ok("audit", "show").out
    assert "to unwrap the content key of package" in story


def test_where_the_log_fails_no_content_key_is_used(logged_world: GrantWorld) -> None:
    world = logged_world
    package = world.granted_application()
    (world.root / "log" / "index.sqlite").unlink()
    out = world.out / "g.srg"
    world.fails(ExitCode.AUDIT_LOG, "grant", "issue", "--package", package, "--devices", world.devices, "-o", out)
    assert not out.exists()


def test_in_production_no_command_signs_grants_directly(grant_world: GrantWorld) -> None:
    world = grant_world
    package = world.granted_application()
    prepared = world.out / "p.srg"
    world.ok("grant", "prepare", "--package", package, "--devices", world.devices, "-o", prepared)
    text = (world.root / "strongroom.toml").read_text(encoding="utf-8")
    production = text.replace('environment = "development"', 'environment = "production"')
    (world.root / "strongroom.toml").write_text(production, encoding="utf-8")
    line = world.fails(
        ExitCode.POLICY, "grant", "issue", "--package", package, "--devices", world.devices, "-o", world.out / "g.srg"
    )
    assert "[SV-40]" in line
    assert "[SV-40]" in world.fails(ExitCode.POLICY, "grant", "sign", prepared, "-o", world.out / "g.srg")
