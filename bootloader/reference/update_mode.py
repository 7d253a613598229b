"""Update mode: taking packages, trust bundles and grants over a link (docs/spec/device-state.md, sections 5, 8, 9)."""

from __future__ import annotations

from functools import partial

from bootloader.reference.authenticity import verify_head_signatures
from bootloader.reference.boot_check import check_application
from bootloader.reference.codes import DeviceCode, Refused
from bootloader.reference.flash import Region
from bootloader.reference.grant import Grant, parse_grant, require_acceptable, require_own_leaf, verify_grant_signer
from bootloader.reference.head import Head, PackageType, Version, parse_head
from bootloader.reference.install import Installation
from bootloader.reference.install_rules import InstallFacts, content_key_for, require_installable
from bootloader.reference.records import BootTrial, EventKind, Installed, InstallRegion, InstallStarted
from bootloader.reference.running import RunningCopy
from bootloader.reference.succession import is_successor, require_built_in, verify_offered_bundle
from bootloader.reference.trust_bundle import parse_trust_bundle
from bootloader.reference.upload import Upload


class UpdateSession:
    """From entering update mode to the next reset."""

    def __init__(self, running: RunningCopy, installation_type: type[Installation] = Installation) -> None:
        self._running = running
        self._installation_type = installation_type
        self._upload: Upload | None = None
        self._may_reinstall = False

    @property
    def upload(self) -> Upload | None:
        """The upload under way, or finished; None before any, and after a refusal."""
        return self._upload

    def begin_upload(self, package_size_bytes: int) -> None:
        """Announce a package and its size; an upload under way is given up. Raises Refused(HEAD_TRUNCATED)."""
        self.end_upload()
        self._upload = Upload(package_size_bytes, self._admit)

    def write(self, offset_bytes: int, data: bytes) -> int:
        """Take the next bytes of the package; returns the offset expected next, from where the host goes on.

        Bytes for another offset are not taken, so that after a lost link the host goes on where it was; nor are those
        of a chunk that has to wait: one call erases one sector, or compacts the journal, and no more. Raises Refused,
        after which the upload is over and another may begin.
        """
        if self._upload is None:
            raise Refused(DeviceCode.UPLOAD_STATE, "no upload has begun")
        if offset_bytes == self._upload.offset_bytes:
            try:
                self._upload.take(data)
            except Refused as refusal:
                self.end_upload()
                self._running.events.record_refusal(refusal.code)
                raise
        return self._upload.offset_bytes

    def receive_trust_bundle(self, data: bytes) -> None:
        """Take the next trust bundle, which is in force when this returns, or the current one, which changes nothing.

        Either confirms a copy on trial. Raises Refused, and then what was in force still is; after FLASH_WRITE the
        next start says which it is. An upload under way ends when a new bundle is taken.
        """
        try:
            self._receive_trust_bundle(data)
        except Refused as refusal:
            self._running.events.record_refusal(refusal.code)
            raise

    def _receive_trust_bundle(self, data: bytes) -> None:
        """Section 8, steps 1 to 5."""
        running = self._running
        bundle, current = parse_trust_bundle(data), running.bundle
        verify_offered_bundle(bundle, current)
        running.confirm_itself()
        if is_successor(bundle, current):
            require_built_in(bundle, running.built_in_keys)
            self.end_upload()  # its head was judged by the bundle that goes
            running.follow_trust_bundle(bundle)

    def receive_grant(self, data: bytes) -> None:
        """Keep a grant, so that its package can be installed, now or after any number of resets; the newest counts.

        Raises Refused, and then the grant before it is kept. An upload under way goes on.
        """
        try:
            self._receive_grant(parse_grant(data))
        except Refused as refusal:
            self._running.events.record_refusal(refusal.code)
            raise

    def _receive_grant(self, grant: Grant) -> None:
        """grant.md, section 3, checks 2 to 5."""
        running = self._running
        verify_grant_signer(grant, running.bundle)
        running.confirm_itself()
        require_own_leaf(grant, running.device_uid)
        require_acceptable(grant, running.device, running.state.keys)
        if grant.pending != running.state.pending_grant:  # a repeat writes nothing: it is no way to wear flash out
            running.journal.append(grant.pending)
            running.events.record(EventKind.GRANT, DeviceCode.OK)

    def permit_reinstallation(self) -> None:
        """Until the next reset, one installation may be of the same or an older version (service-order.md)."""
        self._may_reinstall = True

    def end_upload(self) -> None:
        """Give up the upload under way; the host begins it anew."""
        self._upload = None
        self._running.permit_writing(None)

    # --- step 1: the head ---

    def _admit(self, raw_head: bytes, announced_size_bytes: int) -> Installation:
        """Judge a head; raises Refused with the code of the first rule that it breaks."""
        running = self._running
        head = parse_head(raw_head)
        signers = verify_head_signatures(head, running.device_uid, running.bundle, running.built_in_keys)
        running.confirm_itself()
        facts = self._facts(announced_size_bytes)
        require_installable(head, facts)
        content_key = content_key_for(head, facts)
        region = facts.region_for(head)
        begin = partial(self._begin_installation, head, region)
        record = partial(self._record_installation, head, signers[0])
        return self._installation_type(running.flash, region, head, content_key, begin, record)

    def _facts(self, announced_size_bytes: int) -> InstallFacts:
        running = self._running
        return InstallFacts(
            board=running.board,
            state=running.state,
            device=running.device,
            bundle=running.bundle,
            device_uid=running.device_uid,
            running_copy=running.copy,
            running_version=running.head.image_version,
            running_is_confirmed=running.is_confirmed,
            announced_size_bytes=announced_size_bytes,
            replaced_version=self._confirmed_application_version,
            may_reinstall=self._may_reinstall,
        )

    def _confirmed_application_version(self) -> Version | None:
        """The version of the installed image, if it is confirmed and passes the boot check."""
        running = self._running
        if not running.state.application_is_confirmed:
            return None
        try:
            head = check_application(running.flash, running.board, running.state, running.bundle, running.device_uid)
        except Refused:
            return None
        return head.image_version

    # --- step 2: chunk 0 is authentic ---

    def _begin_installation(self, head: Head, region: Region) -> bool:
        """From here on what stands in the region counts no more; only then may it be erased.

        False if the journal was compacted instead: that erases too.
        """
        running = self._running
        if running.compact_if_due():
            return False
        started = InstallStarted(self._install_region(head), head.hash)
        if not self._is_on_record(started):
            running.journal.append(started)
        running.permit_writing(region)
        self._may_reinstall = False  # the permission was for this installation
        return True

    def _is_on_record(self, started: InstallStarted) -> bool:
        state = self._running.state
        is_tried = state.boot_trial is not None and InstallRegion.of_copy(state.boot_trial.copy) is started.region
        return started in state.installs_started and not is_tried

    def _install_region(self, head: Head) -> InstallRegion:
        if head.package_type == PackageType.BOOTLOADER:
            return InstallRegion.of_copy(self._running.copy.other)
        return InstallRegion.APPLICATION

    # --- step 5: the head is programmed ---

    def _record_installation(self, head: Head, signer: bytes, upload_hash: bytes) -> None:
        running = self._running
        running.permit_writing(None)
        if head.package_type == PackageType.BOOTLOADER:
            running.journal.append(BootTrial(running.copy.other, 0, head.hash))
        else:
            fields = (head.package_type, head.security_version, head.image_version, head.hash, upload_hash, signer)
            running.journal.append(Installed(*fields))
        running.events.record(EventKind.INSTALL, DeviceCode.OK)
