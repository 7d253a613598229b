"""Every kind of ceremony from plan to verification, on SoftHSM: the right keys, nothing else, no secret anywhere."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from bootloader.reference.trust_bundle import parse_trust_bundle
from tests.ceremonies.rooms import CREW, CUSTODIANS, PIN, PRODUCT, CeremonyWorld, label
from tests.faults.ceremony_kinds import BACKED_UP, KINDS, TRUST_1, with_prepared_bootloader
from tests.faults.ceremony_state import final_state

ROOTED = ["role-key-rotation", "leaked-key", "revocation", "root-rotation"]


def held(world: CeremonyWorld, kind: str) -> None:
    wanted = KINDS[kind]
    digest = world.new("held", wanted.plan, wanted.values, wanted.people)
    world.hold("held", digest)
    assert final_state(world.repository, "held")["problems"] == []


def artefact(world: CeremonyWorld, name: str) -> Path:
    return world.ceremonies / "held" / "artefacts" / name


def states(world: CeremonyWorld) -> dict[str, str]:
    return {row["label"]: row["state"] for row in world.ok("key", "list", "--json").json}


def public_files(world: CeremonyWorld) -> Iterator[bytes]:
    """Everything that a ceremony writes for others to read, and the intents."""
    for folder in (world.ceremonies, world.root / "store" / "intents", world.root / "log"):
        for path in folder.rglob("*"):
            if path.is_file():
                yield path.read_bytes()


def test_root_genesis(ceremony_world: CeremonyWorld) -> None:
    held(ceremony_world, "root-genesis")
    path = artefact(ceremony_world, "trust-1.srb")
    assert ceremony_world.ok("bundle", "verify", path, "-p", PRODUCT, "--json").json["accepted"] is True
    bundle = parse_trust_bundle(path.read_bytes())
    assert (bundle.version, len(bundle.roots)) == (1, 3)
    made = {name: state for name, state in states(ceremony_world).items() if ":root:" in name or "bootloader" in name}
    assert made == {label(role, n): "active" for role in ("root", "bootloader-release") for n in (1, 2, 3)}
    tokens = {row["label"]: row["token_label"] for row in ceremony_world.ok("key", "list", "--json").json}
    assert len({tokens[label("root", number)] for number in (1, 2, 3)}) == 3
    assert not [content for content in public_files(ceremony_world) if PIN.encode() in content]


def test_role_key_issue(ceremony_world: CeremonyWorld) -> None:
    held(ceremony_world, "role-key-issue")
    assert states(ceremony_world)[label("application-release", 2)] == "active"


@pytest.mark.parametrize("kind", ROOTED)
def test_bundles_that_follow(kind: str, rooted_world: CeremonyWorld) -> None:
    held(rooted_world, kind)
    bundle = artefact(rooted_world, "trust-2.srb")
    assert rooted_world.ok("bundle", "verify", bundle, "-p", PRODUCT, "--json").json["accepted"] is True
    previous = parse_trust_bundle((rooted_world.root / TRUST_1).read_bytes())
    following = parse_trust_bundle(bundle.read_bytes())
    assert following.version == 2
    assert following.previous_digest == previous.digest
    found = states(rooted_world)
    if kind == "role-key-rotation":
        assert found[label("application-release")] == "deactivated"
        assert found[label("application-release", 2)] == "active"
    if kind in {"revocation", "leaked-key"}:
        assert found[label("application-release")] == "compromised"
        assert len(following.revoked) == 1
    if kind == "leaked-key":
        assert found[label("application-release", 2)] == "active"
    if kind == "root-rotation":
        assert not set(following.roots) & set(previous.roots)
        assert {found[label("root", number)] for number in (1, 2, 3)} == {"deactivated"}


def test_offline_release(rooted_world: CeremonyWorld) -> None:
    with_prepared_bootloader(rooted_world, roots=False)
    held(rooted_world, "offline-release")
    package = artefact(rooted_world, "bootloader-1.pkg")
    verdict = rooted_world.ok(
        "package", "verify", package, "-p", PRODUCT, "--bundle", rooted_world.root / TRUST_1, "--json"
    )
    assert verdict.json["accepted"] is True


def test_destruction(ceremony_world: CeremonyWorld) -> None:
    KINDS["destruction"].before(ceremony_world)
    held(ceremony_world, "destruction")
    assert states(ceremony_world)[label("grant")] == "destroyed"


def test_backup_and_restore_to_another_token(ceremony_world: CeremonyWorld) -> None:
    KINDS["restore"].before(ceremony_world)
    held(ceremony_world, "restore")
    shares = [path.read_text() for path in (ceremony_world.root / "fake" / "shares").glob("*.share")]
    assert len(shares) == 3
    places = ceremony_world.ok("ceremony", "show", "held", "--json").json
    restored = [entry for entry in places if entry["type"] == "result" and entry["step"] == "restore"]
    assert restored[0]["varying"]["outcome"] == "restored"
    # Not even four words of a share that follow each other, nor the PIN, in anything that is handed on.
    pieces = [" ".join(share.split()[n : n + 4]).encode() for share in shares for n in range(2, 29)]
    for content in public_files(ceremony_world):
        assert PIN.encode() not in content
        assert not [piece for piece in pieces if piece in content]


def test_station_issue(rooted_world: CeremonyWorld) -> None:
    """The lot's key on both tokens, the station's on its own; a certificate up to the root; no key in a file."""
    KINDS["station-issue"].before(rooted_world)
    held(rooted_world, "station-issue")
    rows = {row["label"]: row for row in rooted_world.ok("key", "list", "--json").json}
    assert {rows[label(role)]["state"] for role in ("lot", "station", "lot-ca")} == {"active"}
    assert rows[label("lot")]["token_label"] == "release"
    assert rows[label("lot")]["copies_on"].endswith("/spare")
    assert {rows[label(role)]["token_label"] for role in ("station", "lot-ca")} == {"spare"}
    public = rooted_world.root / "public"
    rooted_world.ok(
        "cert", "verify", artefact(rooted_world, "lot-ca.pem"), "--purpose", "certificate-authority",
        "--anchor", public / "root-ca.pem", "--chain", public / "production-ca.pem",
    )  # fmt: skip
    for token in ("release", "spare"):
        rooted_world.ok("key", "audit", token)
    rooted_world.ok("doctor")
    assert not [content for content in public_files(rooted_world) if b"PRIVATE KEY" in content]


def test_a_lot_key_has_copies_and_no_backup_file(ceremony_world: CeremonyWorld) -> None:
    values = {**BACKED_UP, "label": label("lot")}
    options = [f"--value={name}={value}" for name, value in values.items()]
    options += [f"--person={person}" for person in CREW + CUSTODIANS]
    ceremony_world.ok("ceremony", "new", "wrong", "--plan", "backup", *options)
    result = ceremony_world.run("ceremony", "rehearse", "wrong")
    assert (result.code, "KB-01" in result.error) == (14, True)


def test_a_backup_needs_a_role_that_may_have_one(ceremony_world: CeremonyWorld) -> None:
    values = {**BACKED_UP, "label": label("production", 2)}
    options = [f"--value={name}={value}" for name, value in values.items()]
    options += [f"--person={person}" for person in CREW + CUSTODIANS]
    ceremony_world.ok("ceremony", "new", "wrong", "--plan", "backup", *options)
    result = ceremony_world.run("ceremony", "rehearse", "wrong")
    assert (result.code, "KB-01" in result.error) == (14, True)
