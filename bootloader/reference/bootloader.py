"""The bootloader: from a reset to the application, or to update mode (docs/spec/device-state.md, section 4).

An instance lives from a reset to the next; what outlives it is in flash, and one word in the mailbox.
"""

from __future__ import annotations

from bootloader.reference.board import Board, Copy, load_address, padded_uid
from bootloader.reference.boot_check import check_application
from bootloader.reference.codes import DeviceCode, Refused, require
from bootloader.reference.flash import FlashDevice
from bootloader.reference.head import PackageType
from bootloader.reference.install import Installation
from bootloader.reference.lifecycle_session import LifecycleSession
from bootloader.reference.platform import BarePlatform, Platform
from bootloader.reference.records import TRIAL_ATTEMPTS_MAX, AppConfirmed, AppTrial, BootConfirmed, EventKind
from bootloader.reference.running import RunningCopy, journal_may_fail
from bootloader.reference.service_work import carry_out_service
from bootloader.reference.signed_status import Runs, Speaker, build_status
from bootloader.reference.start import Mailbox, MailboxRequest, Start, StartApplication, UpdateMode
from bootloader.reference.update_mode import UpdateSession
from bootloader.reference.upload import Upload
from bootloader.reference.without_state import SessionWithoutState

# Starts that end in update mode for one of these leave an event.
_RECORDED_STARTS = (
    DeviceCode.HEAD_CHANGED,
    DeviceCode.BOOT_SIGNATURE,
    DeviceCode.BOOT_DIGEST,
    DeviceCode.STOPPED,
    DeviceCode.TRIAL_EXHAUSTED,
)


class Bootloader:
    """The copy that the pre-bootloader has verified and starts."""

    installation_type: type[Installation] = Installation

    def __init__(
        self, flash: FlashDevice, board: Board, uid: bytes, copy: Copy, platform: Platform | None = None
    ) -> None:
        self._flash = flash
        self._platform: Platform = platform if platform is not None else BarePlatform()
        self._board = board
        self._device_uid = padded_uid(board, uid)
        self._copy = copy
        self._running: RunningCopy | None = None
        self._session: UpdateSession | None = None
        self._life: LifecycleSession | None = None
        self._without_state: SessionWithoutState | None = None
        self._start_code = DeviceCode.OK
        self._is_in_update_mode = False

    def start(self, mailbox: Mailbox | None = None, *, entry_pin_is_active: bool = False) -> Start:
        """Run once after a reset. Whatever is refused ends in update mode, with its code."""
        try:
            self._running = RunningCopy(self._flash, self._board, self._device_uid, self._copy)
            started = _start(self._running, mailbox, entry_pin_is_active=entry_pin_is_active)
        except Refused as refusal:
            started = UpdateMode(refusal.code)
        if isinstance(started, UpdateMode):
            self._enter_update_mode(started.code)
        return started

    def _enter_update_mode(self, code: DeviceCode) -> None:
        self._is_in_update_mode = True
        self._start_code = code
        if self._running is None:
            args = (self._flash, self._board, self._device_uid, self._copy, self._platform)
            self._without_state = SessionWithoutState(*args)
            return
        session = UpdateSession(self._running, self.installation_type)
        self._session, self._life = session, LifecycleSession(self._running, self._platform, session)
        if code in _RECORDED_STARTS:
            self._running.events.record_start(code)

    @property
    def running(self) -> RunningCopy:
        """The running copy and what it knows; raises Refused(NO_STATE) if the journal could not be read."""
        if self._running is None:
            raise Refused(DeviceCode.NO_STATE, "neither half of the journal is readable")
        return self._running

    @property
    def upload(self) -> Upload | None:
        """The upload under way, or finished; None before any, and after a refusal."""
        return self._session.upload if self._session is not None else None

    def begin_upload(self, package_size_bytes: int) -> None:
        """As UpdateSession.begin_upload; raises Refused(NOT_IN_UPDATE_MODE) or Refused(NO_STATE) as well."""
        self._update_session().begin_upload(package_size_bytes)

    def write(self, offset_bytes: int, data: bytes) -> int:
        """As UpdateSession.write; raises Refused(NOT_IN_UPDATE_MODE) or Refused(NO_STATE) as well."""
        return self._update_session().write(offset_bytes, data)

    def receive_trust_bundle(self, data: bytes) -> None:
        """As UpdateSession.receive_trust_bundle; raises Refused(NOT_IN_UPDATE_MODE) or Refused(NO_STATE) as well."""
        self._update_session().receive_trust_bundle(data)

    def receive_grant(self, data: bytes) -> None:
        """As UpdateSession.receive_grant; raises Refused(NOT_IN_UPDATE_MODE) or Refused(NO_STATE) as well."""
        self._update_session().receive_grant(data)

    def challenge(self, host_ephemeral: bytes) -> bytes:
        """As LifecycleSession.challenge; raises Refused(NOT_IN_UPDATE_MODE) as well. Answered in every state."""
        return self._life_session().challenge(host_ephemeral)

    def receive_activation(self, data: bytes) -> bytes:
        """As LifecycleSession.receive_activation; raises Refused(NOT_IN_UPDATE_MODE) or Refused(NO_STATE) as well."""
        self._require_taking()
        life = self._life_session()
        if not isinstance(life, LifecycleSession):
            raise Refused(DeviceCode.NO_STATE, "without a readable journal nothing is activated")
        return life.receive_activation(data)

    def receive_service_order(self, data: bytes) -> bytes:
        """As LifecycleSession.receive_service_order; raises Refused(NOT_IN_UPDATE_MODE) as well."""
        return self._life_session().receive_service_order(data)

    def signed_status(self, nonce: bytes) -> bytes:
        """The signed status of update mode; raises Refused(NOT_IN_UPDATE_MODE), or OBJECT_SIZE for the nonce."""
        self._require_update_mode()
        upload = self.upload
        under_way = (upload.offset_bytes, upload.package_size_bytes) if upload is not None else (0, 0)
        speaker = Speaker(Runs.BOOTLOADER, self._copy, self._start_code, under_way)
        return build_status(self._flash, self._board, self._device_uid, self._platform, nonce, speaker)

    def mailbox_after_install(self) -> Mailbox | None:
        """What a finished installation leaves for the next start: a new bootloader copy is to come up listening."""
        installation = self.upload.installation if self.upload is not None else None
        if installation is None or not installation.is_complete:
            return None
        is_bootloader = installation.head.package_type == PackageType.BOOTLOADER
        return Mailbox(MailboxRequest.UPDATE) if is_bootloader else None

    def _update_session(self) -> UpdateSession:
        self._require_taking()
        if self._session is None:
            raise Refused(DeviceCode.NO_STATE, "without a readable journal nothing is taken")
        return self._session

    def _life_session(self) -> LifecycleSession | SessionWithoutState:
        self._require_update_mode()
        if self._life is not None:
            return self._life
        if self._without_state is None:
            raise AssertionError("update mode has one session or the other")
        return self._without_state

    def _require_update_mode(self) -> None:
        require(self._is_in_update_mode, DeviceCode.NOT_IN_UPDATE_MODE, "the device is not in update mode")

    def _require_taking(self) -> None:
        """In update mode, and no service order is being carried out: then only status and challenge are answered."""
        self._require_update_mode()
        pending = self._running is not None and self._running.state.service_started is not None
        require(not pending, DeviceCode.SERVICE_PENDING, "a service order is being carried out")


def _start(running: RunningCopy, mailbox: Mailbox | None, *, entry_pin_is_active: bool) -> Start:
    """Steps 1 to 6 of section 4; raises Refused where one of them fails."""
    with journal_may_fail():  # if it does, nothing is appended in this power-on
        running.journal.settle()
    carry_out_service(running)
    with journal_may_fail():
        _maintain(running)

    request = mailbox.request if mailbox is not None else None
    if mailbox is not None and request is MailboxRequest.CONFIRM:
        _confirm_application(running, mailbox.head_hash)
    if entry_pin_is_active or request is MailboxRequest.UPDATE:
        return UpdateMode(DeviceCode.UPDATE_REQUESTED)

    head = check_application(running.flash, running.board, running.state, running.bundle, running.device_uid)
    if not running.state.application_is_confirmed:
        attempts = running.state.application_attempts
        exhausted = attempts >= TRIAL_ATTEMPTS_MAX
        require(not exhausted, DeviceCode.TRIAL_EXHAUSTED, f"started {attempts} times without a confirmation")
        running.journal.append(AppTrial(attempts + 1, head.hash))
    running.flash.lock_until_reset()
    return StartApplication(head, load_address(running.board.application))


def _maintain(running: RunningCopy) -> None:
    """What only a confirmed copy does at its start: room in the journal, the end of the other's trial, floors."""
    if not running.is_confirmed:
        return
    running.compact_if_due()
    trial = running.state.boot_trial
    if trial is not None and trial.copy is not running.copy and trial.attempts >= TRIAL_ATTEMPTS_MAX:
        running.events.record(EventKind.FALL_BACK, DeviceCode.TRIAL_EXHAUSTED)
        running.journal.append(BootConfirmed(running.copy, running.head.hash))
    running.raise_floors()


def _confirm_application(running: RunningCopy, head_hash: bytes) -> None:
    """CONFIRM is about the installed image only; a second one changes nothing."""
    installed = running.state.installed
    if installed is None or installed.head_hash != head_hash or running.state.application_is_confirmed:
        return
    running.journal.append(AppConfirmed(head_hash))
    running.events.record(EventKind.CONFIRMATION, DeviceCode.OK)
    running.raise_floors()
