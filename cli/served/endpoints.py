"""What hosts reach served devices by: pseudo-terminals for serial lines, UDP and TCP ports on the loopback."""

from __future__ import annotations

import os
import pty
import re
import socket
import tty
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from pki.errors import InputRefused, OutputError

LOOPBACK = "127.0.0.1"
CONNECTIONS_MAX = 8
_FORM = re.compile(r"(serial)(?::(.+))?|(udp|tcp):(?:(127(?:\.[0-9]{1,3}){3}):)?([0-9]{1,5})")

Kind = Literal["serial", "udp", "tcp"]


@dataclass(frozen=True, slots=True)
class EndpointOption:
    """`serial`, `serial:PATH`, `udp:PORT` or `tcp:PORT`; port 0 is any that is free.

    A port may have an address of the loopback before it, 127.x.x.x: some clients know port 1337 only.
    """

    kind: Kind
    path: Path | None = None
    port: int = 0
    host: str = LOOPBACK

    @classmethod
    def parse(cls, text: str) -> EndpointOption:
        """Raises InputRefused."""
        match = _FORM.fullmatch(text)
        port = int(match[5] or 0) if match is not None else 0
        if match is None or port > 0xFFFF:
            raise InputRefused(f"--on {text}: write serial, serial:PATH, udp:PORT or tcp:PORT (port 0: any free one)")
        if match[1] is not None:
            return cls("serial", Path(match[2]) if match[2] else None)
        return cls("udp" if match[3] == "udp" else "tcp", port=port, host=match[4] or LOOPBACK)

    def numbered(self, number: int, count: int) -> EndpointOption:
        """The option for one of several links: PATH-1, PATH-2, …; PORT, PORT + 1, …"""
        path = self.path if self.path is None or count == 1 else self.path.with_name(f"{self.path.name}-{number + 1}")
        return EndpointOption(self.kind, path, self.port + number if self.port else 0, self.host)


@dataclass(frozen=True, slots=True)
class SerialEndpoint:
    """A pseudo-terminal: `line` is the device's end. The host's end is held open too, so that hosts may come and go."""

    via: str
    line: int
    host_end: int
    link: Path | None

    def remove(self) -> None:
        """Take away the name that the host's end was given."""
        if self.link is not None:
            self.link.unlink(missing_ok=True)


@dataclass(frozen=True, slots=True)
class SocketEndpoint:
    """A bound UDP socket, or a listening TCP socket."""

    via: str
    socket: socket.socket
    is_tcp: bool

    def remove(self) -> None:
        self.socket.close()


Endpoint = SerialEndpoint | SocketEndpoint


def open_endpoint(option: EndpointOption) -> Endpoint:
    """Raises OutputError if the name or the port is taken."""
    if option.kind == "serial":
        return _open_serial(option.path)
    kind = socket.SOCK_DGRAM if option.kind == "udp" else socket.SOCK_STREAM
    opened = socket.socket(socket.AF_INET, kind)
    if option.kind == "tcp":
        opened.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        opened.bind((option.host, option.port))
        if option.kind == "tcp":
            opened.listen(CONNECTIONS_MAX)
    except OSError as error:
        opened.close()
        raise OutputError(f"{option.kind} port {option.port}: cannot be used ({error.strerror})") from None
    opened.setblocking(False)
    return SocketEndpoint(f"{option.kind}://{option.host}:{opened.getsockname()[1]}", opened, option.kind == "tcp")


def _open_serial(link: Path | None) -> SerialEndpoint:
    line, host_end = pty.openpty()
    tty.setraw(host_end)
    os.set_blocking(line, False)
    name = os.ttyname(host_end)
    if link is not None:
        try:
            if link.is_symlink() and str(link.readlink()).startswith("/dev/pts/"):
                link.unlink()  # left by a process that was killed
            link.symlink_to(name)
        except OSError as error:
            raise OutputError(f"serial:{link}: cannot be made ({error.strerror})") from None
    return SerialEndpoint(f"serial:{link if link is not None else name}", line, host_end, link)
