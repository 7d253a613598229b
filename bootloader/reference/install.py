"""Writing one admitted package to flash, chunk by chunk (docs/spec/device-state.md, section 5, steps 2 to 5).

Nothing unauthenticated is decrypted, written, or causes an erase. The memory needed is one chunk, whatever the image.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable

from bootloader.reference.board import load_address
from bootloader.reference.codes import DeviceCode
from bootloader.reference.copies import require_image_in_flash
from bootloader.reference.crypto import Aes256Ctr
from bootloader.reference.flash import FlashDevice, Region, program_and_compare, program_units
from bootloader.reference.head import Head
from bootloader.reference.payload import authenticate_chunk, chunk_size_on_wire


class Installation:
    """From the first chunk to the head. `begin` and `record` write to the journal; they come from the bootloader.

    `begin` is called when chunk 0 has been authenticated, before the first erase; `record` with the SHA-256 over head
    and payload, when the image is complete.
    """

    def __init__(
        self,
        flash: FlashDevice,
        region: Region,
        head: Head,
        content_key: bytes | None,
        begin: Callable[[], None],
        record: Callable[[bytes], None],
    ) -> None:
        self.head = head
        self.region = region
        self._flash = flash
        self._cipher = Aes256Ctr(content_key) if content_key is not None else None
        self._begin = begin
        self._record = record
        self._upload_hasher = hashlib.sha256(head.raw)
        self._expected_link = head.first_link
        self._chunk_index = 0
        self._address = load_address(region)
        self._sectors_left = list(region.sectors)

    @property
    def chunk_size_bytes(self) -> int:
        """The size on the wire of the chunk that is expected next."""
        return chunk_size_on_wire(self.head, self._chunk_index)

    @property
    def is_complete(self) -> bool:
        return self._chunk_index == self.head.chunk_count

    def take_chunk(self, chunk: bytes) -> None:
        """Authenticate, decrypt and program one chunk, and finish after the last one; raises Refused.

        Codes: CHUNK_HASH, IMAGE_DIGEST, FLASH_WRITE, and what the journal refuses.
        """
        data, self._expected_link = authenticate_chunk(self.head, self._chunk_index, self._expected_link, chunk)
        self._upload_hasher.update(chunk)
        if self._chunk_index == 0:
            self._begin()
        self._write_image(data if self._cipher is None else self._cipher.decrypt(data))
        self._chunk_index += 1
        if self.is_complete:
            self._erase_up_to(self.region.end_address)
            self._finish()

    def _finish(self) -> None:
        """The order that makes it safe: the image is proved, then the head, and only a complete head is recorded."""
        require_image_in_flash(self._flash, self.region, self.head, DeviceCode.IMAGE_DIGEST)
        self._program_head()
        self._record(self._upload_hasher.digest())

    def _program_head(self) -> None:
        program_and_compare(self._flash, self.region.address, self.head.raw)

    def _write_image(self, data: bytes) -> None:
        self._erase_up_to(self._address + len(data))
        program_units(self._flash, self._address, data)
        self._address += len(data)

    def _erase_up_to(self, end_address: int) -> None:
        """Erase every sector that begins before this address and has not been erased by this installation."""
        while self._sectors_left and self._sectors_left[0].address < end_address:
            self._flash.erase(self._sectors_left.pop(0))
