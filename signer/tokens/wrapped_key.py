"""A private key as it leaves its token: wrapped. Light: nothing here loads a module."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum

WRAPPED_SIZE_BYTES_MIN = 24
WRAPPED_SIZE_BYTES_MAX = 512


class Framing(StrEnum):
    """What `wrapped` bytes are: AES key wrap of RFC 3394 over padded PKCS#8, or of RFC 5649."""

    RFC_3394 = "rfc-3394"
    RFC_5649 = "rfc-5649"


@dataclass(frozen=True, slots=True)
class WrappedKey:
    """A wrapped private key; `data` has 24 to 512 bytes, a multiple of 8."""

    framing: Framing
    data: bytes = field(repr=False)

    def __post_init__(self) -> None:
        size_bytes = len(self.data)
        if not WRAPPED_SIZE_BYTES_MIN <= size_bytes <= WRAPPED_SIZE_BYTES_MAX or size_bytes % 8:
            raise ValueError(f"a wrapped key has 24 to 512 bytes, a multiple of 8, not {size_bytes}")
