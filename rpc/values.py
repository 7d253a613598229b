"""What a device answers to commands of the standard groups and to link statistics, as values."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from rpc.errors import MessageMalformed
from rpc.reply import require_keys, take_bytes, take_flag, take_int, take_text

_U32_MAX: Final = 2**32 - 1
_IMAGES_MAX: Final = 16
_TEXT_SIZE_MAX_BYTES: Final = 64
_UPLOAD_HASH_SIZE_BYTES: Final = 32


@dataclass(frozen=True, slots=True)
class Parameters:
    """MCUmgr parameters: the largest message that the device takes, and how many of them it can keep."""

    buf_size: int
    buf_count: int

    @classmethod
    def of(cls, body: Mapping[str, object]) -> Parameters:
        """From a reply; raises MessageMalformed (LK-03)."""
        require_keys(body, frozenset({"buf_size", "buf_count"}))
        return cls(take_int(body, "buf_size", 64, _U32_MAX), take_int(body, "buf_count", 1, _U32_MAX))


@dataclass(frozen=True, slots=True)
class ImageState:
    """One image of a device, as SMP's image group tells it. Nothing of it is signed."""

    slot: int
    version: str
    upload_hash: bytes
    """SHA-256 over head and payload."""
    bootable: bool
    pending: bool
    confirmed: bool
    active: bool
    permanent: bool

    @classmethod
    def of(cls, entry: Mapping[str, object]) -> ImageState:
        """From one entry of a reply; raises MessageMalformed (LK-03)."""
        flags = ("bootable", "pending", "confirmed", "active", "permanent")
        require_keys(entry, frozenset({"image", "slot", "version", "hash", *flags}))
        return cls(
            slot=take_int(entry, "slot", 0, 255),
            version=take_text(entry, "version", _TEXT_SIZE_MAX_BYTES),
            upload_hash=take_bytes(entry, "hash", _UPLOAD_HASH_SIZE_BYTES),
            bootable=take_flag(entry, "bootable"),
            pending=take_flag(entry, "pending"),
            confirmed=take_flag(entry, "confirmed"),
            active=take_flag(entry, "active"),
            permanent=take_flag(entry, "permanent"),
        )


def image_states(body: Mapping[str, object]) -> tuple[ImageState, ...]:
    """The images of a reply, none where nothing is installed; raises MessageMalformed (LK-03)."""
    require_keys(body, frozenset({"images", "splitStatus"}))
    images = body.get("images")
    if not isinstance(images, list) or len(images) > _IMAGES_MAX:
        raise MessageMalformed("LK-03", f"`images` is no list of at most {_IMAGES_MAX}")
    states = []
    for entry in images:
        if not isinstance(entry, dict):
            raise MessageMalformed("LK-03", "an entry of `images` is no map")
        states.append(ImageState.of(entry))
    return tuple(states)


@dataclass(frozen=True, slots=True)
class LinkStatistics:
    """What the device counted on its links since it started. Not signed."""

    received: int
    sent: int
    bad: int
    """Wrong CRC, or form."""
    forwarded: int
    dropped: int
    busy: int

    @classmethod
    def of(cls, body: Mapping[str, object]) -> LinkStatistics:
        """From a reply; raises MessageMalformed (LK-03)."""
        keys = ("rx", "tx", "bad", "fwd", "drop", "busy")
        require_keys(body, frozenset(keys))
        return cls(*(take_int(body, key, 0, _U32_MAX) for key in keys))
