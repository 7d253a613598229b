"""What `strongroom update` takes from files and registry, and hands to the update tool."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

from cli.output import read_input
from pki.errors import InputRefused
from rpc.update.bundle_facts import BUNDLE_SIZE_BYTES, BundleChain, parse_bundle
from rpc.update.identity import IdentityKeys, KnownDevices
from rpc.update.rules import MaterialRefused

if TYPE_CHECKING:
    from bootloader.reference.board import Board
    from pki.values import PublicKey
    from provisioning.registry.registry import Registry

_FILES_MAX = 100_000


def files_of(paths: Sequence[Path], suffix: str, what: str) -> list[Path]:
    """The files as given; of a folder, all with this suffix. Raises InputRefused."""
    found: list[Path] = []
    for path in paths:
        found += sorted(path.glob(f"*{suffix}")) if path.is_dir() else [path]
    if paths and not found:
        raise InputRefused(f"{what}: there is no file *{suffix} in {', '.join(map(str, paths))}")
    if len(found) > _FILES_MAX:
        raise InputRefused(f"{what}: more than {_FILES_MAX:,} files")
    return found


def read_bundles(paths: Sequence[Path], product_id: bytes) -> BundleChain:
    """Trust bundles, in any order. Raises InputRefused, MaterialRefused UP-04."""
    bundles = []
    for path in files_of(paths, ".srb", "--bundles"):
        try:
            bundles.append(parse_bundle(read_input(path, "trust bundle", BUNDLE_SIZE_BYTES)))
        except MaterialRefused as refusal:
            reason = str(refusal).removeprefix(f"[{refusal.rule_id}] ")
            raise MaterialRefused(refusal.rule_id, f"trust bundle {path}: {reason}") from None
    return BundleChain.of(bundles, product_id)


def known_devices(paths: Sequence[Path]) -> IdentityKeys:
    """Keys out of public device files. Raises InputRefused, also for a UID with two keys."""
    from cli.device_public import read_public_device

    keys: dict[bytes, PublicKey] = {}
    for path in files_of(paths, ".json", "--devices"):
        device = read_public_device(path)
        if keys.setdefault(device.uid, device.identity) != device.identity:
            raise InputRefused(f"device file {path}: another file has another identity key for UID {device.uid.hex()}")
    return KnownDevices(keys)


class RegisteredDevices:
    """Keys out of the registry, for the devices of one product. For many threads."""

    def __init__(self, registry: Registry, product_id: bytes) -> None:
        """`registry` stays the caller's to close."""
        self._registry = registry
        self._product_id = product_id
        self._lock = threading.Lock()

    def identity_key(self, uid: bytes) -> PublicKey | None:
        """The key in force; None for a device that the registry does not know."""
        with self._lock:
            return self._registry.identity_key(uid, self._product_id)


class GrantsInFile:
    """Grants looked up in a file, one at a time."""

    def __init__(self, path: Path) -> None:
        """Raises InputRefused or GrantInvalid for what is no signed file of grants."""
        from signer.grants.file import GrantFile

        self._path = path
        with GrantFile(path):
            pass  # its form is looked at before any device is asked

    def grant_for(self, uid: bytes) -> bytes | None:
        """None for a device that has no grant there."""
        from signer.grants.lookup import grant_of
        from signer.grants.rules import GrantRefused

        with suppress(GrantRefused):
            return grant_of(self._path, uid)
        return None


def copy_finder(boards: Iterable[Path]) -> Callable[[str, int], int | None]:
    """Finds which copy of a board begins at an address, from the boards that come with Strongroom and these files."""
    given = {board.name: board for board in map(_board_in, boards)}

    @cache
    def board_named(name: str) -> Board | None:
        return given.get(name) or _shipped_board(name)

    def copy_of(name: str, load_address: int) -> int | None:
        board = board_named(name)
        if board is None:
            return None
        from bootloader.reference.board import load_address as image_address

        regions = (board.bootloader_a, board.bootloader_b)
        return next((n for n, region in enumerate(regions) if image_address(region) == load_address), None)

    return copy_of


def _board_in(path: Path) -> Board:
    from bootloader.reference.board import BoardInvalid, load_board

    try:
        return load_board(read_input(path, "board file", 64 * 1024).decode("utf-8"))
    except (BoardInvalid, UnicodeDecodeError) as error:
        raise InputRefused(f"board file {path}: {error}") from None


def _shipped_board(name: str) -> Board | None:
    """The name is what a device says: it is compared with names that are there, never made into a path."""
    import bootloader

    folder = Path(bootloader.__file__).parent / "boards"
    return next((_board_in(path) for path in folder.glob("*.toml") if path.stem == name), None)
