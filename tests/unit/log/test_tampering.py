"""Each edit, swap, deletion, truncation and fork, at each of 1,000 entries, is found by the verifier.

Two attackers. One changes files: with or without making the tiles fit again, the log's signature stops him. The other
has the log's key too, and signs what he made: the last checkpoint that a witness saw stops him.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from signer.log.checkpoint import TreeHead, sign_head
from signer.log.entry import encode_entry
from signer.log.recovery import origin_of
from signer.log.tiles import TILE_WIDTH, TileWriter, read_bundle, tile_path
from tests.unit.log.logs import event, fast_folder, later
from tests.unit.log.software_key import SoftwareKey
from verifiers.audit_log import LogFault, _verify_bundles, verify_log

COUNT = 1000
WITNESSED = 990
STRIDE = 97
Entries = list[bytes]


@dataclass
class Rig:
    """A sound log in `folder`, its entries, the witness's checkpoint, and a place for changed copies."""

    folder: Path
    copy: Path
    key: SoftwareKey
    entries: Entries
    witnessed: bytes

    def verify(self, folder: Path) -> None:
        verify_log(folder, [self.key.pem], earlier=[("witnessed by somebody", self.witnessed)])

    def sign(self, entries: Entries, key: SoftwareKey) -> None:
        """Make the whole log anew in the copy's place, checkpoint included."""
        shutil.rmtree(self.copy, ignore_errors=True)
        self.copy.mkdir()
        write_log(self.copy, entries, key, origin_of(self.key.public_key))


def write_log(folder: Path, entries: Entries, key: SoftwareKey, origin: str) -> bytes:
    writer = TileWriter(folder, 0, [])
    for entry in entries:
        writer.add(entry)
    writer.finish()
    note = sign_head(TreeHead(origin, len(entries), writer.root), key).note
    (folder / "checkpoint").write_bytes(note)
    return note


@pytest.fixture(scope="module", autouse=True)
def no_syncs() -> Iterator[None]:
    """Thousands of logs are written here, none of which has to survive a power cut."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(os, "fsync", lambda _: None)
        yield


@pytest.fixture(scope="module")
def rig() -> Iterator[Rig]:
    key = SoftwareKey()
    entries = [encode_entry(event(number), later(number // 4)) for number in range(COUNT)]
    with fast_folder() as folder:
        (folder / "log").mkdir()
        witnessed = write_log(folder / "log", entries[:WITNESSED], key, origin_of(key.public_key))
        shutil.rmtree(folder / "log")
        (folder / "log").mkdir()
        write_log(folder / "log", entries, key, origin_of(key.public_key))
        made = Rig(folder / "log", folder / "copy", key, entries, witnessed)
        made.verify(made.folder)
        yield made


def edited(entries: Entries, at: int) -> Entries:
    return [*entries[:at], entries[at].replace(b'"ada"', b'"eve"'), *entries[at + 1 :]]


def swapped(entries: Entries, at: int) -> Entries:
    """With its neighbour of the same second, so that no clock tells."""
    other = at ^ 1
    changed = list(entries)
    changed[at], changed[other] = changed[other], changed[at]
    return changed


def deleted(entries: Entries, at: int) -> Entries:
    return entries[:at] + entries[at + 1 :]


def truncated(entries: Entries, at: int) -> Entries:
    return entries[:at]


def forked(entries: Entries, at: int) -> Entries:
    """Another history from here on."""
    return entries[:at] + [entry.replace(b'"ada"', b'"eve"') for entry in entries[at:]]


CHANGES: list[Callable[[Entries, int], Entries]] = [edited, swapped, deleted, truncated, forked]


@pytest.mark.parametrize("change", CHANGES, ids=lambda change: change.__name__)
def test_a_changed_bundle_is_found_at_every_entry(rig: Rig, change: Callable[[Entries, int], Entries]) -> None:
    """The attacker writes the bundle and leaves the tiles. The verifier is asked about that bundle alone: fast."""
    shutil.copytree(rig.folder, rig.copy, dirs_exist_ok=True)
    bundles = -(-COUNT // TILE_WIDTH)
    for at in range(COUNT):
        number = at // TILE_WIDTH
        width = min(TILE_WIDTH, COUNT - number * TILE_WIDTH)
        path = rig.copy / tile_path("entries", number, width)
        whole = path.read_bytes()
        changed = change(rig.entries, at)[number * TILE_WIDTH :][:width]
        path.write_bytes(b"".join(len(entry).to_bytes(2, "big") + entry for entry in changed))
        with pytest.raises(LogFault, match=r"AV-0[23]"):
            _verify_bundles(rig.copy, COUNT, [], range(number, min(number + 2, bundles)))
        path.write_bytes(whole)
    rig.verify(rig.copy)


def all_at(stride: int) -> list[int]:
    """Every so manieth entry, and those at the edges of tiles, of what was witnessed, and of the log."""
    edges = {0, 1, 255, 256, 257, 511, 512, 767, 768, WITNESSED - 1, COUNT - 1}
    return sorted({*range(0, COUNT, stride), *edges})


def find_with_tiles_that_fit(rig: Rig, change: Callable[[Entries, int], Entries], places: list[int]) -> None:
    """The attacker makes every tile fit, but cannot sign."""
    honest = (rig.folder / "checkpoint").read_bytes()
    for at in places:
        rig.sign(change(rig.entries, at), SoftwareKey())
        with pytest.raises(LogFault, match="AV-01"):
            rig.verify(rig.copy)
        (rig.copy / "checkpoint").write_bytes(honest)
        with pytest.raises(LogFault, match=r"AV-0[25]"):
            rig.verify(rig.copy)


def find_with_the_log_s_key(rig: Rig, change: Callable[[Entries, int], Entries], places: list[int]) -> None:
    """The attacker has the log's key, and the witness's checkpoint is remembered."""
    for at in places:
        if at >= WITNESSED:
            continue
        rig.sign(change(rig.entries, at), rig.key)
        verify_log(rig.copy, [rig.key.pem])
        with pytest.raises(LogFault, match="AV-08"):
            rig.verify(rig.copy)


@pytest.mark.parametrize("change", CHANGES, ids=lambda change: change.__name__)
def test_tiles_that_were_made_to_fit_do_not_help(rig: Rig, change: Callable[[Entries, int], Entries]) -> None:
    find_with_tiles_that_fit(rig, change, all_at(3 * STRIDE))


@pytest.mark.parametrize("change", CHANGES, ids=lambda change: change.__name__)
def test_the_log_s_key_does_not_help_against_a_witness(rig: Rig, change: Callable[[Entries, int], Entries]) -> None:
    find_with_the_log_s_key(rig, change, all_at(3 * STRIDE))


def test_truncation_with_the_log_s_key_is_found_at_every_entry(rig: Rig) -> None:
    """Short of what the witness saw, the sizes alone tell; no tile is looked at."""
    shutil.rmtree(rig.copy, ignore_errors=True)
    rig.copy.mkdir()
    writer = TileWriter(rig.copy, 0, [])
    for at in range(WITNESSED):
        head = TreeHead(origin_of(rig.key.public_key), at, writer.root)
        (rig.copy / "checkpoint").write_bytes(sign_head(head, rig.key).note)
        with pytest.raises(LogFault, match="AV-08"):
            rig.verify(rig.copy)
        writer.add(rig.entries[at])


def test_what_no_witness_saw_can_be_taken_back_by_whoever_has_the_key(rig: Rig) -> None:
    """The limit of what a log can show, and why witnesses are asked often: stated, so that nobody believes more."""
    rig.sign(rig.entries[:WITNESSED], rig.key)
    rig.verify(rig.copy)
    rig.sign(forked(rig.entries, WITNESSED), rig.key)
    rig.verify(rig.copy)


@pytest.mark.campaign
@pytest.mark.parametrize("change", CHANGES, ids=lambda change: change.__name__)
def test_every_change_at_every_entry_is_found(
    rig: Rig, change: Callable[[Entries, int], Entries], record_property: Callable[[str, object], None]
) -> None:
    find_with_tiles_that_fit(rig, change, list(range(COUNT)))
    find_with_the_log_s_key(rig, change, list(range(COUNT)))
    record_property("campaign", (f"audit log: {change.__name__}, signed or not, at an entry", 3 * COUNT))


# Single files


def every_file(folder: Path) -> list[Path]:
    return sorted(path for path in folder.rglob("*") if path.is_file())


def test_every_file_that_is_missing_longer_shorter_or_changed_is_found(rig: Rig) -> None:
    for path in every_file(rig.folder):
        relative = path.relative_to(rig.folder)
        whole = path.read_bytes()
        middle = len(whole) // 2
        bad = [None, whole + b"\0", whole[:-1], whole[:middle] + bytes([whole[middle] ^ 1]) + whole[middle + 1 :], b""]
        for content in bad:
            shutil.copytree(rig.folder, rig.copy, dirs_exist_ok=True)
            (rig.copy / relative).unlink()
            if content is not None:
                (rig.copy / relative).write_bytes(content)
            with pytest.raises(LogFault, match=r"^\[AV-0[1-5]\]"):
                rig.verify(rig.copy)
            shutil.rmtree(rig.copy)


def test_an_entry_is_read_back_from_its_bundle(rig: Rig) -> None:
    assert [entry for number in range(3) for entry in read_bundle(rig.folder, number, 256)] == rig.entries[:768]
