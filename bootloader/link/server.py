"""The SMP server of a device: one request in, at most one answer out (docs/spec/protocol.md, sections 1 to 4, and 7).

SMP authenticates nothing. What changes a device is a signed object, which the target judges; the rest reads, or resets.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from hashlib import sha256
from typing import Any

from bootloader.link.cbor import Answer, Malformed, Value, decode_map, encode
from bootloader.link.errors import LinkError, group_error, link_error, management_error
from bootloader.link.objects import OBJECT_SIZE_BYTES_MAX, ObjectReceiver
from bootloader.link.smp import HEADER_SIZE_BYTES, Group, Header, ManagementError, Op, parse_header
from bootloader.link.statistics import LinkStatistics
from bootloader.link.target import Busy, ImageState, Target
from bootloader.reference.codes import Refused
from bootloader.reference.head import Version

BUFFER_SIZE_BYTES = 2048
ECHO_SIZE_BYTES_MAX = 1024
UPLOAD_SIZE_BYTES_MAX = (64 + 1) * 1024 * 1024
NONCE_SIZE_BYTES = 32
POINT_SIZE_BYTES = 64
BOOT_MODE_NORMAL, BOOT_MODE_UPDATE = 0, 1
BOOTLOADER_NAME = "Strongroom"

Fields = Mapping[str, Value]
Reply = Mapping[str, Answer]


class _Unusable(Exception):
    """The request is not one that this server answers otherwise than with this error of SMP itself."""

    def __init__(self, error: ManagementError) -> None:
        super().__init__(error)
        self.error = error


class SmpServer:
    """Serves one target from one reset to the next. Between requests it keeps one object in pieces, and one answer."""

    def __init__(
        self,
        target: Target,
        buf_size: int = BUFFER_SIZE_BYTES,
        detailed_codes: bool = False,
        statistics: LinkStatistics | None = None,
    ) -> None:
        """`buf_size`: the largest request; `detailed_codes`: answer device codes as they are, in test builds only."""
        self.wants_reset = False
        self.statistics = statistics if statistics is not None else LinkStatistics()
        self._target = target
        self._buffer_size_bytes = buf_size
        self._detailed_codes = detailed_codes
        self._objects = ObjectReceiver()
        self._last_answer: tuple[int, bytes, bytes] | None = None  # command, digest of the object, receipt
        self._handlers: dict[tuple[int, int, int], Callable[[Fields], Reply]] = {
            (Group.OS, 0, Op.READ): self._echo,
            (Group.OS, 0, Op.WRITE): self._echo,
            (Group.OS, 5, Op.WRITE): self._reset,
            (Group.OS, 6, Op.READ): self._parameters,
            (Group.OS, 8, Op.READ): self._bootloader_information,
            (Group.IMAGE, 0, Op.READ): self._image_state,
            (Group.IMAGE, 0, Op.WRITE): self._image_state,
            (Group.IMAGE, 1, Op.WRITE): self._upload,
            (Group.IMAGE, 5, Op.WRITE): self._erase,
            (Group.STRONGROOM, 0, Op.READ): self._signed_status,
            (Group.STRONGROOM, 1, Op.WRITE): self._update_mode,
            (Group.STRONGROOM, 2, Op.WRITE): self._trust_bundle,
            (Group.STRONGROOM, 3, Op.WRITE): self._grant,
            (Group.STRONGROOM, 4, Op.READ): self._challenge,
            (Group.STRONGROOM, 5, Op.WRITE): self._activation,
            (Group.STRONGROOM, 6, Op.WRITE): self._service_order,
            (Group.STRONGROOM, 7, Op.READ): self._link_statistics,
        }

    def handle(self, request: bytes) -> bytes | None:
        """The answer to a request; None to what is no request. `wants_reset` may be set when this returns."""
        header = parse_header(request)
        if header is None or not header.is_request:
            return None
        return header.reply(encode(self._answer(header, request)))

    def _answer(self, header: Header, request: bytes) -> Reply:
        try:
            fits = header.size_bytes == len(request) - HEADER_SIZE_BYTES and len(request) <= self._buffer_size_bytes
            if not fits or header.flags:
                raise _Unusable(ManagementError.EINVAL)
            fields = decode_map(request[HEADER_SIZE_BYTES:])
            handler = self._handlers.get((header.group, header.command, header.op))
            if handler is None:
                raise _Unusable(ManagementError.ENOTSUP)
            return handler(fields)
        except Malformed:
            return management_error(ManagementError.EINVAL)
        except _Unusable as unusable:
            return management_error(unusable.error)
        except Busy:
            return group_error(LinkError.BUSY, header.version)
        except Refused as refusal:
            return group_error(refusal.code if self._detailed_codes else link_error(refusal.code), header.version)

    # --- OS group ---

    def _echo(self, fields: Fields) -> Reply:
        text = _required(fields, "d", str)
        if len(text.encode()) > ECHO_SIZE_BYTES_MAX:
            raise _Unusable(ManagementError.EINVAL)
        return {"r": text}

    def _reset(self, fields: Fields) -> Reply:
        boot_mode = _number(fields, "boot_mode", BOOT_MODE_UPDATE, default=BOOT_MODE_NORMAL)
        self._target.request_reset(update_mode=boot_mode == BOOT_MODE_UPDATE)
        self.wants_reset = True
        return {}

    def _parameters(self, _fields: Fields) -> Reply:
        return {"buf_size": self._buffer_size_bytes, "buf_count": 1}

    def _bootloader_information(self, fields: Fields) -> Reply:
        if "query" not in fields:
            return {"bootloader": BOOTLOADER_NAME}
        if fields["query"] == "mode":
            return {"mode": 0}
        raise _Unusable(ManagementError.ENOTSUP)

    # --- image group ---

    def _image_state(self, _fields: Fields) -> Reply:
        """A write is answered as a read: a device decides by itself what is confirmed."""
        state = self._target.image_state()
        return {"images": [] if state is None else [_image_entry(state)]}

    def _erase(self, _fields: Fields) -> Reply:
        """Touches no flash: regions are erased when something authentic replaces what is in them."""
        return {}

    def _upload(self, fields: Fields) -> Reply:
        offset, data = _number(fields, "off"), _required(fields, "data", bytes)
        _number(fields, "image", 0, default=0)
        if offset == 0:
            size_bytes = _number(fields, "len", UPLOAD_SIZE_BYTES_MAX)
            resumed_at = self._resumed_at(size_bytes, data)
            if resumed_at is not None:
                return {"off": resumed_at}
            self._target.begin_upload(size_bytes)
        return {"off": self._target.write(offset, data)}

    def _resumed_at(self, size_bytes: int, first_block: bytes) -> int | None:
        """The offset that is expected, if this is the beginning of the package that is under way.

        Compared as far as both go, and no further than the head: it stands for every byte behind it.
        """
        upload = self._target.upload
        if upload is None or upload.size_bytes != size_bytes:
            return None
        compared_bytes = min(len(first_block), len(upload.first_bytes))
        same = compared_bytes > 0 and first_block[:compared_bytes] == upload.first_bytes[:compared_bytes]
        return upload.offset_bytes if same else None

    # --- our group ---

    def _signed_status(self, fields: Fields) -> Reply:
        return {"s": self._target.signed_status(_exact(fields, "n", NONCE_SIZE_BYTES))}

    def _update_mode(self, _fields: Fields) -> Reply:
        self.wants_reset = self._target.request_update_mode() or self.wants_reset
        return {}

    def _challenge(self, fields: Fields) -> Reply:
        return {"c": self._target.challenge(_exact(fields, "p", POINT_SIZE_BYTES))}

    def _trust_bundle(self, fields: Fields) -> Reply:
        return self._object(2, fields, self._target.receive_trust_bundle)

    def _grant(self, fields: Fields) -> Reply:
        return self._object(3, fields, self._target.receive_grant)

    def _activation(self, fields: Fields) -> Reply:
        return self._object(5, fields, self._target.receive_activation)

    def _service_order(self, fields: Fields) -> Reply:
        return self._object(6, fields, self._target.receive_service_order)

    def _link_statistics(self, _fields: Fields) -> Reply:
        return self.statistics.answer()

    def _object(self, command: int, fields: Fields, receive: Callable[[bytes], bytes | None]) -> Reply:
        """Take a piece; once the object is whole, what the target says to it."""
        offset, data = _number(fields, "off"), _required(fields, "data", bytes)
        if offset == 0:
            size_bytes = _number(fields, "len", OBJECT_SIZE_BYTES_MAX)
            if not 0 < size_bytes >= len(data):
                raise _Unusable(ManagementError.EINVAL)
            self._objects.begin(command, size_bytes)
        elif offset != self._objects.expected_offset(command):
            return {"off": self._objects.expected_offset(command)}
        if not self._objects.fits(data):
            raise _Unusable(ManagementError.EINVAL)
        whole = self._objects.take(data)
        if whole is None:
            return {"off": self._objects.expected_offset(command)}
        receipt = self._receipt(command, whole, receive)
        return {"off": len(whole)} if receipt is None else {"off": len(whole), "r": receipt}

    def _receipt(self, command: int, whole: bytes, receive: Callable[[bytes], bytes | None]) -> bytes | None:
        """The target's receipt; the same again for exactly the object that was answered last."""
        digest = sha256(whole).digest()
        if self._last_answer is not None and self._last_answer[:2] == (command, digest):
            return self._last_answer[2]
        receipt = receive(whole)
        if receipt is not None:
            self._last_answer = (command, digest, receipt)
        return receipt


def _image_entry(state: ImageState) -> Reply:
    return {
        "slot": 0,
        "version": _version_text(state.version),
        "hash": state.upload_hash,
        "bootable": True,
        "pending": not state.is_active and not state.is_confirmed,
        "confirmed": state.is_confirmed,
        "active": state.is_active,
        "permanent": False,
    }


def _version_text(version: Version) -> str:
    """As MCUmgr writes versions: the build number only where there is one."""
    text = f"{version.major}.{version.minor}.{version.revision}"
    return f"{text}.{version.build}" if version.build else text


def _required(fields: Fields, key: str, kind: type[Any]) -> Any:
    """A field that must be there and of this type."""
    value = fields.get(key)
    if type(value) is not kind:
        raise _Unusable(ManagementError.EINVAL)
    return value


def _number(fields: Fields, key: str, most: int = (1 << 64) - 1, default: int | None = None) -> int:
    """An unsigned integer, of at most this size; without a default it must be there."""
    if default is not None and key not in fields:
        return default
    value = _required(fields, key, int)
    if not 0 <= value <= most:
        raise _Unusable(ManagementError.EINVAL)
    return int(value)


def _exact(fields: Fields, key: str, size_bytes: int) -> bytes:
    """A byte string of exactly this size."""
    value: bytes = _required(fields, key, bytes)
    if len(value) != size_bytes:
        raise _Unusable(ManagementError.EINVAL)
    return value
