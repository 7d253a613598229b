"""`strongroom key group-key`: made in one token, brought to another, injected into a device; on no token to stay."""

from __future__ import annotations

import json
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.keywrap import aes_key_unwrap
from cryptography.hazmat.primitives.serialization import load_der_private_key

from cli.context import open_session
from cli.exit_codes import ExitCode
from pki.values import PublicKey
from provisioning.station.group_key import GroupKeySource, parse_group_key
from provisioning.station.token_injection import TokenInjector
from signer.authority.public_key_files import read_public_key
from tests.cli.world import PRODUCT, World, label

GROUP = label("group-agreement")


def with_wrapping_keys(world: World) -> None:
    for token, sequence in (("release", 1), ("ca", 2)):
        world.ok(
            "key", "generate", "group-wrap", "--token", token, "-p", PRODUCT, "--sequence", str(sequence), "--activate"
        )


def made(world: World, *options: str | Path) -> tuple[Path, Path, Path]:
    maker, public, station = (world.out / name for name in ("maker.json", "group.pem", "station.json"))
    world.ok(
        "key", "group-key", GROUP, "--token", "release", "-o", maker, "--public-out", public,
        "--station", f"ca={station}", *options,
    )  # fmt: skip
    return maker, public, station


def injected(world: World, token: str, file: Path, group: PublicKey) -> ec.EllipticCurvePrivateKey:
    """What a device gets by its own agreement key; unwrapped in software as docs/spec/activation.md says."""
    device = ec.generate_private_key(ec.SECP256R1())
    numbers = device.public_key().public_numbers()
    point = PublicKey(numbers.x.to_bytes(32, "big") + numbers.y.to_bytes(32, "big"))
    with open_session(world.repository, world.repository.site(), token) as session:
        injector = TokenInjector(session, GroupKeySource(session, parse_group_key(file.read_bytes(), group)))
        key = injector.wrap_group_key(point)
    x, y = (int.from_bytes(part, "big") for part in (key.ephemeral.point[:32], key.ephemeral.point[32:]))
    peer = ec.EllipticCurvePublicNumbers(x, y, ec.SECP256R1()).public_key()
    pkcs8 = aes_key_unwrap(device.exchange(ec.ECDH(), peer), key.wrapped)
    end = (
        2 + pkcs8[1]
        if pkcs8[1] < 0x80
        else 2 + (pkcs8[1] & 0x7F) + int.from_bytes(pkcs8[2 : 2 + (pkcs8[1] & 0x7F)], "big")
    )
    private = load_der_private_key(pkcs8[:end], None)
    assert isinstance(private, ec.EllipticCurvePrivateKey)
    return private


def objects_on(world: World, token: str) -> int:
    with open_session(world.repository, world.repository.site(), token) as session:
        return len(session.objects())


def test_a_groups_key_is_made_and_brought_to_a_station_and_stays_on_no_token(world: World) -> None:
    with_wrapping_keys(world)
    before = {token: objects_on(world, token) for token in ("release", "ca")}
    maker, public, station = made(world)
    group = read_public_key(public)
    for token, file in (("release", maker), ("ca", station)):
        private = injected(world, token, file, group)
        numbers = private.public_key().public_numbers()
        assert numbers.x.to_bytes(32, "big") + numbers.y.to_bytes(32, "big") == group.point
        assert private.private_numbers().private_value.to_bytes(32, "big").hex() not in file.read_text()
    assert {token: objects_on(world, token) for token in ("release", "ca")} == before
    assert json.loads(maker.read_text())["wrapped_by"] != json.loads(station.read_text())["wrapped_by"]


def test_a_second_station_gets_it_from_the_makers_file(world: World) -> None:
    with_wrapping_keys(world)
    maker, public, _ = made(world)
    second = world.out / "second.json"
    world.ok("key", "group-key", GROUP, "--token", "release", "--from", maker, "--station", f"ca={second}")
    group = read_public_key(public)
    numbers = injected(world, "ca", second, group).public_key().public_numbers()
    assert numbers.x.to_bytes(32, "big") + numbers.y.to_bytes(32, "big") == group.point


def test_a_changed_file_or_another_tokens_brings_nothing(world: World) -> None:
    with_wrapping_keys(world)
    maker, _, station = made(world)
    out = world.out / "again.json"
    arguments = ("key", "group-key", GROUP, "--token", "release", "--station", f"ca={out}", "--from")
    world.fails(ExitCode.CONFIGURATION, *arguments, station)
    fields = json.loads(maker.read_text())
    changed = world.out / "changed.json"
    flipped = f"{int(fields['wrapped'][0], 16) ^ 1:x}{fields['wrapped'][1:]}"
    changed.write_text(json.dumps(fields | {"wrapped": flipped}))
    world.fails(ExitCode.TOKEN, *arguments, changed)
    assert not out.exists()


def test_a_groups_key_is_not_generated_on_a_token(world: World) -> None:
    error = world.fails(ExitCode.TOKEN, "key", "generate", "group-agreement", "--token", "release", "-p", PRODUCT)
    assert "group-key" in error
    world.ok("key", "audit", "release")


def test_without_a_wrapping_key_nothing_is_made(world: World) -> None:
    out = world.out / "maker.json"
    error = world.fails(
        ExitCode.CONFIGURATION, "key", "group-key", GROUP, "--token", "release", "-o", out,
        "--public-out", world.out / "group.pem",
    )  # fmt: skip
    assert "group-wrap" in error
    assert not out.exists()
