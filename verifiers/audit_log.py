"""Verify an audit log, with nothing of Strongroom's: docs/spec/audit-log.md, section 6, has the rules (AV-01 to AV-09).
Run as `python audit_log.py LOG-FOLDER --log-key log.pub.pem`. Every file is read once, in constant memory.
"""

from __future__ import annotations

import argparse
import base64
import json
import multiprocessing
import re
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import nullcontext, suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import partial
from hashlib import sha256
from itertools import chain
from pathlib import Path

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, ed25519
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat, load_pem_public_key

_WIDTH, _HASH, _ENTRY_MAX, _NOTE_MAX, _CHUNK_BUNDLES = 256, 32, 16_384, 16_384, 32
_Pems = Sequence[bytes]
_Notes = Sequence[tuple[str, bytes]]
# Of a bundle: the root of its tile if whole, its parts of the trees of the sizes asked for, first and last time.
_Bundle = tuple[bytes | None, dict[int, list[bytes]], str, str]
_TIME = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ")
_NOTE = re.compile(r"([!-*,-~]+)\n(0|[1-9]\d{0,14})\n([A-Za-z0-9+/=]{44})\n\n((?:\u2014 [!-*,-~]+ [A-Za-z0-9+/=]+\n)+)")


class LogFault(Exception):
    """The log is not what it must be; the message begins with the ID of the rule that it breaks."""


@dataclass(frozen=True)
class Note:
    """A signed checkpoint, taken apart: nothing in it is verified. Signatures are by key name and key id."""

    place: str
    text: bytes
    origin: str
    size: int
    root: bytes
    signatures: dict[tuple[str, bytes], bytes]

    @classmethod
    def read(cls, place: str, data: bytes) -> Note:
        """AV-01 for anything but one checkpoint without extension lines."""
        try:
            match = _NOTE.fullmatch(data[: _NOTE_MAX + 1].decode())
            if match is None or len(data) > _NOTE_MAX:
                raise ValueError("not a signed checkpoint")
            lines = (line.split(" ") for line in match[4].splitlines())
            raw = [(name, base64.b64decode(encoded, validate=True)) for _, name, encoded in lines]
            root = base64.b64decode(match[3], validate=True)
        except ValueError as error:
            raise LogFault(f"[AV-01] {place}: {error}") from None
        text = "".join(f"{match[number]}\n" for number in (1, 2, 3)).encode()
        return cls(place, text, match[1], int(match[2]), root, {(name, sig[:4]): sig[4:] for name, sig in raw})

    def verify_log_signature(self, log_keys: _Pems) -> None:
        """AV-01 unless one of the log's keys (PEM) signed it, under the name of its origin."""
        for key in map(load_pem_public_key, log_keys):
            key_id = sha256(key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)).digest()[:4]
            signature = self.signatures.get((self.origin, key_id))
            if signature and isinstance(key, ec.EllipticCurvePublicKey):
                with suppress(InvalidSignature):
                    return key.verify(signature, self.text, ec.ECDSA(hashes.SHA256()))
        raise LogFault(f"[AV-01] {self.place}: not signed by the log's key")


@dataclass(frozen=True)
class Witness:
    """A witness, out of its C2SP verifier key: name+key id+base64 of 0x04 and the Ed25519 public key."""

    name: str
    key_id: bytes
    key: ed25519.Ed25519PublicKey

    @classmethod
    def parse(cls, verifier_key: str) -> Witness:
        """ValueError for anything but a verifier key of type 0x04 whose id belongs to it."""
        name, key_id, encoded = verifier_key.strip().split("+", 2)
        raw = base64.b64decode(encoded, validate=True)
        if len(raw) != 33 or raw[0] != 4 or bytes.fromhex(key_id) != sha256(name.encode() + b"\n" + raw).digest()[:4]:
            raise ValueError(f"{verifier_key!r} is no verifier key of a witness")
        return cls(name, bytes.fromhex(key_id), ed25519.Ed25519PublicKey.from_public_bytes(raw[1:]))

    def cosigned_at(self, note: Note) -> datetime | None:
        """When it cosigned the note; None if it did not. AV-09 for a cosignature that does not verify."""
        signature = note.signatures.get((self.name, self.key_id))
        if signature is None:
            return None
        seconds = int.from_bytes(signature[:8], "big")
        try:
            self.key.verify(signature[8:], f"cosignature/v1\ntime {seconds}\n".encode() + note.text)
            return datetime.fromtimestamp(seconds, UTC)
        except (InvalidSignature, ValueError, OverflowError, OSError):
            raise LogFault(f"[AV-09] {note.place}: the cosignature of {self.name} does not verify") from None


def _read(folder: Path, path: str, size_max: int) -> bytes:
    try:
        with (folder / path).open("rb") as stream:
            return stream.read(size_max + 1)
    except OSError as error:
        raise LogFault(f"[AV-02] {path}: {error.strerror}") from None


def _tile_path(level: int | str, number: int, width: int) -> str:
    path = f"{number % 1000:03d}"
    while number := number // 1000:
        path = f"x{number % 1000:03d}/{path}"
    return f"tile/{level}/{path}" + ("" if width == _WIDTH else f".p/{width}")


def _read_tile(folder: Path, level: int, number: int, width: int) -> list[bytes]:
    path = _tile_path(level, number, width)
    data = _read(folder, path, _WIDTH * _HASH)
    if len(data) != width * _HASH:
        raise LogFault(f"[AV-02] {path}: not {width * _HASH} bytes")
    return [data[start : start + _HASH] for start in range(0, len(data), _HASH)]


def _read_bundle(folder: Path, number: int, width: int) -> Iterator[bytes]:
    path, start = _tile_path("entries", number, width), 0
    data = _read(folder, path, _WIDTH * (_ENTRY_MAX + 2))
    for _ in range(width):
        end = start + 2 + int.from_bytes(data[start : start + 2], "big")
        yield data[start + 2 : end]
        start = end
    if start != len(data):
        raise LogFault(f"[AV-02] {path}: holds not exactly {width} entries")


def _parts(row: Sequence[bytes]) -> list[bytes]:
    """A row of hashes of equal subtrees as its largest whole subtrees, from left to right (RFC 6962, section 2.1)."""
    parts, start = [], 0
    for level in reversed(range(len(row).bit_length())):
        if len(row) >> level & 1:
            nodes = row[start : start + (1 << level)]
            start += 1 << level
            while len(nodes) > 1:
                nodes = [sha256(b"\1" + nodes[i] + nodes[i + 1]).digest() for i in range(0, len(nodes), 2)]
            parts.append(nodes[0])
    return parts


# Names are ASCII (section 1), so that sorting them by code points is RFC 8785's order. `int` refuses a float's text.
_decode = json.JSONDecoder(parse_float=int, parse_constant=int).decode
_encode = json.JSONEncoder(ensure_ascii=False, sort_keys=True, separators=(",", ":")).encode


def _time_of_entry(entry: bytes, before: str, index: int) -> str:
    """The entry's time, if the entry is canonical and of the format (AV-06), and not before `before` (AV-07)."""
    try:
        document = _decode(entry.decode())
        if _encode(document).encode() != entry or len(entry) > _ENTRY_MAX or not isinstance(document, dict):
            raise ValueError("not canonical JSON")
        actor, at, details, tag, kind = (document[key] for key in ("actor", "at", "details", "format", "kind"))
        texts = all(isinstance(item, str) for item in (actor, at, kind)) and isinstance(details, dict)
        if len(document) != 5 or tag != "strongroom-log-entry-1" or not texts or not _TIME.fullmatch(at):
            raise ValueError("not of format strongroom-log-entry-1")
        datetime.fromisoformat(at)
    except (ValueError, KeyError, RecursionError) as error:
        raise LogFault(f"[AV-06] entry {index}: {error}") from None
    if at < before:
        raise LogFault(f"[AV-07] entry {index} is of {at}, earlier than the one before ({before})")
    return str(at)


def _verify_bundles(folder: Path, size: int, marks: Sequence[int], bundles: range) -> list[_Bundle]:
    found, at = [], ""
    for number in bundles:
        width, first_time = min(_WIDTH, size - number * _WIDTH), ""
        tile, entries = _read_tile(folder, 0, number, width), list(_read_bundle(folder, number, width))
        for position, entry in enumerate(entries):
            if sha256(b"\0" + entry).digest() != tile[position]:
                raise LogFault(f"[AV-03] entry {number * _WIDTH + position} is not the one in the tree")
        for position, entry in enumerate(entries, number * _WIDTH):
            at = _time_of_entry(entry, at, position)
            first_time = first_time or at
        inside = {mark: _parts(tile[: mark % _WIDTH]) for mark in marks if mark // _WIDTH == number}
        found.append((_parts(tile)[0] if width == _WIDTH else None, inside, first_time, at))
    return found


@dataclass
class _Tree:
    """The levels above the tiles of leaves: each tile is read once, and compared with what is below it."""

    folder: Path
    rows: dict[int, list[bytes]] = field(default_factory=dict)
    done: dict[int, int] = field(default_factory=dict)

    def add(self, root: bytes, level: int = 1) -> None:
        row = self.rows.setdefault(level, [])
        row.append(root)
        if len(row) == _WIDTH:
            self.compare(level, row)
            self.rows[level], self.done[level] = [], self.done.get(level, 0) + 1
            self.add(_parts(row)[0], level + 1)

    def root(self, last: Sequence[bytes]) -> bytes:
        """The root of the tree so far, with `last` of a partial tile of leaves."""
        parts = [part for level in sorted(self.rows, reverse=True) for part in _parts(self.rows[level])] + [*last]
        root = parts.pop() if parts else sha256(b"").digest()
        for part in reversed(parts):
            root = sha256(b"\1" + part + root).digest()
        return root

    def compare(self, level: int, row: list[bytes]) -> None:
        number = self.done.get(level, 0)
        if row and _read_tile(self.folder, level, number, len(row)) != row:
            raise LogFault(f"[AV-04] {_tile_path(level, number, len(row))} does not hash what is below it")


def _roots(folder: Path, size: int, marks: Sequence[int], jobs: int) -> tuple[dict[int, bytes], str]:
    """Verify every tile and entry; the roots at the sizes `marks`, and the time of the newest entry."""
    tree, roots, before, count = _Tree(folder), dict[int, bytes](), "", -(-size // _WIDTH)
    orders = [range(first, min(first + _CHUNK_BUNDLES, count)) for first in range(0, count, _CHUNK_BUNDLES)]
    work = partial(_verify_bundles, folder, size, marks)
    spawns = jobs > 1 and len(orders) > 4 * jobs
    with multiprocessing.get_context("spawn").Pool(jobs) if spawns else nullcontext() as pool:
        for root, inside, first_time, last_time in chain.from_iterable((pool.imap if pool else map)(work, orders)):
            if first_time < before:
                raise LogFault(f"[AV-07] an entry of {first_time} follows one of {before}")
            before = last_time
            roots |= {mark: tree.root(part) for mark, part in inside.items()}
            if root is not None:
                tree.add(root)
    for level, row in tree.rows.items():
        tree.compare(level, row)
    return {size: tree.root([])} | roots, before


def verify_log(
    folder: Path,
    keys: _Pems,
    witnesses: Sequence[Witness] = (),
    earlier: _Notes = (),
    needed: int = 0,
    jobs: int = 1,
) -> tuple[Note, str, dict[str, tuple[int, datetime]]]:
    """Verify the whole log, or raise LogFault: its checkpoint, newest time, and what each witness saw last, and when.
    `earlier` are checkpoints seen before (place, note); `needed` witnesses must have cosigned one of them all.
    """
    names = ["checkpoint", "witnessed"] if (folder / "witnessed").exists() else ["checkpoint"]
    notes = [Note.read(name, _read(folder, name, _NOTE_MAX)) for name in names] + [Note.read(*item) for item in earlier]
    newest = notes[0]
    for note in notes:
        note.verify_log_signature(keys)
        if note.origin != newest.origin or note.size > newest.size:
            raise LogFault(f"[AV-08] {note.place} has {note.size} entries of {note.origin}, the log {newest.size}")
    roots, newest_time = _roots(folder, newest.size, sorted({note.size for note in notes}), jobs)
    for note in notes:
        if roots[note.size] != note.root:
            rule = "AV-05" if note is newest else "AV-08"
            raise LogFault(f"[{rule}] the first {note.size} entries have not the root of {note.place}")
    seen = {item.name: [(note.size, at) for note in notes if (at := item.cosigned_at(note))] for item in witnesses}
    cosigned = {name: max(sizes) for name, sizes in seen.items() if sizes}
    if len(cosigned) < needed:
        raise LogFault(f"[AV-09] {len(cosigned)} witnesses cosigned, and {needed} are needed")
    return newest, newest_time, cosigned


def main() -> int:
    """Exit codes: 0 sound, 1 not, 2 usage."""
    parser = argparse.ArgumentParser(description="Verify an audit log.")
    parser.add_argument("folder", type=Path)
    parser.add_argument("--log-key", type=Path, action="append", required=True, help="public key of the log, PEM")
    parser.add_argument("--witness", action="append", default=[], help="C2SP verifier key of a witness")
    parser.add_argument("--earlier", type=Path, action="append", default=[], help="a checkpoint seen before")
    parser.add_argument("--needed", type=int, default=0, help="how many witnesses must have cosigned")
    given, begun = parser.parse_args(), time.monotonic()
    try:
        keys = [path.read_bytes() for path in given.log_key]
        witnesses = [Witness.parse(text) for text in given.witness]
        earlier = [(str(path), path.read_bytes()) for path in given.earlier]
        log, at, seen = verify_log(given.folder, keys, witnesses, earlier, given.needed, multiprocessing.cpu_count())
    except (OSError, ValueError) as error:
        parser.error(str(error))
    except LogFault as fault:
        sys.stdout.write(f"NOT SOUND: {fault}\n")
        return 1
    rate = f"{log.size / (time.monotonic() - begun):,.0f} entries/s"
    sys.stdout.write(f"sound: {log.size} entries of {log.origin}, the newest of {at}; {rate}\n")
    for name, (size, seen_at) in sorted(seen.items()):
        sys.stdout.write(f"witness {name} saw the first {size} entries at {seen_at:%Y-%m-%dT%H:%M:%SZ}\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
