"""A device, as a host drives it: the commands of docs/spec/protocol.md over any link.

Nothing here is authentic by itself. What a device signs is parsed and verified by `rpc.objects`.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import BinaryIO, Final, TypeVar

from pki.errors import InputRefused
from rpc.errors import DeviceRefused, LinkError, LinkTimeout
from rpc.link import Link
from rpc.message import HEADER_SIZE_BYTES, Group, Op
from rpc.reply import require_keys, take_bytes, take_int, take_text
from rpc.requester import RETRIES, Body, Requester
from rpc.upload import UploadPosition
from rpc.values import ImageState, LinkStatistics, Parameters, image_states

T = TypeVar("T")

ECHO_SIZE_MAX_BYTES: Final = 1_024
NONCE_SIZE_BYTES: Final = 32
POINT_SIZE_BYTES: Final = 64
STATUS_SIZE_BYTES: Final = 576
CHALLENGE_SIZE_BYTES: Final = 512
RECEIPT_SIZE_BYTES: Final = 320
OBJECT_SIZE_MAX_BYTES: Final = 2_304
PACKAGE_SIZE_MAX_BYTES: Final = 65 * 1024 * 1024

_BUF_SIZE_UNTOLD_BYTES: Final = 384
"""For servers that have no MCUmgr parameters: the buffer that Zephyr gives them unless told otherwise."""
_BUF_SIZE_USED_MAX_BYTES: Final = 8_190
_MAP_SIZE_BYTES: Final = 23
"""Around the first block: the map's head 1, `off` 0 5, `len` with 4 bytes 9, `data` with a length of 2 bytes 8. The
others have 18."""
_BLOCK_REPLY_KEYS: Final = frozenset({"off", "r", "match", "rsn"})
_ASK_AGAIN_SECONDS: Final = 0.2
_UP_TIMEOUT_SECONDS: Final = 0.5
_RESET_FOLLOWS_SECONDS: Final = 0.08
"""A device resets 50 ms after it has said that it will. Until then it would still answer as it was."""


class DeviceClient:
    """One device. For one thread; several clients may share the port of a chain or a bus, each in its own thread."""

    def __init__(self, link: Link, retries: int = RETRIES, timeout_seconds: float | None = None) -> None:
        self.link = link
        self._requester = Requester(link, retries, timeout_seconds)
        self._parameters: Parameters | None = None
        self._reset_answered_at = -_RESET_FOLLOWS_SECONDS

    @property
    def bytes_sent(self) -> int:
        """Bytes handed to the port or socket for this device, framing included."""
        return self.link.counters.bytes_sent

    @property
    def bytes_received(self) -> int:
        """Bytes that came while this device was asked."""
        return self.link.counters.bytes_received

    def close(self) -> None:
        """Give the link back."""
        self.link.close()

    # Standard groups

    def echo(self, text: str) -> str:
        """The same text, if the device lives."""
        if len(text.encode()) > ECHO_SIZE_MAX_BYTES:
            raise InputRefused(f"echo takes at most {ECHO_SIZE_MAX_BYTES} bytes of text")

        def understand(body: Body) -> str:
            require_keys(body, frozenset({"r"}))
            return take_text(body, "r", ECHO_SIZE_MAX_BYTES)

        return self._ask(Op.WRITE, Group.OS, 0, {"d": text}, "an echo", understand)

    def parameters(self) -> Parameters:
        """The device's message buffer."""
        self._parameters = self._ask(Op.READ, Group.OS, 6, {}, "its parameters", Parameters.of)
        return self._parameters

    def reset(self, boot_mode: int | None = None) -> None:
        """Ask for a reset; `boot_mode` 1 asks an application for update mode. The device answers, then resets."""
        fields: Body = {} if boot_mode is None else {"boot_mode": boot_mode}
        self._ask(Op.WRITE, Group.OS, 5, fields, "a reset", _nothing)
        self._reset_answered_at = time.monotonic()

    def image_state(self) -> tuple[ImageState, ...]:
        """What is installed, unsigned."""
        return self._ask(Op.READ, Group.IMAGE, 0, {}, "its image state", image_states)

    def upload(self, stream: BinaryIO, size_bytes: int, progress: Callable[[int, int], None]) -> None:
        """Send a package of `size_bytes` from a stream that can seek; `progress` is told (bytes there, all bytes).

        Goes on where the device's upload of the same package stopped. Raises DeviceRefused with the device's reason,
        LinkError when the link fails; calling it again resumes.
        """
        if not 0 < size_bytes <= PACKAGE_SIZE_MAX_BYTES:
            raise InputRefused(f"a package has 1 to {PACKAGE_SIZE_MAX_BYTES:,} bytes, not {size_bytes:,}")
        start = stream.tell()
        position = UploadPosition(size_bytes, self._block_size_bytes())
        while not position.is_complete:
            stream.seek(start + position.offset)
            data = stream.read(position.next_size_bytes)
            if len(data) != position.next_size_bytes:
                raise InputRefused(f"the package ends after {position.offset + len(data):,} of {size_bytes:,} bytes")
            self._send_block(position, Group.IMAGE, 1, data, "the package")
            progress(position.offset, size_bytes)

    # Our group

    def signed_status(self, nonce: bytes) -> bytes:
        """The signed status over a fresh nonce of 32 bytes: for `SignedStatus.parse`."""
        _require_size("a nonce", nonce, NONCE_SIZE_BYTES)
        return self._ask_bytes(Op.READ, 0, {"n": nonce}, "its status", "s", STATUS_SIZE_BYTES)

    def enter_update_mode(self) -> None:
        """Ask for update mode. An application answers, then resets; DeviceRefused BUSY while it must not stop."""
        self._ask(Op.WRITE, Group.STRONGROOM, 1, {}, "update mode", _nothing)
        self._reset_answered_at = time.monotonic()

    def send_trust_bundle(self, bundle: bytes) -> None:
        """Hand over the next trust bundle, or the one in force."""
        self._send_object(2, bundle, "the trust bundle")

    def send_grant(self, grant: bytes) -> None:
        """Hand over a grant: batch, leaf and proof."""
        self._send_object(3, grant, "the grant")

    def challenge(self, host_ephemeral: bytes) -> bytes:
        """The device's challenge over a fresh point of P-256 (64 bytes): for `Challenge.parse`."""
        _require_size("an ephemeral key", host_ephemeral, POINT_SIZE_BYTES)
        return self._ask_bytes(Op.READ, 4, {"p": host_ephemeral}, "its challenge", "c", CHALLENGE_SIZE_BYTES)

    def send_activation(self, order_and_activation: bytes) -> bytes:
        """Hand over work order ‖ activation; the receipt, for `Receipt.parse`."""
        return self._send_object_for_receipt(5, order_and_activation, "the activation")

    def send_service_order(self, order: bytes) -> bytes:
        """Hand over a service order; the receipt, for `Receipt.parse`."""
        return self._send_object_for_receipt(6, order, "the service order")

    def link_statistics(self) -> LinkStatistics:
        """What the device counted on its links."""
        return self._ask(Op.READ, Group.STRONGROOM, 7, {}, "its link statistics", LinkStatistics.of)

    def wait_until_up(self, timeout_seconds: float) -> None:
        """Ask until the device answers again; raises the last LinkError after `timeout_seconds`.

        After a reset that this client asked for, an answer is one from after it.
        """
        time.sleep(max(0.0, self._reset_answered_at + _RESET_FOLLOWS_SECONDS - time.monotonic()))
        deadline = time.monotonic() + timeout_seconds
        failure: LinkError = LinkTimeout(f"{self.link.name}: no answer within {timeout_seconds:g} s")
        while time.monotonic() < deadline:
            request = self._requester.encode(Op.WRITE, Group.OS, 0, {"d": "?"})
            up_seconds = min(_UP_TIMEOUT_SECONDS + self._requester.hop_seconds, self._requester.timeout_seconds)
            try:
                return self._requester.ask_once(request, "an echo", _nothing_of_note, up_seconds)
            except DeviceRefused:
                return None  # it lives
            except LinkTimeout as error:
                failure = error
            except LinkError as error:
                failure = error
                time.sleep(_ASK_AGAIN_SECONDS)
        raise failure

    # How

    def _ask(self, op: Op, group: int, command: int, fields: Body, what: str, understand: Callable[[Body], T]) -> T:
        return self._requester.ask(self._requester.encode(op, group, command, fields), what, understand)

    def _ask_bytes(self, op: Op, command: int, fields: Body, what: str, key: str, size_bytes: int) -> bytes:
        def understand(body: Body) -> bytes:
            require_keys(body, frozenset({key}))
            return take_bytes(body, key, size_bytes)

        return self._ask(op, Group.STRONGROOM, command, fields, what, understand)

    def _send_block(self, position: UploadPosition, group: int, command: int, data: bytes, what: str) -> Body:
        """One block; moves `position` to where the device wants to go on, and gives the reply."""
        fields: Body = {"off": position.offset, "data": data}
        if position.offset == 0:
            fields["len"] = position.size_bytes

        def understand(body: Body) -> tuple[int, Body]:
            require_keys(body, _BLOCK_REPLY_KEYS)
            return take_int(body, "off", 0, position.size_bytes), body

        offset, body = self._ask(Op.WRITE, group, command, fields, what, understand)
        position.answered(offset)
        return body

    def _send_object(self, command: int, data: bytes, what: str) -> Body:
        """A signed object in pieces; the reply to the last one."""
        if not 0 < len(data) <= OBJECT_SIZE_MAX_BYTES:
            raise InputRefused(f"{what} has 1 to {OBJECT_SIZE_MAX_BYTES:,} bytes, not {len(data):,}")
        position = UploadPosition(len(data), self._block_size_bytes())
        body: Body = {}
        while not position.is_complete:
            piece = data[position.offset : position.offset + position.next_size_bytes]
            body = self._send_block(position, Group.STRONGROOM, command, piece, what)
        return body

    def _send_object_for_receipt(self, command: int, data: bytes, what: str) -> bytes:
        return take_bytes(self._send_object(command, data, what), "r", RECEIPT_SIZE_BYTES)

    def _block_size_bytes(self) -> int:
        """What fits beside header and map into the largest message that both the device and the link take."""
        if self._parameters is None:
            try:
                self.parameters()
            except DeviceRefused:
                self._parameters = Parameters(_BUF_SIZE_UNTOLD_BYTES, 1)
        buf_size_bytes = _BUF_SIZE_UNTOLD_BYTES if self._parameters is None else self._parameters.buf_size
        largest = min(buf_size_bytes, self.link.max_message_bytes, _BUF_SIZE_USED_MAX_BYTES)
        return largest - HEADER_SIZE_BYTES - _MAP_SIZE_BYTES


def _nothing(body: Body) -> None:
    require_keys(body, frozenset())


def _nothing_of_note(_: Body) -> None:
    """Any reply will do."""


def _require_size(what: str, value: bytes, size_bytes: int) -> None:
    if len(value) != size_bytes:
        raise InputRefused(f"{what} has {size_bytes} bytes, not {len(value)}")
