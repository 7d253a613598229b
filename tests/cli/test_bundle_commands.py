"""`strongroom bundle`: genesis at once and root by root, show, verify."""

from __future__ import annotations

from pathlib import Path

import pytest

from cli.exit_codes import ExitCode
from tests.cli.world import PRODUCT, World, label


def genesis(world: World, out: Path, *options: str | Path) -> tuple[str | Path, ...]:
    return ("bundle", "genesis", "-p", PRODUCT, "-o", out, *options)


def test_genesis_is_signed_by_every_root_at_hand_and_a_device_trusts_it(world: World) -> None:
    out = world.out / "trust-1.srb"
    report = world.ok(*genesis(world, out, "--json")).json
    assert report["complete"]
    assert report["signed_now"] == [label("root", number) for number in (1, 2, 3)]
    assert out.stat().st_size == 2304
    verdict = world.ok("bundle", "verify", out, "-p", PRODUCT, "--json").json
    link = {"version": 1, "digest": report["digest"]}
    assert verdict == {"accepted": True, "code": 0, "name": "OK", **link, "links": [link]}


def test_show_names_every_key_of_the_product_and_its_limits(world: World) -> None:
    out = world.out / "trust-1.srb"
    world.ok(*genesis(world, out))
    shown = world.ok("bundle", "show", out, "--json").json
    listed = {row["label"]: row["key_id"] for row in world.ok("key", "list", "--json").json}
    assert {root["key_id"] for root in shown["roots"]} == {listed[label("root", number)] for number in (1, 2, 3)}
    roles = {(item["role"], item["key_id"]) for item in shown["role_keys"]}
    assert ("application-release", listed[label("application-release")]) in roles
    assert ("production", listed[label("production")]) in roles
    assert listed[label("compat")] not in {key_id for _, key_id in roles}
    assert shown["limits"][0] == {
        "package_type": "application",
        "security_version_min": 1,
        "security_version_max": 1000,
    }
    assert "2 roots must sign" in world.ok("bundle", "show", out).out


def test_roots_sign_one_at_a_time_each_at_its_own_place(world: World) -> None:
    first, second = world.out / "first.srb", world.out / "second.srb"
    report = world.ok(*genesis(world, first, "--root-token", "root-1", "--json")).json
    assert (report["signature_count"], report["signatures_needed"], report["complete"]) == (1, 2, False)
    refused = world.run("bundle", "verify", first, "--json")
    assert refused.code == ExitCode.REFUSED_BY_DEVICE
    assert refused.json["name"] == "BUNDLE_SIGNATURES"
    added = world.ok(*genesis(world, second, "--root-token", "root-3", "--add-to", first, "--json")).json
    assert added["complete"]
    assert added["digest"] == report["digest"]
    world.ok("bundle", "verify", second)


def test_a_root_does_not_sign_twice(world: World) -> None:
    first = world.out / "first.srb"
    world.ok(*genesis(world, first, "--root-token", "root-1"))
    line = world.fails(
        ExitCode.INPUT, *genesis(world, world.out / "again.srb", "--root-token", "root-1", "--add-to", first)
    )
    assert "has signed this trust bundle already" in line
    assert not (world.out / "again.srb").exists()


def test_a_custodian_signs_only_what_his_own_product_file_says(world: World) -> None:
    first = world.out / "first.srb"
    world.ok(*genesis(world, first, "--root-token", "root-1"))
    text = world.product_file.read_text(encoding="utf-8")
    world.product_file.write_text(text.replace("maximum = 1000", "maximum = 4294967295", 1), encoding="utf-8")
    line = world.fails(
        ExitCode.INPUT, *genesis(world, world.out / "second.srb", "--root-token", "root-2", "--add-to", first)
    )
    assert "does not say what the product's file" in line


def test_too_few_roots_at_hand_leave_nothing(world: World) -> None:
    text = world.site_file.read_text(encoding="utf-8")
    for number in (2, 3):
        text = text.replace(f"[tokens.root-{number}]", f"[tokens.elsewhere-{number}]")
    world.site_file.write_text(text, encoding="utf-8")
    result = world.run(*genesis(world, world.out / "trust-1.srb"))
    assert result.code == ExitCode.INPUT
    assert "1 of the 2 roots needed are at hand" in result.err.splitlines()[-1]
    assert list(world.out.iterdir()) == []


def test_a_suspended_key_is_not_put_into_a_trust_bundle(world: World) -> None:
    world.ok("key", "state", label("production"), "suspended", "--reason", "token is being moved")
    line = world.fails(ExitCode.POLICY, *genesis(world, world.out / "trust-1.srb"))
    assert "[TB-01]" in line


def test_an_existing_bundle_is_never_replaced(world: World) -> None:
    out = world.out / "trust-1.srb"
    out.write_bytes(b"precious")
    assert "exists already" in world.fails(ExitCode.OUTPUT, *genesis(world, out))
    assert out.read_bytes() == b"precious"


@pytest.mark.parametrize(
    ("offset", "name"),
    [(0, "BUNDLE_MAGIC"), (4, "BUNDLE_FORMAT"), (16, "BUNDLE_SIGNATURES"), (1700, "BUNDLE_SIGNATURES")],
)
def test_a_changed_byte_is_refused_with_the_devices_code(
    release_world: World, tmp_path: Path, offset: int, name: str
) -> None:
    data = bytearray((release_world.out / "trust-1.srb").read_bytes())
    data[offset] ^= 0x01
    changed = tmp_path / "changed.srb"
    changed.write_bytes(data)
    result = release_world.run("bundle", "verify", changed, "--json")
    assert (result.code, result.json["name"]) == (ExitCode.REFUSED_BY_DEVICE, name)


def test_a_bundle_of_another_product_is_refused(release_world: World) -> None:
    release_world.ok("product", "new", "infuser", "--board", "stm32f405-full")
    result = release_world.run("bundle", "verify", release_world.out / "trust-1.srb", "-p", "infuser", "--json")
    assert (result.code, result.json["name"]) == (ExitCode.REFUSED_BY_DEVICE, "BUNDLE_PRODUCT")


def test_show_and_verify_of_what_is_no_bundle(world: World) -> None:
    junk = world.out / "junk.srb"
    junk.write_bytes(b"junk")
    assert "is not a trust bundle" in world.fails(ExitCode.INPUT, "bundle", "show", junk)
    assert world.run("bundle", "verify", junk).code == ExitCode.REFUSED_BY_DEVICE
    assert "cannot be read" in world.fails(ExitCode.INPUT, "bundle", "show", world.out / "absent.srb")
