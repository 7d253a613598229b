"""The public file of a device (docs/spec/device-file.md): what a package for exactly that device needs."""

from __future__ import annotations

import json
import uuid
from pathlib import Path
from typing import Annotated, Literal

import msgspec

from cli.output import read_input
from pki.errors import InputRefused
from pki.values import PublicKey
from policies.names import Slug
from signer.signing_key import require_on_curve

_FILE_SIZE_BYTES_MAX = 16 * 1024
_UID = Annotated[str, msgspec.Meta(pattern=r"^([0-9a-f]{2}){4,16}$")]
_POINT = Annotated[str, msgspec.Meta(pattern=r"^[0-9a-f]{128}$")]


class _PublicFile(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    format: Literal[1]
    uid: _UID
    product_id: str
    board: Slug
    hardware_revision: Annotated[int, msgspec.Meta(ge=0, le=0xFFFF)]
    lot: Annotated[str, msgspec.Meta(pattern=r"^[0-9a-f]{32}$")]
    identity_public_key: _POINT
    agreement_public_key: _POINT
    simulation_only: bool


class PublicDevice(msgspec.Struct, frozen=True):
    """What anyone may know of a device. `uid` as the microcontroller has it, unpadded; `lot` 16 bytes."""

    uid: bytes
    product_id: uuid.UUID
    board: str
    hardware_revision: int
    lot: bytes
    identity: PublicKey
    agreement: PublicKey
    simulation_only: bool

    def encoded(self) -> bytes:
        """The file."""
        content = _PublicFile(
            format=1,
            uid=self.uid.hex(),
            product_id=str(self.product_id),
            board=self.board,
            hardware_revision=self.hardware_revision,
            lot=self.lot.hex(),
            identity_public_key=self.identity.point.hex(),
            agreement_public_key=self.agreement.point.hex(),
            simulation_only=self.simulation_only,
        )
        return (json.dumps(msgspec.to_builtins(content), indent=2) + "\n").encode("ascii")


def read_public_device(path: Path) -> PublicDevice:
    """Read and check a device's public file. Raises InputRefused."""
    data = read_input(path, "device file", _FILE_SIZE_BYTES_MAX)
    try:
        found = msgspec.convert(json.loads(data, object_pairs_hook=_without_repeats), _PublicFile, strict=True)
        device = PublicDevice(
            uid=bytes.fromhex(found.uid),
            product_id=_product_id(found.product_id),
            board=found.board,
            hardware_revision=found.hardware_revision,
            lot=bytes.fromhex(found.lot),
            identity=PublicKey(bytes.fromhex(found.identity_public_key)),
            agreement=PublicKey(bytes.fromhex(found.agreement_public_key)),
            simulation_only=found.simulation_only,
        )
    except (ValueError, RecursionError) as error:
        raise InputRefused(f"device file {path}: {error}; is it the public file of `strongroom device new`?") from None
    require_on_curve(device.identity, f"device file {path}: the identity key")
    require_on_curve(device.agreement, f"device file {path}: the agreement key")
    return device


def _product_id(text: str) -> uuid.UUID:
    found = uuid.UUID(text)
    if str(found) != text or not found.int:
        raise ValueError("`product_id` must be a UUID in lower case, not zero")
    return found


def _without_repeats(pairs: list[tuple[str, object]]) -> dict[str, object]:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise ValueError("a name stands twice in it")
    return found
