"""Tiles on disk, as C2SP tlog-tiles lays them out: 256 hashes of the tree to a file, and bundles of entries.

Written only under the log's lock. A file that stands under its name is whole; what a crash leaves of the rest is
written again with the same bytes, since entries never change.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from pathlib import Path

from pki.errors import AuditError
from signer.durable import sync_folder
from signer.log.entry import leaf_hash
from signer.log.merkle import root_of, root_of_subtrees, whole_parts

TILE_WIDTH = 256
HASH_SIZE_BYTES = 32
_UNFINISHED = ".tile.part"
"""One writer at a time, under the log's lock: what a kill left here is written over by the next tile."""

_BITS = 8
_ENTRIES = "entries"
_CACHED_TILES_MAX = 64
_LENGTH_SIZE_BYTES = 2


def tile_path(level: int | str, number: int, width: int = TILE_WIDTH) -> str:
    """The path of a tile (or with level "entries" of a bundle) below the log's folder, by the rules of tlog-tiles."""
    groups = [f"{number % 1000:03d}"]
    while number := number // 1000:
        groups.insert(0, f"x{number % 1000:03d}")
    partial = "" if width == TILE_WIDTH else f".p/{width}"
    return f"tile/{level}/{'/'.join(groups)}{partial}"


class TileReader:
    """Subtree hashes of the tree of the first `size` entries, out of its tiles; the tiles are not trusted here."""

    def __init__(self, folder: Path, size: int) -> None:
        self._folder = folder
        self._size = size
        self._tiles: dict[tuple[int, int], bytes] = {}

    def subtree(self, level: int, index: int) -> bytes:
        """The hash of the whole subtree (level, index). Raises AuditError for a tile that is missing or too short."""
        tile_level, inside = divmod(level, _BITS)
        number, offset = divmod(index << inside, TILE_WIDTH)
        tile = self._tile(tile_level, number)
        if inside == 0:
            return tile[offset * HASH_SIZE_BYTES :][:HASH_SIZE_BYTES]
        return root_of(_hashes(tile[offset * HASH_SIZE_BYTES : (offset + (1 << inside)) * HASH_SIZE_BYTES]))

    def row(self, level: int) -> list[bytes]:
        """The hashes of the partial tile at the right edge of a level; none where the last tile is full."""
        number, width = divmod(self._size >> (_BITS * level), TILE_WIDTH)
        return list(_hashes(self._tile(level, number))) if width else []

    def _tile(self, level: int, number: int) -> bytes:
        if (level, number) not in self._tiles:
            if len(self._tiles) >= _CACHED_TILES_MAX:
                self._tiles.pop(next(iter(self._tiles)))
            width = min(TILE_WIDTH, (self._size >> (_BITS * level)) - number * TILE_WIDTH)
            self._tiles[level, number] = _read_tile(self._folder, level, number, width)
        return self._tiles[level, number]


def _hashes(tile: bytes) -> Iterator[bytes]:
    return (tile[start : start + HASH_SIZE_BYTES] for start in range(0, len(tile), HASH_SIZE_BYTES))


def _read_tile(folder: Path, level: int, number: int, width: int) -> bytes:
    """The tile of exactly this width, or the beginning of the full one that has come in its place."""
    for there in (width, TILE_WIDTH):
        path = folder / tile_path(level, number, there)
        try:
            with path.open("rb") as stream:
                tile = stream.read(TILE_WIDTH * HASH_SIZE_BYTES + 1)
        except FileNotFoundError:
            continue
        except OSError as error:
            raise AuditError(f"tile {path} cannot be read ({error.strerror}); `strongroom audit verify`") from None
        if len(tile) != there * HASH_SIZE_BYTES:
            break
        return tile[: width * HASH_SIZE_BYTES]
    raise AuditError(
        f"tile {folder / tile_path(level, number, width)} is missing or damaged; "
        "`strongroom audit rebuild` makes it again from the index"
    )


def read_bundle(folder: Path, number: int, width: int) -> list[bytes]:
    """The entries of a bundle. Raises AuditError if it is missing or does not hold exactly `width` entries."""
    path = folder / tile_path(_ENTRIES, number, width)
    try:
        content = path.read_bytes()
    except OSError as error:
        raise AuditError(f"bundle {path} cannot be read ({error.strerror})") from None
    entries: list[bytes] = []
    offset = 0
    while offset < len(content) and len(entries) < width:
        size = int.from_bytes(content[offset : offset + _LENGTH_SIZE_BYTES], "big")
        offset += _LENGTH_SIZE_BYTES
        entries.append(content[offset : offset + size])
        offset += size
    if offset != len(content) or len(entries) != width:
        raise AuditError(f"bundle {path} is damaged")
    return entries


class TileWriter:
    """Grows the tree of `size` entries, and writes the tiles that the larger one needs.

    `tail` are the entries of the last, partial bundle, from the index. What is above them comes from the tiles; the
    caller compares `root` with the signed one before it adds anything.
    """

    def __init__(self, folder: Path, size: int, tail: list[bytes]) -> None:
        if len(tail) != size % TILE_WIDTH:
            raise AuditError(f"the index of {folder} has lost entries before {size}; restore a backup")
        self._folder = folder
        self._size = size
        reader = TileReader(folder, size)
        levels = max(1, -(-size.bit_length() // _BITS))
        self._rows = [[leaf_hash(entry) for entry in tail], *(reader.row(level) for level in range(1, levels))]
        self._bundle = bytearray().join(_framed(entry) for entry in tail)
        self._to_sync: set[Path] = set()
        self._superseded: list[Path] = []

    @property
    def root(self) -> bytes:
        """The root hash of the tree so far."""
        return root_of_subtrees([part for row in reversed(self._rows) for part in whole_parts(row)])

    def add(self, entry: bytes) -> None:
        """Grow by one entry. Full tiles and bundles are written at once. Raises OSError."""
        self._bundle += _framed(entry)
        self._size += 1
        if self._size % TILE_WIDTH == 0:
            self._write(_ENTRIES, self._size // TILE_WIDTH - 1, TILE_WIDTH, bytes(self._bundle))
            self._bundle.clear()
        self._push(0, leaf_hash(entry))

    def _push(self, level: int, value: bytes) -> None:
        if level == len(self._rows):
            self._rows.append([])
        row = self._rows[level]
        row.append(value)
        if len(row) == TILE_WIDTH:
            number = (self._size >> (_BITS * (level + 1))) - 1
            self._write(level, number, TILE_WIDTH, b"".join(row))
            parent = root_of(row)
            row.clear()
            self._push(level + 1, parent)

    def finish(self) -> None:
        """Write the partial tiles, and make everything durable. Raises OSError."""
        if self._bundle:
            self._write(_ENTRIES, self._size // TILE_WIDTH, self._size % TILE_WIDTH, bytes(self._bundle))
        for level, row in enumerate(self._rows):
            if row:
                self._write(level, self._size >> (_BITS * (level + 1)), len(row), b"".join(row))
        for folder in sorted(self._to_sync):
            sync_folder(folder)
        self._to_sync.clear()

    def remove_superseded(self) -> None:
        """Remove the partial tiles whose full ones were written; that nothing is left of them is not needed."""
        for folder in self._superseded:
            shutil.rmtree(folder, ignore_errors=True)

    def _write(self, level: int | str, number: int, width: int, content: bytes) -> None:
        path = self._folder / tile_path(level, number, width)
        if not path.parent.is_dir():
            self._make_folder(path.parent)
        temporary = self._folder / _UNFINISHED
        with temporary.open("wb") as stream:
            stream.write(content)
            stream.flush()
            os.fsync(stream.fileno())
        temporary.replace(path)
        self._to_sync.add(path.parent)
        if width == TILE_WIDTH:
            self._superseded.append(path.with_name(f"{path.name}.p"))

    def _make_folder(self, folder: Path) -> None:
        if not folder.parent.is_dir():
            self._make_folder(folder.parent)
        folder.mkdir(exist_ok=True)
        self._to_sync.add(folder.parent)


def _framed(entry: bytes) -> bytes:
    return len(entry).to_bytes(_LENGTH_SIZE_BYTES, "big") + entry
