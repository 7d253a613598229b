"""A checkpoint on paper: short enough to copy by hand, with a check in every line (docs/spec/audit-log.md, 5)."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Sequence

from pki.errors import InputRefused
from signer.log.checkpoint import TreeHead

LINE_COUNT = 6
_TEXT_SIZE_MAX = 4096
_LINE = re.compile(r"([1-6])\s+(\S.*\S|\S)\s+([0-9a-f]{2})")


def paper_lines(head: TreeHead) -> list[str]:
    """The lines to write down: origin, size, and the root in four lines of four groups of four digits."""
    digits = head.root.hex()
    groups = [digits[start : start + 4] for start in range(0, len(digits), 4)]
    texts = [head.origin, str(head.size), *(" ".join(groups[start : start + 4]) for start in range(0, 16, 4))]
    return [f"{number}  {text:<40}  {_check(number, text)}" for number, text in enumerate(texts, 1)]


def parse_paper(text: str) -> TreeHead:
    """Read back what was written down. Raises InputRefused that names the line with the slip of the pen."""
    lines = [line.strip().lower() for line in text[:_TEXT_SIZE_MAX].splitlines() if line.strip()]
    if len(lines) != LINE_COUNT:
        raise InputRefused(f"the paper has {LINE_COUNT} numbered lines, and {len(lines)} were given")
    texts = [_read_line(number, line) for number, line in enumerate(lines, 1)]
    return _head(texts)


def _read_line(number: int, line: str) -> str:
    match = _LINE.fullmatch(line)
    if match is None or int(match[1]) != number:
        raise InputRefused(f"line {number} is not `{number}  …  check`; look at the paper again")
    text = " ".join(match[2].split())
    if _check(number, text) != match[3]:
        raise InputRefused(f"line {number} does not fit its check {match[3]!r}: a slip of the pen; look at it again")
    return text


def _head(texts: Sequence[str]) -> TreeHead:
    try:
        root = bytes.fromhex("".join(texts[2:]))
        if len(root) != 32 or not texts[1].isascii() or not texts[1].isdecimal():
            raise ValueError
        return TreeHead(texts[0], int(texts[1]), root)
    except ValueError:
        raise InputRefused("the paper's lines are not origin, size and four lines of the root") from None


def _check(number: int, text: str) -> str:
    return hashlib.sha256(f"{number} {text}".encode()).hexdigest()[:2]
