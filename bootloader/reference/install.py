"""Writing one admitted package to flash, chunk by chunk (docs/spec/device-state.md, section 5, steps 2 to 5).

Nothing unauthenticated is decrypted, written, or causes an erase. The memory needed is one chunk, whatever the image.
One call erases one sector at most, and says so by not taking the chunk (section 10): the host sends it again.
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

    `begin` is called when chunk 0 has been authenticated, before the first erase, until it says that it has begun (it
    has not where the journal was compacted instead); `record` with the SHA-256 over head and payload, when the image
    is complete.
    """

    def __init__(
        self,
        flash: FlashDevice,
        region: Region,
        head: Head,
        content_key: bytes | None,
        begin: Callable[[], bool],
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
        self._has_begun = False
        self._address = load_address(region)
        self._sectors_left = list(region.sectors)

    @property
    def chunk_size_bytes(self) -> int:
        """The size on the wire of the chunk that is expected next."""
        return chunk_size_on_wire(self.head, self._chunk_index)

    @property
    def is_complete(self) -> bool:
        return self._chunk_index == self.head.chunk_count

    def take_chunk(self, chunk: bytes) -> int:
        """Authenticate, decrypt and program one chunk, and finish after the last one; returns how many bytes are taken.

        That is all of them; or none, where a sector had to be erased first; or, of the last chunk, all but its last
        byte, while sectors behind the image are still being erased. Each time the whole chunk is judged anew.
        Raises Refused: CHUNK_HASH, IMAGE_DIGEST, FLASH_WRITE, and what the journal refuses.
        """
        data, next_link = authenticate_chunk(self.head, self._chunk_index, self._expected_link, chunk)
        if not self._has_begun:
            self._has_begun = self._begin()
            if not self._has_begun:
                return 0
        if not self._is_programmed:
            if self._erase_one_before(self._address + len(data)):
                return 0
            self._write_image(data if self._cipher is None else self._cipher.decrypt(data))
        if self._is_programmed and self._erase_one_before(self.region.end_address):
            return len(chunk) - 1
        self._upload_hasher.update(chunk)
        self._expected_link = next_link
        self._chunk_index += 1
        if self.is_complete:
            self._finish()
        return len(chunk)

    @property
    def _is_programmed(self) -> bool:
        """Whether the image stands in flash, all of it."""
        return self._address == load_address(self.region) + self.head.image_size_bytes

    def _finish(self) -> None:
        """The order that makes it safe: the image is proved, then the head, and only a complete head is recorded."""
        require_image_in_flash(self._flash, self.region, self.head, DeviceCode.IMAGE_DIGEST)
        self._program_head()
        self._record(self._upload_hasher.digest())

    def _program_head(self) -> None:
        program_and_compare(self._flash, self.region.address, self.head.raw)

    def _write_image(self, data: bytes) -> None:
        program_units(self._flash, self._address, data)
        self._address += len(data)

    def _erase_one_before(self, end_address: int) -> bool:
        """Erase the next sector of the region, if it begins before this address; whether it did."""
        if not self._sectors_left or self._sectors_left[0].address >= end_address:
            return False
        self._flash.erase(self._sectors_left.pop(0))
        return True
