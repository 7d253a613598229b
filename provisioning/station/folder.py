"""A station's folder: what is in it, that it is closed to others, and that one process works in it (ST-01, ST-02).

What `init` wrote is named in station.toml with its digest, so that what was checked then is what is used now.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import stat
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Literal

import msgspec

from pki.errors import ConfigurationError
from pki.values import PublicKey
from provisioning.station.facts import OptionBytes
from provisioning.station.ledger_file import LEDGER_FILE
from provisioning.station.rules import Rule, refused
from signer.authority.toml_files import parse_toml, toml_string
from signer.device_objects.common import Protection
from signer.durable import sync_folder, write_new_text
from signer.new_file import NewFile

CONFIG_FILE = "station.toml"
ORDER_FILE = "order.srw"
CA_FILE = "issuing-ca.der"
IMAGE_FILE = "factory.hex"
BOARD_FILE = "board.toml"
GROUP_FILE = "group-key.json"
BUNDLE_FOLDER = "bundles"
LOCK_FILE = "lock"
FIXED_FILES = (ORDER_FILE, CA_FILE, IMAGE_FILE, BOARD_FILE)
FILE_SIZE_BYTES_MAX = 16 * 1024 * 1024
BUNDLES_MAX = 1_000
_OWNER_ONLY = 0o600
_OTHERS = 0o077

ProtectionName = Literal["readout", "readout-2", "write-protect", "brown-out", "debug-closed"]
_FLAGS: Mapping[str, Protection] = {
    "readout": Protection.READOUT,
    "readout-2": Protection.READOUT | Protection.READOUT_LEVEL_2,
    "write-protect": Protection.PRE_BOOTLOADER_WRITE_PROTECTED,
    "brown-out": Protection.BROWN_OUT_LEVEL,
    "debug-closed": Protection.DEBUG_CLOSED,
}
Sha256Text = Annotated[str, msgspec.Meta(pattern=r"^[0-9a-f]{64}$")]


class StationConfig(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """`station.toml`. `token` is the site's name of the station's token; `files` maps names to SHA-256."""

    format: Literal[1]
    token: Annotated[str, msgspec.Meta(min_length=1, max_length=32)]
    station_public_key: Annotated[str, msgspec.Meta(pattern=r"^[0-9a-f]{128}$")]
    product: Annotated[str, msgspec.Meta(min_length=1, max_length=32)]
    hardware_type: Annotated[str, msgspec.Meta(min_length=3, max_length=100)]
    protection: Annotated[list[ProtectionName], msgspec.Meta(max_length=5)]
    first_bundle: Annotated[int, msgspec.Meta(ge=1)]
    files: dict[str, Sha256Text]

    def to_toml(self) -> str:
        """The file's text."""
        lines = [
            "# Written by `strongroom station init`; docs/spec/station.md. Nothing in it is changed by hand.",
            f"format = {self.format}",
            f"token = {toml_string(self.token)}",
            f"station_public_key = {toml_string(self.station_public_key)}",
            f"product = {toml_string(self.product)}",
            f"hardware_type = {toml_string(self.hardware_type)}",
            f"protection = [{', '.join(map(toml_string, self.protection))}]",
            f"first_bundle = {self.first_bundle}",
            "",
            "[files]",
            *(f"{toml_string(name)} = {toml_string(digest)}" for name, digest in sorted(self.files.items())),
        ]
        return "\n".join(lines) + "\n"

    @property
    def station_key(self) -> PublicKey:
        """The station's public key; the order has its fingerprint."""
        return PublicKey(bytes.fromhex(self.station_public_key))

    @property
    def option_bytes(self) -> OptionBytes:
        """What every board gets."""
        flags = protection_flags(self.protection)
        return OptionBytes(
            readout_level=2 if flags & Protection.READOUT_LEVEL_2 else 1 if flags & Protection.READOUT else 0,
            pre_bootloader_write_protected=bool(flags & Protection.PRE_BOOTLOADER_WRITE_PROTECTED),
            brown_out_level=bool(flags & Protection.BROWN_OUT_LEVEL),
            debug_closed=bool(flags & Protection.DEBUG_CLOSED),
        )


def protection_flags(names: list[ProtectionName]) -> Protection:
    """The flags of docs/spec/activation.md, section 5, by the names of board files."""
    flags = Protection(0)
    for name in names:
        flags |= _FLAGS[name]
    return flags


def protection_names(flags: Protection) -> list[ProtectionName]:
    """The names of flags, in the order of board files."""
    names: list[ProtectionName] = []
    if flags & Protection.READOUT_LEVEL_2:
        names.append("readout-2")
    elif flags & Protection.READOUT:
        names.append("readout")
    if flags & Protection.PRE_BOOTLOADER_WRITE_PROTECTED:
        names.append("write-protect")
    if flags & Protection.BROWN_OUT_LEVEL:
        names.append("brown-out")
    if flags & Protection.DEBUG_CLOSED:
        names.append("debug-closed")
    return names


class StationFolder:
    """An existing folder whose files were checked. Raises PolicyViolation ST-01, ConfigurationError."""

    def __init__(self, path: Path) -> None:
        self.path = path
        _require_own(path, is_folder=True)
        self.config = parse_toml(path / CONFIG_FILE, self._text(CONFIG_FILE), StationConfig)
        missing = set(FIXED_FILES) - self.config.files.keys()
        if missing or self.config.files.keys() - {*FIXED_FILES, GROUP_FILE, _first_bundle(self.config)}:
            raise ConfigurationError(f"{path / CONFIG_FILE}: [files] names other files than a station has")

    @property
    def ledger_path(self) -> Path:
        """The ledger."""
        return self.path / LEDGER_FILE

    @property
    def has_group_key(self) -> bool:
        """Whether the station was given the group's wrapped key."""
        return GROUP_FILE in self.config.files

    def content(self, name: str) -> bytes:
        """A file that `init` wrote, as it was then."""
        data = self._bytes(name)
        if hashlib.sha256(data).hexdigest() != self.config.files.get(name):
            raise refused(Rule.FOLDER, f"{self.path / name} is not the file that station init checked; restore it")
        return data

    def bundle_paths(self) -> list[Path]:
        """The chain of trust bundles, in order. The first is the one that `init` wrote; the chain is the caller's."""
        self.content(_first_bundle(self.config))
        found: list[Path] = []
        for version in range(self.config.first_bundle, self.config.first_bundle + BUNDLES_MAX):
            path = self.path / bundle_name(version)
            if not path.exists():
                break
            _require_own(path)
            found.append(path)
        return found

    def add_bundle(self, version: int, raw: bytes) -> None:
        """Keep the next bundle, durably. Raises OutputError if there is one of this version."""
        with NewFile(self.path / bundle_name(version), _OWNER_ONLY) as out:
            out.write_at(0, raw)
            out.publish()

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Hold the folder for this process. Raises PolicyViolation ST-02."""
        descriptor = os.open(self.path / LOCK_FILE, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, _OWNER_ONLY)
        try:
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                raise refused(
                    Rule.FOLDER_BUSY, f"another process works in {self.path}; end it, or use another station"
                ) from None
            yield
        finally:
            os.close(descriptor)

    def _text(self, name: str) -> str:
        try:
            return self._bytes(name).decode("utf-8")
        except UnicodeDecodeError:
            raise ConfigurationError(f"{self.path / name}: not UTF-8") from None

    def _bytes(self, name: str) -> bytes:
        path = self.path / name
        _require_own(path)
        try:
            with path.open("rb") as stream:
                data = stream.read(FILE_SIZE_BYTES_MAX + 1)
        except OSError as error:
            raise refused(Rule.FOLDER, f"{path}: {error.strerror}") from None
        if len(data) > FILE_SIZE_BYTES_MAX:
            raise refused(Rule.FOLDER, f"{path} has more than {FILE_SIZE_BYTES_MAX} bytes")
        return data


def bundle_name(version: int) -> str:
    """Where a trust bundle is kept."""
    return f"{BUNDLE_FOLDER}/{version}.srb"


def write_folder(path: Path, config: StationConfig, files: Mapping[str, bytes]) -> None:
    """Write a new folder's files, each synced, without a ledger; `path` must be an empty folder of mode 0700.

    The caller renames the whole to where it belongs. Raises OSError, OutputError.
    """
    (path / BUNDLE_FOLDER).mkdir(mode=0o700)
    for name, content in files.items():
        with NewFile(path / name, _OWNER_ONLY) as out:
            out.write_at(0, content)
            out.publish()
    write_new_text(path / CONFIG_FILE, config.to_toml(), _OWNER_ONLY)
    sync_folder(path)


def digests(files: Mapping[str, bytes]) -> dict[str, str]:
    """`files` of station.toml."""
    return {name: hashlib.sha256(content).hexdigest() for name, content in files.items()}


def _first_bundle(config: StationConfig) -> str:
    return bundle_name(config.first_bundle)


def _require_own(path: Path, *, is_folder: bool = False) -> None:
    try:
        status = path.lstat()
    except OSError as error:
        raise refused(Rule.FOLDER, f"{path}: {error.strerror}; give the folder that station init made") from None
    is_kind = stat.S_ISDIR(status.st_mode) if is_folder else stat.S_ISREG(status.st_mode)
    if not is_kind or status.st_uid != os.geteuid():
        raise refused(Rule.FOLDER, f"{path} is no {'folder' if is_folder else 'file'} of your own")
    if status.st_mode & _OTHERS:
        raise refused(Rule.FOLDER, f"others can read or write {path}; run: chmod go= {path}")
