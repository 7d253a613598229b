"""Batches of grants: taken whole, for known devices and their own keys. The files are written here from the spec."""

from __future__ import annotations

import struct
from dataclasses import replace
from pathlib import Path

import pytest

from pki.errors import PolicyViolation
from provisioning.registry.errors import NotAuthentic
from provisioning.registry.queries import DeviceQuery
from provisioning.registry.registry import Registry
from provisioning.registry.trust import ProductKeys, Trust
from signer.grants.file import GrantFile
from tests.registry.production_line import NOW, PRODUCT, Board, Key, Line, Station, sha256
from tests.registry.world import WHO, new_station, rows_of, sizes_of, take

HEAD = sha256(b"head of a package")


@pytest.fixture(scope="module")
def made(line: Line) -> Station:
    station = new_station(line)
    for number in range(1, 8):
        station.make(Board.new(number))
    return station


@pytest.fixture
def station(made: Station, registry: Registry, line: Line) -> Station:
    take(registry, made.file(), line.trust)
    return made


def boards(station: Station) -> list[Board]:
    return sorted({board.uid: board for board in station.boards.values()}.values(), key=lambda board: board.uid)


def grant_file(
    line: Line, path: Path, devices: list[Board], batch_id: bytes = b"b" * 16, key: Key | None = None
) -> Path:
    """docs/spec/grant.md, sections 1, 2 and 4."""
    signer = key or line.grant
    leaves = [board.uid + board.agreement.public.key_id + sha256(b"wrapped", board.uid) for board in devices]
    levels = [[sha256(b"\0", leaf) for leaf in leaves]]
    while len(levels[-1]) > 1:
        below = levels[-1]
        pairs = [below[at : at + 2] for at in range(0, len(below), 2)]
        levels.append([sha256(b"\1", *pair) if len(pair) == 2 else pair[0] for pair in pairs])
    unsigned = struct.pack(
        "<4sHBx16s16s32s64sI32s8s12x", b"SRG1", 1, 1, batch_id, PRODUCT, HEAD, Key.new().point, len(leaves),
        levels[-1][0], signer.public.key_id,
    )  # fmt: skip
    content = signer.sign_object("SR-grant-v1", unsigned) + b"".join(leaves)
    content += b"".join(node for level in levels[:-1] for node in level)
    path.write_bytes(content + sha256(content))
    return path


def take_file(registry: Registry, path: Path, trust: Trust) -> bool:
    with GrantFile(path) as file:
        return registry.take_grants(file, NOW, who=WHO, trust=trust).is_new


@pytest.mark.parametrize("count", [1, 2, 3, 7])
def test_grants_are_taken_and_told(
    registry: Registry, line: Line, station: Station, tmp_path: Path, count: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("provisioning.registry.grants.QUERY_VALUES_MAX", 3)
    devices = boards(station)
    path = grant_file(line, tmp_path / "g.srg", devices[:count])
    assert take_file(registry, path, line.trust)
    assert not take_file(registry, path, line.trust)
    (event,) = (event for event in registry.life_of(devices[count - 1].uid).events if event.kind == "grant")
    assert event.details == {"batch_id": (b"b" * 16).hex(), "head_hash": HEAD.hex(), "leaf": count - 1}
    without = [uid for uid, _ in registry.agreement_keys(DeviceQuery(product_id=PRODUCT, not_granted=HEAD))]
    assert without == [board.uid for board in devices[count:]]


def test_a_batch_of_another_signer_is_refused(
    registry: Registry, url: str, line: Line, station: Station, tmp_path: Path
) -> None:
    path = grant_file(line, tmp_path / "g.srg", boards(station))
    forged = grant_file(line, tmp_path / "f.srg", boards(station), key=Key.new())
    keys = line.trust.of(PRODUCT)
    revoked = replace(keys, revoked_key_ids=frozenset({line.grant.public.key_id}))
    before = sizes_of(url)
    for file, trust in (
        (forged, line.trust),
        (path, Trust()),
        (path, Trust({PRODUCT: ProductKeys(production=keys.grant)})),
        (path, Trust({PRODUCT: revoked})),
    ):
        with pytest.raises(NotAuthentic, match="RG-26"):
            take_file(registry, file, trust)
    assert sizes_of(url) == before


@pytest.mark.parametrize("leaf", [0, 3, 6])
def test_leaves_that_were_changed_are_refused(
    registry: Registry, url: str, line: Line, station: Station, tmp_path: Path, leaf: int
) -> None:
    path = grant_file(line, tmp_path / "g.srg", boards(station))
    content = bytearray(path.read_bytes())
    content[256 + 56 * leaf + 40] ^= 1
    path.write_bytes(bytes(content))
    before = sizes_of(url)
    with pytest.raises(NotAuthentic, match="RG-26"):
        take_file(registry, path, line.trust)
    assert sizes_of(url) == before


def test_grants_for_strangers_or_under_foreign_keys_are_refused(
    registry: Registry, url: str, line: Line, station: Station, tmp_path: Path
) -> None:
    known = boards(station)
    stranger = grant_file(line, tmp_path / "1.srg", [*known, Board.new(99)])
    thief = grant_file(line, tmp_path / "2.srg", [*known[:-1], replace(known[-1], agreement=Key.new())])
    before = sizes_of(url)
    with pytest.raises(PolicyViolation, match="RG-27"):
        take_file(registry, stranger, line.trust)
    with pytest.raises(PolicyViolation, match="RG-28"):
        take_file(registry, thief, line.trust)
    assert sizes_of(url) == before


def test_one_batch_has_one_id(registry: Registry, url: str, line: Line, station: Station, tmp_path: Path) -> None:
    take_file(registry, grant_file(line, tmp_path / "1.srg", boards(station)[:2]), line.trust)
    before = rows_of(url)
    with pytest.raises(PolicyViolation, match="RG-29"):
        take_file(registry, grant_file(line, tmp_path / "2.srg", boards(station)[:3]), line.trust)
    assert rows_of(url) == before
