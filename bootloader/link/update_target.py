"""Update mode, as the SMP server sees it."""

from __future__ import annotations

from bootloader.link.target import ImageState, UploadProgress
from bootloader.reference.bootloader import Bootloader
from bootloader.reference.codes import Refused
from bootloader.reference.start import Mailbox, MailboxRequest


class UpdateModeTarget:
    """A bootloader that stays and listens, from its start to the next reset."""

    def __init__(self, bootloader: Bootloader) -> None:
        self._bootloader = bootloader
        self._update_mode_asked = False

    @property
    def mailbox(self) -> Mailbox | None:
        """UPDATE if the host asked for it, or after a bootloader was installed: the new copy comes up listening."""
        if self._update_mode_asked:
            return Mailbox(MailboxRequest.UPDATE)
        return self._bootloader.mailbox_after_install()

    @property
    def upload(self) -> UploadProgress | None:
        upload = self._bootloader.upload
        if upload is None:
            return None
        return UploadProgress(upload.offset_bytes, upload.package_size_bytes, upload.first_bytes)

    def image_state(self) -> ImageState | None:
        """The installed image; also None without a readable state."""
        try:
            state = self._bootloader.running.state
        except Refused:
            return None
        installed = state.installed
        if installed is None:
            return None
        return ImageState(
            installed.image_version,
            installed.upload_hash,
            is_active=False,
            is_confirmed=state.application_is_confirmed,
        )

    def request_reset(self, *, update_mode: bool) -> None:
        self._update_mode_asked = update_mode

    def request_update_mode(self) -> bool:
        """It is there already."""
        return False

    def begin_upload(self, package_size_bytes: int) -> None:
        self._bootloader.begin_upload(package_size_bytes)

    def write(self, offset_bytes: int, data: bytes) -> int:
        return self._bootloader.write(offset_bytes, data)

    def signed_status(self, nonce: bytes) -> bytes:
        return self._bootloader.signed_status(nonce)

    def receive_trust_bundle(self, data: bytes) -> None:
        self._bootloader.receive_trust_bundle(data)

    def receive_grant(self, data: bytes) -> None:
        self._bootloader.receive_grant(data)

    def challenge(self, host_ephemeral: bytes) -> bytes:
        return self._bootloader.challenge(host_ephemeral)

    def receive_activation(self, data: bytes) -> bytes:
        return self._bootloader.receive_activation(data)

    def receive_service_order(self, data: bytes) -> bytes:
        return self._bootloader.receive_service_order(data)
