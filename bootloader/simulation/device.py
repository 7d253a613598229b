"""A whole device on the desk: one board, its flash, its RAM mailbox, its entry pin, and power that may fail.

It runs the reference bootloader as a real device runs the firmware: everything it knows is in flash and mailbox.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from enum import Enum
from hashlib import sha256
from io import BytesIO
from typing import BinaryIO

from bootloader.reference.board import Board, Copy, padded_uid
from bootloader.reference.bootloader import Bootloader
from bootloader.reference.codes import DeviceCode, Refused
from bootloader.reference.factory_image import Block
from bootloader.reference.head import Head, Version
from bootloader.reference.journal_half import half_regions
from bootloader.reference.pre_bootloader import PreBootloader
from bootloader.reference.signed_status import application_status
from bootloader.reference.start import Mailbox, MailboxRequest, StartApplication
from bootloader.reference.status import Status, read_status
from bootloader.simulation.platform import READOUT_LEVEL_MAX, OptionBytes, SimulatedPlatform
from bootloader.simulation.sending import BLOCK_SIZE_BYTES, send_package
from bootloader.simulation.sim_flash import SimFlash


class PowerOn(Enum):
    """COLD: from no power at all, RAM is lost. WARM: a reset, the mailbox survives."""

    COLD = "cold"
    WARM = "warm"


@dataclass(frozen=True, slots=True)
class ApplicationRuns:
    """The application with this head has been started, flash is locked."""

    head: Head = field(repr=False)
    copy: Copy

    @property
    def version(self) -> Version:
        return self.head.image_version


@dataclass(frozen=True, slots=True)
class InUpdateMode:
    """The bootloader listens; `code` says why."""

    code: DeviceCode
    copy: Copy


@dataclass(frozen=True, slots=True)
class Dead:
    """No bootloader copy verifies (NO_BOOTLOADER)."""


Running = ApplicationRuns | InUpdateMode | Dead


class SimulatedDevice:
    """One device. A PowerCut leaves it without power; `power_on` goes on from what is in flash."""

    bootloader_type: type[Bootloader] = Bootloader

    def __init__(self, board: Board, uid: bytes, flash: SimFlash, platform: SimulatedPlatform | None = None) -> None:
        self.board = board
        self.uid = uid
        self.flash = flash
        self.platform = platform if platform is not None else SimulatedPlatform(_platform_seed(uid, 0))
        self.mailbox: Mailbox | None = None
        self.entry_pin_is_active = False
        self.running: Running | None = None
        self._bootloader: Bootloader | None = None

    @classmethod
    def from_factory_image(cls, board: Board, uid: bytes, blocks: Iterable[Block], seed: int = 0) -> SimulatedDevice:
        """A new device, flashed and never powered on."""
        flash = blank_flash(board, seed)
        for address, data in blocks:
            flash.load(address, data)
        return cls(board, uid, flash, SimulatedPlatform(_platform_seed(uid, seed)))

    def power_on(self, kind: PowerOn = PowerOn.COLD) -> Running:
        """Power or reset, and what runs then."""
        mailbox = self.mailbox if kind is PowerOn.WARM else None
        self.mailbox = None
        self._bootloader = None
        self.running = None
        self.flash.power_on()
        copy = PreBootloader(self.flash, self.board, self.uid).choose()
        if copy is None:
            self.running = Dead()
            return self.running
        bootloader = self.bootloader_type(self.flash, self.board, self.uid, copy, self.platform)
        started = bootloader.start(mailbox, entry_pin_is_active=self.entry_pin_is_active)
        self._bootloader = bootloader
        if isinstance(started, StartApplication):
            self.running = ApplicationRuns(started.head, copy)
        else:
            self.running = InUpdateMode(started.code, copy)
        return self.running

    # --- what the application does ---

    def application_confirms(self) -> Running:
        """The application says that it works, and resets."""
        return self._ask_and_reset(Mailbox(MailboxRequest.CONFIRM, self._running_application().hash))

    def application_requests_update(self) -> Running:
        """The application, in its own safe state, asks for update mode, and resets."""
        self._running_application()
        return self._ask_and_reset(Mailbox(MailboxRequest.UPDATE))

    # --- what the host does in update mode ---

    @property
    def bootloader(self) -> Bootloader:
        """The running bootloader; raises Refused(NO_BOOTLOADER) if none runs."""
        if self._bootloader is None:
            raise Refused(DeviceCode.NO_BOOTLOADER, "no bootloader is running")
        return self._bootloader

    def install(self, package: bytes | BinaryIO, block_size_bytes: int = BLOCK_SIZE_BYTES) -> Running:
        """Send a whole package in blocks, then reset as a host does; raises Refused.

        After a bootloader, the running copy has asked for update mode, so that the new one comes up listening.
        """
        stream = BytesIO(package) if isinstance(package, bytes) else package
        send_package(self.bootloader, stream, block_size_bytes)
        return self.reset_after_install()

    def reset_after_install(self) -> Running:
        """Warm reset; with the mailbox set if the installed package was a bootloader."""
        self.mailbox = self.bootloader.mailbox_after_install()
        return self.power_on(PowerOn.WARM)

    def receive_trust_bundle(self, bundle: bytes) -> None:
        """Send a trust bundle; raises Refused."""
        self.bootloader.receive_trust_bundle(bundle)

    def challenge(self, host_ephemeral: bytes) -> bytes:
        """Ask who the device is; raises Refused."""
        return self.bootloader.challenge(host_ephemeral)

    def receive_activation(self, order_and_activation: bytes) -> bytes:
        """Send work order and activation; the receipt. Raises Refused."""
        return self.bootloader.receive_activation(order_and_activation)

    def receive_service_order(self, order: bytes) -> bytes:
        """Send a service order; the receipt. Raises Refused."""
        return self.bootloader.receive_service_order(order)

    def receive_grant(self, grant: bytes) -> None:
        """Send a grant; raises Refused."""
        self.bootloader.receive_grant(grant)

    def signed_status(self, nonce: bytes) -> bytes:
        """What the device says and signs, in update mode or from its application; raises Refused."""
        if isinstance(self.running, ApplicationRuns):
            facts = (self.flash, self.board, padded_uid(self.board, self.uid), self.platform)
            return application_status(*facts, nonce, self.running.head, self.running.copy)
        return self.bootloader.signed_status(nonce)

    def set_option_bytes(self, option_bytes: OptionBytes) -> None:
        """As a station does by the debug port: the device loses its power, and they count from the next power-on.

        Leaving readout level 1 erases all of flash; level 2 is for life (ValueError).
        """
        before = self.platform.option_bytes
        if before.readout_level == READOUT_LEVEL_MAX and option_bytes != before:
            raise ValueError("at readout level 2 option bytes are as they are for life")
        if option_bytes.readout_level < before.readout_level:
            self.flash.restore(blank_flash(self.board).snapshot())
        self.platform.option_bytes = option_bytes
        self.mailbox = None
        self.running = None
        self._bootloader = None

    def status(self) -> Status:
        """What the device says of itself; raises Refused(NO_STATE)."""
        return read_status(self.flash, self.board, self.uid)

    def _running_application(self) -> Head:
        if not isinstance(self.running, ApplicationRuns):
            raise Refused(DeviceCode.NO_APPLICATION, "no application is running")
        return self.running.head

    def _ask_and_reset(self, mailbox: Mailbox) -> Running:
        self.mailbox = mailbox
        return self.power_on(PowerOn.WARM)


def _platform_seed(uid: bytes, seed: int) -> int:
    """Two devices of one seed draw different keys."""
    return int.from_bytes(sha256(seed.to_bytes(8, "little") + uid).digest()[:8], "little")


def blank_flash(board: Board, seed: int = 0) -> SimFlash:
    """The erased flash of a board, its journal halves open for appends."""
    return SimFlash(board.sectors, board.write_unit_bytes, half_regions(board), seed)
