"""How shares of a key-encryption key go to custodians and come back: at a terminal, in a rehearsal, or from a file."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from cli.context import ask_secret
from pki.errors import ConfigurationError, OutputError
from signer.custody.shares import WORDS_PER_SHARE

if TYPE_CHECKING:
    from cli.ceremony_terminal import TerminalRoom
    from signer.custody.shares import CustodianShare, SharesWanted

_CLEAR = "\033[H\033[2J\033[3J"
"""Home, erase the display, erase what scrolled off (ECMA-48, and xterm's extension): nothing can be scrolled to."""


class TerminalShares:
    """One custodian at a time, alone before the screen. Shares are never written anywhere but on their paper."""

    def __init__(self, room: TerminalRoom) -> None:
        """The room knows who plays which part."""
        self._room = room

    def _name(self, custodian: str) -> str:
        name = self._room.parts.get(custodian)
        return custodian if name is None else f"{name} ({custodian})"

    def hand_out(self, share: CustodianShare) -> None:
        """Show the numbered words until Enter, then clear the screen."""
        err, name = sys.stderr, self._name(share.custodian)
        err.write("\n  A share of this key from an earlier, interrupted run is void: destroy it now.\n")
        input_line(f"  {name}: come to the screen ALONE. Paper and pen ready? Press Enter. ")
        err.write(f"{_CLEAR}\n  The share of {name}. Write the {len(share.words)} words down.\n\n")
        for place in range(0, len(share.words), 3):
            row = enumerate(share.words[place : place + 3], start=place + 1)
            err.write("    " + "".join(f"{number:2d} {word:<14}" for number, word in row).rstrip() + "\n")
        input_line("\n  Read them once more against your paper. Then press Enter: the screen is cleared. ")
        err.write(_CLEAR)

    def read_back(self, custodian: str, positions: tuple[int, ...]) -> Sequence[str]:
        """Word by word, unechoed."""
        sys.stderr.write(f"  {self._name(custodian)}: type these words from your paper; nothing is shown.\n")
        return [ask_secret(f"  word {position} of {WORDS_PER_SHARE}: ") for position in positions]

    def next_share(self, wanted: SharesWanted) -> str:
        """All words of one share on one line, unechoed."""
        state = ", ".join(f"{have} of {needed}" for have, needed in wanted.collected)
        sys.stderr.write(f"\n  Shares so far: {state}. The next custodian comes to the screen ALONE.\n")
        return ask_secret(f"  Type the {WORDS_PER_SHARE} words, with spaces between them; nothing is shown: ")

    def refused(self, reason: str) -> None:
        """One line."""
        sys.stderr.write(f"  NOT TAKEN: {reason}\n")


def input_line(prompt: str) -> None:
    """Wait for Enter. Raises KeyboardInterrupt at the end of input."""
    sys.stderr.write(prompt)
    sys.stderr.flush()
    if not sys.stdin.readline():
        raise KeyboardInterrupt


class MemoryShares:
    """A rehearsal's custodians: they remember their shares perfectly, until the process ends."""

    def __init__(self) -> None:
        self._shares: dict[str, tuple[str, ...]] = {}
        self._given = 0

    def hand_out(self, share: CustodianShare) -> None:
        """Remember it; a later share of the same custodian takes its place."""
        self._shares[share.custodian] = share.words

    def read_back(self, custodian: str, positions: tuple[int, ...]) -> Sequence[str]:
        """Perfectly."""
        return [self._shares[custodian][position - 1] for position in positions]

    def next_share(self, wanted: SharesWanted) -> str:  # noqa: ARG002
        """One after the other."""
        words = [*self._shares.values()]
        if self._given >= len(words):
            raise ConfigurationError("there are no more shares")
        self._given += 1
        return " ".join(words[self._given - 1])

    def refused(self, reason: str) -> None:
        """The next one."""


class FileShares(MemoryShares):
    """Development only: shares in files of a folder named `fake`, so that a later ceremony can take them from there."""

    def __init__(self, folder: Path) -> None:
        """Raises ConfigurationError for a folder that does not say by its name that it holds test material."""
        super().__init__()
        if "fake" not in folder.parts:
            raise ConfigurationError(f"{folder}: shares for tests are kept under a folder named `fake`")
        self._folder = folder
        for path in sorted(folder.glob("*.share")) if folder.is_dir() else []:
            self._shares[path.stem] = tuple(path.read_text(encoding="ascii").split())

    def hand_out(self, share: CustodianShare) -> None:
        """Into a file of mode 0600."""
        super().hand_out(share)
        try:
            self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            path = self._folder / f"{share.custodian}.share"
            with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w", encoding="ascii") as file:
                file.write(" ".join(share.words) + "\n")
        except OSError as error:
            raise OutputError(f"{self._folder}: cannot be written ({error.strerror})") from None
