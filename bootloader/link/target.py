"""What an SMP server serves: update mode, or an application (docs/spec/protocol.md, sections 2 to 4)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

from bootloader.reference.head import Version
from bootloader.reference.start import Mailbox


class Busy(Exception):
    """Not now: the application is not in its own safe state."""


@dataclass(frozen=True, slots=True)
class ImageState:
    """The installed image, as the image group tells of it. `upload_hash` is SHA-256 over head and payload."""

    version: Version
    upload_hash: bytes
    is_active: bool
    is_confirmed: bool


@dataclass(frozen=True, slots=True)
class UploadProgress:
    """An upload: the offset that is expected, the size announced, and the head, or what has come of it."""

    offset_bytes: int
    size_bytes: int
    first_bytes: bytes


class Target(Protocol):
    """One device between two resets. Every method raises Refused where the device does not do what is asked."""

    @property
    def mailbox(self) -> Mailbox | None:
        """What the next start is to find there, once a reset has been asked for."""

    @property
    def upload(self) -> UploadProgress | None:
        """The upload under way, or finished; None before any, and after a refusal."""

    def image_state(self) -> ImageState | None:
        """The installed image; None without one."""

    def request_reset(self, *, update_mode: bool) -> None:
        """A reset is coming; with `update_mode` it is to end there. Raises Busy."""

    def request_update_mode(self) -> bool:
        """Whether a reset must follow to be in update mode. Raises Busy."""

    def begin_upload(self, package_size_bytes: int, /) -> None:
        """As Bootloader.begin_upload."""

    def write(self, offset_bytes: int, data: bytes, /) -> int:
        """As Bootloader.write."""

    def signed_status(self, nonce: bytes, /) -> bytes:
        """The signed status over a nonce of 32 bytes."""

    def receive_trust_bundle(self, data: bytes, /) -> None:
        """As Bootloader.receive_trust_bundle."""

    def receive_grant(self, data: bytes, /) -> None:
        """Take a grant."""

    def challenge(self, host_ephemeral: bytes, /) -> bytes:
        """The challenge to a host's ephemeral key of 64 bytes."""

    def receive_activation(self, data: bytes, /) -> bytes:
        """Take work order and activation; the receipt."""

    def receive_service_order(self, data: bytes, /) -> bytes:
        """Take a service order; the receipt."""
