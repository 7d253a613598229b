"""An application that runs on a simulated device: it speaks SMP, has a safe state of its own, and confirms itself.

It reads flash and writes none: flash is locked while it runs. What it wants of the bootloader goes by the mailbox.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NoReturn

from bootloader.link.target import Busy, ImageState
from bootloader.reference.codes import DeviceCode, Refused
from bootloader.reference.head import Head
from bootloader.reference.journal_half import half_regions, read_journal
from bootloader.reference.start import Mailbox, MailboxRequest
from bootloader.reference.state import DeviceState
from bootloader.simulation.device import SimulatedDevice


class SimulatedApplication:
    """From its start to the next reset. `is_in_safe_state` is asked before anything that ends in a reset."""

    def __init__(self, device: SimulatedDevice, head: Head, is_in_safe_state: Callable[[], bool]) -> None:
        self._device = device
        self._head = head
        self._is_in_safe_state = is_in_safe_state
        self._mailbox: Mailbox | None = None

    @property
    def mailbox(self) -> Mailbox | None:
        return self._mailbox

    @property
    def upload(self) -> None:
        return None

    def confirmation(self) -> Mailbox | None:
        """What a working application leaves in the mailbox before a warm reset; None if it is confirmed already."""
        if self._state().application_is_confirmed:
            return None
        return Mailbox(MailboxRequest.CONFIRM, self._head.hash)

    def image_state(self) -> ImageState | None:
        state = self._state()
        if state.installed is None:
            return None
        return ImageState(
            state.installed.image_version,
            state.installed.upload_hash,
            is_active=True,
            is_confirmed=state.application_is_confirmed,
        )

    def request_reset(self, *, update_mode: bool) -> None:
        if not self._is_in_safe_state():
            raise Busy
        self._mailbox = Mailbox(MailboxRequest.UPDATE) if update_mode else None

    def request_update_mode(self) -> bool:
        self.request_reset(update_mode=True)
        return True

    def signed_status(self, nonce: bytes) -> bytes:
        return self._device.signed_status(nonce)

    def begin_upload(self, _package_size_bytes: int, /) -> NoReturn:
        self._not_here()

    def write(self, _offset_bytes: int, _data: bytes, /) -> NoReturn:
        self._not_here()

    def receive_trust_bundle(self, _data: bytes, /) -> NoReturn:
        self._not_here()

    def receive_grant(self, _data: bytes, /) -> NoReturn:
        self._not_here()

    def challenge(self, _host_ephemeral: bytes, /) -> NoReturn:
        self._not_here()

    def receive_activation(self, _data: bytes, /) -> NoReturn:
        self._not_here()

    def receive_service_order(self, _data: bytes, /) -> NoReturn:
        self._not_here()

    def _not_here(self) -> NoReturn:
        raise Refused(DeviceCode.NOT_IN_UPDATE_MODE, "an application is running")

    def _state(self) -> DeviceState:
        """What the journal says at this moment; a started application has one that was readable a moment ago."""
        device = self._device
        data = [
            device.flash.read(region.address, device.board.state_half_size_bytes)
            for region in half_regions(device.board)
        ]
        halves, active = read_journal(data[0], data[1])
        half = halves[active] if active is not None else None
        return half.state if half is not None else DeviceState()
