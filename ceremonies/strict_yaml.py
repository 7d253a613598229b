"""YAML 1.2 as plans may use it: maps, lists, text, integers and booleans, each written out once. Rule CE-01.

Everything by which a file can say something else than a reviewer reads is refused: anchors and aliases, tags,
directives, several documents, merge keys, doubled keys. Only `true` and `false` are booleans; `no`, `on`, dates and
decimal fractions are text. The parser is ruamel.yaml's; what its events mean is decided here.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

from ceremonies.rules import PLAN_NOT_STRICT
from pki.errors import ConfigurationError

SIZE_BYTES_MAX = 128 * 1024
_DEPTH_MAX = 8
_NODE_COUNT_MAX = 10_000
_INTEGER = re.compile(r"0|-?[1-9][0-9]{0,15}")

Yaml = str | int | bool | list["Yaml"] | dict[str, "Yaml"]


class _Refused(Exception):
    """A line (from 1) and the reason."""


def parse_strict_yaml(data: bytes, name: str) -> dict[str, Yaml]:
    """The map that a YAML file holds. Raises ConfigurationError CE-01, naming file and line, for anything else."""
    if len(data) > SIZE_BYTES_MAX:
        raise _configuration_error(name, f"it has more than {SIZE_BYTES_MAX} bytes")
    try:
        text = data.decode("utf-8")
    except UnicodeDecodeError as error:
        raise _configuration_error(name, f"it is not UTF-8 at byte {error.start}") from None
    import ruamel.yaml
    from ruamel.yaml.error import YAMLError

    reader = ruamel.yaml.YAML(typ="safe", pure=True)
    reader.version = (1, 2)
    try:
        value = _Builder(reader.parse(text)).document()
    except _Refused as error:
        raise _configuration_error(name, str(error)) from None
    except YAMLError as error:
        line = getattr(getattr(error, "problem_mark", None), "line", None)
        place = "" if line is None else f"line {line + 1}: "
        reason = getattr(error, "problem", None) or "not YAML"
        raise _configuration_error(name, f"{place}{reason}") from None
    if not isinstance(value, dict):
        raise _configuration_error(name, "it is not a map")
    return value


def _configuration_error(name: str, reason: str) -> ConfigurationError:
    return ConfigurationError(f"[{PLAN_NOT_STRICT}] {name}: {reason}")


class _Builder:
    """Builds values from the parser's events, one document's worth."""

    def __init__(self, events: Iterator[Any]) -> None:
        self._events = events
        self._count = 0

    def document(self) -> Yaml:
        self._next("StreamStartEvent")
        start = self._next("DocumentStartEvent")
        if start.version is not None or start.tags:
            raise _Refused("line 1: directives (%YAML, %TAG) are not used in plans")
        value = self._node(next(self._events), 0)
        self._next("DocumentEndEvent")
        self._next("StreamEndEvent", "a plan is one document")
        return value

    def _next(self, kind: str, otherwise: str = "it is empty") -> Any:
        event = next(self._events)
        if type(event).__name__ != kind:
            raise _Refused(f"{_place(event)}{otherwise}")
        return event

    def _node(self, event: Any, depth: int) -> Yaml:
        self._count += 1
        kind = type(event).__name__
        if kind == "AliasEvent" or getattr(event, "anchor", None) is not None:
            raise _Refused(f"{_place(event)}anchors and aliases are not used in plans: write it out")
        if getattr(event, "tag", None) is not None:
            raise _Refused(f"{_place(event)}tags are not used in plans")
        if depth > _DEPTH_MAX or self._count > _NODE_COUNT_MAX:
            raise _Refused(f"{_place(event)}more, or deeper, than any plan is")
        if kind == "ScalarEvent":
            return _scalar(event)
        if kind == "SequenceStartEvent":
            return self._list(depth)
        if kind == "MappingStartEvent":
            return self._map(depth)
        raise _Refused(f"{_place(event)}nothing stands where a value should")

    def _list(self, depth: int) -> list[Yaml]:
        items: list[Yaml] = []
        while type(event := next(self._events)).__name__ != "SequenceEndEvent":
            items.append(self._node(event, depth + 1))
        return items

    def _map(self, depth: int) -> dict[str, Yaml]:
        found: dict[str, Yaml] = {}
        while type(event := next(self._events)).__name__ != "MappingEndEvent":
            key = self._node(event, depth + 1)
            if not isinstance(key, str):
                raise _Refused(f"{_place(event)}a key must be text")
            if key == "<<":
                raise _Refused(f"{_place(event)}merge keys are not used in plans: write it out")
            if key in found:
                raise _Refused(f"{_place(event)}{key!r} stands twice")
            found[key] = self._node(next(self._events), depth + 1)
        return found


def _scalar(event: Any) -> Yaml:
    text = str(event.value)
    if event.style is None:
        if text in {"true", "false"}:
            return text == "true"
        if _INTEGER.fullmatch(text):
            return int(text)
        if text in {"", "~", "null", "Null", "NULL"}:
            raise _Refused(f"{_place(event)}there is no value; leave the key out")
    return text


def _place(event: Any) -> str:
    mark = getattr(event, "start_mark", None)
    return "" if mark is None else f"line {mark.line + 1}: "
