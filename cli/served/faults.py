"""A bad link: frames lost, changed, doubled, and out of order, by chance that can be repeated."""

from __future__ import annotations

from collections.abc import Callable
from random import Random

from cli.served.options import FaultOptions


class LinkFaults:
    """One direction of one link."""

    def __init__(self, options: FaultOptions, name: str, tap: Callable[[bytes], None] | None = None) -> None:
        """`name` makes this link's chance another than that of the next one; `tap` is told every frame as it was."""
        self._options = options
        self._tap = tap
        self._random = Random(f"{options.seed} {name}")  # noqa: S311 (chance, not secrets)
        self._held: bytes | None = None

    def pass_on(self, frame: bytes) -> list[bytes]:
        """What arrives of a frame that was sent, and perhaps of one sent before it."""
        options = self._options
        if self._tap is not None:
            self._tap(frame)
        if options.is_perfect or not frame:
            return [frame]
        if self._happens(options.lose):
            return []
        if self._happens(options.corrupt):
            frame = self._corrupted(frame)
        arriving = [frame, frame] if self._happens(options.duplicate) else [frame]
        held, self._held = self._held, None
        if held is not None:
            return [*arriving, held]
        if self._happens(options.reorder):
            self._held = arriving.pop()  # it arrives behind the next one
        return arriving

    def _happens(self, likelihood: float) -> bool:
        return likelihood > 0 and self._random.random() < likelihood

    def _corrupted(self, frame: bytes) -> bytes:
        """One bit flipped, or a burst of bytes changed."""
        changed = bytearray(frame)
        place = self._random.randrange(len(changed))
        if self._random.random() < 0.5:
            changed[place] ^= 1 << self._random.randrange(8)
        else:
            for at in range(place, min(len(changed), place + 1 + self._random.randrange(8))):
                changed[at] = self._random.randrange(256)
        return bytes(changed)
