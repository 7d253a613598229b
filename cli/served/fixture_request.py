"""One request to the control socket of a simulated fixture: a JSON object, its keys judged one by one."""

from __future__ import annotations

import base64
import binascii
import json
from typing import Any

from bootloader.reference.factory_image import Block
from cli.served.nest import Refusal


def parse_request(line: bytes) -> dict[str, Any]:
    """Raises Refusal for what is no JSON object."""
    try:
        found = json.loads(line)
    except (ValueError, RecursionError):
        raise Refusal("not one JSON object") from None
    if not isinstance(found, dict):
        raise Refusal("not one JSON object")
    return found


class RequestFields:
    """The keys of a request, each asked for once; what is left over is unknown."""

    def __init__(self, found: dict[str, Any]) -> None:
        self._found = found
        self._asked = {"do", "nest"}

    def has(self, key: str) -> bool:
        self._asked.add(key)
        return key in self._found

    def text(self, key: str, default: str | None = None) -> str:
        value: str = self._typed(key, str, default)
        return value

    def flag(self, key: str, *, default: bool | None = None) -> bool:
        value: bool = self._typed(key, bool, default)
        return value

    def number(self, key: str, most: float, default: float | None = None) -> float:
        self._asked.add(key)
        value = self._found.get(key, default)
        if not isinstance(value, int | float) or isinstance(value, bool) or not 0 <= value <= most:
            raise Refusal(f"{key}: a number from 0 to {most}")
        return value

    def binary_hex(self, key: str) -> bytes:
        try:
            return bytes.fromhex(self.text(key))
        except ValueError:
            raise Refusal(f"{key}: hexadecimal") from None

    def blocks(self, key: str) -> list[Block]:
        value = self._typed(key, list, None)
        try:
            return [(int(block["address"]), base64.b64decode(block["data"], validate=True)) for block in value]
        except (TypeError, KeyError, ValueError, binascii.Error):
            raise Refusal(f"{key}: a list of address and data (base64)") from None

    def demand_no_more(self) -> None:
        if unknown := sorted(self._found.keys() - self._asked):
            raise Refusal(f"unknown key {unknown[0]!r}")

    def _typed(self, key: str, kind: type, default: Any) -> Any:
        self._asked.add(key)
        value = self._found.get(key, default)
        if not isinstance(value, kind):
            raise Refusal(f"{key}: missing, or not a {kind.__name__}")
        return value
