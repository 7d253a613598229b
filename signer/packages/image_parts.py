"""What a firmware file comes down to: parts of an image, and the limits that the board sets."""

from __future__ import annotations

import msgspec

from signer.packages.layout import IMAGE_SIZE_BYTES_MAX

GAP_SIZE_BYTES_MAX = 65_536
"""How much fill is tolerated unless the caller says otherwise: more is usually a segment linked to a wrong address."""


class ImagePart(msgspec.Struct, frozen=True):
    """Consecutive bytes of an image: from memory, or `size_bytes` of the file from `file_offset` on."""

    address: int
    size_bytes: int
    content: bytes | bytearray | None
    file_offset: int = 0

    @property
    def end(self) -> int:
        """The first address after it."""
        return self.address + self.size_bytes


class ImageLimits(msgspec.Struct, frozen=True):
    """What the board allows: address of the image's first byte, its largest size, and how much fill is tolerated."""

    load_address: int
    image_size_bytes_max: int
    gap_size_bytes_max: int = GAP_SIZE_BYTES_MAX

    @property
    def firmware_size_bytes_max(self) -> int:
        """Of the board's and the package format's limits, the smaller."""
        return min(self.image_size_bytes_max, IMAGE_SIZE_BYTES_MAX)
