"""The process of a simulated fixture: its nests' links and its control socket, until SIGTERM."""

from __future__ import annotations

import os
import select
import signal
import socket
import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

from cli.served.fixture_control import REQUEST_SIZE_BYTES_MAX, FixtureControl, Wait, encode_answer
from cli.served.nest import Nest
from pki.errors import OutputError

CONNECTIONS_MAX = 64
_READ_SIZE_BYTES = 1024 * 1024
_SEND_SECONDS_MAX = 10.0


@dataclass(slots=True)
class _Client:
    connection: socket.socket
    received: bytearray = field(default_factory=bytearray)
    wait: Wait | None = None
    wait_until: float = 0.0


def open_control_socket(path: Path) -> socket.socket:
    """Listen at a path; what a killed fixture left there is replaced. Raises OutputError."""
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    mask = os.umask(0o177)  # only this account speaks to it, from its first moment on
    try:
        if path.is_socket():
            path.unlink()
        listener.bind(str(path))
        listener.listen(CONNECTIONS_MAX)
    except OSError as error:
        listener.close()
        raise OutputError(f"control socket {path}: cannot be made ({error.strerror})") from None
    finally:
        os.umask(mask)
    listener.setblocking(False)
    return listener


class FixtureProcess:
    """Serves links and control socket, one thing at a time."""

    def __init__(self, control: FixtureControl, nests: Sequence[Nest], listener: socket.socket) -> None:
        self._control = control
        self._nests = list(nests)
        self._listener = listener
        self._clients: list[_Client] = []
        self._ended = False

    def run(self) -> None:
        """Until SIGTERM or Ctrl-C; then every board is taken out, so that its file is written."""
        wake_read, wake_write = os.pipe()
        os.set_blocking(wake_write, False)
        signal.set_wakeup_fd(wake_write)
        for asked in (signal.SIGTERM, signal.SIGINT):
            signal.signal(asked, self._end)
        while not self._ended:
            ready = self._wait_for([wake_read])
            if wake_read in ready:
                os.read(wake_read, 512)
            for nest in self._nests:
                if any(fileno in ready for fileno in nest.filenos()):
                    with suppress(OSError):
                        nest.serve()
            self._serve_control(ready)
        for nest in self._nests:
            if nest.uid is not None:
                nest.remove()
            nest.endpoint.remove()

    def _end(self, _number: int, _frame: object) -> None:
        self._ended = True

    def _wait_for(self, filenos: list[int]) -> set[int]:
        filenos = [*filenos, self._listener.fileno()]
        filenos += [client.connection.fileno() for client in self._clients]
        filenos += [fileno for nest in self._nests for fileno in nest.filenos()]
        waits = [client.wait_until for client in self._clients if client.wait is not None]
        timeout = max(0.0, min(waits) - time.monotonic()) if waits else None
        return set(select.select(filenos, [], [], timeout)[0])

    def _serve_control(self, ready: set[int]) -> None:
        if self._listener.fileno() in ready:
            with suppress(OSError):
                self._accept()
        for client in list(self._clients):
            if client.connection.fileno() in ready and not self._receive(client):
                self._hang_up(client)
        self._answer_all()
        if any(client.wait is not None and client.wait.is_reached for client in self._clients):
            self._answer_all()  # what one has done is what another waits for

    def _answer_all(self) -> None:
        for client in list(self._clients):
            try:
                self._answer(client)
            except OSError:
                self._hang_up(client)

    def _accept(self) -> None:
        connection, _ = self._listener.accept()
        if len(self._clients) >= CONNECTIONS_MAX:
            connection.close()
            return
        connection.settimeout(_SEND_SECONDS_MAX)
        self._clients.append(_Client(connection))

    def _receive(self, client: _Client) -> bool:
        """False if the connection is over, or says more than it may."""
        try:
            data = client.connection.recv(_READ_SIZE_BYTES)
        except OSError:
            return False
        client.received += data
        return bool(data) and len(client.received) <= REQUEST_SIZE_BYTES_MAX

    def _answer(self, client: _Client) -> None:
        """Answer what can be answered now: in order, so nothing while the client waits."""
        while True:
            if client.wait is not None:
                reached = client.wait.is_reached
                if not reached and time.monotonic() < client.wait_until:
                    return
                client.wait = None
                client.connection.sendall(encode_answer({"ok": True, "reached": reached}))
            line, newline, rest = client.received.partition(b"\n")
            if not newline:
                return
            client.received = rest
            answer = self._control.carry_out(bytes(line))
            if isinstance(answer, Wait):
                client.wait, client.wait_until = answer, time.monotonic() + answer.seconds
            else:
                client.connection.sendall(encode_answer(answer))

    def _hang_up(self, client: _Client) -> None:
        client.connection.close()
        self._clients.remove(client)
