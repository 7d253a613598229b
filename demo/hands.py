"""The hands of the operator at the simulated fixture: boards go into nests and come out (docs/spec/fixture.md)."""

from __future__ import annotations

import json
import socket
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from demo.stage import expect

_SECONDS_MAX = 60.0


class Hands:
    """One connection to a fixture's control socket."""

    def __init__(self, control: Path) -> None:
        self._socket = socket.socket(socket.AF_UNIX)
        self._socket.settimeout(_SECONDS_MAX)
        self._socket.connect(str(control))
        self._lines = self._socket.makefile("rw", encoding="utf-8")

    def insert(self, nest: int, uid: str) -> None:
        """Put the board with this UID into an empty nest. Raises DemoFailed."""
        self._ask(do="insert", nest=nest, uid=uid)

    def remove(self, nest: int) -> None:
        """Take the board out. Raises DemoFailed."""
        self._ask(do="remove", nest=nest)

    def _ask(self, **request: Any) -> None:
        self._lines.write(json.dumps(request) + "\n")
        self._lines.flush()
        answer = json.loads(self._lines.readline())
        expect(answer["ok"] is True, f"the fixture said: {answer.get('error')}")

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._lines.close()
        self._socket.close()
