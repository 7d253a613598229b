"""The simulated fixture's control socket, from a station's side (docs/spec/fixture.md); a connection for each nest."""

from __future__ import annotations

import base64
import json
import socket
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from provisioning.station.facts import FlashContent, OptionBytes
from provisioning.station.fixture import FactoryImage, FixtureError

VERSION = 1
LINE_SIZE_BYTES_MAX = 8 * 1024 * 1024
ANSWER_TIMEOUT_SECONDS = 60.0
UID_SIZE_BYTES = 16
_PORT_CLOSED = "debug port is closed"


class FixtureSocket:
    """One connection. For one thread. Raises FixtureError for everything that is not an answer as the text has it."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self._socket.settimeout(ANSWER_TIMEOUT_SECONDS)
        try:
            self._socket.connect(str(path))
        except OSError as error:
            self._socket.close()
            raise FixtureError(f"the fixture {path} does not answer: {error.strerror}; start it") from None
        self._lines = self._socket.makefile("rb")

    def ask(self, do: str, *, wait_seconds: float = 0, **keys: Any) -> dict[str, Any]:
        """One request and its answer; FixtureError also where the fixture refuses."""
        request = json.dumps({"do": do, **keys}, separators=(",", ":")).encode() + b"\n"
        try:
            self._socket.settimeout(ANSWER_TIMEOUT_SECONDS + wait_seconds)
            self._socket.sendall(request)
            line = self._lines.readline(LINE_SIZE_BYTES_MAX + 1)
            answer = json.loads(line) if line.endswith(b"\n") else None
        except (OSError, ValueError) as error:
            raise FixtureError(f"the fixture {self._path}: {error}") from None
        if not isinstance(answer, dict) or answer.get("ok") not in (True, False):
            raise FixtureError(f"the fixture {self._path} ended, or answers what is none")
        if not answer["ok"]:
            raise FixtureError(f"the fixture refused {do}: {str(answer.get('error'))[:200]}")
        return answer

    def links(self) -> list[str]:
        """The address of each nest's link, as `--via` takes it. Raises FixtureError for another version."""
        answer = self.ask("describe")
        links = answer.get("links")
        if answer.get("version") != VERSION or not isinstance(links, list):
            raise FixtureError(f"the fixture {self._path} speaks another version of docs/spec/fixture.md")
        ordered = sorted(links, key=lambda link: int(link["nest"]))
        return [str(link["via"]) for link in ordered]

    def close(self) -> None:
        """Close the connection; twice does nothing."""
        self._lines.close()
        self._socket.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


class SocketNest:
    """A `Nest` of the simulated fixture."""

    def __init__(self, fixture: FixtureSocket, nest: int) -> None:
        self._fixture = fixture
        self._nest = nest

    def wait_for_board(self, timeout_seconds: float) -> bool:
        """Whether a board lies in the nest within this time."""
        return self._wait(True, timeout_seconds)

    def wait_for_removal(self, timeout_seconds: float) -> bool:
        """Whether the nest is empty within this time."""
        return self._wait(False, timeout_seconds)

    def read_uid(self) -> bytes | None:
        """The chip's UID, padded."""
        try:
            uid = bytes.fromhex(self._ask("read-uid")["uid"])
        except (KeyError, TypeError, ValueError):
            raise FixtureError("the fixture read no UID") from None
        return uid.ljust(UID_SIZE_BYTES, b"\0")

    def read_option_bytes(self) -> OptionBytes | None:
        """As they stand; None where the debug port is closed."""
        try:
            answer = self._ask("read-option-bytes")
        except FixtureError as error:
            if _PORT_CLOSED in str(error):
                return None
            raise
        return OptionBytes(
            readout_level=int(answer["readout_level"]),
            pre_bootloader_write_protected=answer["write_protect"] is True,
            brown_out_level=answer["brown_out"] is True,
            debug_closed=answer["debug_closed"] is True,
        )

    def write_option_bytes(self, wanted: OptionBytes) -> None:
        """Write protection and brown-out level first, then what shuts the probe out."""
        self._ask("set-option-bytes", write_protect=wanted.pre_bootloader_write_protected)
        self._ask("set-option-bytes", brown_out=wanted.brown_out_level)
        self._ask("set-option-bytes", readout_level=wanted.readout_level, debug_closed=wanted.debug_closed)

    def compare_flash(self, image: FactoryImage) -> FlashContent:
        """By the digest that the probe makes while it reads; only a flash that is neither is read byte by byte."""
        answer = self._ask("read-flash", hash=True)
        found = (answer.get("address"), answer.get("sha256"))
        if found == (image.flash_base, image.sha256):
            return FlashContent.FACTORY_IMAGE
        if found == (image.flash_base, image.blank_sha256):
            return FlashContent.BLANK
        answer = self._ask("read-flash")
        try:
            flash = base64.b64decode(answer["data"], validate=True)
        except (KeyError, TypeError, ValueError):
            raise FixtureError("the fixture read no flash") from None
        return image.compare(flash) if answer.get("address") == image.flash_base else FlashContent.OTHER

    def erase(self) -> None:
        """The whole flash; at readout level 1 by lifting it."""
        self._ask("erase")

    def program(self, image: FactoryImage) -> None:
        """The station's own factory image, whatever the fixture was started with."""
        self._ask("program", blocks=_blocks(image))

    def power_cycle(self) -> None:
        """Off, and on again."""
        self._ask("power-cycle")

    def _wait(self, board: bool, timeout_seconds: float) -> bool:
        answer = self._fixture.ask(
            "wait", wait_seconds=timeout_seconds, nest=self._nest, board=board, seconds=timeout_seconds
        )
        return answer.get("reached") is True

    def _ask(self, do: str, **keys: Any) -> dict[str, Any]:
        return self._fixture.ask(do, nest=self._nest, **keys)


def _blocks(image: FactoryImage) -> list[dict[str, Any]]:
    """What is not blank, by pages."""
    return [{"address": address, "data": base64.b64encode(data).decode()} for address, data in image.pages_with_content]
