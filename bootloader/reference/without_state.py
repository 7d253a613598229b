"""A device without a readable state: it takes a re-provisioning, and nothing else (docs/spec/service-order.md).

Whom it believes, it knows from the genesis bundle at the end of its own, verified image.
"""

from __future__ import annotations

from bootloader.reference.board import Board, Copy, load_address
from bootloader.reference.challenge import (
    OutstandingNonce,
    build_challenge_without_state,
    draw_nonce,
    require_host_ephemeral,
)
from bootloader.reference.codes import DeviceCode, Refused, require
from bootloader.reference.copies import read_head
from bootloader.reference.flash import FlashDevice
from bootloader.reference.head import Head, parse_head
from bootloader.reference.journal import write_first_half
from bootloader.reference.journal_half import half_regions
from bootloader.reference.platform import Platform
from bootloader.reference.receipt import build_receipt
from bootloader.reference.records import (
    BootConfirmed,
    Device,
    Event,
    EventKind,
    Lifecycle,
    ServiceAction,
    TrustBundleInForce,
)
from bootloader.reference.service_order import (
    ServiceOrder,
    parse_service_order,
    require_for_this_device,
    verify_service_signer,
)
from bootloader.reference.trust_bundle import BUNDLE_SIZE_BYTES, TrustBundle, parse_trust_bundle, verify_genesis
from bootloader.reference.write_guard import WriteGuard


class SessionWithoutState:
    """From a start without a readable state to the next reset. `device_uid` has 16 bytes."""

    def __init__(self, flash: FlashDevice, board: Board, device_uid: bytes, copy: Copy, platform: Platform) -> None:
        self._flash = WriteGuard(flash)
        self._board = board
        self._device_uid = device_uid
        self._copy = copy
        self._platform = platform
        self._nonce = OutstandingNonce()

    def challenge(self, host_ephemeral: bytes) -> bytes:
        """UID and a fresh nonce, not signed; raises Refused(EPHEMERAL_KEY or RANDOM_FAILED)."""
        require_host_ephemeral(host_ephemeral)
        nonce = draw_nonce(self._platform)
        self._nonce.remember(nonce)
        return build_challenge_without_state(self._device_uid, self._platform.protection, nonce, host_ephemeral)

    def receive_service_order(self, data: bytes) -> bytes:
        """Become LOCKED anew, and say so; the state counts from the next start on. Raises Refused."""
        order = parse_service_order(data)
        head = parse_head(read_head(self._flash, self._board.copy_region(self._copy)))
        genesis = self._genesis(head)
        verify_service_signer(order, genesis)
        require_for_this_device(order, genesis.product_id, self._device_uid, self._nonce)
        re_provisions = order.action == ServiceAction.RE_PROVISION
        require(re_provisions, DeviceCode.NO_STATE, "without a readable state only re-provisioning is taken")
        self._re_provision(order, genesis, head)
        answered = (order.nonce, order.digest)
        facts = (None, self._platform.protection, genesis.version)
        return build_receipt(Lifecycle.LOCKED, self._device_uid, answered, *facts)

    def _genesis(self, head: Head) -> TrustBundle:
        """The last bytes of the running copy's image, which the pre-bootloader has verified."""
        end = load_address(self._board.copy_region(self._copy)) + head.image_size_bytes
        try:
            bundle = parse_trust_bundle(self._flash.read(end - BUNDLE_SIZE_BYTES, BUNDLE_SIZE_BYTES))
            verify_genesis(bundle)
        except Refused as refusal:
            raise Refused(DeviceCode.NO_STATE, f"the genesis bundle in the bootloader: {refusal}") from None
        return bundle

    def _re_provision(self, order: ServiceOrder, genesis: TrustBundle, head: Head) -> None:
        halves = half_regions(self._board)
        self._flash.permit(program=halves, erase=halves)
        first = (
            TrustBundleInForce(genesis.raw),
            order.floors,
            BootConfirmed(self._copy, head.hash),
            Event(DeviceCode.OK, EventKind.SERVICE, 1),
        )
        device = Device(genesis.product_id, order.hardware_revision, Lifecycle.LOCKED, 0, order.lot)
        write_first_half(self._flash, self._board, first, device)
