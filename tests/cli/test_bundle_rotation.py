"""`strongroom bundle rotate | diff | verify --after | impact` and `device trust-bundle`, with real tokens."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from cli.exit_codes import ExitCode
from tests.cli.release_world import ReleaseWorld
from tests.cli.world import PRODUCT, Result, World, label

NEW_RELEASE = label("application-release", 2)
OLD_RELEASE = label("application-release")
LEAKED = f"""
[[trust.revoked]]
label = "{OLD_RELEASE}"
"""


def rotate(world: World, name: str, *options: str | Path, previous: str = "trust-1.srb") -> tuple[str | Path, ...]:
    return (
        "bundle", "rotate", "-p", PRODUCT, "--previous", world.out / previous, "-o", world.out / name, *options,
    )  # fmt: skip


def edit(world: World, *changes: tuple[str, str]) -> None:
    text = world.product_file.read_text(encoding="utf-8")
    for old, new in changes:
        assert text.count(old) >= 1, old
        text = text.replace(old, new, 1)
    world.product_file.write_text(text, encoding="utf-8")


def replace_release_key(world: World, *, stop: bool = False, revoke: bool = True) -> None:
    """A second application-release key takes the place of the first, which is revoked."""
    numbered = ("--product", PRODUCT, "--sequence", "2", "--activate")
    world.ok("key", "generate", "application-release", "--token", "release", *numbered)
    edit(world, (OLD_RELEASE, NEW_RELEASE))
    if revoke:
        entry = LEAKED + ("stop = true\n" if stop else "")
        world.product_file.write_text(world.product_file.read_text(encoding="utf-8") + entry, encoding="utf-8")


@pytest.fixture
def rotated(release_world: ReleaseWorld) -> ReleaseWorld:
    """Application 1.0.0 by the first release key runs on the device; version 2 replaces and revokes that key."""
    release_world.device_json("install", release_world.application("1.0.0"))
    release_world.device_json("boot", "--confirm")
    release_world.application("1.1.0", 2)
    replace_release_key(release_world)
    release_world.ok(*rotate(release_world, "trust-2.srb"))
    return release_world


def report_of(result: Result) -> dict[str, object]:
    report: dict[str, object] = result.json
    return report


def test_a_release_key_is_replaced_and_the_installed_application_goes_on(rotated: ReleaseWorld) -> None:
    """The whole story of a leaked key: rotate, send, the old package is refused, the old application runs."""
    sent = rotated.device_json("trust-bundle", rotated.out / "trust-2.srb")
    assert (sent["bundle_version_before"], sent["bundle_version"], sent["accepted"]) == (1, 2, True)
    assert "application 1.0.0 (confirmed)" in sent["text"]
    assert "version 2 is in force already" in rotated.ok(
        "device", "trust-bundle", rotated.device, rotated.out / "trust-2.srb"
    ).out  # fmt: skip
    refused = rotated.device_json("install", rotated.out / "app-1.1.0-2.srp", code=ExitCode.REFUSED_BY_DEVICE)
    assert refused["name"] == "SIGNER_REVOKED"
    assert rotated.device_json("boot")["version"] == "1.0.0"
    assert rotated.device_json("status")["trust_bundle"]["version"] == 2
    texts = [event["text"] for event in json.loads(rotated.ok("device", "events", rotated.device, "--json").out)]
    assert "new trust bundle" in texts
    newer = rotated.application("1.2.0", 2)
    assert rotated.device_json("install", newer)["accepted"]


def test_rotate_says_in_words_what_changes_before_anybody_signs(rotated: ReleaseWorld) -> None:
    (rotated.out / "trust-2.srb").unlink()
    result = rotated.ok(*rotate(rotated, "trust-2.srb"))
    for words in (
        "version 2 after version 1:",
        f"({OLD_RELEASE}) goes, and is revoked",
        f"({NEW_RELEASE}) comes",
        "what it signed installs no more, what is installed keeps starting",
        "2 of the 3 roots of version 1 must sign",
        "counts for versions 1 and 2",
    ):
        assert words in result.err, words
    assert "signed by 3 roots of before (2 needed) and 3 of its own (2 needed): complete" in result.out


def test_a_chain_is_verified_and_compared(rotated: ReleaseWorld) -> None:
    first, second, third = (rotated.out / f"trust-{number}.srb" for number in (1, 2, 3))
    edit(rotated, ("maximum = 1000", "maximum = 900"))
    rotated.ok(*rotate(rotated, "trust-3.srb", previous="trust-2.srb"))
    verdict = rotated.ok("bundle", "verify", third, "--after", first, "--after", second, "-p", PRODUCT, "--json").json
    assert [link["version"] for link in verdict["links"]] == [1, 2, 3]
    gap = rotated.run("bundle", "verify", third, "--after", first, "--json")
    assert (gap.code, gap.json["name"]) == (ExitCode.REFUSED_BY_DEVICE, "BUNDLE_SUCCESSION")
    twice = rotated.run("bundle", "verify", second, "--after", second, "--json")
    assert twice.json["name"] == "BUNDLE_SUCCESSION"
    shown = rotated.ok("bundle", "diff", second, third).out
    assert "security versions of application: 1 to 1000 becomes 1 to 900" in shown
    both = rotated.ok("bundle", "diff", first, third, "-p", PRODUCT, "--json").json
    assert {item["what"] for item in both["differences"]} == {"application-release", "revoked", "limits"}
    gap_sent = rotated.device_json("trust-bundle", third, code=ExitCode.REFUSED_BY_DEVICE)
    assert (gap_sent["name"], gap_sent["bundle_version"]) == ("BUNDLE_SUCCESSION", 1)
    sent = rotated.device_json("trust-bundle", second, third)
    assert [item["version"] for item in sent["taken"]] == [2, 3]


def test_a_cut_while_a_bundle_is_sent_leaves_the_old_one_or_the_new_one(rotated: ReleaseWorld) -> None:
    bundle, saved = rotated.out / "trust-2.srb", rotated.device.read_bytes()
    count = rotated.device_json("trust-bundle", bundle)["flash_operations"]
    seen = set()
    for operation in (0, count // 2, count - 1):
        rotated.device.write_bytes(saved)
        options = ("--cut-at-op", str(operation), "--tear", "torn")
        cut = rotated.device_json("trust-bundle", bundle, *options, code=ExitCode.POWER_CUT)
        assert cut["power_cut"]
        assert rotated.device_json("boot")["version"] == "1.0.0"
        seen.add(rotated.device_json("status")["trust_bundle"]["version"])
        assert rotated.device_json("trust-bundle", bundle)["bundle_version"] == 2
    assert seen == {1, 2}


def test_roots_sign_one_at_a_time_and_each_signs_once_for_both_versions(release_world: ReleaseWorld) -> None:
    world = release_world
    replace_release_key(world, revoke=False)
    report = world.ok(*rotate(world, "first.srb", "--root-token", "root-1", "--json")).json
    assert (report["previous_signatures"], report["own_signatures"], report["complete"]) == (1, 1, False)
    again = rotate(world, "again.srb", "--root-token", "root-1", "--add-to", world.out / "first.srb")
    assert "signed this trust bundle already" in world.run(*again).err
    added = rotate(world, "trust-2.srb", "--root-token", "root-3", "--add-to", world.out / "first.srb", "--json")
    assert world.ok(*added).json["complete"]
    world.ok("bundle", "verify", world.out / "trust-2.srb", "--after", world.bundle, "-p", PRODUCT)
    assert world.device_json("trust-bundle", world.out / "trust-2.srb")["bundle_version"] == 2


def test_a_custodian_signs_only_what_his_own_product_file_says(release_world: ReleaseWorld) -> None:
    world = release_world
    replace_release_key(world)
    world.ok(*rotate(world, "first.srb", "--root-token", "root-1"))
    edit(world, ("maximum = 1000", "maximum = 999"))
    second = rotate(world, "second.srb", "--root-token", "root-2", "--add-to", world.out / "first.srb")
    result = world.run(*second)
    assert result.code == ExitCode.INPUT
    assert "does not say what the product's file" in result.err
    assert not (world.out / "second.srb").exists()


def test_all_roots_are_replaced_in_one_step(release_world: ReleaseWorld) -> None:
    """Two new roots on other tokens: version 2 is signed by two of the old and by both of the new."""
    world = release_world
    for token, sequence in (("ca", 4), ("release", 5)):
        numbered = ("--product", PRODUCT, "--sequence", str(sequence), "--activate")
        world.ok("key", "generate", "root", "--token", token, *numbered)
    for number, (token, sequence) in ((1, ("ca", 4)), (2, ("release", 5))):
        old = f'token = "root-{number}", label = "{label("root", number)}"'
        edit(world, (old, f'token = "{token}", label = "{label("root", sequence)}"'))
    line = next(line for line in world.product_file.read_text().splitlines() if label("root", 3) in line)
    edit(world, (line + "\n", ""))
    refused = world.run(*rotate(world, "trust-2.srb"))
    assert (refused.code, "[TB-19]" in refused.err) == (ExitCode.POLICY, True)
    report = world.ok(*rotate(world, "trust-2.srb", "--accept-danger", "TB-19", "--json")).json
    assert (report["previous_signatures"], report["own_signatures"], report["complete"]) == (3, 2, True)
    assert report["accepted_dangers"][0]["rule"] == "TB-19"
    assert world.device_json("trust-bundle", world.out / "trust-2.srb")["bundle_version"] == 2
    edit(world, ("maximum = 1000", "maximum = 900"))
    third = world.ok(*rotate(world, "trust-3.srb", "--json", previous="trust-2.srb")).json
    assert third["signed_now"] == [label("root", 4), label("root", 5)]
    assert world.device_json("trust-bundle", world.out / "trust-3.srb")["bundle_version"] == 3


def test_a_second_successor_of_one_version_is_refused_once_the_first_is_published(rotated: ReleaseWorld) -> None:
    published = rotated.root / "public" / "trust-2.srb"
    published.parent.mkdir(exist_ok=True)
    published.write_bytes((rotated.out / "trust-2.srb").read_bytes())
    rotated.ok(*rotate(rotated, "the-same-again.srb"))
    edit(rotated, ("maximum = 1000", "maximum = 900"))
    result = rotated.run(*rotate(rotated, "fork.srb"))
    assert (result.code, "[TB-20]" in result.err) == (ExitCode.POLICY, True)
    rotated.ok(*rotate(rotated, "trust-3.srb", previous="trust-2.srb"))
    published.with_name("junk.srb").write_bytes(b"junk")
    assert "junk.srb" in rotated.run(*rotate(rotated, "t.srb", previous="trust-2.srb")).err


def test_stop_sounds_dangerous_and_stops_the_device(release_world: ReleaseWorld) -> None:
    world = release_world
    world.device_json("install", world.application("1.0.0"))
    world.device_json("boot", "--confirm")
    replace_release_key(world, stop=True)
    refused = world.run(*rotate(world, "trust-2.srb"))
    assert refused.code == ExitCode.POLICY
    assert "[TB-14]" in refused.err.splitlines()[-1]
    assert "STOP at their next start" in refused.err
    world.ok(*rotate(world, "trust-2.srb", "--accept-danger", "TB-14"))
    before = world.device.read_bytes()
    impact = ("bundle", "impact", world.out / "trust-2.srb", "--after", world.bundle, "-p", PRODUCT)
    status = world.out / "status.json"
    status.write_text(world.ok("device", "status", world.device, "--json").out, encoding="utf-8")
    report = world.ok(*impact, "--device", world.device, "--device", status, "--json").json
    assert [item["effect"] for item in report["devices"]] == ["stops", "stops"]
    assert [item["links"] for item in report["devices"]] == [[2], [2]]
    assert world.device.read_bytes() == before
    sent = world.device_json("trust-bundle", world.out / "trust-2.srb")
    assert (sent["runs"], sent["name"]) == ("update-mode", "STOPPED")
    assert world.device_json("install", world.application("1.0.0", 2))["accepted"], "signed anew by the new key"


def test_impact_tells_packages_and_devices(rotated: ReleaseWorld) -> None:
    old_package, new_package = rotated.out / "app-1.1.0-2.srp", rotated.application("1.2.0", 2)
    stale = rotated.out / "stale.json"
    status = rotated.ok("device", "status", rotated.device, "--json").json
    stale.write_text(json.dumps(status | {"trust_bundle": {"version": 1, "digest": "00" * 32}}), encoding="utf-8")
    floor = rotated.out / "floor.json"
    floor.write_text(json.dumps(status | {"floors": status["floors"] | {"application": 5000}}), encoding="utf-8")
    command = ("bundle", "impact", rotated.out / "trust-2.srb", "--after", rotated.bundle, "-p", PRODUCT)
    packages = ("--package", old_package, "--package", new_package)
    devices = ("--device", rotated.device, "--device", stale, "--device", floor)
    report = rotated.ok(*command, *packages, *devices, "--json").json
    assert [item["effect"] for item in report["packages"]] == ["installs no more", "installs from now on"]
    assert report["packages"][0]["after"]["name"] == "SIGNER_REVOKED"
    assert report["packages"][1]["before"]["name"] == "SIGNER_UNKNOWN"
    assert [item["effect"] for item in report["devices"]] == ["follows", "cannot follow", "blocked"]
    assert report["devices"][2]["blocked"] == ["application"]
    text = rotated.ok(*command, *packages, *devices).out
    assert "1 packages install no more, 0 devices stop, 1 devices cannot follow" in text
    assert "SIGNER_REVOKED" in text


@pytest.mark.parametrize(
    ("rule", "changes"),
    [
        ("TB-02", ()),
        ("TB-07", (("minimum = 1", "minimum = 0"),)),
        ("TB-17", ()),
        ("TB-12", (("root_threshold = 2", "root_threshold = 1"),)),
    ],
)
def test_what_would_be_a_mistake_is_refused_and_leaves_nothing(
    release_world: ReleaseWorld, rule: str, changes: tuple[tuple[str, str], ...]
) -> None:
    edit(release_world, *changes)
    if rule == "TB-02":
        text = release_world.product_file.read_text(encoding="utf-8")
        release_world.product_file.write_text(text + LEAKED, encoding="utf-8")
    result = release_world.run(*rotate(release_world, "trust-2.srb"))
    assert result.code == ExitCode.POLICY
    assert f"[{rule}]" in result.err.splitlines()[-1]
    assert not (release_world.out / "trust-2.srb").exists()


def test_a_compromised_key_must_go(release_world: ReleaseWorld) -> None:
    world = release_world
    edit(world, ("maximum = 1000", "maximum = 900"))
    world.ok("key", "state", label("bootloader-release"), "compromised", "--reason", "laptop stolen")
    assert "[TB-01]" in world.run(*rotate(world, "trust-2.srb")).err.splitlines()[-1]
    entry = f'\n[[trust.revoked]]\nlabel = "{label("bootloader-release")}"\n'
    world.product_file.write_text(world.product_file.read_text(encoding="utf-8") + entry, encoding="utf-8")
    world.ok(*rotate(world, "trust-2.srb"))
    shown = world.ok("bundle", "show", world.out / "trust-2.srb", "--json").json
    assert sum(item["role"] == "bootloader-release" for item in shown["role_keys"]) == 2
    assert world.device_json("trust-bundle", world.out / "trust-2.srb")["bundle_version"] == 2


def test_bad_input_is_one_line(release_world: ReleaseWorld) -> None:
    world, bundle = release_world, release_world.bundle
    junk = world.out / "junk.srb"
    junk.write_bytes(b"junk")
    assert world.run(*rotate(world, "t.srb", previous="junk.srb")).code == ExitCode.INPUT
    assert world.run(*rotate(world, "t.srb", "--accept-danger", "TB-01")).code == ExitCode.USAGE
    assert world.run(*rotate(world, "t.srb", "--unsigned", "--root-token", "root-1")).code == ExitCode.USAGE
    assert world.run("bundle", "impact", bundle, "-p", PRODUCT).code == ExitCode.USAGE
    status = world.out / "status.json"
    status.write_text('{"uid": 1}', encoding="utf-8")
    edit(world, ("maximum = 1000", "maximum = 900"))
    world.ok(*rotate(world, "trust-2.srb"))
    impact = ("bundle", "impact", world.out / "trust-2.srb", "--after", bundle, "-p", PRODUCT)
    assert "status --json" in world.fails(ExitCode.INPUT, *impact, "--device", status)
    assert "no device of product" in world.fails(ExitCode.INPUT, "bundle", "impact", bundle, *impact[3:])
    refused = world.device_json("trust-bundle", junk, code=ExitCode.REFUSED_BY_DEVICE)
    assert refused["name"] == "BUNDLE_SIZE"


def test_an_unsigned_successor_is_written_for_a_ceremony(release_world: ReleaseWorld) -> None:
    world = release_world
    edit(world, ("maximum = 1000", "maximum = 900"))
    world.ok(*rotate(world, "planned.srb", "--unsigned"))
    refused = world.run("bundle", "verify", world.out / "planned.srb", "--after", world.bundle, "--json")
    assert refused.json["name"] == "BUNDLE_SIGNATURES"
    added = rotate(world, "trust-2.srb", "--add-to", world.out / "planned.srb", "--json")
    assert world.ok(*added).json["complete"]
